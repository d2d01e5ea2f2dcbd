"""Texts of evaluated hypotheses: failure messages, report properties, lines at the end of a test run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.experiment.number_format import format_number, format_percent
from blis_simpy.experiment.paired_tests import outlook

if TYPE_CHECKING:
    from blis_simpy.testing.hypotheses import Hypothesis, Judgement

__all__ = ["Subject", "change_text", "claim_text", "failure_text", "properties"]


@attrs.frozen
class Subject:
    """Names in a hypothesis.

    Attributes
    ----------
    metric, candidate, baseline : str
        Names of the metric and of the two scenarios.
    """

    metric: str
    candidate: str
    baseline: str


def claim_text(claim: Hypothesis, about: Subject) -> str:
    """Return a hypothesis as a sentence.

    Examples
    --------
    >>> from blis_simpy.testing.hypotheses import Hypothesis
    >>> claim_text(Hypothesis(kind="lower", by=0.2), Subject("ttft_p99_ms", "prefix", "rr"))
    'ttft_p99_ms of prefix is at least 20 % lower than that of rr'
    """
    subject, baseline, size = f"{about.metric} of {about.candidate}", about.baseline, _size(claim)
    if claim.kind == "equivalent":
        return f"{subject} differs from that of {baseline} by at most {size}"
    if not claim.by:
        return f"{subject} is {claim.kind} than that of {baseline}"
    if claim.absolute:
        return f"{subject} is {claim.kind} than that of {baseline} by at least {size}"
    return f"{subject} is at least {size} {claim.kind} than that of {baseline}"


def change_text(judgement: Judgement) -> str:
    """Return the change with its interval, in percent if it is relative."""
    change = judgement.change
    write = format_percent if judgement.is_relative else format_number
    return f"{_signed(change.estimate, write)} [{_signed(change.low, write)}, {_signed(change.high, write)}]"


def failure_text(judgement: Judgement, about: Subject, seed: int, note: str = "") -> str:
    """Return the message of a failed assertion: hypothesis, means, change, and number of replications to decide it."""
    claim = judgement.claim
    verb = "refuted that" if judgement.finding == "refuted" else "not decided whether"
    names = about.baseline, about.candidate
    rows = [(name, f"{format_number(mean)} on average") for name, mean in zip(names, judgement.means, strict=True)]
    if not any(judgement.lacking):
        scale = f"each end with {format_percent(claim.confidence, 4)} confidence, claimed {_range(claim)}"
        unit = "" if judgement.is_relative or claim.absolute else " in the unit of the metric"
        rows.append(("change", f"{change_text(judgement)}{unit}, {scale}"))
    width = max(len(name) for name, _ in rows)
    lines = [
        f"{verb} {claim_text(claim, about)}",
        *(f"  {name:<{width}}  {text}" for name, text in rows),
        f"  {judgement.change.count:,} paired replications, seed {seed}; {_outlook(judgement, names)}",
    ]
    return "\n".join([*lines, f"  {note}"] if note else lines)


def _outlook(judgement: Judgement, names: tuple[str, str]) -> str:
    count = judgement.change.count
    lacking = [(name, n) for name, n in zip(names, judgement.lacking, strict=True) if n]
    if lacking:
        return " and ".join(f"{n:,} of {count:,} runs of {name}" for name, n in lacking) + " lack this metric"
    if judgement.finding == "refuted":
        return "enough to refute it"
    return outlook(judgement.needed, count)


def properties(judgement: Judgement, about: Subject, seed: int) -> dict[str, Any]:
    """Return the properties of an evaluated hypothesis for a report: texts and integers."""
    return {
        **attrs.asdict(about),
        "claim": claim_text(judgement.claim, about),
        "verdict": judgement.finding,
        "interval": change_text(judgement),
        "confidence": format_percent(judgement.claim.confidence, 4),
        "replications": judgement.change.count,
        "seed": seed,
    }


def _size(claim: Hypothesis) -> str:
    return f"{claim.by:,.12g}" if claim.absolute else format_percent(claim.by)


def _range(claim: Hypothesis) -> str:
    if claim.kind == "equivalent":
        return f"within ±{_size(claim)}"
    if not claim.by:
        return "below 0" if claim.kind == "lower" else "above 0"
    return f"at most -{_size(claim)}" if claim.kind == "lower" else f"at least +{_size(claim)}"


def _signed(value: float, write: Any) -> str:
    return f"{'+' if value > 0 else ''}{write(value)}"
