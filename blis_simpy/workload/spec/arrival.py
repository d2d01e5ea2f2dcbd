"""Fields that keep an arrival process, and its form in files of BLIS."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.convert import structure
from blis_simpy.settings.description import PluginForms
from blis_simpy.settings.field_types import Accepts, Plugin
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from blis_simpy.workload.arrivals import ArrivalProcess

__all__ = ["ARRIVALS", "Arrival", "ArrivalField", "arrival_in_blis", "check_cv"]

_log = logging.getLogger("blis_simpy")

_HIGHEST_GAMMA_CV = 10.0
"""Highest coefficient of variation for which the reference draws gamma arrivals; beyond it they are Poisson."""


@settings_class(kw_only=False)
class Arrival:
    """Arrival process by name, with its `cv`, as in files of BLIS.

    Examples
    --------
    >>> Arrival("gamma", cv=2.0).build()
    GammaArrivals(cv=2.0)
    """

    process: str = setting(help="Arrival process.", kind="arrivals")
    cv: float | None = setting(
        default=None,
        help="Coefficient of variation of the gaps; unset means 1. Processes without such a parameter ignore it.",
    )

    def build(self) -> ArrivalProcess:
        """Make the arrival process; `cv` is ignored where the process has no such parameter, as in the reference."""
        cv, name = self.cv, self.process
        if cv is None and name in _LIKE_POISSON:
            _log.warning("%s arrivals without cv have cv 1, which is poisson", name)
        plugin = registry.get("arrivals", name)
        takes_cv = not attrs.has(plugin) or "cv" in attrs.fields_dict(plugin)
        if cv is not None and not takes_cv:
            _log.warning("cv %g has no effect on %s arrivals", cv, name)
        options = {} if cv is None or not takes_cv else {"cv": cv}
        process: ArrivalProcess = registry.build("arrivals", plugin, **options)
        return process


_LIKE_POISSON = ("gamma", "weibull")
"""Processes whose default coefficient of variation makes them a Poisson process."""

ArrivalField: TypeAlias = Accepts[Plugin, Plugin | str | Arrival | Mapping[str, Any]]
"""Type of a field that holds an arrival process: an instance or a class, made from any form that `ARRIVALS` takes."""


def _to_process(value: Any) -> Any:
    """Make an arrival process from one of its forms.

    Parameters
    ----------
    value : object
        A registered name, an `Arrival` or a mapping with its keys, as in files of BLIS. Any other value is returned
        unchanged, and the field checks it: an instance, a class, or a mapping of type and options.

    Raises
    ------
    ScenarioError
        If a mapping is wrong; the paths start below the field.
    """
    if isinstance(value, str) and value in registry.names("arrivals"):
        value = Arrival(process=value) if value in _LIKE_POISSON else registry.build("arrivals", value)
    if isinstance(value, Mapping) and "type" not in value:
        process = value.get("process")
        if set(value) - {"process", "cv"} and process in registry.names("arrivals"):
            return {"type" if key == "process" else key: option for key, option in value.items()}
        value = structure(value, Arrival)
    return value.build() if isinstance(value, Arrival) else value


ARRIVALS = PluginForms(_to_process, (str, Arrival))
"""Forms of an arrival process beside a mapping of type and options."""


def arrival_in_blis(process: Any) -> Any:
    """Return the process that BLIS takes for one: Poisson for gamma with a coefficient of variation above 10."""
    from blis_simpy.workload.arrivals import GammaArrivals, PoissonArrivals  # imports numpy

    if isinstance(process, GammaArrivals) and process.cv > _HIGHEST_GAMMA_CV:  # parity: workloads, arr_gamma_cv
        _log.warning("gamma arrivals with cv %g are taken as poisson, as in BLIS", process.cv)
        return PoissonArrivals()
    return process


def check_cv(process: Any, path: str = "arrival") -> None:
    """Check the coefficient of variation of a client; members of a cohort may have any.

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
