"""The likely intent of a setting that does not exist, looked for in the whole tree of settings."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.errors import PluginError, Problem, closest, joined, unknown_setting
from blis_simpy.settings.description import find_setting
from blis_simpy.settings.field_types import nested_class, type_hints
from blis_simpy.settings.plugin_options import options_class

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["unknown_key"]


def unknown_key(cls: Any, path: str, name: str) -> Problem:
    """Say that a settings class has no such setting, with the likeliest one in it or in its parts.

    Parameters
    ----------
    cls : type
        The settings class.
    path : str
        Path of the unknown key, for the error.
    name : str
        The key: the name of a setting, or of a flag of the reference with underscores.
    """
    settings = dict(_settings(cls))
    flag = "--" + name.replace("_", "-")
    exact = [place for place, field in settings.items() if _flag(field) == flag or (field.alias == name != place)]
    known = [field.alias for field in attrs.fields(cls) if field.init]
    if not exact and closest(name, known) is None:
        inner = {field.alias: place for place, field in settings.items()}
        exact = [] if (near := closest(name, inner)) is None else [inner[near]]
    problem = unknown_setting(path, name, known)
    return attrs.evolve(problem, hint=f"did you mean {exact[0]}?") if exact else problem


def _settings(cls: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and field of each setting of a class, of its parts, and of the plug-ins with inline options."""
    for field in attrs.fields(cls):
        if not field.init:
            continue
        place = joined(path, field.alias)
        yield place, field
        known = find_setting(field)
        if (part := nested_class(type_hints(cls)[field.name])) is not None:
            yield from _settings(part, place)
        if known is not None and known.inline and known.kind is not None:
            for name in registry.names(known.kind):
                with suppress(PluginError):  # one that is broken
                    described = options_class(registry.get(known.kind, name))
                    yield from _settings(described, path) if described is not None else ()


def _flag(field: Any) -> str | None:
    known = find_setting(field)
    return None if known is None else known.flag
