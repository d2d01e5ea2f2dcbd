"""One place for an option: default, unit, range and help stand at the field, everything else derives from them.

A settings class is a frozen attrs class whose fields are made with `setting`. What a field accepts is decided by
`Setting.normalise` and `Setting.judge`, and by nothing else: they run when the class is constructed in Python, when a
YAML value is read and when a command-line flag is parsed, so that the three cannot disagree.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from functools import cache
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs

from blis_simpy import registry, units
from blis_simpy.errors import Problem, ScenarioError, joined, nearest

__all__ = [
    "Plugin",
    "ReprMixin",
    "Setting",
    "default_of",
    "element_type",
    "listed_class",
    "nested_class",
    "of",
    "setting",
    "type_hints",
    "validated",
]

Plugin: TypeAlias = Any
"""Value of a field with a kind: a registered name, a mapping with the name and options, a class, or an instance."""

_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("gt", ">", lambda value, bound: value > bound),
    ("ge", ">=", lambda value, bound: value >= bound),
    ("lt", "<", lambda value, bound: value < bound),
    ("le", "<=", lambda value, bound: value <= bound),
)
_DIMENSIONS: dict[str, Callable[[str], int | float]] = {
    "duration": units.parse_duration,
    "rate": units.parse_rate,
}


@attrs.frozen(kw_only=True)
class Setting:
    """What is known about one field of a settings class, beyond its name, type and default.

    Attributes
    ----------
    help : str
        One sentence for ``--help`` and the reference pages.
    unit : str or None
        Unit of the number, e.g. ``tokens``.
    gt, ge, lt, le : float or None
        Bounds: above, at least, below, at most. For a tuple they hold for every element.
    choices : tuple of str
        Allowed values; empty if the type decides alone.
    kind : str or None
        Kind of plug-in (see `blis_simpy.registry`) that the value names. A field of type `Plugin` may hold more than a
        name; one of type str holds just that.
    tag : str or None
        Key under which a mapping names its plug-in when the field holds instances, e.g. ``type``; such a mapping is
        made into the plug-in's class at once. None: a mapping is kept as it is, with the name under ``policy``.
    also : tuple of type
        Further types that a field with a tag takes: `str` for a name, or what its converter makes into a plug-in, such
        as `int` or a settings class, which a mapping with the keys of that class is read as.
    dimension : {"duration", "rate"} or None
        Text with a unit is accepted beside plain numbers.
    is_path : bool
        Text that names a file or folder; in a scenario file it is relative to that file.
    flag : str or None
        Spelling on the reference's command line; None if it has no flag of its own.
    absent : str or None
        Text that means "not given", beside the choices or names. Of a flag; None: the empty text, if it takes text.
    """

    help: str
    unit: str | None = None
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    choices: tuple[str, ...] = ()
    kind: str | None = None
    tag: str | None = None
    also: tuple[type, ...] = ()
    dimension: Literal["duration", "rate"] | None = None
    is_path: bool = False
    flag: str | None = None
    absent: str | None = None

    def normalise(self, value: Any) -> Any:
        """Bring a value into the form that the field keeps.

        Parameters
        ----------
        value : object
            As the user gave it.

        Returns
        -------
        object
            Text with a unit made a number (if it can be read), a number of numpy's made one of Python's, a list made a
            tuple, a path made text, anything else as it is.
        """
        # Text and plain numbers first: they are nearly all, and to ask for an Integral takes its time.
        if isinstance(value, str):
            return self._measured(value)
        if value is None or type(value) in (bool, int, float):
            return value
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            return float(value)
        if isinstance(value, PathLike):
            return fspath(value)
        if isinstance(value, list | tuple):
            return tuple(map(self.normalise, value))
        return value

    def _measured(self, text: str) -> Any:
        if self.dimension is None:
            return text
        try:
            return _DIMENSIONS[self.dimension](text)
        except ValueError:
            return text

    def judge(self, value: Any, hint: Any) -> Problem | None:
        """Say what is wrong with a normalised value.

        Parameters
        ----------
        value : object
            As `normalise` returned it.
        hint : type
            Type of the field.

        Returns
        -------
        Problem or None
            The first broken rule; its path is empty, or leads to the element or key that breaks it.
        """
        if value is None and types.NoneType in get_args(hint):
            return None
        if self.kind is not None and hint is not str:
            return self._problem_of_plugin(value)
        if isinstance(value, tuple) and (element := element_type(hint)) is not None:
            problems = [self.judge(item, element) for item in value]
            return next((attrs.evolve(problem, path=f"[{i}]") for i, problem in enumerate(problems) if problem), None)
        if not _conforms(value, hint):
            return Problem(rule=self._rule_of_type(value, hint), value=value)
        if isinstance(value, int | float) and (rule := self._broken_bound(value)):
            return Problem(rule=rule, value=value)
        if self.choices and value not in (*self.choices, self.absent):
            return Problem(rule="is unknown", value=value, hint=nearest(value, self.choices))
        if self.kind is not None and value != self.absent:
            return self._problem_of_name(value)
        return None

    def _rule_of_type(self, value: Any, hint: Any) -> str:
        if self.dimension is None or not isinstance(value, str):
            return f"must be {_in_words(hint)}"
        try:
            _DIMENSIONS[self.dimension](value)
        except ValueError as error:
            return str(error)
        raise AssertionError("normalise() reads what can be read")

    def _broken_bound(self, number: float) -> str | None:
        if not abs(number) <= sys.float_info.max:  # NaN, infinity, and integers that no float can hold
            return "must be a finite number"
        for name, sign, holds in _BOUNDS:
            bound = getattr(self, name)
            if bound is not None and not holds(number, bound):
                return f"must be {sign} {bound}"
        return None

    def _problem_of_plugin(self, value: Any) -> Problem | None:
        assert self.kind is not None
        key = self.tag or "policy"
        named = self.tag is None or str in self.also
        path = ""
        if isinstance(value, Mapping):
            path, name = key, value.get(key)
            if not isinstance(name, str):
                return Problem(rule=f"must name its plug-in under {key!r}", value=dict(value))
        elif value is None or isinstance(value, bool | int | float | tuple) or (isinstance(value, str) and not named):
            forms = [*(["an integer"] if int in self.also else []), *(["a name"] if named else [])]
            return Problem(rule=f"must be {' or '.join([*forms, f'a mapping with {key!r}'])}", value=value)
        else:
            name = value
        problem = self._problem_of_name(name) if isinstance(name, str) else None
        return attrs.evolve(problem, path=path) if problem else None

    def _problem_of_name(self, name: str) -> Problem | None:
        assert self.kind is not None
        known = registry.names(self.kind)
        if name in known:
            return None
        return Problem(rule="is unknown", value=name, hint=nearest(name, known), code=f"unknown_{self.kind}")


def setting(
    default: Any = attrs.NOTHING,
    *,
    factory: Callable[[], Any] | None = None,
    converter: Callable[[Any], Any] | None = None,
    **known: Any,
) -> Any:
    """Declare a field of a settings class.

    Parameters
    ----------
    default : object, optional
        Value when nothing is given; a field without one is required.
    factory : callable, optional
        Makes the default, for values that must not be shared.
    converter : callable, optional
        Brings a normalised value into the form that the field keeps; it may raise `ScenarioError`.
    **known
        Attributes of `Setting`; `help` is required.

    Returns
    -------
    attrs field
        To be assigned to an annotated name in a class decorated with ``attrs.frozen``. The constructor of that class
        raises `ScenarioError` that names the field.

    Examples
    --------
    >>> @attrs.frozen(kw_only=True)
    ... class Disk:
    ...     size: int = setting(16, help="Size of the disk.", unit="GiB", ge=1)
    >>> Disk(size=0)
    Traceback (most recent call last):
    ...
    blis_simpy.errors.ScenarioError: size must be >= 1, got 0
    """
    shape = Setting(**known)
    if factory is not None:
        default = attrs.Factory(factory)
    convert = shape.normalise if converter is None else lambda value: converter(shape.normalise(value))
    return attrs.field(default=default, converter=convert, validator=_validate, metadata={Setting: shape})


def of(attribute: attrs.Attribute[Any]) -> Setting:
    """Return what `setting` was told about a field."""
    shape: Setting = attribute.metadata[Setting]
    return shape


def default_of(attribute: attrs.Attribute[Any]) -> Any:
    """Return the default of a field, made if need be; ``attrs.NOTHING`` if it is required."""
    default: Any = attribute.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def validated(attribute: attrs.Attribute[Any], value: Any, hint: Any) -> Any:
    """Bring a value into the form that its field keeps.

    Parameters
    ----------
    attribute : attrs field
        Made with `setting`; any other field takes every value as it is.
    value : object
        As the user gave it.
    hint : type
        Type of the field.

    Raises
    ------
    ScenarioError
        If the field does not take the value; the paths start below the field.
    """
    known: Setting | None = attribute.metadata.get(Setting)
    if known is None:
        return value
    try:
        value = attribute.converter(value)  # type: ignore[operator,misc]  # as `setting` made it
    except ScenarioError as error:
        # A converter names the field itself: it is called by the constructor, too.
        below = [p.path.removeprefix(attribute.name).removeprefix(".") for p in error.problems]
        raise ScenarioError(
            attrs.evolve(problem, path=path) for problem, path in zip(error.problems, below, strict=True)
        ) from None
    problem = known.judge(value, hint)
    if problem is not None:
        raise ScenarioError(problem)
    return value


class ReprMixin:
    """A settings class whose instances show what differs from the defaults, and nothing else."""

    __slots__ = ()

    def __repr__(self) -> str:
        cls: Any = type(self)
        given = {}
        for attribute in attrs.fields(cls):
            value, default = getattr(self, attribute.name), attribute.default
            if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class at run time
                default = default.factory()
            if value != default:
                given[attribute.alias] = value
        return f"{cls.__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


@cache
def type_hints(cls: Any) -> dict[str, Any]:
    """Types of the fields of a settings class, with string annotations resolved."""
    return get_type_hints(cls)


def element_type(hint: Any) -> Any:
    """Type of the elements where a tuple is allowed, else None."""
    return next((get_args(option)[0] for option in (hint, *get_args(hint)) if get_origin(option) is tuple), None)


def nested_class(hint: Any) -> type | None:
    """Return the settings class of a field's type, also where it may be None; None if the field holds no such class."""
    options = (hint, *get_args(hint)) if get_origin(hint) is not tuple else ()
    return next((option for option in options if isinstance(option, type) and attrs.has(option)), None)


def listed_class(hint: Any) -> type | None:
    """Return the settings class of the elements of a field's tuple; None if the field holds no tuple of those."""
    element = element_type(hint)
    return element if isinstance(element, type) and attrs.has(element) else None


def _validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is attribute.default:  # known to be good; judging a plug-in's name would scan the entry points on import
        return
    cls: Any = type(instance)
    problem = of(attribute).judge(value, type_hints(cls)[attribute.name])
    if problem is not None:
        raise ScenarioError(attrs.evolve(problem, path=joined(attribute.name, problem.path)))


def _conforms(value: Any, hint: Any) -> bool:
    """Whether a value has a type, without Python's generosity: True is no integer, 3.0 is none, 3 is a float."""
    if hint is Any:
        return True
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_conforms(value, option) for option in get_args(hint))
    return isinstance(value, origin or hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_in_words(option) for option in get_args(hint) if option is not types.NoneType)
    words = {int: "an integer", float: "a number", str: "text", bool: "true or false", tuple: "a list"}
    return words.get(get_origin(hint) or hint) or f"of type {hint.__name__}"
