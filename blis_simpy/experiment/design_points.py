"""Design of a sweep: all combinations of settings, or points that fill the space between bounds evenly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.experiment.number_format import check_count, check_number
from blis_simpy.plain_values import DataFrame, plain
from blis_simpy.workload.settings import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from blis_simpy.scenario import Scenario

__all__ = ["DESIGNS", "Range", "changed_scenario", "design_points", "label", "setting_label"]

DESIGNS = ("grid", "latin-hypercube", "sobol")


@attrs.frozen
class Range:
    """Bounds of a numeric setting; integer bounds give integer values.

    Attributes
    ----------
    low, high : float
        Bounds; `high` is included for integers only.
    log : bool
        Whether values are spaced logarithmically.

    Examples
    --------
    >>> Range(1, 8).at(0.99), Range(1.0, 9.0).at(0.5), Range(1.0, 100.0, log=True).at(0.5)
    (8, 5.0, 10.0)
    """

    low: float
    high: float
    log: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if not self.low < self.high:
            raise ScenarioError.at("high", f"must be > low ({self.low})", self.high)
        if self.log and self.low <= 0:
            raise ScenarioError.at("low", "must be > 0 for a logarithmic range", self.low)

    def at(self, share: float) -> float:
        """Return the value at a position from 0 (low) to 1 (high)."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        low, high = float(self.low), float(self.high) + whole
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return min(math.floor(value), int(self.high)) if whole else value


def design_points(
    grid: Mapping[str, Any] | Iterable[Mapping[str, Any]] | DataFrame, design: str, samples: int | None, seed: int
) -> list[dict[str, Any]]:
    """Return the points of a design, each a mapping of dotted path to value.

    Parameters
    ----------
    grid : mapping of str to sequence or Range, iterable of mappings, or DataFrame
        For a grid, the values of each setting, as a list, range or array. For the other designs, a `Range` or
        ``(low, high)`` of a number, or a list of values to choose from. Mappings, and the rows of a data frame, are the
        points themselves.
    design : {"grid", "latin-hypercube", "sobol"}
        All combinations, the last setting changing fastest, or samples of a space-filling design.
    samples : int or None
        Number of points of a Latin hypercube or Sobol design.
    seed : int
        Seed of the design.

    Raises
    ------
    ScenarioError
        If the design is unknown or does not fit the other parameters.
    """
    if design not in DESIGNS:
        raise ScenarioError.at("design", "is unknown", design, hint=nearest(str(design), DESIGNS))
    if (samples is None) != (design == "grid"):
        rule = "must be left out for a grid" if design == "grid" else f"must be given for the design {design!r}"
        raise ScenarioError(Problem(path="samples", rule=rule))
    if isinstance(grid, DataFrame):
        grid = grid.to_dict("records")
    if not isinstance(grid, Mapping):
        points = [dict(point) for point in grid]
        if design != "grid" or not points:
            raise ScenarioError.at("grid", "must be a mapping of settings to values")
        return points
    if not grid:
        raise ScenarioError.at("grid", "must not be empty")
    grid = {path: plain(values) for path, values in grid.items()}
    if design == "grid":
        for path, values in grid.items():
            if not isinstance(values, Sequence) or isinstance(values, str) or not values:
                raise ScenarioError.at(f"grid[{path!r}]", "must be a list of values", values)
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    assert samples is not None
    samples = check_count("samples", samples, 1)
    axes = {path: _axis(path, values) for path, values in grid.items()}
    unit = _unit_points(len(axes), design, samples, seed)
    return [
        {path: _value(axis, float(share)) for (path, axis), share in zip(axes.items(), row, strict=True)}
        for row in unit
    ]


def _axis(path: str, values: Any) -> Range | list[Any]:
    if isinstance(values, Range):
        return values
    if isinstance(values, tuple) and len(values) == 2:
        try:
            return Range(*values)
        except ScenarioError as error:
            problems = (attrs.evolve(problem, path=f"grid[{path!r}].{problem.path}") for problem in error.problems)
            raise ScenarioError(problems) from None
    if isinstance(values, list) and values:
        return values
    raise ScenarioError.at(f"grid[{path!r}]", "must be (low, high), a Range or a list of values", values)


def _value(axis: Range | list[Any], share: float) -> Any:
    return axis.at(share) if isinstance(axis, Range) else axis[min(int(share * len(axis)), len(axis) - 1)]


def _unit_points(dimension: int, design: str, samples: int, seed: int) -> NDArray[Any]:
    import numpy as np
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    if design == "latin-hypercube":
        return qmc.LatinHypercube(dimension, rng=rng).random(samples)
    if samples & (samples - 1):
        raise ScenarioError.at("samples", "must be a power of two for the design 'sobol'", samples)
    return qmc.Sobol(dimension, rng=rng).random_base2(samples.bit_length() - 1)


def changed_scenario(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """Copy a scenario with changed settings, as `Scenario.with_` does.

    ``workload.rate`` is the rate of any workload, see `blis_simpy.Traffic.with_rate`.

    Raises
    ------
    ScenarioError
        If a setting does not exist or a value is wrong.
    """
    changes = dict(changes)
    if "workload.rate" in changes and not isinstance(scenario.workload, Workload | None):
        rate = changes.pop("workload.rate")
        scenario = scenario.with_(**changes)
        assert scenario.workload is not None
        try:
            return scenario.with_(workload=scenario.workload.with_rate(rate))
        except ScenarioError as error:
            rate_path = (attrs.evolve(problem, path="workload.rate") for problem in error.problems)
            raise ScenarioError(rate_path) from None
    return scenario.with_(**changes)


def setting_label(value: Any) -> str:
    """Return the text of a value in tables and messages."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        key_of_name = next((key for key in ("type", "policy", "backend") if key in value), "")
        options = ", ".join(f"{key}={setting_label(item)}" for key, item in value.items() if key != key_of_name)
        name = value.get(key_of_name, "")
        return f"{name}({options})" if options else str(name)
    if isinstance(value, type):
        return value.__name__
    text = repr(value)
    return text if len(text) <= 40 else type(value).__name__


def label(changes: Mapping[str, Any]) -> str:
    """Return the text of a point in messages.

    Examples
    --------
    >>> label({"replicas": 2, "workload.rate": 20.0})
    'replicas=2, workload.rate=20'
    """
    return ", ".join(f"{path}={setting_label(value)}" for path, value in changes.items())
