"""Copies of settings with some of them replaced, by dotted path."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import attrs

from blis_simpy.errors import Problem, ScenarioError, unknown_setting
from blis_simpy.settings.convert import accept, beside, inline_field, structure
from blis_simpy.settings.description import find_setting, setting_of
from blis_simpy.settings.field_types import named_class, nested_class, type_hints
from blis_simpy.settings.plugin_options import options_of_spec, unknown_option
from blis_simpy.settings.suggestions import unknown_key

__all__ = ["updated"]

T = TypeVar("T")

_HEAD = r"(\[\d+\]|[^.\[]+)\.?(.*)"
"""First part of a dotted path, which may be an index, and the rest."""


def updated(instance: T, changes: Mapping[str, Any]) -> T:
    """Copy a settings instance with some fields replaced.

    Parameters
    ----------
    instance : attrs instance
        It is not changed.
    changes : mapping of str to object
        New values by dotted path, e.g. ``{"engine.max_num_seqs": 8, "groups[1].replicas": 2}``. A part that was None
        starts from its defaults.

    Raises
    ------
    ScenarioError
        With one problem for every unknown path and every bad value.
    """
    cls: Any = type(instance)
    hints = type_hints(cls)
    fields = {attribute.alias: attribute for attribute in attrs.fields(cls) if attribute.init}
    inline = inline_field(cls)
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    options: dict[str, Any] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        name, rest = _split(path)
        if name not in fields:
            if inline is None:
                problems.append(unknown_key(cls, path, name))
            else:
                options[path] = value
        elif rest:
            inner.setdefault(name, {})[rest] = value
        elif (policy := _policy_of(hints[fields[name].name], value)) is not None:
            inner.setdefault(name, {})[policy] = value
        elif not (name == getattr(inline, "alias", None) and _is_named(getattr(instance, name), value)):
            try:
                values[name] = accept(fields[name], value, hints[fields[name].name])
            except ScenarioError as error:
                problems += _below(name, error)
    for name, below in inner.items():
        attribute = fields[name]
        hint = hints[attribute.name]
        try:
            part = values.get(name, getattr(instance, attribute.name))
            values[name] = accept(attribute, _changed_field(part, below, attribute, hint), hint)
        except ScenarioError as error:
            problems += _below(name, error)
    if options and not any(problem.path == inline.alias for problem in problems):
        part = values.get(inline.alias, getattr(instance, inline.name))
        try:
            values[inline.alias] = _with_options(part, options, inline, fields)
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    return attrs.evolve(instance, **values)  # type: ignore[misc]


def _policy_of(hint: Any, value: Any) -> str | None:
    """Return the name of the inline field that a value replaces, if it is a policy in place of the settings."""
    part = nested_class(hint)
    inline = None if part is None else inline_field(part)
    if inline is None or value is None or isinstance(value, (Mapping, part)):  # type: ignore[arg-type]
        return None
    name: str = inline.alias
    return name


def _is_named(spec: Any, value: Any) -> bool:
    """Whether a field holds this plug-in already, with options, which are then kept."""
    return isinstance(spec, Mapping) and bool(spec.get("type") == value)


def _with_options(spec: Any, options: Mapping[str, Any], inline: Any, settings: Collection[str]) -> Any:
    """Change the options of an inline plug-in; paths start beside the field."""
    kind = setting_of(inline).kind
    assert kind is not None
    known = options_of_spec(kind, spec)
    if known is not None and (unknown := [path for path in options if _split(path)[0] not in known]):
        problems = [unknown_option(kind, spec, _split(path)[0], settings) for path in unknown]
        raise ScenarioError(attrs.evolve(p, path=path) for p, path in zip(problems, unknown, strict=True))
    try:
        return accept(inline, _changed_plugin(spec, options), Any)
    except ScenarioError as error:
        raise ScenarioError(beside(inline, p) for p in _below(inline.alias, error)) from None


def _changed_plugin(spec: Any, options: Mapping[str, Any]) -> Any:
    """Change the options of a plug-in, however it was given; paths start below it."""
    if isinstance(spec, str):
        return {"type": spec, **options}
    if isinstance(spec, Mapping):
        return {**spec, **options}
    return updated(spec() if isinstance(spec, type) else spec, options)


def _changed_field(part: Any, changes: Mapping[str, Any], attribute: attrs.Attribute[Any], hint: Any) -> Any:
    """Copy the value of a field with some parts replaced; paths start below the field."""
    known = find_setting(attribute)
    if known is not None and known.kind is not None and isinstance(part, tuple):
        return _changed_items(part, changes, _changed_plugin)
    if known is not None and known.kind is not None and isinstance(part, str | Mapping):
        return _changed_plugin(part, changes)
    if (named := named_class(hint)) is not None:
        return _changed_named(part, changes, named)
    nested = nested_class(hint) if part is None else None
    return _changed_part(part, changes) if nested is None else _made_part(nested, changes)


def _made_part(cls: type, changes: Mapping[str, Any]) -> Any:
    """Make a part that was not there: from its defaults, or from the settings that it requires."""
    if all(field.default is not attrs.NOTHING for field in attrs.fields(cls)):
        return _changed_part(cls(), changes)
    direct = {path: value for path, value in changes.items() if not _split(path)[1]}
    part: Any = structure(direct, cls)
    return _changed_part(part, {path: value for path, value in changes.items() if path not in direct})


def _changed_named(parts: Mapping[str, Any], changes: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """Change parts of a mapping by their names; a name that is new makes a part."""
    made = dict(parts)
    inner: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        name, rest = _split(path)
        if rest:
            inner.setdefault(name, {})[rest] = value
        else:
            made[name] = value
    for name, below in inner.items():
        try:
            made[name] = _changed_part(made[name], below) if name in made else _made_part(cls, below)
        except ScenarioError as error:
            problems += _below(name, error)
    if problems:
        raise ScenarioError(problems)
    return made


def _changed_part(part: Any, changes: Mapping[str, Any]) -> Any:
    if isinstance(part, tuple):
        return _changed_items(part, changes, _changed_part)
    if attrs.has(type(part)):
        return updated(part, changes)
    if not isinstance(part, Mapping):
        raise ScenarioError(Problem(path=path, rule="is not a setting") for path in changes)
    unknown = [path for path in changes if path not in part]
    if unknown:
        raise ScenarioError(unknown_setting(path, path, part) for path in unknown)
    return {**part, **changes}


def _changed_items(
    items: tuple[Any, ...], changes: Mapping[str, Any], change: Callable[[Any, Mapping[str, Any]], Any]
) -> tuple[Any, ...]:
    made = list(items)
    inner: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        head, rest = _split(path)
        index = int(head[1:-1]) if head.startswith("[") else None
        if index is None:
            problems.append(
                Problem(path=path, rule="is not a setting", hint="an item is selected by its index, as in [0]")
            )
        elif index >= len(items):
            problems.append(Problem(path=path, rule="does not exist", hint=f"there are {len(items)} items, from [0]"))
        elif rest:
            inner.setdefault(head, {})[rest] = value
        else:
            made[index] = value
    for head, below in inner.items():
        index = int(head[1:-1])
        try:
            made[index] = change(made[index], below)
        except ScenarioError as error:
            problems += _below(head, error)
    if problems:
        raise ScenarioError(problems)
    return tuple(made)


def _below(outer: str, error: ScenarioError) -> list[Problem]:
    """Return the problems of a part with the path of the part."""
    return [problem.inside(outer) for problem in error.problems]


def _split(path: str) -> tuple[str, str]:
    """Split off the first part of a dotted path; an index is a part."""
    match = re.fullmatch(_HEAD, path)
    return (match[1], match[2]) if match else (path, "")
