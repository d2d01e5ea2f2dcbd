"""``--show-config``: every setting of a simulation, with the origin of its value.

The output is a scenario file in which only the architecture is left to be looked up, so that it gives the same results
anywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.deployment import Resolved, resolve
from blis_simpy.settings import loader
from blis_simpy.settings.convert import structure
from blis_simpy.settings.description import Setting, setting_of
from blis_simpy.settings.field_types import nested_class, type_hints
from blis_simpy.settings.key_paths import parts
from blis_simpy.settings.plugin_options import all_options
from blis_simpy.settings.serialize import plain_value, to_yaml
from blis_simpy.workload.settings import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from blis_simpy.scenario import Scenario

__all__ = ["print_config"]

_WIDEST = 60
"""Width from which origins follow without alignment, characters."""


def print_config(scenario: Scenario, file: Path | None, flags: Collection[str]) -> None:
    """Print the resolved configuration, a setting on each line, with its origin as a comment.

    Parameters
    ----------
    scenario : Scenario
        As it would be simulated.
    file : Path or None
        The file it was read from, if there is one.
    flags : collection of str
        Dotted paths of the settings that were given by flags.

    Raises
    ------
    ScenarioError
        If the scenario cannot be simulated.
    """
    resolved = {**resolve(scenario).settings, **_preset(scenario)}
    lines = list(_lines(scenario, "", resolved, _origins(file, flags)))
    width = min(max(len(text) for text, _ in lines), _WIDEST)
    for text, origin in lines:
        sys.stdout.write(f"{text:<{width}}  # {origin}\n" if origin else f"{text}\n")


def _preset(scenario: Scenario) -> dict[str, Resolved]:
    """Return the settings that a preset of the workload sets."""
    workload = scenario.workload
    if not isinstance(workload, Workload) or workload.preset is None:
        return {}
    filled = workload.with_preset(scenario.defaults)
    origin = f"{scenario.defaults or 'catalog'}: presets.{workload.preset}"
    names = ("prompt", "output", "prefix_tokens", "preset")
    return {f"workload.{name}": Resolved(getattr(filled, name), origin) for name in names}


def _origins(file: Path | None, flags: Collection[str]) -> Callable[[str], str]:
    """Make a function that names the origin of the value at a dotted path."""
    document = loader.load(file) if file else None

    def origin(path: str) -> str:
        if any(flag == path or flag.startswith(f"{path}.") for flag in flags):
            return "flag"
        place = parts(path)
        data: Any = document.data if document else {}
        for part in place:
            if not isinstance(data, Mapping) or part not in data:
                return "default"
            data = data[part]
        return f"file {file.name}:{document.line_of(place)}" if file and document else "default"

    return origin


def _lines(
    part: Any, prefix: str, resolved: Mapping[str, Resolved], origin: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    """Text and origin of each line, for a scenario or a part of it."""
    cls: Any = type(part)
    hints = type_hints(cls)
    indent = "  " * prefix.count(".")
    for attribute in attrs.fields(cls):
        name, path = attribute.name, prefix + attribute.name
        value = getattr(part, name)
        if attrs.has(type(value)) and nested_class(hints[name]):
            yield f"{indent}{name}:", ""
            yield from _lines(value, f"{path}.", resolved, origin)
            continue
        known = resolved.get(path)
        source = origin(path) if known is None or known.origin == "scenario" else known.origin
        shown = value if known is None else known.value
        setting = setting_of(attribute)
        data = plain_value(shown, setting, path, complete=True, absolute_paths=True)
        if not setting.inline or shown is None:
            yield f"{indent}{name}: {to_yaml(data, one_line=True)}", source
            continue
        assert setting.kind is not None
        yield f"{indent}{name}: {data['type'] if isinstance(data, Mapping) else data}", source
        for option, held in all_options(setting.kind, shown, structure).items():
            if held is not None:
                data = plain_value(held, Setting(help=""), prefix + option, complete=True)
                yield f"{indent}{option}: {to_yaml(data, one_line=True)}", origin(prefix + option)
