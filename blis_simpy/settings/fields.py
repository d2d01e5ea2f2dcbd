"""Declaration of settings: default, unit, range and help of an option are given once, at its field.

A settings class is decorated with `settings_class`, and its fields are made with `setting`::

    @settings_class
    class Disk:
        size: int = setting(default=16, help="Size of the disk.", unit="GiB", ge=1)
        access_time: Duration = setting(default=0, help="Time of one access.", unit="us", ge=0, dimension="duration")

YAML, the command line, JSON Schema, docstrings and the reference pages derive from it. Values are checked by
`blis_simpy.settings.convert.accept` wherever they come from, so that Python, files and flags cannot disagree. Type
checkers see the constructor with the types that it accepts (see `blis_simpy.settings.field_types`).
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, overload

import attrs

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.convert import accept
from blis_simpy.settings.description import Setting
from blis_simpy.settings.field_types import type_hints
from blis_simpy.settings.parameter_docs import documented
from blis_simpy.settings.suggestions import unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["default_of", "evolved", "fields_of", "setting", "settings_class"]

C = TypeVar("C", bound=type)
S = TypeVar("S")


def _accepted(value: Any, instance: object, attribute: attrs.Attribute[Any]) -> Any:
    if value is attribute.default:  # valid; checking the name of a plug-in would scan the entry points on import
        return value
    cls: Any = type(instance)
    try:
        return accept(attribute, value, type_hints(cls)[attribute.name])
    except ScenarioError as error:
        raise ScenarioError(problem.inside(attribute.alias or "") for problem in error.problems) from None


_ACCEPTED: Any = attrs.Converter(_accepted, takes_self=True, takes_field=True)


def setting(*, default: Any = attrs.NOTHING, factory: Callable[[], Any] | None = None, **known: Any) -> Any:
    """Declare a field of a settings class.

    Parameters
    ----------
    default : object, optional
        Value when nothing is given; a field without one is required.
    factory : callable, optional
        Makes the default, for values that must not be shared.
    **known
        Attributes of `Setting`; `help` is required.

    Returns
    -------
    attrs field
        To be assigned to an annotated name in a class decorated with `settings_class`. The constructor of that class
        raises `ScenarioError` that names the field.

    Examples
    --------
    >>> @settings_class
    ... class Disk:
    ...     size: int = setting(default=16, help="Size of the disk.", unit="GiB", ge=1)
    >>> Disk(size=0)
    Traceback (most recent call last):
    ...
    blis_simpy.errors.ScenarioError: size must be >= 1, got 0
    """
    if factory is not None:
        default = attrs.Factory(factory)
    return attrs.field(default=default, converter=_ACCEPTED, metadata={Setting: Setting(**known)})


@overload
def settings_class(cls: C, /) -> C: ...
@overload
def settings_class(*, frozen: bool = True, kw_only: bool = True) -> Callable[[C], C]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting, attrs.field))
def settings_class(cls: Any = None, /, *, frozen: bool = True, kw_only: bool = True) -> Any:
    """Make a settings class of a class whose fields are made with `setting`.

    Its constructor checks and converts every value, its docstring has a section of parameters, and its instances are
    equal by value and show what differs from the defaults.

    Parameters
    ----------
    cls : type
        The class.
    frozen : bool
        Whether instances cannot be changed. False for a policy that keeps state; its attributes beside the settings
        count neither in comparisons nor in what is written to a file.
    kw_only : bool
        Whether the constructor takes keywords only.
    """

    def make(cls: type) -> Any:
        if "__repr__" not in vars(cls):
            cls.__repr__ = _differing  # type: ignore[assignment]
        # State of a policy is set at every request: without hooks.
        on_setattr = None if frozen else attrs.setters.NO_OP
        decorate = attrs.define(frozen=frozen, slots=frozen, kw_only=kw_only, repr=False, on_setattr=on_setattr)
        return documented(_naming_faults_of_calls(decorate(cls)))

    return make if cls is None else make(cls)


def _naming_faults_of_calls(cls: Any) -> Any:
    """Let the constructor of a settings class name what is missing, and suggest what an unknown keyword may mean."""
    init = cls.__init__
    # In place of the type that the converter takes, which is Any.
    init.__annotations__ = {field.alias: field.type for field in fields_of(cls)} | {"return": None}

    @wraps(init)
    def __init__(self: Any, *args: Any, **settings: Any) -> None:  # noqa: N807
        try:
            init(self, *args, **settings)
        except TypeError:
            problems = list(_faults_of_call(cls, args, settings))
            if not problems:
                raise
            raise ScenarioError(problems) from None

    cls.__init__ = __init__
    return cls


def _faults_of_call(cls: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Iterator[Problem]:
    """Problems of the arguments of a constructor that are there or missing, whatever their values are."""
    known = {attribute.alias or attribute.name: attribute for attribute in fields_of(cls) if attribute.init}
    for name in settings:
        if name not in known:
            yield unknown_key(cls, name, name)
    by_place = [name for name, attribute in known.items() if not attribute.kw_only]
    if len(args) > len(by_place):
        count = len(by_place)
        most = f"takes at most {count} value{'s' if count > 1 else ''} without a name"
        rule = most if by_place else "takes its settings by name"
        yield Problem(path=cls.__name__, rule=rule, value=args[len(by_place)], hint=f"{next(iter(known))}=...")
    given = {*settings, *by_place[: len(args)]}
    for name, attribute in known.items():
        if attribute.default is attrs.NOTHING and name not in given:
            yield Problem(path=name, rule="is required", hint=attribute.metadata[Setting].help.rstrip("."))


def _differing(self: Any) -> str:
    """Show what differs from the defaults, and nothing else."""
    cls = type(self)
    given = {}
    for attribute in fields_of(cls):
        value = getattr(self, attribute.name)
        if attribute.init and value != default_of(attribute):
            given[attribute.alias] = value
    return f"{cls.__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def fields_of(cls: Any) -> tuple[attrs.Attribute[Any], ...]:
    """Return the fields of a settings class, in the order in which they are declared."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return fields


def default_of(attribute: attrs.Attribute[Any]) -> Any:
    """Return the default of a field, made if need be; ``attrs.NOTHING`` if it is required."""
    default: Any = attribute.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def evolved(settings: S, **changes: Any) -> S:
    """Copy an instance of a settings class with some fields replaced, by name."""
    copy: S = attrs.evolve(settings, **changes)  # type: ignore[misc]
    return copy
