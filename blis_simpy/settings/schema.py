"""JSON Schema of settings classes, for editors and other programs.

It says what one setting may be: its type, range, choices, unit and meaning. Rules that hold between settings are known
to the classes alone, so a file that fits the schema may still be refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs

from blis_simpy import registry, units
from blis_simpy.errors import PluginError
from blis_simpy.settings.fields import Setting, default_of, element_type, listed_class, nested_class, type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["DIALECT", "SchemaWriter"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_PATTERNS = {"duration": units.DURATION_PATTERN, "rate": units.RATE_PATTERN}
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


class SchemaWriter:
    """Makes schemas of settings classes and keeps those of nested ones to refer to.

    Parameters
    ----------
    lenient : bool
        Describe what `convert.structure` takes if it is lenient.

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
            self.definitions[name] = {}  # it may contain itself
            self.definitions[name] = self.mapping(cls)
        return {"$ref": f"#/$defs/{name}"}

    def mapping(self, cls: Any, fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Describe the mapping that a settings class is made of.

        Parameters
        ----------
        cls : type
            Attrs class.
        fixed : mapping of str to dict, optional
            Schemas of further keys, all of them required.
        """
        hints = type_hints(cls)
        fixed = fixed or {}
        properties = dict(fixed)
        required = list(fixed)
        for attribute in attrs.fields(cls):
            if not attribute.init:
                continue
            properties[attribute.alias] = self._field(attribute, hints.get(attribute.name, Any))
            if attribute.default is attrs.NOTHING:
                required.append(attribute.alias)
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if words := _first_sentence(cls):
            schema["description"] = words
        if required:
            schema["required"] = required
        return {**schema, "additionalProperties": False}

    def _field(self, attribute: attrs.Attribute[Any], hint: Any) -> dict[str, Any]:
        known: Setting = attribute.metadata.get(Setting) or Setting(help="")
        words = [known.help, f"[{known.unit}]" if known.unit else ""]
        schema: dict[str, Any] = {"description": " ".join(filter(None, words))}
        default = default_of(attribute)
        if isinstance(default, str | bool | int | float):
            schema["default"] = default
        options = list(self._options(known, hint))
        if type(None) in get_args(hint) or (self._lenient and default is not attrs.NOTHING):
            options.append({"type": "null"})
        return {**schema, **_any_of(options)}

    def _options(self, known: Setting, hint: Any) -> Iterable[dict[str, Any]]:
        """Describe each kind of value that a field takes, but for None."""
        element = element_type(hint)
        if (listed := listed_class(hint)) is not None:
            yield {"type": "array", "items": self.reference(listed)}
        elif (nested := nested_class(hint)) is not None:
            yield self.reference(nested)
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

    def _plugins(self, known: Setting, *, names_only: bool) -> Iterable[dict[str, Any]]:
        """Describe names of plug-ins, and mappings with their options where those are known."""
        assert known.kind is not None
        names = registry.names(known.kind)
        if known.tag is None or str in known.also:
            yield {"enum": [*names, *([known.absent] if names_only and known.absent is not None else [])]}
        if names_only:
            return
        others = []
        for name in names:
            plugin = _loaded(known.kind, name)
            if plugin is not None and _has_settings_only(plugin):
                yield self.mapping(plugin, {known.tag or "policy": {"const": name}})
            else:
                others.append(name)
        if others:
            key = known.tag or "policy"
            yield {"type": "object", "properties": {key: {"enum": others}}, "required": [key]}
        for option in known.also:
            if attrs.has(option):
                yield self.reference(option)
            elif option is not str:
                yield {"type": _TYPES[option]}


def _any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    return options[0] if len(options) == 1 else {"anyOf": options}


def _has_settings_only(plugin: Any) -> bool:
    """Whether all that a plug-in is made of are options that it has declared as settings."""
    return attrs.has(plugin) and all(Setting in attribute.metadata for attribute in attrs.fields(plugin))


def _first_sentence(cls: type) -> str:
    words = " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
    return words.partition(". ")[0].removesuffix(".")


def _loaded(kind: str, name: str) -> Callable[..., Any] | None:
    """Plug-in under a name; None if it is broken, which does not make the others useless."""
    with suppress(PluginError):
        plugin: Callable[..., Any] = registry.get(kind, name)
        return plugin
    return None
