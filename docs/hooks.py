"""Writes the table of settings into its page, from the fields of the settings classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.errors import joined
from blis_simpy.scenario import Scenario
from blis_simpy.settings.description import setting_of
from blis_simpy.settings.field_types import listed_class, nested_class, type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "[[settings]]"
HEAD = ("| path | default | unit | meaning | flag |", "|---|---|---|---|---|")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark on a page by the tables; called by MkDocs for each page."""
    return markdown.replace(MARK, "\n".join(tables())) if MARK in markdown else markdown


def tables() -> Iterator[str]:
    """Lines of one table for each settings class, the scenario's own first."""
    parts: dict[str, type] = {"": Scenario}
    for attribute in attrs.fields(Scenario):
        hint = type_hints(Scenario)[attribute.name]
        if (nested := nested_class(hint)) is not None:
            parts[attribute.name] = nested
        if (listed := listed_class(hint)) is not None:
            parts[f"{attribute.name}[i]"] = listed
    for name, cls in parts.items():
        yield from ("", f"## {name or 'Scenario'}", "", *HEAD)
        for attribute in attrs.fields(cls):
            if name or attribute.name not in parts:
                yield _row(joined(name, attribute.name), attribute)


def _row(path: str, attribute: attrs.Attribute[Any]) -> str:
    known = setting_of(attribute)
    words = [known.help]
    names = registry.names(known.kind) if known.kind else known.choices
    if names:
        words.append("One of " + ", ".join(f"`{name}`" for name in names) + (", or your own." if known.kind else "."))
    bounds = [
        f"{sign} {bound:g}"
        for sign, bound in ((">", known.gt), ("≥", known.ge), ("<", known.lt), ("≤", known.le))
        if bound is not None
    ]
    unit = " ".join([known.unit or "", f"({', '.join(bounds)})" if bounds else ""]).strip()
    flag = f"`{known.flag}`" if known.flag else ""
    meaning = " ".join(words).replace("<", "&lt;")
    return f"| `{path}` | {_default(attribute)} | {unit} | {meaning} | {flag} |"


def _default(attribute: attrs.Attribute[Any]) -> str:
    default: Any = attribute.default
    if default is attrs.NOTHING:
        return "*required*"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs types its factories as functions
        default = default.factory()
    return "unset" if default is None else f"`{default}`"
