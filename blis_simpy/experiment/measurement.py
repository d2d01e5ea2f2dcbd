"""Measurement of a run: the metrics that an experiment keeps of it.

All registered metrics are measured, so that any of them can be asked for later; functions of the user and percentiles
that are not in common use are measured if they are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

from blis_simpy.core.plugin_faults import named_faults
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.warm_up import mser
from blis_simpy.results.metrics import get_metric, known_metrics, to_number
from blis_simpy.results.stationarity import Stationarity, stationarity
from blis_simpy.units import parse_duration

if TYPE_CHECKING:
    from blis_simpy.results.result import Result
    from blis_simpy.results.subset import RequestSubset

__all__ = ["DEFAULT_METRICS", "Measurement", "Metrics", "measure", "parse_warm_up"]

DEFAULT_METRICS = ("ttft_p99_ms", "itl_mean_ms", "e2e_mean_ms", "requests_per_s")
"""Metrics that experiments report by default."""

MetricFunction = Callable[[Any], float]
WarmUp = int | Literal["mser"]


@attrs.frozen
class Metrics:
    """Metrics to report.

    Attributes
    ----------
    names : tuple of str
        Their names, in order.
    functions : dict of str to callable
        Functions of those that are not registered.
    """

    names: tuple[str, ...]
    functions: dict[str, MetricFunction]

    @classmethod
    def of(cls, wanted: str | Iterable[str] | Mapping[str, MetricFunction | None] | None) -> Metrics:
        """Read the choice of a user.

        Parameters
        ----------
        wanted : str, iterable of str, mapping, or None
            Names of metrics, or a mapping of names to functions of a `Result` (None for a registered name). None means
            `DEFAULT_METRICS`.

        Raises
        ------
        ScenarioError
            If a metric is unknown or none is given.
        """
        if wanted is None:
            wanted = DEFAULT_METRICS
        elif isinstance(wanted, str):
            wanted = (wanted,)
        functions = {n: f for n, f in wanted.items() if f is not None} if isinstance(wanted, Mapping) else {}
        names = tuple(wanted)
        if not names:
            raise ScenarioError.at("metrics", "must not be empty")
        for name in names:
            if name in functions:
                if not callable(functions[name]):
                    raise ScenarioError.at(f"metrics[{name!r}]", "must be a function of a result", functions[name])
            else:
                get_metric(name, "metrics")
        return cls(names, functions)

    @property
    def uncommon(self) -> tuple[str, ...]:
        """Names of percentiles, and of figures of some requests, that are not measured in every run."""
        return tuple(name for name in self.names if name not in self.functions and name not in known_metrics())


@attrs.frozen(kw_only=True)
class Measurement:
    """Figures of one run.

    Attributes
    ----------
    metrics : dict of str to float
        Value by name; NaN for a latency that no request has.
    traffic : str
        Digest of arrivals and lengths of all first rounds, which do not depend on what is simulated.
    warm_up_us : int, µs
        Requests that arrived earlier are left out of all metrics.
    stationarity : Stationarity
        Trends within the run.
    samples : list of dict
        Columns of the table of each sampler, as lists; see `blis_simpy.Result.samples`.
    """

    metrics: dict[str, float]
    traffic: str
    warm_up_us: int
    stationarity: Stationarity
    samples: list[dict[str, list[float]]] = attrs.field(factory=list)


def parse_warm_up(value: float | str) -> WarmUp:
    """Read a warm-up: ticks, text such as ``10s``, or ``mser``.

    Raises
    ------
    ScenarioError
        If it is not a duration or ``mser``, or negative.
    """
    if value == "mser":
        return "mser"
    try:
        ticks = parse_duration(value)
    except ValueError as error:
        raise ScenarioError.at("warm_up", f"{error}, or 'mser'", value) from None
    if ticks < 0:
        raise ScenarioError.at("warm_up", "must be >= 0", value)
    return ticks


def measure(result: Result, metrics: Metrics, warm_up: WarmUp = 0) -> Measurement:
    """Measure a run.

    Parameters
    ----------
    result : Result
        The run.
    metrics : Metrics
        Metrics to measure in addition to the registered ones.
    warm_up : int, µs, or "mser"
        What to leave out at the start; ``mser`` detects it from the TTFT of the requests.

    Raises
    ------
    PluginError
        If the function of a metric raises an exception or does not return a number.
    """
    with named_faults():
        return _measured(result, metrics, warm_up)


def _measured(result: Result, metrics: Metrics, warm_up: WarmUp) -> Measurement:
    for name in metrics.names:
        if name not in metrics.functions:
            get_metric(name).check_settings(result.scenario)
    cut = _detected(result) if warm_up == "mser" else warm_up
    part: Result | RequestSubset = result.where(start=cut) if cut else result
    subset = part.where()
    # With a warm-up, all runs have the same metrics, even those in which it is detected to be 0.
    figures = {
        name: metric.value(result if metric.scope == "run" else subset)
        for name, metric in known_metrics().items()
        if not (warm_up and metric.scope == "run")
    }
    figures |= {name: subset.metric(name) for name in metrics.uncommon}
    for name, function in metrics.functions.items():
        figures[name] = to_number(name, function(part))
    samples = [{name: column.tolist() for name, column in table.items()} for table in result.samples]
    return Measurement(
        metrics=figures,
        traffic=_traffic(result),
        warm_up_us=cut,
        stationarity=stationarity(subset.requests),
        samples=samples,
    )


def _detected(result: Result) -> int:
    """Tick at which the first request after the warm-up arrives."""
    arrived, ttft = result.requests["arrived_at_us"], result.requests["ttft_us"]
    order = np.argsort(arrived, kind="stable")
    order = order[ttft[order] >= 0]
    if not len(order):
        return 0
    return int(arrived[order[mser(ttft[order])]])


def _traffic(result: Result) -> str:
    requests = result.requests
    first = requests["round_index"] == 0
    columns = [requests[name][first] for name in ("arrived_at_us", "input_tokens", "output_tokens")]
    rows = np.stack(columns).astype("<i8")
    rows = rows[:, np.lexsort(rows[::-1])]
    return hashlib.blake2b(rows.tobytes(), digest_size=8).hexdigest()
