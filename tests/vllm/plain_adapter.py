"""The plain model behind the interface of the recordings: a case and a variant in, decisions and times out."""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING, Any

from plain_model import Entry, PlainEngine, Request, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def plain_settings(case: dict[str, Any], variant: str) -> Settings:
    return Settings(
        **case["settings"],
        pause_us=case["pause_us"],
        reserve_full_sequence=variant != "sync-first-chunk",
        async_scheduling=variant == "async",
    )


def batch_duration(law: dict[str, int], entries: Sequence[Entry]) -> int:
    """Duration of a batch by the step-time law of a case, µs."""
    prefill = decodes = context = 0
    for entry in entries:
        if entry.num_tokens == 1 and entry.before >= len(entry.request.prompt):
            decodes += 1
        else:
            prefill += entry.num_tokens
        context += entry.before + entry.num_tokens
    return (
        law["base_us"]
        + law["prefill_token_us"] * prefill
        + law["decode_us"] * decodes
        + law["context_16_us"] * context // 16
    )


def plain_requests(case: dict[str, Any]) -> list[Request]:
    return [
        Request(
            id=row["id"],
            arrival=row["t"],
            prompt=[(stream, first + i) for stream, first, count in row["prompt"] for i in range(count)],
            max_tokens=row["out"],
            priority=row.get("prio", 0),
            abort_at=row.get("abort_at"),
        )
        for row in case["requests"]
    ]


def vllm_case(case: dict[str, Any], variant: str) -> dict[str, Any]:
    """Serve the requests of a case.

    Returns
    -------
    dict
        Times and counts by request id, totals, the statistics of the prefix cache, `gaps` between the outputs of
        finished requests, ascending, and `steps`: each batch, and each step without tokens that preempted a request.
    """
    engine = PlainEngine(plain_settings(case, variant), lambda entries: batch_duration(case["step_time"], entries))
    requests = plain_requests(case)
    engine.run(requests)
    steps = [
        {
            "scheduled_at": step.scheduled_at,
            "start": step.start,
            "tokens": {entry.request.id: entry.num_tokens for entry in step.entries},
            "admitted": step.admitted,
            "resumed": step.resumed,
            "preempted": sorted(step.preempted),
            "running": step.running,
            "waiting": step.waiting,
            "used_blocks": step.used_blocks,
        }
        for step in engine.steps
    ]
    return {
        "steps": steps,
        "num_steps": len(steps),
        "first_token_at": {r.id: r.output_times[0] for r in requests if r.output_times},
        "finished_at": {r.id: r.output_times[-1] for r in requests if r.state == "finished"},
        "aborted_at": {r.id: r.aborted_at for r in requests if r.aborted_at is not None},
        "output_tokens": {r.id: r.outputs for r in requests},
        "preempted_times": {r.id: r.preemptions for r in requests},
        "preemptions": sum(r.preemptions for r in requests),
        "computed_tokens": sum(sum(step["tokens"].values()) for step in steps),
        "cached_tokens": sum(sum((*step["admitted"].values(), *step["resumed"].values())) for step in steps),
        "prefix_cache": engine.prefix_cache,
        "gaps": sorted(
            gap for r in requests if r.state == "finished" for gap in map(sub, r.output_times[1:], r.output_times)
        ),
    }
