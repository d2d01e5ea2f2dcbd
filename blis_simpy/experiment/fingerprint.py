"""Identity of a run: the canonical form of its scenario, including the source of user-defined policies.

The digest covers the settings, the content of the files that they name, the source of the user's classes and functions
with their imports, and the library with its tables. A lambda, a class defined inside a function and a class defined in
a notebook cell have no digest.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import json
import sys
import types
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy import registry
from blis_simpy.catalog.files import read_bundled
from blis_simpy.errors import PluginError
from blis_simpy.experiment.source_digest import content_of, is_foreign, source_of_module
from blis_simpy.files.paths import files_in, is_directory
from blis_simpy.settings.description import find_setting
from blis_simpy.settings.fields import evolved

if TYPE_CHECKING:
    from blis_simpy.scenario import Scenario

__all__ = ["NO_IDENTITY", "canonical", "digest", "library_digest", "metrics_form", "scenario_form"]

NO_IDENTITY = "no_identity"
"""Code of the error about an object without a digest."""

# Kinds of plug-ins that no scenario names.
_OF_RESULTS = frozenset({"metric", "plot", "renderer"})

# Packages of the library that no figure depends on.
_WITHOUT_FIGURES = frozenset({"calibration", "cli", "display", "export", "realserver", "testing"})


def digest(*parts: Any) -> str:
    """Return the digest of JSON data, 32 hexadecimal digits.

    Examples
    --------
    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@functools.cache
def library_digest() -> str:
    """Return the digest of the library's source and tables, and of the version of numpy, whose generators it uses."""
    root = Path(__file__).resolve().parents[1]
    state = hashlib.blake2b(np.__version__.encode(), digest_size=16)
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] not in _WITHOUT_FIGURES:
            state.update(f"\n{place.as_posix()}\n".encode() + path.read_bytes())
    for name in ("defaults.yaml", "hardware_config.json"):
        state.update(read_bundled(name)[0].encode())
    return state.hexdigest()


def scenario_form(scenario: Scenario) -> Any:
    """Return the canonical form of a scenario, as JSON data.

    Parameters
    ----------
    scenario : Scenario
        The scenario; its `seed` is left out, for each run of an experiment has its own.

    Raises
    ------
    PluginError
        If an object in it has no digest; the message names it.
    ScenarioError
        If a file that it names cannot be read.
    """
    # The content of the workload's files counts, not their names.
    traffic = None if scenario.workload is None else scenario.workload.content()
    form = [canonical(evolved(scenario, seed=0, workload=None)), type(scenario.workload).__name__, canonical(traffic)]
    architectures = [group.resolve().settings.get("model_config") for group in scenario.by_group()]
    files = [None if found is None or found.value is None else _content(found.value) for found in architectures]
    return [form, files, _third_party(json.dumps(form))]


def _third_party(text: str) -> Any:
    """Identities of plug-ins that are not the library's and whose names occur in a scenario."""
    return {
        f"{kind} {name}": canonical(registry.get(kind, name))
        for kind, name in registry.third_party()
        if kind not in _OF_RESULTS and (json.dumps(name)[1:-1] in text or registry.is_shadowed(kind, name))
    }


def metrics_form() -> Any:
    """Return the canonical forms of the user's registered metrics, with which every run is measured.

    Raises
    ------
    PluginError
        If one of them has no digest.
    """
    return {name: canonical(registry.get(kind, name)) for kind, name in registry.third_party() if kind == "metric"}


def canonical(value: Any) -> Any:
    """Return the canonical form of a value, as JSON data.

    Raises
    ------
    PluginError
        If the value or a part of it has none.
    """
    return _canonical(value, ())


def _canonical(value: Any, around: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, np.generic):
        return _canonical(value.item(), around)
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if id(value) in around:
        raise _unidentified(_named(value), "it contains itself")
    around = (*around, id(value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        content = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
        return {"array": [value.dtype.str, list(value.shape), content]}
    if isinstance(value, tuple | list):
        return [_canonical(item, around) for item in value]
    if isinstance(value, Mapping):
        pairs = [[_canonical(key, around), _canonical(item, around)] for key, item in value.items()]
        return {"mapping": sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))}
    if isinstance(value, AbstractSet):
        return {
            "set": sorted((_canonical(item, around) for item in value), key=lambda i: json.dumps(i, sort_keys=True))
        }
    if isinstance(value, enum.Enum):
        return {"enum": [_source(type(value)), value.name]}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, functools.partial):
        return {"partial": [_canonical(part, around) for part in (value.func, value.args, value.keywords)]}
    if isinstance(value, types.MethodType):
        return {"method": [_canonical(value.__self__, around), value.__name__]}
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return {"code": _source(value)}
    if attrs.has(type(value)):
        return {"instance": [_source(type(value)), _fields(value, around)]}
    # Any other object by the state that pickle would save.
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        parts: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except TypeError as error:
        raise _unidentified(_named(value), str(error)) from None
    if isinstance(parts, str):  # found by its name, as a function is
        return {"code": _source(value)}
    parts = [_canonical(list(part) if isinstance(part, Iterator) else part, around) for part in parts]
    return {"instance": [_source(type(value)), parts]}


def _fields(value: Any, around: tuple[int, ...]) -> Any:
    fields = {}
    for field in attrs.fields(type(value)):
        held, known = getattr(value, field.name), find_setting(field)
        is_path = known is not None and known.is_path and held is not None
        fields[field.name] = {"content": _content(held)} if is_path else _canonical(held, around)
    return fields


def _named(value: Any) -> str:
    return f"an object of {type(value).__module__}.{type(value).__qualname__}"


def _source(code: Any) -> list[str]:
    """Return module, name and source digest of a class or function; no digest for the library's and Python's own."""
    module, name = getattr(code, "__module__", None) or "builtins", code.__qualname__
    if "<" in name:
        raise _unidentified(f"{module}.{name}", "it is defined inside a function", "move it to a module")
    if not is_foreign(module):
        return [module, name, ""]
    source = None if module == "__main__" and _is_session() else source_of_module(module)
    if source is None:
        raise _unidentified(f"module {module}", "it has no source file", "move its classes to a module")
    named: Any = sys.modules.get(module)
    for part in name.split("."):
        named = getattr(named, part, None)
    if named is not code:
        raise _unidentified(f"{module}.{name}", "it is not what the module has under this name")
    return [module, name, source]


def _is_session() -> bool:
    """Whether ``__main__`` is a notebook or an interactive session, whose code is in no file."""
    return "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None


def _unidentified(what: str, why: str, hint: str = "") -> PluginError:
    return PluginError.at(what, f"cannot be identified: {why}", hint=hint, code=NO_IDENTITY)


def _content(path: str | Path) -> str:
    """Return the digest of a file, or of the JSON files of a folder."""
    place = Path(path)
    return content_of(files_in(place, "*.json") if is_directory(place) else [place])
