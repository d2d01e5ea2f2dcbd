"""Writes tables of settings into their pages.

``[[settings Scenario]]`` on a page becomes a table for each settings class below `Scenario`, made of the descriptions
of its fields.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.errors import joined
from blis_simpy.scenario import Scenario
from blis_simpy.settings.convert import inline_field
from blis_simpy.settings.description import setting_of
from blis_simpy.settings.field_types import listed_class, named_class, nested_class, type_hints
from blis_simpy.settings.fields import default_of
from blis_simpy.settings.parameter_docs import range_text
from blis_simpy.settings.plugin_options import options_class

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOTS = {"Scenario": Scenario}
MARK = re.compile(r"^\[\[settings (\w+)\]\]$", re.MULTILINE)
HEAD = ("| path | default | unit | meaning | flag |", "|---|---|---|---|---|")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks on a page; called by MkDocs for each page."""
    return MARK.sub(lambda match: "\n".join(tables(ROOTS[match[1]])), markdown)


def tables(root: type) -> Iterator[str]:
    """Lines of one table for a settings class and for each class of its parts, in the order of their paths."""
    seen = {root}
    queue: list[tuple[str, Any]] = [("", root)]
    while queue:
        path, cls = queue.pop(0)
        parts: list[tuple[str, Any]] = []
        yield from ("", f"## {path or cls.__name__}", "", sentence(cls), "", *HEAD)
        for attribute in attrs.fields(cls):
            place = joined(path, attribute.alias)
            hint = type_hints(cls)[attribute.name]
            if nested_class(hint) is None or attribute.default is attrs.NOTHING or default_of(attribute) is None:
                yield row(place, attribute)
            for part, suffix in ((nested_class(hint), ""), (listed_class(hint), "[i]"), (named_class(hint), ".NAME")):
                if part is not None and part not in seen:
                    seen.add(part)
                    parts.append((place + suffix, part))
        if (inline := inline_field(cls)) is not None:
            yield from options_beside(path, inline)
        queue = parts + queue


def options_beside(path: str, inline: Any) -> Iterator[str]:
    """Lines of a table with the options of each plug-in that are given beside a field."""
    kind = setting_of(inline).kind or ""
    described = {name: options_class(registry.get(kind, name)) for name in registry.names(kind)}
    rows = [
        row(joined(path, option.alias), option, f" For `{name}`.")
        for name, cls in described.items()
        if cls is not None
        for option in attrs.fields(cls)
        if option.init
    ]
    if rows:
        yield from ("", f"Options beside `{joined(path, inline.alias)}`:", "", *HEAD, *rows)


def sentence(cls: Any) -> str:
    """First sentence of the docstring of a class."""
    return " ".join(cls.__doc__.partition("\n\n")[0].split())


def row(path: str, attribute: attrs.Attribute[Any], remark: str = "") -> str:
    """One line of a table."""
    known = setting_of(attribute)
    words = [known.help + remark]
    names = registry.names(known.kind) if known.kind else known.choices
    if names:
        words.append("One of " + ", ".join(f"`{name}`" for name in names) + (", or your own." if known.kind else "."))
    bounds = range_text(known).replace(">=", "≥").replace("<=", "≤")
    unit = " ".join(filter(None, (known.unit, f"({bounds})" if bounds else "")))
    flag = f"`{known.flag}`" if known.flag else ""
    meaning = " ".join(words).replace("<", "&lt;")
    return f"| `{path}` | {default_text(attribute)} | {unit} | {meaning} | {flag} |"


def default_text(attribute: attrs.Attribute[Any]) -> str:
    """Default of a setting."""
    default = default_of(attribute)
    if default is attrs.NOTHING:
        return "*required*"
    if default is None:
        return "unset"
    return "empty" if default in ("", (), {}) else f"`{default}`"
