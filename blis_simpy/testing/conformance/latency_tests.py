"""Conformance suite for latency models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.latency.base import MAX_TICKS, DecodeRuns, StepBatch, StepMember
from blis_simpy.testing.conformance.suite import ConformanceSuite, require, seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LatencyModelTests"]

_NUM_BATCHES = 60
_RUNS = (1, 2, 5, 24, 25, 100)
_PROMPTS = (0, 1, 16, 513, 8000)


class LatencyModelTests(ConformanceSuite):
    """Tests of the rules of `blis_simpy.latency.base.LatencyModel` and `DecodeRuns`.

    Attributes
    ----------
    is_monotone : bool
        Whether more tokens, longer contexts or more requests never make a step of the model shorter.
    """

    is_monotone = False

    def test_step_time_is_whole_microseconds(self) -> None:
        """A step takes an integer number of µs, at least 1, or 0 without members."""
        model = self.make()
        empty = model.step_time(_batch([]))
        require(
            type(empty) is int and empty >= 0, model, "step_time must be an int >= 0 without members", returned=empty
        )
        for members in _batches():
            time = model.step_time(_batch(members))
            rule = "step_time must be an int, the duration in whole µs, from 1 to 2**63 - 1"
            require(type(time) is int and 1 <= time <= MAX_TICKS, model, rule, returned=time, batch=members)

    def test_equal_batches_take_equal_times(self) -> None:
        """A step time does not depend on earlier calls."""
        model = self.make()
        batches = _batches()
        first = [model.step_time(_batch(members)) for members in batches]
        again = [model.step_time(_batch(members)) for members in reversed(batches)][::-1]
        for members, one, other in zip(batches, first, again, strict=True):
            rule = "step_time must depend on the batch alone"
            require(one == other, model, rule, first=one, again=other, batch=members)

    def test_decode_step_times_equal_single_steps(self) -> None:
        """Element j of `decode_step_times` is `step_time` of the batch after j steps, bit for bit."""
        model = self.make()
        has_runs: bool = isinstance(model, DecodeRuns)
        if not has_runs:
            return
        for contexts in _decode_contexts():
            for steps in _RUNS:
                found = _listed(model.decode_step_times(_decodes(contexts), steps), steps)
                single = [model.step_time(_decodes([context + j for context in contexts])) for j in range(steps)]
                for j, (one, other) in enumerate(zip(found, single, strict=False)):
                    rule = "decode_step_times must equal step_time after each step, bit for bit"
                    require(one == other, model, rule, step=j, in_run=one, single=other, contexts=contexts)

    def test_decode_step_times_are_one_duration_a_step(self) -> None:
        """`decode_step_times` returns one int for all steps, or one int per step; all >= 1."""
        model = self.make()
        has_runs: bool = isinstance(model, DecodeRuns)
        if not has_runs:
            return
        for contexts in _decode_contexts():
            for steps in _RUNS:
                returned = model.decode_step_times(_decodes(contexts), steps)
                rule = "decode_step_times must return an int, or one whole number of µs >= 1 for each step"
                good = type(returned) is int or (_are_whole(returned) and len(returned) == steps)
                good = good and min(_listed(returned, steps)) >= 1
                require(good, model, rule, steps=steps, returned=returned)

    def test_delays_are_whole_microseconds(self) -> None:
        """Request delays are integer numbers of µs, at least 0, and do not depend on earlier calls."""
        model = self.make()
        questions: list[tuple[str, tuple[int, ...]]] = [("queueing_time", (tokens,)) for tokens in _PROMPTS]
        questions += [("output_token_processing_time", ()), ("post_decode_overhead", ())]
        for name, arguments in questions:
            delays = [getattr(model, name)(*arguments) for _ in range(2)]
            good = all(type(delay) is int and delay >= 0 for delay in delays) and delays[0] == delays[1]
            require(
                good, model, f"{name} must be an int >= 0, the same each time", returned=delays, arguments=arguments
            )

    def test_more_work_takes_no_less_time_if_it_says_so(self) -> None:
        """With `is_monotone`, more requests, prompt tokens or context make no step shorter."""
        if not self.is_monotone:
            return
        model = self.make()
        for members in _batches():
            time = model.step_time(_batch(members))
            for change, larger in _more_work(members):
                longer = model.step_time(_batch(larger))
                rule = f"is monotone, so a step must not get shorter with {change}"
                require(longer >= time, model, rule, before=time, after=longer, batch=members, larger=larger)


def _batches() -> list[list[StepMember]]:
    """Draw batches with prefills, decodes or both, of one member to many."""
    random = seeded("latency/batches")
    batches = []
    for _ in range(_NUM_BATCHES):
        prefills, decodes = random.choice(((1, 0), (0, 1), (3, 0), (0, 40), (2, 30), (1, 200)))
        members = []
        for _ in range(prefills):
            progress = random.choice((0, 0, 512, 4096))
            new_tokens = random.choice((1, 7, 512, 2048))
            members.append(
                StepMember(
                    progress + new_tokens + random.choice((0, 100)), progress, new_tokens, random.choice((1, 64))
                )
            )
        for _ in range(decodes):
            prompt = random.choice((1, 100, 3000))
            members.append(StepMember(prompt, prompt + random.randint(0, 1000), 1, 2000))
        batches.append(members)
    return batches


def _decode_contexts() -> list[list[int]]:
    random = seeded("latency/decodes")
    return [
        [random.choice((1, 17, 500, 30_000)) + random.randint(0, 50) for _ in range(size)]
        for size in (1, 2, 3, 17, 150)
    ]


def _batch(members: Sequence[StepMember]) -> StepBatch:
    return StepBatch.of(members)


def _decodes(contexts: list[int]) -> StepBatch:
    return StepBatch((), len(contexts), sum(contexts), lambda: contexts)


def _listed(returned: Any, steps: int) -> list[Any]:
    return [returned] * steps if isinstance(returned, int) else list(returned)


def _are_whole(durations: Any) -> bool:
    if isinstance(durations, np.ndarray):
        return durations.ndim == 1 and durations.dtype.kind == "i"
    return all(type(duration) is int for duration in durations)


def _more_work(members: list[StepMember]) -> list[tuple[str, list[StepMember]]]:
    """Return larger batches with a label of the addition."""
    first, *others = members
    changes = [("another decoding request", [*members, StepMember(100, 150, 1, 500)])]
    if first.progress >= first.input_tokens:
        changes.append(("a longer context", [first._replace(progress=first.progress + 1000), *others]))
    else:
        longer = first._replace(input_tokens=first.input_tokens + 64, new_tokens=first.new_tokens + 64)
        changes.append(("more tokens of a prompt", [longer, *others]))
    return changes
