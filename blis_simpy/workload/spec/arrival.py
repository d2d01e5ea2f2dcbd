"""Fields that hold an arrival process, and the form in which files of BLIS name one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.convert import tagged
from blis_simpy.settings.fields import setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.workload.arrivals import ArrivalProcess

__all__ = ["Arrival", "arrival_setting", "check_cv"]


@attrs.frozen
class Arrival:
    """Arrival process by name, with the one parameter that files of BLIS know.

    Examples
    --------
    >>> Arrival("gamma", cv=2.0).build()
    GammaArrivals(cv=2.0)
    """

    process: str = setting(help="Arrival process.", kind="arrivals")
    cv: float | None = setting(
        None,
        help="Coefficient of variation of the gaps; unset means 1. Processes without such a parameter ignore it.",
    )

    def build(self) -> ArrivalProcess:
        """Make the arrival process; `cv` is ignored where the process has no such parameter, as in the reference."""
        plugin = registry.get("arrivals", self.process)
        takes_cv = not attrs.has(plugin) or "cv" in attrs.fields_dict(plugin)
        options = {} if self.cv is None or not takes_cv else {"cv": self.cv}
        process: ArrivalProcess = registry.build("arrivals", plugin, **options)
        return process


def arrival_setting(name: str, default: Any = attrs.NOTHING, **known: Any) -> Any:
    """Declare a field that holds an arrival process.

    The field takes an instance, a class, a registered name, a mapping with the name under ``process`` and options
    beside it, or an `Arrival`. It keeps an instance or a class.

    Parameters
    ----------
    name : str
        Name of the field.
    default, **known
        As for `blis_simpy.settings.fields.setting`.
    """
    form: dict[str, Any] = {"kind": "arrivals", "tag": "process", "also": (str, Arrival)}
    return setting(default, converter=partial(_process, name, form), **form, **known)


def _process(name: str, form: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, str):
        # The field itself refuses a name that is not registered.
        return tagged(name, value={"process": value}, **form) if value in registry.names("arrivals") else value
    made = tagged(name, value=value, **form)
    return made.build() if isinstance(made, Arrival) else made


def check_cv(process: Any, path: str = "arrival") -> None:
    """Refuse a coefficient of variation that a client must not have; members of a cohort may have any.

    Parameters
    ----------
    process : ArrivalProcess or class
        If it has a number `cv`, that must be > 0, and within the bounds `CV_RANGE` of its class if there are any.
    path : str
        Path of the field that holds it.

    Raises
    ------
    ScenarioError
        If the number is out of range.
    """
    cv = getattr(process, "cv", None)
    if not isinstance(cv, int | float):
        return
    if cv <= 0:
        raise ScenarioError.at(f"{path}.cv", "must be > 0", cv)
    low, high = getattr(process, "CV_RANGE", (cv, cv))
    if not low <= cv <= high:
        raise ScenarioError.at(f"{path}.cv", f"must be between {low} and {high} for this process", cv)
