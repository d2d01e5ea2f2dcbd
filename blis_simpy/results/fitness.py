"""Fitness: a weighted sum of throughput and latency components, each normalised to the range from 0 to 1.

Higher is better. A component is 1/2 at its reference value: 100 requests/s, 10 000 tokens/s, a latency of 1 ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import TYPE_CHECKING

import attrs

from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.results.anomalies import kv_rates
from blis_simpy.results.percentiles import Percentiles

if TYPE_CHECKING:
    from blis_simpy.results.aggregate import Aggregate

__all__ = ["COMPONENTS", "Fitness", "RawMetrics", "parse_weights", "score"]


@attrs.frozen(kw_only=True, eq=False)
class RawMetrics:
    """Figures of a whole run from which its fitness is computed.

    Attributes
    ----------
    ttft, e2e : Percentiles, µs
        TTFT of all requests with a first token; E2E of completed requests.
    requests_per_s, tokens_per_s : float
        Completed requests and their output tokens per second.
    preemption_rate : float
        Preemptions per completed request; may exceed 1.
    cache_hit_rate, kv_thrashing_rate : float, fraction
        Means over the replicas.
    rejected, routing_rejections : int
        Requests rejected at admission, and by routing because no replica is available.
    dropped, length_capped, timed_out : int
        Requests that no replica can hold, whose output was capped at the maximum length, and that timed out.
    priority_inversions, hol_blocking_events : int
        See `blis_simpy.results.anomalies`.
    """

    ttft: Percentiles
    e2e: Percentiles
    requests_per_s: float
    tokens_per_s: float
    preemption_rate: float
    cache_hit_rate: float
    kv_thrashing_rate: float
    rejected: int
    routing_rejections: int
    dropped: int
    length_capped: int
    timed_out: int
    priority_inversions: int
    hol_blocking_events: int

    @classmethod
    def of(cls, aggregate: Aggregate, counts: Mapping[str, int]) -> RawMetrics:
        """Combine the aggregate with the counts of `blis_simpy.results.anomalies.anomalies`."""
        block = aggregate.blis()
        return cls(
            ttft=aggregate.ttft,
            e2e=aggregate.e2e,
            requests_per_s=block["responses_per_sec"],
            tokens_per_s=block["tokens_per_sec"],
            **kv_rates(aggregate),
            rejected=counts["rejected_requests_admission"],
            routing_rejections=counts["rejected_requests_routing"],
            dropped=counts["dropped_unservable"],
            length_capped=counts["length_capped_requests"],
            timed_out=block["timed_out_requests"],
            priority_inversions=counts["priority_inversions"],
            hol_blocking_events=counts["hol_blocking_events"],
        )


def _rate(value: float, reference: float) -> float:
    return value / (value + reference)


def _latency(value_us: float) -> float:
    return 1.0 / (1.0 + value_us / 1000.0)


COMPONENTS: Mapping[str, Callable[[RawMetrics], float]] = {
    "throughput": lambda metrics: _rate(metrics.requests_per_s, 100.0),
    "tokens_per_sec": lambda metrics: _rate(metrics.tokens_per_s, 10_000.0),
    "p99_ttft": lambda metrics: _latency(metrics.ttft.percentile(99)),
    "p50_ttft": lambda metrics: _latency(metrics.ttft.percentile(50)),
    "mean_ttft": lambda metrics: _latency(metrics.ttft.mean),
    "p99_e2e": lambda metrics: _latency(metrics.e2e.percentile(99)),
    "p50_e2e": lambda metrics: _latency(metrics.e2e.percentile(50)),
    "mean_e2e": lambda metrics: _latency(metrics.e2e.mean),
}
"""Components by the reference's key, with their normalisation."""


@attrs.frozen
class Fitness:
    """Score of a run.

    Attributes
    ----------
    score : float
        Sum of the components times their weights; exceeds 1 if the weights do.
    components : dict of str to float
        Components with a weight, 0 to 1, sorted by key.
    weights : dict of str to float
        Their weights.
    """

    score: float
    components: dict[str, float]
    weights: dict[str, float]


def parse_weights(weights: str | Mapping[str, float]) -> dict[str, float]:
    """Read and validate weights.

    Parameters
    ----------
    weights : str or mapping
        Text ``key:weight,key:weight``, or the same as a mapping; at least one. If a key is repeated, the last weight
        is used. Keys are those of `COMPONENTS`; weights are finite and >= 0.

    Raises
    ------
    ScenarioError
        With one problem for each part that is wrong; its path is ``fitness_weights``.

    Examples
    --------
    >>> parse_weights("throughput:1, p99_ttft:0.5")
    {'throughput': 1.0, 'p99_ttft': 0.5}
    """
    problems: list[Problem] = []

    def wrong(rule: str, value: object, hint: str = "") -> None:
        problems.append(Problem(path="fitness_weights", rule=rule, value=value, hint=hint))

    found: dict[str, float] = {}
    pairs = weights.items() if isinstance(weights, Mapping) else _pairs(weights)
    for key, value in pairs:
        weight = _number(value)
        if value is None:
            wrong("must consist of key:weight", key)
        elif key not in COMPONENTS:
            wrong("must name fitness metrics", key, nearest(str(key), COMPONENTS))
        elif not (math.isfinite(weight) and weight >= 0):
            wrong(f"must weigh {key} with a finite number >= 0", value)
        else:
            found[key] = weight
    if not pairs:
        wrong("must name at least one metric", weights, f"known: {', '.join(COMPONENTS)}")
    if problems:
        raise ScenarioError(problems)
    return found


def _pairs(text: str) -> list[tuple[str, str | None]]:
    """Split ``key:value,key:value``; the value of a part without a colon is None."""
    parts = (part.partition(":") for part in text.split(",")) if text else ()
    return [(key.strip(), value.strip() if colon else None) for key, colon, value in parts]


def _number(value: object) -> float:
    """Return a value as a number, NaN if it is none. Underscores as in 1_000, which only Python reads, are refused."""
    if isinstance(value, bool) or not isinstance(value, str | Real) or "_" in str(value):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def score(metrics: RawMetrics, weights: str | Mapping[str, float]) -> Fitness:
    """Score a run.

    Parameters
    ----------
    metrics : RawMetrics
        Figures of the run. Where nothing completed, latencies are 0 and their components 1, as in the reference.
    weights : str or mapping
        As for `parse_weights`.

    Raises
    ------
    ScenarioError
        If the weights are wrong.

    Notes
    -----
    Rates are normalised as x / (x + reference), latencies as 1 / (1 + x / 1 ms). Source: the reference's fitness
    evaluation, which sums in the order of the sorted keys.
    """
    used = dict(sorted(parse_weights(weights).items()))
    components = {key: COMPONENTS[key](metrics) for key in used}
    total = 0.0
    for key, weight in used.items():
        total += components[key] * weight
    return Fitness(total, components, used)
