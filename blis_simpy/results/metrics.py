"""Metrics: figures of a run by name, each with its unit, direction and definition.

All users of metric names look them up here: `Result.metric`, comparisons, sweeps, service levels, plots, the
command line and the reference page. A metric is registered under its name (kind ``metric``), the library's own and
those of plug-ins alike; a `LatencyFamily` defines all metrics of one latency::

    def fast_share(subset):
        return (subset.ttft.values <= 100_000).mean()

    metric = Metric(
        name="fast_share",
        label="fast requests",
        unit="fraction",
        direction="higher",
        definition="Share of the requests with a first token whose TTFT is at most 100 ms.",
        function=fast_share,
    )
    registry.add("metric", metric.name, metric)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import numpy as np

from blis_simpy import registry
from blis_simpy.core.table import Table
from blis_simpy.errors import PluginError, ScenarioError, closest, nearest
from blis_simpy.results.percentiles import Percentiles
from blis_simpy.results.selectors import split_name, written

__all__ = [
    "LatencyFamily",
    "Metric",
    "find_metric",
    "get_metric",
    "higher_is_better",
    "known_metrics",
    "latency_families",
    "latency_family",
    "metric_label",
    "metrics",
    "to_number",
]

_COMMON = ("mean", "p50", "p90", "p95", "p99", "max", "std")
"""Statistics of a latency in common use, which lists of metrics have; any other percentile is a metric as well."""

_WORDS = {"mean": "Mean", "min": "Minimum", "max": "Maximum", "std": "Standard deviation"}
"""Statistics besides percentiles."""

_FIRST = ("ttft", "tpot", "itl", "e2e")
"""Latencies at the start of lists; the others follow by name."""

_STATISTIC = re.compile(rf"(\w+)_({'|'.join(_WORDS)}|p(?:\d{{1,2}}(?:\.\d+)?|100))_ms")


@attrs.frozen(kw_only=True)
class Metric:
    """One figure of a run, or of some of its requests.

    Attributes
    ----------
    name : str
        Name that it is registered under.
    label : str
        Name in plots and tables.
    unit : str
        Unit of its values, such as ``ms``, ``requests/s``, ``requests`` (a count) or ``fraction``.
    direction : {"lower", "higher", None}
        Which values are better; None = neither.
    definition : str
        Definition in one sentence.
    function : callable
        Computes the value, NaN if there is none, from a `RequestSubset`; for the scope ``run``, from a `Result`.
    scope : {"requests", "run"}
        Whether it is defined for any subset of the requests, or for the whole run only.
    formula : str
        Formula of its value.
    other_names : mapping of str to str
        Its name in other tools, by name of the tool; with a remark where their definition differs.
    needs : str
        Setting of the scenario without which it has no value, such as ``slo``; empty = none.
    """

    name: str
    label: str
    unit: str
    direction: Literal["lower", "higher"] | None
    definition: str
    function: Callable[[Any], float]
    scope: Literal["requests", "run"] = "requests"
    formula: str = ""
    other_names: Mapping[str, str] = attrs.field(factory=dict)
    needs: str = ""

    def check_settings(self, scenario: object) -> None:
        """Check that a scenario has the setting that the metric needs.

        Raises
        ------
        ScenarioError
            If it has not.
        """
        if self.needs and not getattr(scenario, self.needs):
            raise ScenarioError.at("metric", f"needs the setting {self.needs} of the scenario", self.name)

    @property
    def title(self) -> str:
        """Label with unit, as on the axis of a plot."""
        return self.label if self.unit in self.label.partition(" of ")[0] else f"{self.label} ({self.unit})"

    def value(self, source: Any) -> float:
        """Compute the value.

        Parameters
        ----------
        source : RequestSubset or Result
            As for `function`.

        Raises
        ------
        PluginError
            If the function returns something that is neither a finite number nor NaN.
        """
        return to_number(self.name, self.function(source))


@attrs.frozen(kw_only=True)
class LatencyFamily:
    """Statistics of a latency, in ms: ``ttft_mean_ms``, ``ttft_p99_ms``, ``ttft_p99.9_ms``, ``ttft_max_ms``.

    Attributes
    ----------
    name : str
        Start of the names of its metrics, under which it is registered.
    label : str
        Name in plots and tables, such as ``TTFT``.
    meaning : str
        The abbreviation of the label in words; empty if it is none.
    definition : str
        Definition of one value, in one sentence.
    function : callable
        Returns the `Percentiles` of the values of a `RequestSubset`, µs.
    direction : {"lower", "higher"}
        Which values are better.
    counted : str
        Plural noun of the things that have one value each.
    formula : str
        Formula of one value.
    other_names : mapping of str to str
        Its name in other tools, as for a `Metric`.
    in_summary : bool
        Whether summaries of a run list it.
    applies : callable or None
        Whether tables of a `RequestSubset` show it; None = always.
    """

    name: str
    label: str
    meaning: str = ""
    definition: str
    function: Callable[[Any], Percentiles]
    direction: Literal["lower", "higher"] = "lower"
    counted: str = "requests"
    formula: str = ""
    other_names: Mapping[str, str] = attrs.field(factory=dict)
    in_summary: bool = True
    applies: Callable[[Any], bool] | None = None

    @property
    def statistics(self) -> tuple[str, ...]:
        """Statistics in common use, which lists of metrics have."""
        return _COMMON

    @property
    def title(self) -> str:
        """Label and meaning."""
        return f"{self.label}, {self.meaning}" if self.meaning else self.label

    def metric(self, statistic: str) -> Metric:
        """Return one of its metrics, by ``mean``, ``min``, ``max``, ``std`` or a percentile such as ``p99.9``."""

        def compute(subset: Any) -> float:
            distribution = self.function(subset)
            if not distribution.count:
                return math.nan
            if statistic == "std":
                return distribution.std / 1000
            if statistic == "mean":
                return distribution.mean_ms
            return distribution.percentile_ms(_percent(statistic))

        return Metric(
            name=f"{self.name}_{statistic}_ms",
            label=f"{self.label} {statistic}",
            unit="ms",
            direction=self.direction,
            formula=self.formula,
            definition=f"{_WORDS.get(statistic, f'Percentile {statistic[1:]}')} of: {self.definition}",
            function=compute,
        )


def _percent(statistic: str) -> float:
    ends = {"min": 0.0, "max": 100.0}
    return ends[statistic] if statistic in ends else float(statistic[1:])


def _registered(name: str) -> Metric | LatencyFamily:
    found = registry.get("metric", name)
    if not isinstance(found, Metric | LatencyFamily) or found.name != name:
        raise PluginError.at(f"metric {name!r}", "must be a Metric or LatencyFamily of this name", found)
    return found


def latency_families() -> tuple[LatencyFamily, ...]:
    """Return all latencies: TTFT, TPOT, ITL and E2E, then the others by name."""
    names = registry.names("metric")
    ordered = (*(name for name in _FIRST if name in names), *(name for name in names if name not in _FIRST))
    return tuple(metric for metric in map(_registered, ordered) if isinstance(metric, LatencyFamily))


def latency_family(name: str) -> LatencyFamily:
    """Return a latency by name.

    Raises
    ------
    ScenarioError
        If there is none.
    """
    found = {family.name: family for family in latency_families()}
    if name not in found:
        raise ScenarioError.at("metric", "is unknown", name, hint=nearest(str(name), found))
    return found[name]


def known_metrics() -> dict[str, Metric]:
    """Return all metrics by name: latencies with the statistics in common use, then the others by name."""
    latencies = latency_families()
    listed = [family.metric(statistic) for family in latencies for statistic in family.statistics]
    known = {metric.name: metric for metric in listed}
    families = {family.name for family in latencies}
    for name in registry.names("metric"):
        if name not in families:
            metric = _registered(name)
            assert isinstance(metric, Metric)
            known[name] = metric
    return known


def metrics() -> Table:
    """List all metrics: latencies with the statistics in common use, then the others by name.

    Returns
    -------
    Table
        One row per metric: ``name``, ``unit``, ``better`` (``lower``, ``higher`` or empty), ``definition`` and
        ``formula``.

    Examples
    --------
    >>> next(row for row in metrics().rows() if row["name"] == "requests_per_s")["unit"]
    'requests/s'
    """
    known = list(known_metrics().values())
    columns = {
        "name": [metric.name for metric in known],
        "unit": [metric.unit for metric in known],
        "better": [metric.direction or "" for metric in known],
        "definition": [metric.definition for metric in known],
        "formula": [metric.formula for metric in known],
    }
    return Table.of({name: np.array(values, dtype=object) for name, values in columns.items()})


def find_metric(name: object) -> Metric | None:
    """Return the metric of a name, None if there is none."""
    try:
        return get_metric(name)
    except ScenarioError:
        return None


def _find_base(name: str) -> Metric | None:
    known = registry.names("metric")
    if name in known:
        found = _registered(name)
        return found if isinstance(found, Metric) else None
    match = _STATISTIC.fullmatch(name)
    if match is None or match[1] not in known:
        return None
    family = _registered(match[1])
    return family.metric(match[2]) if isinstance(family, LatencyFamily) else None


def get_metric(name: object, path: str = "metric") -> Metric:
    """Return the metric of a name.

    Parameters
    ----------
    name : str
        ``ttft_p99_ms``, or with labels of the requests that it is of: ``ttft_p99_ms{slo_class=chat, replica=0}``. The
        labels are those of `LABELS`; a value may be in double quotes.
    path : str
        What the name is, in errors.

    Raises
    ------
    ScenarioError
        If there is no such metric or label, or the metric is one of a whole run and has labels.

    Examples
    --------
    >>> get_metric("ttft_p99.9_ms").title
    'TTFT p99.9 (ms)'
    >>> get_metric("ttft_p99_ms{slo_class=chat}").title
    'TTFT p99 of slo_class=chat (ms)'
    """
    if not isinstance(name, str):
        raise ScenarioError.at(path, "must be the name of a metric", name)
    base, labels = split_name(name, path)
    found = _find_base(base)
    if found is None:
        raise ScenarioError.at(path, "is unknown", base, hint=_suggestion(base))
    if not labels:
        return found
    if found.scope == "run":
        raise ScenarioError.at(path, "is defined for a whole run only", name)
    return attrs.evolve(
        found,
        name=name,
        label=f"{found.label} of {written(labels)}",
        definition=f"{found.definition} Of the requests with {written(labels)}.",
        function=lambda subset: found.value(subset.selected(labels)),
    )


def _suggestion(name: str) -> str:
    near = closest(name, known_metrics())
    return f"{'' if near is None else f'did you mean {near!r}? '}'blis list metrics' lists all of them"


def higher_is_better(name: str) -> bool:
    """Whether higher values of a metric are better; False for one that is not registered."""
    found = find_metric(name)
    return found is not None and found.direction == "higher"


def metric_label(name: str) -> str:
    """Label of a metric with its unit; for one that is not registered, its name with spaces.

    Examples
    --------
    >>> metric_label("requests_per_s"), metric_label("my_own_figure")
    ('requests/s', 'my own figure')
    """
    found = find_metric(name)
    return name.replace("_", " ") if found is None else found.title


def to_number(name: str, value: object) -> float:
    """Return the value of a metric's function as a number.

    Raises
    ------
    PluginError
        If it is neither a finite number nor NaN.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.inf
    if math.isinf(number):
        raise PluginError.at(f"metric {name!r}", "must be a number or NaN", value)
    return number
