"""Plain data to settings classes, strictly: nothing is coerced, and all mistakes are reported at once, in file order.

The structure (which class, which nested class, which keys) follows from the annotations; what a single value may be is
decided by the `Setting` of its field. A mapping becomes the class of its field, a list of mappings a tuple of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import attrs

from blis_simpy import registry
from blis_simpy.errors import BlisError, Problem, ScenarioError
from blis_simpy.settings.fields import Setting, element_type, joined, type_hints
from blis_simpy.settings.loader import Document, KeyPath, dotted, parts

__all__ = ["changed", "listed_class", "nested_class", "structure", "tagged"]

T = TypeVar("T")

_HEAD = re.compile(r"(\[\d+\]|[^.\[]+)\.?(.*)")
"""First part of a dotted path, an index being a part, too; and the rest."""


def structure(source: Document | Mapping[str, Any], cls: type[T], *, lenient: bool = False) -> T:
    """Make a settings class from plain data.

    Parameters
    ----------
    source : Document or mapping
        A YAML document, whose file and lines then stand in the errors, or data made in Python. Instances of the
        classes that it leads to may stand in it, too.
    cls : type
        Attrs class whose fields are made with `blis_simpy.settings.fields.setting`.
    lenient : bool
        Take what files of the reference have: a key without a value for one that is not given, a whole number written
        as ``1e9``, and a label written as a number.

    Raises
    ------
    ScenarioError
        With one problem for every unknown or missing key, wrong type and broken rule.
    """
    reader = _Reader(source if isinstance(source, Document) else None, lenient)
    made: T = reader.build(source.data if isinstance(source, Document) else source, cls, ())
    if reader.problems:
        raise ScenarioError(sorted(reader.problems, key=lambda problem: problem.line or 0))
    return made


def changed(instance: T, changes: Mapping[str, Any]) -> T:
    """Copy a settings instance with some fields replaced.

    Parameters
    ----------
    instance : attrs instance
        Stays as it is.
    changes : mapping of str to object
        New values by dotted path, e.g. ``{"engine.max_num_seqs": 8, "groups[1].replicas": 2}``. A part that was None
        starts from its defaults.

    Raises
    ------
    ScenarioError
        With one problem for every unknown path and every bad value.
    """
    cls: Any = type(instance)
    shapes = {shape.name: shape for shape in _shapes(cls)}
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        name, rest = _split(path)
        if name not in shapes:
            problems.append(Problem(path=path, rule="is not a setting", hint=_guess(name, shapes)))
        elif rest:
            inner.setdefault(name, {})[rest] = value
        else:
            try:
                values[name] = shapes[name].checked(value)
            except ScenarioError as error:
                problems += _below(name, error)
    for name, below in inner.items():
        try:
            part = _changed_part(values.get(name, getattr(instance, shapes[name].attribute)), below, shapes[name])
            values[name] = shapes[name].checked(part)
        except ScenarioError as error:
            problems += _below(name, error)
    if problems:
        raise ScenarioError(problems)
    return attrs.evolve(instance, **values)  # type: ignore[misc]


def tagged(name: str, kind: str, tag: str, value: Any) -> Any:
    """Make the plug-in that a mapping names under its tag; for the converter of a field.

    Parameters
    ----------
    name : str
        Of the field.
    kind, tag : str
        As its `Setting` has them.
    value : object
        What is no mapping, or names nothing that is known, is returned as it is: that is for the field to judge.

    Raises
    ------
    ScenarioError
        With one problem for every option that is wrong, its path beginning with `name`.
    """
    if not isinstance(value, Mapping) or value.get(tag) not in registry.names(kind):
        return value
    reader = _Reader(None, lenient=False)
    made = reader.plugin(value, kind, tag, (name,))
    if reader.problems:
        raise ScenarioError(reader.problems)
    return made


def nested_class(hint: Any) -> type | None:
    """Return the settings class of a field's type, also where it may be None; None if the field holds no such class."""
    options = (hint, *get_args(hint)) if get_origin(hint) is not tuple else ()
    return next((option for option in options if isinstance(option, type) and attrs.has(option)), None)


def listed_class(hint: Any) -> type | None:
    """Return the settings class of the elements of a field's tuple; None if the field holds no tuple of those."""
    element = element_type(hint)
    return element if isinstance(element, type) and attrs.has(element) else None


class _Shape(NamedTuple):
    """A field of a settings class, and what its type says."""

    name: str
    attribute: str
    required: bool
    known: Setting | None
    converter: Any
    hint: Any
    options: tuple[Any, ...]
    nested: type | None
    listed: type | None

    def checked(self, value: Any) -> Any:
        """Return a value in the form that the field keeps; the paths of the problems start below the field."""
        if self.known is None:
            return value
        try:
            value = self.converter(value)
        except ScenarioError as error:
            # A converter names the field itself: it is called by the constructor, too.
            below = [attrs.evolve(problem, path=problem.path.removeprefix(self.name)) for problem in error.problems]
            raise ScenarioError(below) from None
        problem = self.known.judge(value, self.hint)
        if problem is not None:
            raise ScenarioError(problem)
        return value


@cache
def _shapes(cls: Any) -> tuple[_Shape, ...]:
    hints = type_hints(cls)
    return tuple(
        _Shape(
            attribute.alias,
            attribute.name,
            attribute.default is attrs.NOTHING,
            attribute.metadata.get(Setting),
            attribute.converter,
            hints[attribute.name],
            (hints[attribute.name], *get_args(hints[attribute.name])),
            nested_class(hints[attribute.name]),
            listed_class(hints[attribute.name]),
        )
        for attribute in attrs.fields(cls)
        if attribute.init
    )


class _Reader:
    """Builds settings classes and collects what is wrong with them."""

    def __init__(self, document: Document | None, lenient: bool) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._lenient = lenient

    def build(self, value: Any, cls: Any, path: KeyPath) -> Any:
        """Make an instance; None if there is a problem."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            return self._report(path, Problem(rule="must be a mapping of settings", value=value))
        before = len(self.problems)
        shapes = _shapes(cls)
        given: dict[str, Any] = {}
        plain: list[_Shape] = []
        for shape in shapes:
            name = shape.name
            if name not in value or (self._lenient and value[name] is None):
                if shape.required:
                    self._report((*path, name), Problem(rule="is required"))
                continue
            part = value[name]
            if shape.listed is not None and (part is not None or not _may_be_none(shape)):
                given[name] = self._list(part, shape.listed, (*path, name))
            elif shape.nested is not None and (part is not None or not _may_be_none(shape)):
                given[name] = self.build(part, shape.nested, (*path, name))
            elif shape.known is not None and shape.known.tag is not None and isinstance(part, Mapping):
                given[name] = self._tagged(part, shape, (*path, name))
            else:
                given[name] = _leniently(part, shape.options) if self._lenient else part
                plain.append(shape)
        if len(value) > len(given):
            self._report_unknown(value, [shape.name for shape in shapes], path)
        error: BlisError | None = None
        if len(self.problems) == before:
            try:
                return cls(**given)
            except BlisError as refused:
                error = refused
        # The constructor stops at the first value that is wrong: all are looked at only if one of them is.
        found = len(self.problems)
        for shape in plain:
            try:
                shape.checked(given[shape.name])
            except ScenarioError as refused:
                self._report_all(refused, (*path, shape.name))
        if error is not None and len(self.problems) == found:
            self._report_all(error, path)
        return None

    def _list(self, value: Any, cls: type, path: KeyPath) -> Any:
        if not isinstance(value, list | tuple):
            return self._report(path, Problem(rule="must be a list", value=value))
        return tuple([self.build(item, cls, (*path, index)) for index, item in enumerate(value)])

    def _tagged(self, value: Mapping[str, Any], shape: _Shape, path: KeyPath) -> Any:
        known = shape.known
        assert known is not None
        assert known.kind is not None
        assert known.tag is not None
        problem = known.judge(value, shape.hint)
        return self._report(path, problem) if problem else self.plugin(value, known.kind, known.tag, path)

    def plugin(self, value: Mapping[str, Any], kind: str, tag: str, path: KeyPath) -> Any:
        """Make the plug-in that a mapping names; None if there is a problem."""
        options = {key: option for key, option in value.items() if key != tag}
        try:
            plugin = registry.get(kind, value[tag])
            if isinstance(plugin, type) and attrs.has(plugin):
                return self.build(options, plugin, path)
            return registry.build(kind, plugin, **options)
        except BlisError as error:
            return self._report_all(error, path)

    def _report_unknown(self, value: Mapping[Any, Any], names: list[str], path: KeyPath) -> None:
        for key in value:
            if key not in names:
                hint = _guess(str(key), names)
                self._report((*path, str(key)), Problem(rule="is not a setting", hint=hint, code="unknown_setting"))

    def _report_all(self, error: BlisError, path: KeyPath) -> None:
        for problem in error.problems:
            self._report(path, problem)

    def _report(self, path: KeyPath, problem: Problem) -> None:
        document = self._document
        self.problems.append(
            attrs.evolve(
                problem,
                path=joined(dotted(path), problem.path),
                file=document.file if document else None,
                line=document.line_of((*path, *parts(problem.path))) if document else None,
            )
        )


def _may_be_none(shape: _Shape) -> bool:
    return type(None) in shape.options


def _leniently(value: Any, types: tuple[Any, ...]) -> Any:
    if int in types and isinstance(value, float) and value.is_integer():
        return int(value)
    if str in types and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _split(path: str) -> tuple[str, str]:
    """First part of a dotted path and the rest; an index is a part."""
    match = _HEAD.fullmatch(path)
    return (match[1], match[2]) if match else (path, "")


def _changed_part(part: Any, changes: Mapping[str, Any], shape: _Shape | None = None) -> Any:
    """Copy what a field, or an item of a list, holds with some of it replaced; paths start below it."""
    if part is None and shape is not None and shape.nested is not None:
        direct = {path: value for path, value in changes.items() if not _split(path)[1]}
        part = structure(direct, shape.nested)
        changes = {path: value for path, value in changes.items() if path not in direct}
    if isinstance(part, tuple):
        return _changed_items(part, changes)
    if attrs.has(type(part)):
        return changed(part, changes)
    if isinstance(part, Mapping):
        has_options = shape is not None and shape.known is not None and shape.known.kind is not None
        unknown = [] if has_options else [path for path in changes if path not in part]
        if not unknown:
            return {**part, **changes}
        raise ScenarioError(Problem(path=path, rule="is not a setting", hint=_guess(path, part)) for path in unknown)
    raise ScenarioError(Problem(path=path, rule="is not a setting") for path in changes)


def _changed_items(items: tuple[Any, ...], changes: Mapping[str, Any]) -> tuple[Any, ...]:
    made = list(items)
    inner: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        head, rest = _split(path)
        index = int(head[1:-1]) if head.startswith("[") else None
        if index is None:
            problems.append(
                Problem(path=path, rule="is not a setting", hint="an item is named by its index, as in [0]")
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
            made[index] = _changed_part(made[index], below)
        except ScenarioError as error:
            problems += _below(head, error)
    if problems:
        raise ScenarioError(problems)
    return tuple(made)


def _below(outer: str, error: ScenarioError) -> list[Problem]:
    """Return problems of a part with their paths from outside."""
    return [attrs.evolve(problem, path=joined(outer, problem.path)) for problem in error.problems]


def _guess(name: str, known: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
