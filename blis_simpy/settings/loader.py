"""YAML with the scalars of YAML 1.2, without duplicate keys, and with the line of every key.

A `Document` has plain Python data and the line of each key path, for error messages. Dates, sexagesimal numbers,
``yes`` and ``no`` are text; ``1e3`` is a float and ``010`` is ten.
"""

from __future__ import annotations

import re
from copy import copy
from typing import TYPE_CHECKING, Any

import yaml

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.files.text_files import read_text
from blis_simpy.settings.key_paths import dotted

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from blis_simpy.settings.key_paths import KeyPath

    Base = yaml.SafeLoader
else:
    Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

__all__ = ["SCALARS", "Document", "load", "parse", "parse_value"]

_TAG = "tag:yaml.org,2002:"
_MAX_DIGITS = 400  # more than any float holds; from some thousands on Python refuses to print an integer at all

_MAX_REPEATED = 100_000
"""Most values that aliases may repeat; nested ones repeat exponentially many."""

# Numbers such as token counts can be keys; they are kept as text.
_KEY_TAGS = frozenset({_TAG + "str", _TAG + "int", _TAG + "float"})

# Core schema, YAML 1.2.2, chapter 10.3.2; the regular expressions are tried on plain scalars only.
_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
}


SCALARS: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {
    None: [(_TAG + name, re.compile(rf"(?:{pattern})\Z")) for name, pattern in _SCALARS.items()]
}
"""Types of plain scalars, as resolvers of PyYAML."""


class _Loader(Base):
    yaml_implicit_resolvers = SCALARS


class Document:
    """Plain data read from YAML, with the line of each part.

    Attributes
    ----------
    data : object
        Dictionaries with text keys, lists, text, numbers, booleans and None.
    file : str or None
        File that the text was read from.
    """

    def __init__(self, root: yaml.Node | None, file: str | None) -> None:
        self.file = file
        self._root = root
        self._problems: list[Problem] = []
        self._done: dict[int, tuple[Any, int]] = {}
        self._num_nodes = 0
        self._num_repeated = 0
        self._open: set[int] = set()
        self.data = None if root is None else self._convert(root, ())
        if self._problems:
            raise ScenarioError(self._problems)

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line, from 1, of the key or list item at a path, or of the nearest enclosing part that exists."""
        node = self._root
        line = None
        for part in path:
            place: yaml.Node | None = None
            if isinstance(node, yaml.MappingNode):
                pairs = [(key, value) for key, value in node.value if key.value == str(part)]
                if pairs:
                    place, node = pairs[-1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                place = node = node.value[part]
            if place is None:
                break
            line = place.start_mark.line + 1
        return line

    def part(self, key: str) -> Document:
        """Return the data under a top-level key, with its lines; paths in it start below the key."""
        part = copy(self)
        assert isinstance(self.data, dict)
        assert isinstance(self._root, yaml.MappingNode)
        part.data = self.data[key]
        part._root = next(value for name, value in self._root.value if name.value == key)
        return part

    def with_data(self, data: Any) -> Document:
        """Return other data with the lines of this document."""
        other = copy(self)
        other.data = data
        return other

    def _report(self, node: yaml.Node, path: KeyPath, rule: str, hint: str = "") -> None:
        line = node.start_mark.line + 1
        self._problems.append(Problem(path=dotted(path), rule=rule, file=self.file, line=line, hint=hint))

    def _convert(self, node: yaml.Node, path: KeyPath) -> Any:
        if id(node) in self._done:
            value, size = self._done[id(node)]
            self._num_nodes += size
            self._num_repeated += size
            if self._num_repeated > _MAX_REPEATED:
                line = node.start_mark.line + 1
                rule = f"has aliases that repeat more than {_MAX_REPEATED} values"
                raise ScenarioError(Problem(rule=rule, file=self.file, line=line))
            return value
        if id(node) in self._open:
            self._report(node, path, "must not contain itself")
            return None
        self._open.add(id(node))
        before = self._num_nodes
        self._num_nodes += 1
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            value = [self._convert(item, (*path, i)) for i, item in enumerate(node.value)]
        else:
            value = self._scalar(node, path)
        self._open.remove(id(node))
        self._done[id(node)] = value, self._num_nodes - before
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.tag not in _KEY_TAGS or not isinstance(key, str):
                self._report(key_node, path, "has a key that is not text")
                continue
            if key in lines:
                self._report(key_node, (*path, key), "is given twice", hint=f"first on line {lines[key]}")
            lines[key] = key_node.start_mark.line + 1
            result[key] = self._convert(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind not in _READ_SCALAR:
            self._report(node, path, f"has a tag that is not supported: {node.tag}")
            return None
        if len(text) > _MAX_DIGITS and kind in ("int", "float"):
            self._report(node, path, f"must not have more than {_MAX_DIGITS} digits")
            return None
        try:
            return _READ_SCALAR[kind](text)
        except (ValueError, KeyError):  # only an explicit tag that does not fit its text
            self._report(node, path, f"is tagged as {kind} but is not")
            return None


def _read_int(text: str) -> int:
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def _read_float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_READ_SCALAR: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _read_int,
    "float": _read_float,
    "str": str,
}


def parse(text: str, file: str | None = None) -> Document:
    """Read YAML text whose top level is a mapping.

    Parameters
    ----------
    text : str
        One YAML document.
    file : str, optional
        Name for error messages.

    Raises
    ------
    ScenarioError
        If the text is broken, empty or not a mapping, or has duplicate keys; all problems together.
    """
    document = _document(text, file)
    if document.data is None:
        raise ScenarioError(Problem(rule="is empty", file=file))
    if not isinstance(document.data, dict):
        raise ScenarioError(Problem(rule="must be a mapping of settings", value=document.data, file=file))
    return document


def parse_value(text: str) -> Any:
    """Read one value, written as in a file: a scalar, or a list or mapping in brackets.

    Raises
    ------
    ScenarioError
        If the text is broken.

    Examples
    --------
    >>> parse_value("1e3"), parse_value("20/s"), parse_value("{type: sjf}"), parse_value("")
    (1000.0, '20/s', {'type': 'sjf'}, None)
    """
    return _document(text, None).data


def _document(text: str, file: str | None) -> Document:
    try:
        return Document(yaml.compose(text, Loader=_Loader), file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        line = None if mark is None else mark.line + 1
        raise ScenarioError(Problem(rule=f"is not valid YAML: {reason}", file=file, line=line)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ScenarioError(Problem(rule=f"is not valid YAML: {error.reason}", file=file, line=line)) from None
    except RecursionError:
        raise ScenarioError(Problem(rule="is nested too deeply", file=file)) from None


def load(path: str | PathLike[str]) -> Document:
    """Read a YAML file whose top level is a mapping.

    Parameters
    ----------
    path : str or path-like
        The file; it appears in error messages as it is given here.

    Raises
    ------
    ScenarioError
        If the file cannot be read, or as `parse` does.
    """
    return parse(read_text(path), str(path))
