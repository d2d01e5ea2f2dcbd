"""The library's own metrics, which its entry points register."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from blis_simpy.results.metrics import LatencyFamily, Metric

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from blis_simpy.results.result import Result
    from blis_simpy.results.subset import RequestSubset

TTFT = LatencyFamily(
    name="ttft",
    label="TTFT",
    meaning="time to first token",
    definition="Time from the arrival of a request to its first output token.",
    function=attrgetter("ttft"),
)
ITL = LatencyFamily(
    name="itl",
    label="ITL",
    meaning="gap between tokens",
    definition="Time between two consecutive output tokens of a completed request.",
    function=attrgetter("itl"),
    counted="gaps",
)
E2E = LatencyFamily(
    name="e2e",
    label="E2E",
    meaning="arrival to last token",
    definition="Time from the arrival of a completed request to its last output token.",
    function=attrgetter("e2e"),
)
TTFT_FROM_DUE = LatencyFamily(
    name="ttft_from_due",
    label="TTFT from due",
    meaning="planned arrival to first token",
    definition="Time from the planned arrival of a request, before it waits for a place among those in flight, to its "
    "first output token.",
    function=attrgetter("ttft_from_due"),
    applies=attrgetter("has_held_requests"),
)
E2E_FROM_DUE = LatencyFamily(
    name="e2e_from_due",
    label="E2E from due",
    meaning="planned arrival to last token",
    definition="Time from the planned arrival of a completed request to its last output token.",
    function=attrgetter("e2e_from_due"),
    applies=attrgetter("has_held_requests"),
)
SCHEDULING_DELAY = LatencyFamily(
    name="scheduling_delay",
    label="scheduling delay",
    definition="Time from the arrival of a request to its batch membership, the last one if it was preempted.",
    function=attrgetter("scheduling_delay"),
)


def _outcome(name: str, direction: Literal["lower", "higher"], definition: str) -> Metric:
    def count(subset: RequestSubset) -> int:
        return int((subset.requests["outcome"] == name).sum())

    label = f"{name.replace('_', '-')} requests"
    return Metric(name=name, label=label, unit="requests", direction=direction, definition=definition, function=count)


COMPLETED = _outcome("completed", "higher", "Requests that got their last output token.")
REJECTED = _outcome("rejected", "lower", "Requests that admission or routing rejected.")
TIMED_OUT = _outcome("timed_out", "lower", "Requests whose deadline passed before they completed.")
DROPPED = _outcome("dropped", "lower", "Requests that no replica can ever hold.")
REQUESTS = Metric(
    name="requests",
    label="requests",
    unit="requests",
    direction=None,
    definition="Requests that arrived.",
    function=lambda subset: subset.requests.num_rows,
)
LENGTH_CAPPED = Metric(
    name="length_capped",
    label="length-capped requests",
    unit="requests",
    direction="lower",
    definition="Requests whose output ended at the maximum length of the model.",
    function=lambda subset: subset.requests["length_capped"].sum(),
)
PREEMPTIONS = Metric(
    name="preemptions",
    label="preemptions",
    unit="preemptions",
    direction="lower",
    definition="Preemptions by the schedulers; a request may have several.",
    function=attrgetter("num_preemptions"),
)
DURATION = Metric(
    name="duration_s",
    label="duration",
    unit="s",
    direction=None,
    definition="Simulated time over which rates are computed: the whole run or the chosen window.",
    function=lambda subset: subset.duration_us / 1e6,
)


def _per_second(subset: RequestSubset, count: float) -> float:
    return count / (subset.duration_us / 1e6) if subset.duration_us else 0.0


def _completed_rate(subset: RequestSubset) -> float:
    return _per_second(subset, int(subset.requests.completed.sum()))


def _output_token_rate(subset: RequestSubset) -> float:
    requests = subset.requests
    return _per_second(subset, int(requests["generated_tokens"][requests.completed].sum()))


REQUESTS_PER_S = Metric(
    name="requests_per_s",
    label="requests/s",
    unit="requests/s",
    direction="higher",
    definition="Completed requests per second.",
    function=_completed_rate,
)
OUTPUT_TOKENS_PER_S = Metric(
    name="output_tokens_per_s",
    label="output tokens/s",
    unit="output tokens/s",
    direction="higher",
    definition="Output tokens of completed requests per second.",
    function=_output_token_rate,
)


def _kv_rate(name: str) -> Callable[[Result], float]:
    return lambda result: result.kv_rates[name]


PREEMPTION_RATE = Metric(
    name="preemption_rate",
    label="preemption rate",
    unit="preemptions/request",
    direction="lower",
    definition="Preemptions per completed request.",
    function=_kv_rate("preemption_rate"),
    scope="run",
)
CACHE_HIT_RATE = Metric(
    name="cache_hit_rate",
    label="prefix cache hit rate",
    unit="fraction",
    direction="higher",
    definition="KV blocks taken from the prefix cache, as a share of those allocated; mean over the replicas.",
    function=_kv_rate("cache_hit_rate"),
    scope="run",
)
KV_THRASHING_RATE = Metric(
    name="kv_thrashing_rate",
    label="KV thrashing rate",
    unit="fraction",
    direction="lower",
    definition="KV blocks evicted from host memory, as a share of those stored there; mean over the replicas.",
    function=_kv_rate("kv_thrashing_rate"),
    scope="run",
)
