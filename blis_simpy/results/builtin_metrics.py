"""The library's own metrics besides latencies, which its entry points register."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING

from blis_simpy.results.metrics import Metric
from blis_simpy.results.other_tools import AIPERF, GUIDELLM, INFERENCE_PERF, VLLM_BENCH, VLLM_SERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from blis_simpy.results.result import Result
    from blis_simpy.results.subset import RequestSubset


def _outcome(
    name: str,
    direction: Literal["lower", "higher"],
    definition: str,
    other_names: Mapping[str, str] | None = None,
) -> Metric:
    def count(subset: RequestSubset) -> int:
        return int((subset.requests["outcome"] == name).sum())

    return Metric(
        name=name,
        label=f"{name.replace('_', '-')} requests",
        unit="requests",
        direction=direction,
        definition=definition,
        function=count,
        other_names=other_names or {},
    )


COMPLETED = _outcome(
    "completed",
    "higher",
    "Requests that got their last output token.",
    {
        VLLM_BENCH: "completed",
        GUIDELLM: "request_totals.successful",
        AIPERF: "request_count",
        INFERENCE_PERF: "successes.count",
    },
)
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
    other_names={GUIDELLM: "request_totals.total", INFERENCE_PERF: "load_summary.count"},
)
LENGTH_CAPPED = Metric(
    name="length_capped",
    label="length-capped requests",
    unit="requests",
    direction="lower",
    definition="Requests whose output ended at the maximum length of the model.",
    function=lambda subset: subset.requests["length_capped"].sum(),
)
DURATION = Metric(
    name="duration_s",
    label="duration",
    unit="s",
    direction=None,
    definition=(
        "Time over which rates are computed: from the start of the run to its last activity, or the window of "
        "`result.where`."
    ),
    function=lambda subset: subset.duration_us / 1e6,
    other_names={VLLM_BENCH: "duration", AIPERF: "benchmark_duration", INFERENCE_PERF: "benchmark_time_seconds"},
)


def _ratio(part: float, whole: float, default: float = math.nan) -> float:
    return part / whole if whole else default


def _per_second(subset: RequestSubset, count: float) -> float:
    return _ratio(count, subset.duration_us / 1e6, 0.0)


def _completed(subset: RequestSubset) -> int:
    return int(subset.requests.completed.sum())


def _tokens(subset: RequestSubset, column: str) -> int:
    requests = subset.requests
    return int(requests[column][requests.completed].sum())


def _input_tokens(subset: RequestSubset) -> int:
    return _tokens(subset, "input_tokens")


def _output_tokens(subset: RequestSubset) -> int:
    return _tokens(subset, "generated_tokens")


REQUESTS_PER_S = Metric(
    name="requests_per_s",
    label="requests/s",
    unit="requests/s",
    direction="higher",
    definition=(
        "Completed requests per second of the duration. After the last arrival the load falls, so the tail of a short "
        "run lowers it: compare it with offered_requests_per_s."
    ),
    function=lambda subset: _per_second(subset, _completed(subset)),
    formula="completed / duration_s",
    other_names={
        VLLM_BENCH: "request_throughput",
        GUIDELLM: "requests_per_second",
        AIPERF: "request_throughput",
        INFERENCE_PERF: "requests_per_sec",
    },
)
OFFERED_REQUESTS_PER_S = Metric(
    name="offered_requests_per_s",
    label="offered requests/s",
    unit="requests/s",
    direction=None,
    definition="Requests that arrived, whatever their outcome, per second up to the last arrival of the run.",
    function=lambda subset: _ratio(subset.requests.num_rows, subset.arriving_us / 1e6),
    formula="requests / time of the last arrival",
    other_names={INFERENCE_PERF: "load_summary.achieved_rate"},
)
INPUT_TOKENS_PER_S = Metric(
    name="input_tokens_per_s",
    label="input tokens/s",
    unit="input tokens/s",
    direction="higher",
    definition="Prompt tokens of completed requests, cached ones included, per second of the duration.",
    function=lambda subset: _per_second(subset, _input_tokens(subset)),
    formula="input_tokens / duration_s",
    other_names={GUIDELLM: "prompt_tokens_per_second", INFERENCE_PERF: "input_tokens_per_sec"},
)
OUTPUT_TOKENS_PER_S = Metric(
    name="output_tokens_per_s",
    label="output tokens/s",
    unit="output tokens/s",
    direction="higher",
    definition="Output tokens of completed requests per second of the duration.",
    function=lambda subset: _per_second(subset, _output_tokens(subset)),
    formula="output_tokens / duration_s",
    other_names={
        VLLM_BENCH: "output_throughput",
        GUIDELLM: "output_tokens_per_second",
        AIPERF: "output_token_throughput",
        INFERENCE_PERF: "output_tokens_per_sec",
    },
)
TOTAL_TOKENS_PER_S = Metric(
    name="total_tokens_per_s",
    label="tokens/s",
    unit="tokens/s",
    direction="higher",
    definition="Prompt and output tokens of completed requests per second of the duration.",
    function=lambda subset: _per_second(subset, _input_tokens(subset) + _output_tokens(subset)),
    formula="(input_tokens + output_tokens) / duration_s",
    other_names={
        VLLM_BENCH: "total_token_throughput",
        GUIDELLM: "tokens_per_second",
        AIPERF: "total_token_throughput",
        INFERENCE_PERF: "total_tokens_per_sec",
    },
)
INPUT_TOKENS = Metric(
    name="input_tokens",
    label="input tokens",
    unit="tokens",
    direction=None,
    definition="Prompt tokens of completed requests.",
    function=_input_tokens,
    other_names={VLLM_BENCH: "total_input_tokens", AIPERF: "total_isl", INFERENCE_PERF: "prompt_tokens.total"},
)
OUTPUT_TOKENS = Metric(
    name="output_tokens",
    label="output tokens",
    unit="tokens",
    direction=None,
    definition="Output tokens of completed requests.",
    function=_output_tokens,
    other_names={VLLM_BENCH: "total_output_tokens", AIPERF: "total_osl", INFERENCE_PERF: "output_tokens.total"},
)
CACHED_TOKENS = Metric(
    name="cached_tokens",
    label="cached tokens",
    unit="tokens",
    direction="higher",
    definition="Prompt tokens that requests found in the prefix cache of their replica at their first admission.",
    function=lambda subset: subset.prefix_lookups[0],
    other_names={INFERENCE_PERF: "prompt_tokens.cached", VLLM_SERVER: "vllm:prefix_cache_hits"},
)
PREFIX_HIT_RATE = Metric(
    name="prefix_hit_rate",
    label="prefix hit rate",
    unit="fraction",
    direction="higher",
    definition=(
        "Cached prompt tokens as a share of those looked up, over first admissions; NaN without a prefix cache. "
        "Admissions after a preemption are in resumed_hit_rate."
    ),
    function=lambda subset: _ratio(*subset.prefix_lookups),
    formula="cached_tokens / prompt tokens of admitted requests",
    other_names={
        INFERENCE_PERF: "kv_cache_hit_percent / 100",
        VLLM_SERVER: "vllm:prefix_cache_hits / vllm:prefix_cache_queries",
    },
)
RESUMED_HIT_RATE = Metric(
    name="resumed_hit_rate",
    label="hit rate after preemption",
    unit="fraction",
    direction="higher",
    definition=(
        "Tokens that requests found in the prefix cache when they were admitted again after a preemption, as a share "
        "of those looked up; NaN without any."
    ),
    function=lambda subset: _ratio(*subset.resumed_lookups),
    formula="cached / (prompt + kept output tokens), over admissions after a preemption",
)
PREEMPTIONS = Metric(
    name="preemptions",
    label="preemptions",
    unit="preemptions",
    direction="lower",
    definition="Preemptions by the schedulers; a request may have several.",
    function=attrgetter("num_preemptions"),
    other_names={VLLM_SERVER: "vllm:num_preemptions"},
)
RECOMPUTED_TOKENS = Metric(
    name="recomputed_tokens",
    label="recomputed tokens",
    unit="tokens",
    direction="lower",
    definition=(
        "Tokens whose KV was computed before a preemption, and which the request did not find in the prefix cache when "
        "it was admitted again."
    ),
    function=attrgetter("recomputed_tokens"),
    formula="sum over admissions after a preemption of max(0, computed before - cached)",
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
    formula="preemptions / completed",
)
CACHE_HIT_RATE = Metric(
    name="cache_hit_rate",
    label="block hit rate",
    unit="fraction",
    direction="higher",
    definition=(
        "KV blocks taken from the prefix cache, as a share of those allocated, output and admissions after a "
        "preemption included; mean over the replicas, as in BLIS."
    ),
    function=_kv_rate("cache_hit_rate"),
    scope="run",
    formula="mean over replicas of hit blocks / (hit + missed blocks)",
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
REPLICA_SECONDS = Metric(
    name="replica_seconds",
    label="replica-seconds",
    unit="s",
    direction="lower",
    definition="Time that replicas had their GPUs, from the start of loading to termination, up to the end of the run.",
    function=lambda result: result.replica_seconds,
    scope="run",
    formula="sum over replicas of the time with GPUs",
)
GPU_SECONDS = Metric(
    name="gpu_seconds",
    label="GPU-seconds",
    unit="s",
    direction="lower",
    definition="Replica-seconds, each multiplied by the GPUs of the replica.",
    function=lambda result: result.gpu_seconds,
    scope="run",
    formula="sum over replicas of GPUs x time with GPUs",
)
