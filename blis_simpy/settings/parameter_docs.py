"""Docstrings and signatures of settings classes, made of the descriptions of their fields.

Both are made when they are first looked at: naming the plug-ins of a kind scans the entry points, which an import must
not do.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, TypeVar

import attrs

from blis_simpy import registry
from blis_simpy.settings.description import BOUNDS, Setting, find_setting
from blis_simpy.settings.field_types import accepted_types

__all__ = ["documented", "parameter_lines", "range_text", "type_text"]

C = TypeVar("C", bound=type)

_ANY_PLUGIN = "str, mapping, class or instance"
_SECTION = r"^(Attributes|Raises|See Also|Notes|References|Examples)\n-+$"


def documented(cls: C) -> C:
    """Give a settings class a docstring with its parameters, and a signature with the types that it accepts."""
    cls.__doc__ = _Docstring(cls.__doc__ or "")  # type: ignore[assignment]
    cls.__signature__ = _Signature()  # type: ignore[attr-defined]
    return cls


class _Docstring:
    """Docstring of a settings class, with a section of its parameters."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._whole: str | None = None

    def __get__(self, instance: object, owner: type) -> str:
        if self._whole is None:
            text = inspect.cleandoc(self._text)
            if lines := list(parameter_lines(owner)):
                section = re.search(_SECTION, text, re.MULTILINE)
                place = section.start() if section else len(text)
                parameters = "\n".join(("Parameters", "----------", *lines))
                text = "\n\n".join(filter(None, (text[:place].rstrip(), parameters, text[place:])))
            self._whole = text
        return self._whole


class _Signature:
    """Signature of the constructor of a settings class."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        types = accepted_types(owner)
        parameters = []
        for attribute in attrs.fields(owner):
            if not attribute.init:
                continue
            kind = inspect.Parameter.KEYWORD_ONLY if attribute.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
            default = inspect.Parameter.empty if attribute.default is attrs.NOTHING else _shown_default(attribute)
            annotation = _Shown(type_text(types[attribute.name]))
            parameters.append(inspect.Parameter(attribute.alias, kind, default=default, annotation=annotation))
        return inspect.Signature(parameters)


class _Shown(str):
    """Text that a signature shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _shown_default(attribute: attrs.Attribute[Any]) -> Any:
    default: Any = attribute.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    return _Shown(repr(default.factory()))


def parameter_lines(cls: Any) -> list[str]:
    """Lines of a section of parameters, in the numpydoc layout."""
    types = accepted_types(cls)
    lines = []
    for attribute in attrs.fields(cls):
        known = find_setting(attribute)
        if known is None or not attribute.init:
            continue
        optional = "" if attribute.default is attrs.NOTHING else f", default {_shown_default(attribute)!r}"
        accepted = types[attribute.name]
        words = _ANY_PLUGIN if known.kind and accepted is Any else type_text(accepted)
        lines.append(f"{attribute.alias} : {words}{optional}")
        facts = [known.help]
        if known.unit:
            facts.append(f"Unit: {known.unit}.")
        if bounds := range_text(known):
            facts.append(f"Range: {bounds}.")
        if names := known.choices or (registry.names(known.kind) if known.kind else ()):
            facts.append(f"One of {', '.join(names)}{', or your own' if known.kind else ''}.")
        lines.append("    " + " ".join(facts))
    return lines


def range_text(known: Setting) -> str:
    """Bounds of a setting, such as ``> 0, <= 1``; empty if it has none."""
    bounds = ((sign, getattr(known, name)) for name, sign, _ in BOUNDS)
    return ", ".join(f"{sign} {bound:.12g}" for sign, bound in bounds if bound is not None)


def type_text(hint: Any) -> str:
    """Write a type as in source code, without the modules of its parts."""
    text = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)
