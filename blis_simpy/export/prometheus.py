"""Final state of a run in the format of vLLM's ``/metrics`` endpoint.

Names, labels and bucket limits are those of vLLM, so that dashboards for servers work with simulations. An engine is a
replica.

Notes
-----
Source: vLLM, ``vllm/v1/metrics/loggers.py`` and ``buckets.py``. Metrics of features that are not simulated, such as
LoRA adapters or speculative decoding, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.request import NEVER
from blis_simpy.files.outputs import write_text
from blis_simpy.units import SECOND

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

__all__ = ["EngineState", "prometheus_text", "write_prometheus"]

Columns = Mapping[str, NDArray[Any]]

_REQUEST_LATENCY = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_TIME_TO_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_INTER_TOKEN_LATENCY = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
_STEP_TOKENS = tuple(float(2**power) for power in (0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_FINISHED_REASONS = ("stop", "length", "abort")


@attrs.frozen(kw_only=True, eq=False)
class EngineState:
    """State of a replica that is not in the tables of a result.

    Attributes
    ----------
    model_name : str
        Model that it serves.
    total_blocks : int
        Number of its KV blocks.
    caches_prefixes : bool
        Whether it has a prefix cache.
    gaps_us, gap_counts : ndarray of int64, shape (num_gaps,)
        Gaps between tokens of its completed requests (µs), and the number of each.
    """

    model_name: str
    total_blocks: int
    caches_prefixes: bool
    gaps_us: NDArray[np.int64]
    gap_counts: NDArray[np.int64]


def write_prometheus(
    requests: Columns, steps: Columns, engines: Sequence[EngineState], path: str | os.PathLike[str]
) -> None:
    """Write the text of `prometheus_text` to a file.

    Raises
    ------
    ScenarioError
        If the file cannot be written; an existing one is left unchanged.
    """
    write_text(path, prometheus_text(requests, steps, engines))


def prometheus_text(requests: Columns, steps: Columns, engines: Sequence[EngineState]) -> str:
    """Return the metrics in the text exposition format, all engines under each metric.

    Parameters
    ----------
    requests, steps : mapping of str to ndarray
        Tables of a result.
    engines : sequence of EngineState
        Replicas by index.

    Returns
    -------
    str
        Latencies in seconds. TTFT is of all requests with a first token, the other request latencies and
        ``vllm:generation_tokens_total`` of completed requests. ``vllm:request_success_total`` has ``abort`` for
        requests that timed out. KV blocks in use are those of the last step, if its batch still runs. Token histograms
        extend to the longest request, not to the maximum length of the model. Of a preempted request, queueing ends
        when it is first scheduled, prefill with the first token after its last restart.
    """
    families: dict[str, _Family] = {}
    longest = int((requests["input_tokens"] + requests["output_tokens"]).max(initial=1))
    for index, engine in enumerate(engines):
        labels = {"engine": str(index), "model_name": engine.model_name}
        mine = {name: column[requests["replica"] == index] for name, column in requests.items()}
        made = {name: column[steps["replica"] == index] for name, column in steps.items()}
        for family, samples in _samples(engine, mine, made, longest):
            found = families.setdefault(family.name, family)
            found.lines.extend(f"{family.name}{name}{_braces(labels | more)} {value}" for name, more, value in samples)
    return "".join(f"{line}\n" for family in families.values() for line in family.all_lines())


@attrs.define
class _Family:
    name: str
    kind: str
    meaning: str
    lines: list[str] = attrs.field(factory=list)

    def all_lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.meaning}"
        yield f"# TYPE {self.name} {self.kind}"
        yield from self.lines


_Sample = tuple[str, dict[str, str], float]
"""Suffix of the name, labels in addition to those of the engine, value."""


def _braces(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def _samples(
    engine: EngineState, requests: Columns, steps: Columns, longest: int
) -> Iterator[tuple[_Family, list[_Sample]]]:
    outcome, inputs = requests["outcome"], requests["input_tokens"]
    completed, scheduled = outcome == "completed", requests["first_scheduled_at_us"] != NEVER
    answered = requests["ttft_us"] != NEVER
    running = (outcome == "running").sum()
    yield _gauge("num_requests_running", "Requests in the running batch.", running)
    yield _gauge("num_requests_waiting", "Requests in the wait queue.", (outcome == "queued").sum())
    used = int(steps["used_blocks"][-1]) / engine.total_blocks if running else 0.0
    yield _gauge("kv_cache_usage_perc", "Fraction of KV blocks in use.", used)
    # As in vLLM, admissions after a preemption do not count.
    lookups = scheduled & engine.caches_prefixes
    queries, hits = inputs[lookups].sum(), requests["cached_tokens"][lookups].sum()
    yield _counter("prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", queries)
    yield _counter("prefix_cache_hits", "Prompt tokens found in the prefix cache.", hits)
    yield _counter("num_preemptions", "Preemptions.", requests["num_preemptions"].sum())
    yield _counter("prompt_tokens", "Prompt tokens of requests with a first token.", inputs[answered].sum())
    generated = requests["generated_tokens"][completed]
    yield _counter("generation_tokens", "Output tokens of completed requests.", generated.sum())
    yield _finished(completed, requests["length_capped"], outcome == "timed_out")
    step_tokens = steps["prefill_tokens"] + steps["decode_tokens"]
    yield _histogram("iteration_tokens_total", "Tokens of a step.", step_tokens, _STEP_TOKENS)
    yield _histogram("request_prompt_tokens", "Prompt tokens of a request.", inputs[completed], _one_two_five(longest))
    yield _histogram("request_generation_tokens", "Output tokens of a request.", generated, _one_two_five(longest))
    ttft = requests["ttft_us"]
    yield _latency("time_to_first_token", "Arrival to first token.", ttft[answered], _TIME_TO_FIRST_TOKEN)
    gaps, counts = engine.gaps_us, engine.gap_counts
    yield _latency("inter_token_latency", "Gap between tokens.", gaps, _INTER_TOKEN_LATENCY, counts)
    several = completed & (requests["itl_count"] > 0)
    mean_gap = requests["itl_mean_us"][several]
    yield _latency("request_time_per_output_token", "Mean gap of a request.", mean_gap, _INTER_TOKEN_LATENCY)
    yield _latency("e2e_request_latency", "Arrival to last token.", requests["e2e_us"][completed], _REQUEST_LATENCY)
    queued, first = requests["queued_at_us"][completed], requests["first_scheduled_at_us"][completed]
    # Delays of tokens that do not advance the clock must not make a phase negative.
    token = (requests["arrived_at_us"] + ttft)[completed]
    last = np.maximum(requests["finished_at_us"][completed], token)
    yield _latency("request_queue_time", "Time in the wait queue.", first - queued, _REQUEST_LATENCY)
    yield _latency("request_inference_time", "First scheduled to last token.", last - first, _REQUEST_LATENCY)
    yield _latency("request_prefill_time", "First scheduled to first token.", token - first, _REQUEST_LATENCY)
    yield _latency("request_decode_time", "First token to last token.", last - token, _REQUEST_LATENCY)


def _gauge(name: str, meaning: str, value: float) -> tuple[_Family, list[_Sample]]:
    return _Family(f"vllm:{name}", "gauge", meaning), [("", {}, float(value))]


def _counter(name: str, meaning: str, value: float) -> tuple[_Family, list[_Sample]]:
    return _Family(f"vllm:{name}_total", "counter", meaning), [("", {}, float(value))]


def _finished(
    completed: NDArray[np.bool_], capped: NDArray[np.bool_], timed_out: NDArray[np.bool_]
) -> tuple[_Family, list[_Sample]]:
    counts = ((completed & ~capped).sum(), (completed & capped).sum(), timed_out.sum())
    samples = [
        ("", {"finished_reason": reason}, float(count)) for reason, count in zip(_FINISHED_REASONS, counts, strict=True)
    ]
    return _Family("vllm:request_success_total", "counter", "Requests that ended."), samples


def _latency(
    name: str,
    meaning: str,
    values_us: NDArray[Any],
    limits: Sequence[float],
    counts: NDArray[np.int64] | None = None,
) -> tuple[_Family, list[_Sample]]:
    return _histogram(f"{name}_seconds", f"{meaning[:-1]} in seconds.", values_us, limits, counts, SECOND)


def _histogram(
    name: str,
    meaning: str,
    values: NDArray[Any],
    limits: Sequence[float],
    counts: NDArray[np.int64] | None = None,
    unit: int = 1,
) -> tuple[_Family, list[_Sample]]:
    """Count the values up to each limit; a limit is in multiples of `unit`."""
    counts = np.ones(len(values), np.int64) if counts is None else counts
    order = np.argsort(values, kind="stable")
    ranks = np.searchsorted(values[order] / unit, limits, side="right")
    up_to = np.concatenate(([0], np.cumsum(counts[order])))[ranks]
    total = float(counts.sum())
    samples = [("_bucket", {"le": str(limit)}, float(count)) for limit, count in zip(limits, up_to, strict=True)]
    samples.append(("_bucket", {"le": "+Inf"}, total))
    # Correctly rounded sum, independent of the order of the rows and the platform.
    samples += [("_count", {}, total), ("_sum", {}, math.fsum(values * counts) / unit)]
    return _Family(f"vllm:{name}", "histogram", meaning), samples


def _one_two_five(most: int) -> tuple[float, ...]:
    """Return the limits 1, 2, 5, 10, 20, ... up to `most`."""
    steps = (float(digit * 10**power) for power in range(len(str(most))) for digit in (1, 2, 5))
    return tuple(step for step in steps if step <= most)
