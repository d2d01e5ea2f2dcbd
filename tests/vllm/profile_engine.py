"""The engine profile ``vllm`` behind the interface of the recordings: from case and variant to decisions and times."""

from __future__ import annotations

from typing import Any

import numpy as np

import blis_simpy as blis
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import Span
from blis_simpy.replica.batch_policies import ContinuousBatching

# A deadline of 0 means none, so cases that abort a request at tick 0 are moved.
LATER_US = 1


class StepTimeLaw:
    """Latency model with the step-time law of a case; there are no delays outside the engine."""

    def __init__(self, law: dict[str, int]) -> None:
        self._law = law

    def step_time(self, batch):
        law = self._law
        prefill = sum(member.new_tokens for member in batch.prefills)
        context = batch.decode_context_tokens + batch.num_decodes
        context += sum(member.progress + member.new_tokens for member in batch.prefills)
        return (
            law["base_us"]
            + law["prefill_token_us"] * prefill
            + law["decode_us"] * batch.num_decodes
            + law["context_16_us"] * context // 16
        )

    def decode_step_times(self, batch, steps):
        law, count, context = self._law, batch.num_decodes, batch.decode_context_tokens
        base = law["base_us"] + law["decode_us"] * count
        return [base + law["context_16_us"] * (context + count * step) // 16 for step in range(1, steps + 1)]

    def queueing_time(self, input_tokens):
        return 0

    def output_token_processing_time(self):
        return 0

    def post_decode_overhead(self):
        return 0


class Recorder(ContinuousBatching):
    """Batch policy that writes down what it decides."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.blocks = None

    def form(self, step):
        self.admitted, self.resumed, self.preempted_ids = {}, {}, []
        super().form(step)
        tokens = {leg.request.id: step.granted(leg) for leg in step.running()}
        tokens = {name: granted for name, granted in tokens.items() if granted}
        if tokens or self.preempted_ids:
            self.steps.append(
                {
                    "scheduled_at": step.now,
                    "tokens": tokens,
                    "admitted": self.admitted,
                    "resumed": self.resumed,
                    "preempted": sorted(self.preempted_ids),
                    "running": step.num_running,
                    "waiting": step.num_waiting,
                    "used_blocks": int(self.blocks.capacity) - self.blocks.free,
                }
            )

    def scheduled(self, leg):
        (self.resumed if leg.num_preemptions else self.admitted)[leg.request.id] = leg.computed

    def preempted(self, leg):
        self.preempted_ids.append(leg.request.id)


def scenario(case: dict[str, Any], variant: str, **engine: Any) -> blis.Scenario:
    given = case["settings"]
    capacity = given["num_blocks"] * given["block_size"]
    return blis.Scenario(
        model="any",
        latency=blis.LatencySettings(backend=StepTimeLaw(case["step_time"])),
        engine=blis.EngineSettings(
            profile="vllm",
            max_num_seqs=given["max_num_seqs"],
            max_num_batched_tokens=given["max_num_batched_tokens"],
            long_prefill_token_threshold=given["long_prefill_token_threshold"],
            long_prefill_token_threshold_adaptive=given["long_prefill_token_threshold_adaptive"],
            max_model_len=given["max_model_len"] if given["max_model_len"] <= capacity else 0,
            scheduler=given["policy"],
            watermark=given["watermark"],
            reserve_full_sequence=variant != "sync-first-chunk",
            async_scheduling=variant == "async",
            idle_pause=case["pause_us"],
            **engine,
        ),
        kv=blis.KVSettings(
            blocks=given["num_blocks"],
            block_size=given["block_size"],
            prefix_caching=given["enable_prefix_caching"],
        ),
    )


def requests(case: dict[str, Any], *, named: bool = True) -> list[Request]:
    """Return the requests of a case.

    Without `named`, what no other prompt contains has no name, as in most workloads: the end of a prompt, and outputs.
    """
    contained = {
        span[0]: row["id"] for row in case["requests"] for span in row["prompt"] if span[0] != f"in:{row['id']}"
    }
    made = []
    for row in case["requests"]:
        content = tuple(Span(*span) for span in row["prompt"])
        tokens = sum(span.tokens for span in content)
        output: str | None = f"out:{row['id']}"
        if not named and output not in contained:
            output = None
            if content[-1].stream not in contained and content[-1].stream.startswith("in:"):
                content = content[:-1]
        abort_at = row.get("abort_at")
        made.append(
            Request(
                id=row["id"],
                arrived_at=row["t"] + LATER_US,
                input_tokens=tokens,
                output_tokens=row["out"],
                deadline=0 if abort_at is None else abort_at + LATER_US,
                content=content or None,
                output_stream=output,
                priority=row.get("prio", 0),
            )
        )
    return made


def outcome(case: dict[str, Any], variant: str, *, named: bool = True, macro_steps: bool = True) -> dict[str, Any]:
    """Serve the requests of a case; `steps` are the decisions of each step that was not planned with others."""
    simulation = blis.Simulation(
        scenario(case, variant, batching=Recorder(), macro_steps=macro_steps), requests=requests(case, named=named)
    )
    recorder = simulation.settings.engine.batching
    (replica,) = simulation.replicas
    recorder.blocks = replica.kv_blocks
    simulation._observers.subscribe(recorder)
    latencies = simulation.run().aggregate.itl
    log = replica.log
    starts = iter(replica.steps.table()["start_us"].tolist())
    steps = []
    for step in recorder.steps:
        formed = step["scheduled_at"]
        start = next(starts) if step["tokens"] else formed
        steps.append({**step, "scheduled_at": formed - LATER_US, "start": start - LATER_US})
    table = replica.steps.table()
    served = simulation.requests
    admitted = [r for r in served if r.first_scheduled_at >= 0]
    found = sum(r.cached_tokens for r in admitted)
    looked_up = admitted if case["settings"]["enable_prefix_caching"] else []
    resumed = log.resumptions
    resumed_hits = sum(resumption.cached_tokens for resumption in resumed)
    resumed_lookups = resumed if case["settings"]["enable_prefix_caching"] else []
    return {
        "steps": steps if not macro_steps else None,
        "num_steps": len(table["start_us"]) + sum(not step["tokens"] for step in steps),
        "first_token_at": {r.id: r.arrived_at + r.ttft - LATER_US for r in served if r.ttft >= 0},
        "finished_at": {r.id: r.finished_at - LATER_US for r in served if r.outcome is RequestOutcome.COMPLETED},
        "aborted_at": {r.id: r.finished_at - LATER_US for r in served if r.outcome is RequestOutcome.TIMED_OUT},
        "output_tokens": {r.id: r.itl_count + 1 if r.ttft >= 0 else 0 for r in served},
        "preempted_times": {r.id: r.num_preemptions for r in served},
        "preemptions": len(log.preemptions),
        "computed_tokens": int(table["decode_tokens"].sum() + table["prefill_tokens"].sum()),
        "cached_tokens": found + resumed_hits,
        "prefix_cache": {
            "requests": len(looked_up),
            "queries": sum(r.input_tokens for r in looked_up),
            "hits": found,
            "preempted_requests": len(resumed_lookups),
            "preempted_queries": sum(resumption.queried_tokens for resumption in resumed_lookups),
            "preempted_hits": resumed_hits,
        },
        "gaps": np.repeat(latencies.values, np.diff(latencies.cumulative, prepend=0)).tolist(),
    }


def vllm_case(case: dict[str, Any], variant: str) -> dict[str, Any]:
    """Serve the requests of a case three times: step by step, with macro-steps, and with unnamed contents.

    Raises
    ------
    AssertionError
        If the outcomes differ.
    """
    single = outcome(case, variant, macro_steps=False)
    for other in (outcome(case, variant), outcome(case, variant, named=False)):
        for key, value in other.items():
            assert key == "steps" or value == single[key], f"{key} depends on macro-steps or on names"
    return single
