"""Writes the tables of the workload specification into their page, from the fields of the settings classes."""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import attrs

from blis_simpy import registry
from blis_simpy.recorded_workloads import TraceWorkload
from blis_simpy.session_workload import SessionWorkload
from blis_simpy.settings.description import Setting, setting_of
from blis_simpy.settings.field_types import listed_class, nested_class, type_hints
from blis_simpy.settings.fields import default_of
from blis_simpy.settings.serialize import plain_value, to_yaml
from blis_simpy.workload.agent_sessions import AgentSessions
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.users import UserWorkload
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "[[workload]]"
HEAD = ("| key | type | default | unit and range | meaning |", "|---|---|---|---|---|")
PLUGINS = {
    "arrivals": ("type", "Arrival processes", "[arrival process](#arrival-processes)"),
    "lengths": ("type", "Length distributions", "[length distribution](#length-distributions)"),
}
WORDS = {int: "integer", float: "number", str: "text", bool: "true or false"}
DIMENSIONS = {"duration": "or text like `2s`", "rate": "or text like `20/s`"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark on a page by the tables; called by MkDocs for each page."""
    return markdown.replace(MARK, "\n".join(tables())) if MARK in markdown else markdown


def tables() -> Iterator[str]:
    """Lines of one table for each settings class, those of a specification first, then those of the plug-ins."""
    for cls in settings_classes(WorkloadSpec):
        yield from _table(f"## {cls.__name__}", _first_sentence(cls), cls)
    for cls in (Workload, *settings_classes(UserWorkload), SessionWorkload, AgentSessions, TraceWorkload):
        yield from _table(f"## {cls.__name__}", _first_sentence(cls), cls)
    for kind, (tag, title, _) in PLUGINS.items():
        yield from ("", f"## {title}", "", f"Options are given beside the name under `{tag}`.")
        for name in registry.names(kind):
            plugin = registry.get(kind, name)
            yield from _table(f"### `{name}`", f"{_first_sentence(plugin)} In Python `{plugin.__name__}`.", plugin)


def settings_classes(root: Any) -> list[Any]:
    """Return the settings classes that a class leads to, itself first, in the order of the fields."""
    found: list[Any] = []
    pending = [root]
    while pending:
        cls = pending.pop(0)
        if cls in found:
            continue
        found.append(cls)
        for attribute in attrs.fields(cls):
            hint = type_hints(cls)[attribute.name]
            parts = (nested_class(hint), listed_class(hint), *form_types(attribute))
            pending += [part for part in parts if part is not None and attrs.has(part)]
    return found


def form_types(attribute: attrs.Attribute[Any]) -> tuple[Any, ...]:
    """Return the types that a field with a plug-in takes in other forms."""
    forms = setting_of(attribute).forms
    return () if forms is None else forms.types


def _table(title: str, about: str, cls: Any) -> Iterator[str]:
    yield from ("", title, "", about)
    if attrs.fields(cls):
        yield from ("", *HEAD)
        for attribute in attrs.fields(cls):
            yield _row(attribute, type_hints(cls)[attribute.name])


def _row(attribute: attrs.Attribute[Any], hint: Any) -> str:
    known = setting_of(attribute)
    bounds = [
        f"{sign} {bound:,}"
        for sign, bound in ((">", known.gt), ("≥", known.ge), ("<", known.lt), ("≤", known.le))
        if bound is not None
    ]
    unit = " ".join([known.unit or "", f"({', '.join(bounds)})" if bounds else ""]).strip()
    choices = f" One of {', '.join(f'`{choice}`' for choice in known.choices)}." if known.choices else ""
    meaning = (known.help + choices).replace("<", "&lt;").replace("|", "\\|")
    return f"| `{attribute.alias}` | {_type(known, hint)} | {_default(attribute)} | {unit} | {meaning} |"


def _type(known: Setting, hint: Any) -> str:
    if known.kind in PLUGINS:
        return "name" if hint is str else PLUGINS[known.kind][2]
    return " ".join(filter(None, (_words(hint), DIMENSIONS.get(known.dimension or ""))))


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_words(option) for option in get_args(hint) if option is not types.NoneType)
    if get_origin(hint) is tuple:
        return f"list of {_words(get_args(hint)[0])}"
    if get_origin(hint) is not None:
        return "mapping"
    return WORDS.get(hint) or f"[{hint.__name__}](#{hint.__name__.lower()})"


def _default(attribute: attrs.Attribute[Any]) -> str:
    default = default_of(attribute)
    if default is attrs.NOTHING:
        return "*required*"
    if default is None:
        return "unset"
    return f"`{to_yaml(plain_value(default, setting_of(attribute), attribute.alias), one_line=True)}`"


def _first_sentence(cls: Any) -> str:
    text = " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].removesuffix(".") + "."
