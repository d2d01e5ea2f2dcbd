"""Options of plug-ins: which ones there are, and whether their values are right.

A plug-in describes its options as a settings class does: it is one itself, or has one as its attribute ``Options``, the
fields of which are keyword parameters of its constructor. The options of any other plug-in are its parameters, whose
values nothing is known about.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.errors import PluginError, Problem, ScenarioError, unknown_setting
from blis_simpy.settings.description import find_setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Structure = Callable[[Mapping[str, Any], Any], Any]

__all__ = [
    "all_options",
    "checked_options",
    "option_names",
    "options_class",
    "options_of_spec",
    "plugin_label",
    "unknown_option",
]


def options_class(plugin: Any) -> Any:
    """Return the settings class that describes the options of a plug-in; None if it does not describe them."""
    described = getattr(plugin, "Options", None)
    if described is not None:
        return described
    fields = attrs.fields(plugin) if isinstance(plugin, type) and attrs.has(plugin) else None
    if fields is None or not all(find_setting(field) for field in fields if field.init):
        return None
    return plugin


def option_names(kind: str, plugin: Any) -> tuple[str, ...] | None:
    """Names of the options of a plug-in of a kind; None if it takes any, or does not say which."""
    described = options_class(plugin)
    if described is not None:
        return tuple(field.alias for field in attrs.fields(described) if field.init)
    try:
        parameters = list(inspect.signature(plugin).parameters.values())[registry.num_build_arguments(kind, plugin) :]
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY)


def options_of_spec(kind: str, spec: Any) -> tuple[str, ...] | None:
    """Names of the options that can be given beside what a field holds; None if any can, or it is not known.

    Parameters
    ----------
    kind : str
        Kind of plug-in.
    spec : str, mapping, class or instance
        As the field holds it.
    """
    if spec is None:
        return ()
    name = plugin_label(spec)
    if isinstance(spec, str | Mapping):
        return option_names(kind, registry.get(kind, name)) if name in registry.names(kind) else None
    described = options_class(spec if isinstance(spec, type) else type(spec))
    return () if described is None else option_names(kind, described)


def unknown_option(kind: str, spec: Any, key: str, settings: Iterable[str]) -> Problem:
    """Say that a key is neither a setting nor an option of the plug-in beside it, and whose option it is.

    Parameters
    ----------
    kind : str
        Kind of plug-in.
    spec : str, mapping, class or instance
        As the field holds it.
    key : str
        The unknown key.
    settings : iterable of str
        Names of the settings beside the plug-in.
    """
    owners = []
    for name in registry.names(kind):
        with suppress(PluginError):  # one that is broken
            if key in (option_names(kind, registry.get(kind, name)) or ()):
                owners.append(repr(name))
    known = [*settings, *(options_of_spec(kind, spec) or ())]
    nor = "" if spec is None else f", nor an option of {plugin_label(spec)!r}"
    problem = unknown_setting(key, key, known, f"is not a setting{nor}")
    return attrs.evolve(problem, hint=f"it is an option of {' and '.join(owners)}") if owners else problem


def plugin_label(spec: Any) -> str:
    """Name of the plug-in that a field holds, for messages."""
    if isinstance(spec, Mapping):
        return str(spec.get("type", ""))
    return spec if isinstance(spec, str) else getattr(spec, "__name__", type(spec).__name__)


def all_options(kind: str, spec: Any, structure: Structure) -> dict[str, Any]:
    """Values of all options of a plug-in that it describes, those that are at their default included.

    Parameters
    ----------
    kind : str
        Kind of plug-in.
    spec : str, mapping, class or instance
        As a field holds it.
    structure : callable
        Makes an instance of a settings class from a mapping.
    """
    given = {key: value for key, value in spec.items() if key != "type"} if isinstance(spec, Mapping) else {}
    plugin = registry.get(kind, plugin_label(spec)) if isinstance(spec, str | Mapping) else spec
    described = options_class(plugin if isinstance(plugin, type) else type(plugin))
    if described is None:
        return given
    made = plugin if isinstance(plugin, described) else structure(given, described)
    return {field.alias: getattr(made, field.name) for field in attrs.fields(described) if field.init}


def checked_options(kind: str, name: str, options: Mapping[str, Any], structure: Structure) -> dict[str, Any]:
    """Bring the options of a plug-in into the form that their settings keep.

    Parameters
    ----------
    kind, name : str
        Of the plug-in, which is registered.
    options : mapping of str to object
        As the user gave them.
    structure : callable
        Makes an instance of a settings class from a mapping.

    Raises
    ------
    ScenarioError
        With one problem for every option that is unknown, missing or wrong.
    PluginError
        If the plug-in cannot be loaded.
    """
    plugin = registry.get(kind, name)
    described = options_class(plugin)
    if described is not None:
        made = structure(options, described)
        kept = {field.alias: getattr(made, field.name) for field in attrs.fields(described)}
        return {option: kept[option] for option in options}
    known = option_names(kind, plugin)
    if known is not None and (unknown := [option for option in options if option not in known]):
        rule = f"is not an option of {name!r}"
        raise ScenarioError(unknown_setting(option, option, known, rule) for option in unknown)
    return dict(options)
