"""Small systems of which queueing theory knows the mean figures, as replicas of this library.

A request whose prompt is its work, with one output token, is served in one step; one whose output is its work has a
step a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.experiment.intervals import Interval, t_interval
from blis_simpy.workload.arrivals import ArrivalProcess, PoissonArrivals

TOKEN_US = 10
"""Time that a prompt token takes with `WorkInPrompt`."""
STEP_US = 1000
"""Time that a step takes with `FixedStep`."""
MEMBER_US = 100
"""Time that each member of the batch adds to a step with `SharedProcessor`."""

RUNS = 16
CONFIDENCE = 0.999

Lengths = Callable[[np.random.Generator, int], np.ndarray]


class _NoDelays:
    def __init__(self, inputs: object) -> None:
        pass

    def queueing_time(self, input_tokens: int) -> int:
        return 0

    def output_token_processing_time(self) -> int:
        return 0

    def post_decode_overhead(self) -> int:
        return 0


class WorkInPrompt(_NoDelays):
    """A step takes 10 µs for each prompt token."""

    def step_time(self, batch):
        return TOKEN_US * sum(member.new_tokens for member in batch.prefills)


class FixedStep(_NoDelays):
    """A step takes 1 ms, whatever it serves."""

    def step_time(self, batch):
        return STEP_US

    def decode_step_times(self, batch, steps):
        return STEP_US


class PrefillAndSteps(_NoDelays):
    """A step takes 1 ms, and 4 µs more for each prompt token."""

    def step_time(self, batch):
        return STEP_US + 4 * sum(member.new_tokens for member in batch.prefills)

    def decode_step_times(self, batch, steps):
        return STEP_US


class SharedProcessor(_NoDelays):
    """A step takes 100 µs for each member of the batch, so that each gets its share of the processor."""

    def step_time(self, batch):
        return MEMBER_US * batch.size

    def decode_step_times(self, batch, steps):
        return MEMBER_US * batch.num_decodes


def exponential(mean: float) -> Lengths:
    return lambda rng, count: np.maximum(1, np.rint(rng.exponential(mean, count))).astype(int)


def constant(length: int) -> Lengths:
    return lambda rng, count: np.full(count, length)


_ONE_TOKEN = constant(1)
_POISSON = PoissonArrivals()


def scenario(backend: type, profile: str, **changes: Any) -> blis.Scenario:
    """One server, unless said otherwise: a replica with one batch slot, in an engine profile.

    The profile ``vllm`` schedules synchronously here: with a step ahead a request may wait for one step more, and the
    engine pauses when it drains, neither of which the theory knows.
    """
    plain = blis.Scenario(
        model="qwen/qwen3-14b",
        latency=blis.LatencySettings(backend=backend),
        engine=blis.EngineSettings(
            profile=profile,
            async_scheduling=False,
            max_num_seqs=1,
            max_num_batched_tokens=1_000_000,
            max_model_len=0,
        ),
        kv=blis.KVSettings(blocks=1_000_000),
    )
    return plain.with_(**changes)


def requests(
    run: int,
    count: int,
    rate_per_s: float,
    *,
    prompt: Lengths = _ONE_TOKEN,
    output: Lengths = _ONE_TOKEN,
    arrivals: ArrivalProcess = _POISSON,
) -> list[Request]:
    """Draw the requests of a run."""
    rng = np.random.default_rng(run)
    gaps = arrivals.inter_arrival_times(rng, rate_per_s, count)
    work = zip(np.cumsum(gaps), prompt(rng, count), output(rng, count), strict=True)
    return [
        Request(f"r{number}", int(at), int(tokens), int(answer)) for number, (at, tokens, answer) in enumerate(work)
    ]


def serve(scenario: blis.Scenario, requests: list[Request]) -> blis.Result:
    return blis.Simulation(scenario, requests=requests).run()


def mean_over_runs(scenario: blis.Scenario, column: str, warm_up: int, *args: Any, **options: Any) -> Interval:
    """Mean of a column of the requests in ms, with its confidence interval.

    The first `warm_up` requests of a run are left out. Further arguments are those of `requests`.
    """
    return t_interval(
        [
            serve(scenario, requests(run, *args, **options)).requests[column][warm_up:].mean() / blis.MS
            for run in range(RUNS)
        ],
        confidence=CONFIDENCE,
    )
