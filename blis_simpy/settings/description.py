"""What is known about one field of a settings class, and which values it takes.

`Setting.normalise` and `Setting.judge` decide this for one value, wherever it comes from: the constructor in Python, a
YAML file or a command-line flag. Nested settings and options of plug-ins are the business of `convert`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from os import PathLike, fspath
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from blis_simpy import registry, units
from blis_simpy.errors import Problem, nearest
from blis_simpy.plain_values import plain
from blis_simpy.settings.bounds import MAX_ITEMS, broken_bound
from blis_simpy.settings.field_types import element_type, is_optional

__all__ = ["BOUNDS", "PluginForms", "Setting", "find_setting", "setting_of"]

BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("gt", ">", lambda value, bound: value > bound),
    ("ge", ">=", lambda value, bound: value >= bound),
    ("lt", "<", lambda value, bound: value < bound),
    ("le", "<=", lambda value, bound: value <= bound),
)
"""Name, sign and test of each bound of a `Setting`."""
_DIMENSIONS: dict[str, Callable[[str], int | float]] = {
    "duration": units.parse_duration,
    "rate": units.parse_rate,
    "size": units.parse_size,
    "bandwidth": units.parse_bandwidth,
}


@attrs.frozen
class PluginForms:
    """Forms that a field takes, beside a mapping of type and options, where it keeps an instance of a plug-in.

    Attributes
    ----------
    convert : callable
        Makes the plug-in of one of the forms; it returns any other value as it is, and may raise `ScenarioError` with
        paths that start below the field.
    types : tuple of type
        The forms: `str` for a registered name, `int`, or a settings class, which may be given as a mapping of its keys.
    """

    convert: Callable[[Any], Any]
    types: tuple[type, ...]


@attrs.frozen(kw_only=True)
class Setting:
    """Description of one field of a settings class, beyond its name, type and default.

    Attributes
    ----------
    help : str
        One sentence for ``--help``, docstrings and the reference pages.
    unit : str or None
        Unit of the number, e.g. ``tokens``.
    gt, ge, lt, le : float or None
        Bounds: above, at least, below, at most. For a tuple they hold for every element. A number without an upper one
        has that of `blis_simpy.settings.bounds`.
    finite : bool
        Whether infinity is refused.
    choices : tuple of str
        Allowed values; empty if the type decides alone.
    kind : str or None
        Kind of plug-in (see `blis_simpy.registry`) that the value names. A field of type `Plugin` may hold more than a
        name; one of type str holds just that.
    inline : bool
        In a file, the options of the plug-in are given beside the field, not in a mapping of their own. At most one
        field of a class.
    forms : PluginForms or None
        The field keeps an instance of the plug-in, made at once of a mapping of type and options or of one of these.
    dimension : {"duration", "rate", "size", "bandwidth"} or None
        Text with a unit is accepted beside plain numbers.
    is_path : bool
        Text that names a file or folder; in a scenario file it is relative to that file.
    flag : str or None
        Spelling on the reference's command line; None if it has no flag of its own.
    absent : str or None
        Text that means "not given", beside the choices or names. Of a flag; None: the empty text, if it takes text.
    convert : callable or None
        Brings a normalised value into the form that the field keeps; it may raise `ScenarioError`, with paths that
        start below the field.
    """

    help: str
    unit: str | None = None
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    finite: bool = True
    choices: tuple[str, ...] = ()
    kind: str | None = None
    inline: bool = False
    forms: PluginForms | None = None
    dimension: Literal["duration", "rate", "size", "bandwidth"] | None = None
    is_path: bool = False
    flag: str | None = None
    absent: str | None = None
    convert: Callable[[Any], Any] | None = None

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
        # Text and plain numbers first: nearly all values are, and isinstance(value, Integral) is slow.
        if value is not None and type(value) not in (str, bool, int, float):
            value = plain(value)
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
        """Say what is wrong with a value.

        Parameters
        ----------
        value : object
            In the form that the field keeps.
        hint : type
            Type of the field.

        Returns
        -------
        Problem or None
            The first broken rule; its path is empty, or leads to the element or key that breaks it.
        """
        if value is None and is_optional(hint):
            return None
        if isinstance(value, tuple) and len(value) > MAX_ITEMS:
            return Problem(rule=f"must have at most {MAX_ITEMS} items, not {len(value)}")
        if isinstance(value, tuple) and (element := element_type(hint)) is not None:
            problems = [self.judge(item, element) for item in value]
            return next((attrs.evolve(problem, path=f"[{i}]") for i, problem in enumerate(problems) if problem), None)
        if self.kind is not None and hint is not str and element_type(hint) is None:
            return self._problem_of_plugin(value)
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
        raise AssertionError("normalise() reads every valid text")

    def _broken_bound(self, number: float) -> str | None:
        if number != number or (self.finite and not abs(number) <= sys.float_info.max):  # also integers beyond floats
            return "must be a finite number"
        for name, sign, holds in BOUNDS:
            bound = getattr(self, name)
            if bound is not None and not holds(number, bound):
                return f"must be {sign} {bound}"
        has_own = not (self.le is self.lt is None and self.finite)
        return None if has_own else broken_bound(number)

    def _problem_of_plugin(self, value: Any) -> Problem | None:
        if isinstance(value, Mapping):
            name = value.get("type")
            if not isinstance(name, str):
                return Problem(rule="must name its plug-in under 'type'", value=dict(value))
            problem = self._problem_of_name(name)
            return attrs.evolve(problem, path="type") if problem else None
        is_name = isinstance(value, str) and (self.forms is None or str in self.forms.types)
        if value is None or isinstance(value, bool | int | float | tuple) or (isinstance(value, str) and not is_name):
            return Problem(rule=self._rule_of_plugin(), value=value)
        return self._problem_of_name(value) if isinstance(value, str) else None

    def _rule_of_plugin(self) -> str:
        if self.inline:
            return "must be a name, a class or an instance"
        types = (str,) if self.forms is None else self.forms.types
        words = [words for kind, words in ((int, "an integer"), (str, "a name")) if kind in types]
        return "must be " + " or ".join([*words, "a mapping with 'type'"])

    def _problem_of_name(self, name: str) -> Problem | None:
        assert self.kind is not None
        known = registry.names(self.kind)
        if name in known:
            return None
        return Problem(rule="is unknown", value=name, hint=nearest(name, known), code=f"unknown_{self.kind}")


def setting_of(attribute: attrs.Attribute[Any]) -> Setting:
    """Return the description of a field."""
    known: Setting = attribute.metadata[Setting]
    return known


def find_setting(attribute: attrs.Attribute[Any]) -> Setting | None:
    """Return the description of a field; None if it was not declared with one."""
    return attribute.metadata.get(Setting)


def _conforms(value: Any, hint: Any) -> bool:
    """Whether a value has a type, strictly: True and 3.0 are not integers; 3 is a float."""
    if hint is Any:
        return True
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_conforms(value, option) for option in get_args(hint))
    return isinstance(value, origin or hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_in_words(option) for option in get_args(hint) if option is not NoneType)
    words = {int: "an integer", float: "a number", str: "text", bool: "true or false", tuple: "a list"}
    known = words.get(get_origin(hint) or hint)
    if known is None and attrs.has(hint):
        return "a mapping of settings"
    return known or f"of type {hint.__name__}"
