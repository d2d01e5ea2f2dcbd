"""Workload specifications from YAML: strict keys, all problems at once, each with its line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import attrs

from blis_simpy.errors import BlisError, Problem, ScenarioError
from blis_simpy.settings import loader
from blis_simpy.settings.convert import nested_class
from blis_simpy.settings.fields import joined, of, type_hints
from blis_simpy.workload.spec import WorkloadSpec
from blis_simpy.workload.upgrade import upgraded

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.settings.loader import Document, KeyPath

__all__ = ["load_workload", "read_workload"]


def load_workload(path: str | PathLike[str]) -> WorkloadSpec:
    """Read a workload specification from a YAML file; version 1 is upgraded with a warning.

    Parameters
    ----------
    path : str or path-like
        The file.

    Raises
    ------
    ScenarioError
        If the file cannot be read or something in it is wrong: all problems at once, with their lines.
    """
    return read_workload(loader.load(path))


def read_workload(source: Document | Mapping[str, Any]) -> WorkloadSpec:
    """Make a workload specification from plain data; version 1 is upgraded with a warning.

    Parameters
    ----------
    source : Document or mapping
        A YAML document, whose file and lines then stand in the errors, or data made in Python.

    Raises
    ------
    ScenarioError
        With one problem for every unknown or missing key, wrong type and broken rule.
    """
    reader = _Reader(None if isinstance(source, Mapping) else source)
    data: Any = source if isinstance(source, Mapping) else source.data
    spec = reader.build(upgraded(data), WorkloadSpec, ())
    if reader.problems:
        raise ScenarioError(sorted(reader.problems, key=lambda problem: problem.line or 0))
    assert isinstance(spec, WorkloadSpec)
    return spec


class _Reader:
    """Builds settings classes, also those in lists, and collects what is wrong with them."""

    def __init__(self, document: Document | None) -> None:
        self.problems: list[Problem] = []
        self._document = document

    def build(self, value: Any, cls: Any, path: KeyPath) -> Any:
        if not isinstance(value, Mapping):
            return self._report(path, Problem(rule="must be a mapping of settings", value=value))
        before = len(self.problems)
        attributes = attrs.fields_dict(cls)
        hints = type_hints(cls)
        for key in value:
            if key not in attributes:
                close = difflib.get_close_matches(str(key), attributes, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(attributes)}"
                self._report((*path, str(key)), Problem(rule="is not a setting", hint=hint, code="unknown_setting"))
        given = {}
        for name, attribute in attributes.items():
            if value.get(name) is not None:
                given[name] = self._field(value[name], attribute, hints[name], (*path, name))
            elif attribute.default is attrs.NOTHING:
                self._report((*path, name), Problem(rule="is required"))
        if len(self.problems) > before:
            return None
        try:
            return cls(**given)
        except BlisError as error:
            for problem in error.problems:
                self._report(path, problem)
        return None

    def _field(self, value: Any, attribute: attrs.Attribute[Any], hint: Any, path: KeyPath) -> Any:
        nested = nested_class(hint)
        if nested is not None and get_origin(hint) is tuple:
            if not isinstance(value, list | tuple):
                return self._report(path, Problem(rule="must be a list", value=value))
            return tuple(self.build(item, nested, (*path, index)) for index, item in enumerate(value))
        if nested is not None:
            return self.build(value, nested, path)
        options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        value = _lenient(value, options)
        value = of(attribute).normalise(value)
        problem = of(attribute).judge(value, hint)
        if problem is not None:
            self._report(path, problem)
        return value

    def _report(self, path: KeyPath, problem: Problem) -> None:
        document = self._document
        self.problems.append(
            attrs.evolve(
                problem,
                path=joined(loader.dotted(path), problem.path),
                file=document.file if document else None,
                line=document.line_of((*path, *loader.parts(problem.path))) if document else None,
            )
        )


def _lenient(value: Any, types: tuple[Any, ...]) -> Any:
    """Take what existing files have: a whole number written as ``1e9``, and a label written as a number."""
    if int in types and isinstance(value, float) and value.is_integer():
        return int(value)
    if str in types and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value
