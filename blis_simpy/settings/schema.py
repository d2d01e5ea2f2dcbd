"""JSON Schema of settings classes, for editors and other programs.

It describes single settings: type, range, choices, unit and meaning. Rules between settings are checked by the classes
only, so that a file that fits the schema may still be refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs

from blis_simpy import registry, units
from blis_simpy.errors import PluginError
from blis_simpy.settings.convert import inline_field
from blis_simpy.settings.description import Setting, find_setting, setting_of
from blis_simpy.settings.field_types import (
    element_type,
    is_optional,
    listed_class,
    named_class,
    nested_class,
    type_hints,
)
from blis_simpy.settings.fields import default_of
from blis_simpy.settings.plugin_options import option_names, options_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["DIALECT", "SchemaWriter"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_INFINITE = r"^\s*[iI][nN][fF]([iI][nN][iI][tT][yY])?\s*$"
_PATTERNS = {
    "duration": units.DURATION_PATTERN,
    "rate": units.RATE_PATTERN,
    "size": units.SIZE_PATTERN,
    "bandwidth": units.BANDWIDTH_PATTERN,
}
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


class SchemaWriter:
    """Makes schemas of settings classes, and keeps those of nested classes for references.

    Parameters
    ----------
    lenient : bool
        Describe the files that `convert.structure` accepts if it is lenient.

    Attributes
    ----------
    definitions : dict of str to dict
        Schema of each class that has been referred to, for ``$defs``.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self.definitions: dict[str, Any] = {}
        self._lenient = lenient

    def reference(self, cls: Any) -> dict[str, Any]:
        """Refer to the schema of a settings class."""
        name: str = cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # a class may contain itself
            self.definitions[name] = self.mapping(cls)
        return {"$ref": f"#/$defs/{name}"}

    def mapping(self, cls: Any, fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Describe the mapping of a settings class.

        Parameters
        ----------
        cls : type
            Attrs class.
        fixed : mapping of str to dict, optional
            Schemas of further keys, all of them required.
        """
        fixed = fixed or {}
        properties = {**fixed, **self._fields(cls)}
        required = [*fixed, *_required(cls)]
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if words := _first_sentence(cls):
            schema["description"] = words
        if required:
            schema["required"] = required
        return {**schema, "additionalProperties": False}

    def _fields(self, cls: Any) -> dict[str, Any]:
        """Describe each field of a settings class, by name."""
        hints = type_hints(cls)
        return {field.alias: self._field(field, hints.get(field.name, Any)) for field in _init_fields(cls)}

    def _part(self, cls: Any) -> Iterable[dict[str, Any]]:
        """Describe the values of a field that holds a settings class: a mapping, or a policy alone."""
        inline = inline_field(cls)
        if inline is None:
            yield self.reference(cls)
            return
        kind = setting_of(inline).kind or ""
        yield {"enum": list(registry.names(kind))}
        if inline.default is None:
            mapping = self.mapping(cls)
            mapping["properties"][inline.alias] = {"type": "null"}
            yield mapping
        for name in registry.names(kind):
            mapping = self.mapping(cls)
            options, required = self._plugin_options(kind, name)
            if name != inline.default:
                required = [inline.alias, *required]
            mapping["properties"] |= {inline.alias: {"const": name}, **(options or {})}
            yield {**mapping, "required": required, "additionalProperties": options is None}

    def _plugin_options(self, kind: str, name: str) -> tuple[dict[str, Any] | None, list[str]]:
        """Schemas of the options of a plug-in, None if it takes any; and the names of those that are required."""
        plugin = _loaded(kind, name)
        described = options_class(plugin)
        if described is not None:
            return self._fields(described), _required(described)
        names = option_names(kind, plugin)
        return None if names is None else {key: {} for key in names}, []

    def _field(self, attribute: attrs.Attribute[Any], hint: Any) -> dict[str, Any]:
        known: Setting = find_setting(attribute) or Setting(help="")
        words = [known.help, f"[{known.unit}]" if known.unit else ""]
        schema: dict[str, Any] = {"description": " ".join(filter(None, words))}
        default = default_of(attribute)
        if isinstance(default, str | bool | int | float):
            schema["default"] = default
        options = list(self._options(known, hint))
        if is_optional(hint) or (self._lenient and default is not attrs.NOTHING):
            options.append({"type": "null"})
        return {**schema, **_any_of(options)}

    def _options(self, known: Setting, hint: Any) -> Iterable[dict[str, Any]]:
        """Describe each kind of value of a field, except None."""
        element = element_type(hint)
        if (listed := listed_class(hint)) is not None:
            yield {"type": "array", "items": self.reference(listed)}
        elif (named := named_class(hint)) is not None:
            yield {"type": "object", "additionalProperties": self.reference(named)}
        elif (nested := nested_class(hint)) is not None:
            yield from self._part(nested)
        elif known.kind is not None and element is not None:
            yield {"type": "array", "items": _any_of(list(self._plugins(known, names_only=False)))}
        elif known.kind is not None:
            yield from self._plugins(known, names_only=hint is str)
        elif known.choices:
            yield {"enum": [*known.choices, *([known.absent] if known.absent is not None else [])]}
        elif element is not None:
            yield {"type": "array", "items": _any_of(list(self._values(known, element)))}
        else:
            yield from self._values(known, hint)

    def _values(self, known: Setting, hint: Any) -> Iterable[dict[str, Any]]:
        types = (hint, *get_args(hint))
        if get_origin(hint) is Mapping:
            yield {"type": "object", "additionalProperties": {"type": _TYPES[get_args(hint)[1]]}}
            return
        if hint is Any:
            yield {}
            return
        for kind in types:
            if kind in (int, float):
                bounds = {word: value for name, word in _BOUNDS.items() if (value := getattr(known, name)) is not None}
                yield {"type": _TYPES[kind], **bounds}
            elif kind in _TYPES:
                yield {"type": ["string", "number"] if kind is str and self._lenient else _TYPES[kind]}
        if known.dimension is not None:
            yield {"type": "string", "pattern": _PATTERNS[known.dimension]}
            if not known.finite:
                yield {"type": "string", "pattern": _INFINITE}

    def _plugins(self, known: Setting, *, names_only: bool) -> Iterable[dict[str, Any]]:
        """Describe names of plug-ins, and mappings with their options where those are known."""
        assert known.kind is not None
        names = registry.names(known.kind)
        types = (str,) if known.forms is None else known.forms.types
        if str in types:
            yield {"enum": [*names, *([known.absent] if names_only and known.absent is not None else [])]}
        if names_only:
            return
        others = []
        for name in names:
            described = options_class(_loaded(known.kind, name))
            if described is not None:
                yield self.mapping(described, {"type": {"const": name}})
            else:
                others.append(name)
        if others:
            yield {"type": "object", "properties": {"type": {"enum": others}}, "required": ["type"]}
        for form in types:
            if attrs.has(form):
                yield self.reference(form)
            elif form is not str:
                yield {"type": _TYPES[form]}


def _any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    return options[0] if len(options) == 1 else {"anyOf": options}


def _required(cls: Any) -> list[str]:
    return [field.alias for field in _init_fields(cls) if field.default is attrs.NOTHING]


def _init_fields(cls: Any) -> list[Any]:
    return [field for field in attrs.fields(cls) if field.init]


def _first_sentence(cls: type) -> str:
    words = " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
    return words.partition(". ")[0].removesuffix(".")


def _loaded(kind: str, name: str) -> Callable[..., Any] | None:
    """Return the plug-in of a name; None if it is broken, so that the others are still described."""
    with suppress(PluginError):
        plugin: Callable[..., Any] = registry.get(kind, name)
        return plugin
    return None
