"""The defaults file, cut into sections and entries without parsing it.

The file is a mapping of sections, each a mapping of entries in block style. A run needs two or three of some three
hundred entries, so the text is cut by indentation, which takes under a millisecond, and an entry is parsed when it is
asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs

from blis_simpy.catalog.files import as_number
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.loader import parse

__all__ = ["Entry", "Figures", "cut"]

_KEY = re.compile(r"""( *)(["']?)([^\s"'#&*!|>{}\[\],-].*?)\2\s*:(?:\s+(.*))?$""")


@attrs.frozen
class Entry:
    """One entry of a section, not parsed yet.

    Attributes
    ----------
    section, name : str
        Its position.
    line : int
        Its line in the file, from 1.
    text : str
        Its lines, key included.
    file : str
        Name of the file, for messages.
    """

    section: str
    name: str
    line: int
    text: str
    file: str

    @cached_property
    def value(self) -> Any:
        """Its value, not to be changed: all simulations share it; raises `ScenarioError` if it is no valid YAML."""
        blank_lines_before = "\n" * (self.line - 1)  # so that errors name the line in the file
        data: Any = parse(blank_lines_before + self.text, self.file).data
        return data[self.name]

    def error(self, rule: str, value: object, key: str = "") -> ScenarioError:
        """Describe what is wrong with the entry, or with one key in it."""
        path = f"{self.section}.{self.name}{key}"
        return ScenarioError.at(path, rule, value, file=self.file, line=self.line)


class Figures:
    """Checked reading of a mapping in an entry; `close` refuses keys that were not read.

    Parameters
    ----------
    entry : Entry
        The entry, for messages.
    value : object
        The mapping in it.
    key : str
        Key path of the mapping within the entry, e.g. ``[2]``.
    """

    def __init__(self, entry: Entry, value: object, key: str = "") -> None:
        if not isinstance(value, Mapping):
            raise entry.error("must be a mapping", value, key)
        self._entry, self._left, self._key = entry, dict(value), key

    def _take(self, key: str) -> Any:
        if key not in self._left:
            raise self._entry.error(f"must have the key {key}", sorted(self._left), self._key)
        return self._left.pop(key)

    def _error(self, key: str, rule: str, value: object) -> ScenarioError:
        return self._entry.error(rule, value, f"{self._key}.{key}")

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text."""
        value = self._take(key) if default is None else self._left.pop(key, default)
        if not isinstance(value, str):
            raise self._error(key, "must be text", value)
        return value

    def count(self, key: str) -> int:
        """Return a whole number, >= 0."""
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._error(key, "must be a whole number >= 0", value)
        return value

    def coefficients(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers."""
        values = self._take(key)
        numbers = [as_number(value) for value in values] if isinstance(values, list) else [None]
        if any(number is None for number in numbers):
            raise self._error(key, "must be a list of numbers", values)
        return tuple(float(number) for number in numbers if number is not None)

    def ignore(self, key: str) -> None:
        """Allow a key that is there for readers only."""
        self._left.pop(key, None)

    def close(self) -> None:
        """Raise if a key was not read."""
        for key, value in self._left.items():
            raise self._error(key, "is not a known key", value)


def cut(text: str, sections: tuple[str, ...], file: str) -> dict[str, dict[str, Entry]]:
    """Cut the text of a defaults file into its entries.

    Parameters
    ----------
    text : str
        The file.
    sections : tuple of str
        Sections there may be.
    file : str
        Name of the file, for messages.

    Returns
    -------
    dict
        Section to lower-cased entry name to entry; every section is there.

    Raises
    ------
    ScenarioError
        If a section is unknown, a name comes twice, or a section is not in block style.
    """
    lines = text.splitlines(keepends=True)
    entries: dict[str, dict[str, Entry]] = {section: {} for section in sections}
    starts: list[tuple[int, str, str]] = []
    section, indent = "", -1
    seen: set[str] = set()
    for number, line in enumerate(lines):
        if line[0] in "#\n":
            continue
        key = _KEY.match(line.rstrip())
        if line[0] != " ":
            if key is None or key[3] not in entries or key[3] in seen:
                rule = f"must be one of these sections, each once: {', '.join(sections)}"
                raise ScenarioError.at("", rule, line.strip(), file=file, line=number + 1)
            if key[4] and not key[4].startswith("#"):
                rule = "must have its entries indented on lines of their own"
                raise ScenarioError.at(key[3], rule, key[4], file=file, line=number + 1)
            section, indent = key[3], -1
            seen.add(section)
            starts.append((number, "", ""))
        elif key and section and indent in (-1, len(key[1])):
            indent = len(key[1])
            starts.append((number, section, key[3]))

    if not starts:
        raise ScenarioError.at("", "has no section", file=file, hint=f"known: {', '.join(sections)}")
    for (start, section, name), (end, _, _) in zip(starts, [*starts[1:], (len(lines), "", "")], strict=True):
        if not section:
            continue
        if name.lower() in entries[section]:
            raise ScenarioError.at(f"{section}.{name}", "is given twice", file=file, line=start + 1)
        entries[section][name.lower()] = Entry(section, name, start + 1, "".join(lines[start:end]), file)
    return entries
