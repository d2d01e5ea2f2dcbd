"""Types of fields: what a field keeps, and what its constructor takes in place of that.

``rate: Accepts[float, float | str]`` declares an attribute of type float that is set from a number or from text. Type
checkers read the descriptor below, which gives ``__init__`` the second type and the attribute the first one. At run
time the annotation is ``Annotated[float, Accepted(float | str)]``, and the conversion is that of the field's `Setting`.
The second type may be in quotes: then its names need not be imported at run time, and signatures show its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from os import PathLike
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import attrs

__all__ = [
    "Accepts",
    "Bandwidth",
    "Duration",
    "NamedParts",
    "Numbers",
    "OptionalBandwidth",
    "OptionalDuration",
    "OptionalPart",
    "OptionalPath",
    "OptionalRate",
    "OptionalSize",
    "Part",
    "Parts",
    "Plugin",
    "Rate",
    "Size",
    "accepted_types",
    "element_type",
    "is_optional",
    "listed_class",
    "named_class",
    "nested_class",
    "type_hints",
]

Plugin: TypeAlias = Any
"""Value of a field with a kind: a registered name, a mapping of type and options, a class, a function, an instance."""


@attrs.frozen
class Accepted:
    """Second argument of `Accepts`, at run time."""

    type: Any


if TYPE_CHECKING:
    T = TypeVar("T")
    Kept = TypeVar("Kept", covariant=True)
    Given = TypeVar("Given", contravariant=True)

    class Accepts(Generic[Kept, Given]):
        """Descriptor of a field that keeps one type and is set from another."""

        @overload
        def __get__(self, instance: None, owner: Any) -> Accepts[Kept, Given]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Kept: ...
        def __get__(self, instance: object | None, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: Given) -> None: ...

    Part: TypeAlias = Accepts[T, T | Mapping[str, Any]]
    OptionalPart: TypeAlias = Accepts[T | None, T | Mapping[str, Any] | None]
    Parts: TypeAlias = Accepts[tuple[T, ...], Sequence[T | Mapping[str, Any]]]
    NamedParts: TypeAlias = Accepts[Mapping[str, T], Mapping[str, T | Mapping[str, Any]]]
else:

    class Accepts:
        """Field that keeps one type and is set from another."""

        def __class_getitem__(cls, types: tuple[Any, Any]) -> Any:
            kept, given = types
            return Annotated[kept, Accepted(given)]

    class Part:
        """Settings of a class, or a mapping of them."""

        def __class_getitem__(cls, part: Any) -> Any:
            return Accepts[part, part | Mapping[str, Any]]

    class OptionalPart:
        """Settings of a class, a mapping of them, or None."""

        def __class_getitem__(cls, part: Any) -> Any:
            return Accepts[part | None, part | Mapping[str, Any] | None]

    class Parts:
        """List of settings of a class, each of which may be a mapping."""

        def __class_getitem__(cls, part: Any) -> Any:
            return Accepts[tuple[part, ...], Sequence[part | Mapping[str, Any]]]

    class NamedParts:
        """Settings of a class by name, each of which may be a mapping."""

        def __class_getitem__(cls, part: Any) -> Any:
            return Accepts[Mapping[str, part], Mapping[str, part | Mapping[str, Any]]]


Duration: TypeAlias = Accepts[int, int | str]
"""Whole microseconds, or text with a unit."""
OptionalDuration: TypeAlias = Accepts[int | None, int | str | None]
Rate: TypeAlias = Accepts[float, float | str]
"""Number per second, or text with a unit."""
OptionalRate: TypeAlias = Accepts[float | None, float | str | None]
Size: TypeAlias = Accepts[int, int | str]
"""Whole bytes, or text with a unit."""
OptionalSize: TypeAlias = Accepts[int | None, int | str | None]
Bandwidth: TypeAlias = Accepts[float, float | str]
"""Bytes per second, or text with a unit."""
OptionalBandwidth: TypeAlias = Accepts[float | None, float | str | None]
OptionalPath: TypeAlias = Accepts[str | None, str | PathLike[str] | None]
Numbers: TypeAlias = Accepts[tuple[float, ...] | None, Sequence[float] | None]


@cache
def type_hints(cls: Any) -> dict[str, Any]:
    """Types that the fields of a settings class keep, by name."""
    return get_type_hints(cls)


def accepted_types(cls: Any) -> dict[str, Any]:
    """Types that the constructor of a settings class takes, by name; a type in quotes is text."""
    accepted = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        given = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Accepted)), None)
        accepted[name] = hint if given is None else given.type
    return accepted


@cache
def element_type(hint: Any) -> Any:
    """Type of the elements where a tuple is allowed, else None."""
    return next((get_args(option)[0] for option in (hint, *get_args(hint)) if get_origin(option) is tuple), None)


@cache
def nested_class(hint: Any) -> type | None:
    """Return the settings class of a field's type, also where it may be None; None if the field holds no such class."""
    options = (hint, *get_args(hint)) if get_origin(hint) not in (tuple, Mapping) else ()
    return next((option for option in options if isinstance(option, type) and attrs.has(option)), None)


@cache
def listed_class(hint: Any) -> type | None:
    """Return the settings class of the elements of a field's tuple; None if the field holds no tuple of those."""
    element = element_type(hint)
    return element if isinstance(element, type) and attrs.has(element) else None


@cache
def named_class(hint: Any) -> type | None:
    """Return the settings class of the values of a field's mapping; None if the field holds no mapping of those."""
    value = get_args(hint)[1] if get_origin(hint) is Mapping else None
    return value if isinstance(value, type) and attrs.has(value) else None


@cache
def is_optional(hint: Any) -> bool:
    """Whether a field may hold None."""
    return NoneType in get_args(hint)
