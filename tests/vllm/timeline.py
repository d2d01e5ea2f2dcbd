"""Outcomes of an engine as text with a line a step, to be compared and read.

A line is ``formed/start: tokens | running/waiting, blocks``. Times are ticks, `formed` is left out if it equals
`start`. Tokens are ``id=tokens``, with ``+`` in front of a request that is admitted and ``~`` of one that is resumed,
both with their cached tokens: ``+a(16)=4``. ``!id`` is a preempted request. Steps that differ only in their times,
which grow evenly, share a line: ``x14 every 1000``.
"""

from __future__ import annotations

from typing import Any

OUTCOME_KEYS = (
    "first_token_at",
    "finished_at",
    "aborted_at",
    "output_tokens",
    "preempted_times",
    "preemptions",
    "num_steps",
    "computed_tokens",
    "cached_tokens",
    "prefix_cache",
)


def timeline(steps: list[dict[str, Any]]) -> list[str]:
    """Lines of text for the steps of an outcome."""
    lines: list[tuple[int, int, int, int, str]] = []  # formed, start, count, interval, what
    for step in steps:
        formed, start, what = step["scheduled_at"], step["start"], _decisions(step)
        if lines:
            first_formed, first_start, count, interval, before = lines[-1]
            if what == before and count == 1 and start - first_start == formed - first_formed:
                lines[-1] = (first_formed, first_start, 2, start - first_start, what)
                continue
            if what == before and count > 1 and start - first_start == formed - first_formed == count * interval:
                lines[-1] = (first_formed, first_start, count + 1, interval, what)
                continue
        lines.append((formed, start, 1, 0, what))
    return [
        (f"{start}" if formed == start else f"{formed}/{start}")
        + (f" x{count} every {interval}" if count > 1 else "")
        + f": {what}"
        for formed, start, count, interval, what in lines
    ]


def _decisions(step: dict[str, Any]) -> str:
    parts = [f"!{name}" for name in sorted(step["preempted"])]
    for name, tokens in step["tokens"].items():
        if name in step["admitted"]:
            parts.append(f"+{name}({step['admitted'][name]})={tokens}")
        elif name in step["resumed"]:
            parts.append(f"~{name}({step['resumed'][name]})={tokens}")
        else:
            parts.append(f"{name}={tokens}")
    return " ".join(parts) + f" | {step['running']}/{step['waiting']}, {step['used_blocks']}"


def summary(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return what is recorded of an outcome: times, counts and the timeline."""
    figures = {key: outcome[key] for key in OUTCOME_KEYS}
    for key in ("aborted_at", "preempted_times"):
        figures[key] = {name: value for name, value in figures[key].items() if value}
    return {**figures, "steps": timeline(outcome["steps"])}
