"""Macro-steps: runs of decode steps that are planned at once and carried out late.

Between two decisions (a request joins, ends, is preempted or times out) a decoding batch repeats itself. The planner
asks the latency model for the durations of the next steps, and the replica's process waits for the end of the last of
them: one event for the whole run. The steps are carried out when they are needed:

- `commit_all` carries out all of them, when their end has come;
- `commit_formed` carries out those that have been formed by now, when another process observes or changes the replica;
- `cancel_rest` forgets the others, if the change makes them wrong. The next step then starts where the last step that
  was carried out ends.

Nothing of this changes a figure; ``macro_steps=False`` takes each step singly.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, cast

import numpy as np

from blis_simpy.core.plugin_faults import is_own
from blis_simpy.latency.base import DecodeRuns, StepBatch
from blis_simpy.replica.plugin_checks import checked_durations, latency_error

if TYPE_CHECKING:
    from blis_simpy.latency.base import IntTicks
    from blis_simpy.replica.engine import Engine

__all__ = ["MacroStep", "MacroStepPlanner"]

# A run this long costs far more to compute than to wake up for; it bounds the arrays of one plan.
_MAX_RUN_STEPS = 1 << 16
# A plan costs as much as this many steps. Where decisions follow each other more closely, steps are taken singly.
_WORTH_PLANNING = 4


class MacroStep:
    """Consecutive decode steps of an unchanged batch.

    Parameters
    ----------
    start : int, tick
        When the first step starts.
    durations : int, list of int or ndarray of int64, µs
        Duration of each step; one int if all are equal.
    steps : int
        Number of steps.
    first_formed_at : int, tick, optional
        When the first step is formed, if each is formed at the start of the step before it; otherwise each is formed at
        its own start.

    Attributes
    ----------
    committed : int
        Number of steps that have been carried out.
    """

    __slots__ = ("_bounds", "_durations", "_first_formed_at", "committed", "start", "steps")

    def __init__(
        self, start: int, durations: int | list[int] | IntTicks, steps: int, first_formed_at: int | None = None
    ) -> None:
        self.start = start
        self.steps = steps
        self.committed = 0
        self._first_formed_at = first_formed_at
        self._durations = durations
        # Start of each step, and the end of the last. Plain lists are faster for a handful of steps, arrays for more:
        # the latency model chooses by what it returns.
        self._bounds: list[int] | IntTicks | None = None
        if isinstance(durations, list):
            self._bounds = list(accumulate(durations, initial=start))
        elif not isinstance(durations, int):
            bounds = np.empty(steps + 1, np.int64)
            bounds[0] = 0
            np.cumsum(durations, out=bounds[1:])
            bounds += start
            self._bounds = bounds

    def boundary(self, step: int) -> int:
        """Tick at which a step starts, which is the end of the one before; `steps` gives the end of the run."""
        if self._bounds is None:
            return self.start + step * cast("int", self._durations)
        return int(self._bounds[step])

    def started(self, now: int, at_now: bool) -> int:
        """Return how many steps have started before a tick, those that start at the tick counted if `at_now`."""
        bounds = self._bounds
        if bounds is None:
            duration = cast("int", self._durations)
            elapsed = now - self.start
            started = elapsed // duration + 1 if at_now else -(-elapsed // duration)
            return min(max(started, 0), self.steps)
        if isinstance(bounds, list):
            started = bisect_right(bounds, now) if at_now else bisect_left(bounds, now)
        else:
            started = int(np.searchsorted(bounds, now, side="right" if at_now else "left"))
        return min(started, self.steps)

    def formed(self, now: int, at_now: bool) -> int:
        """Return how many steps are formed before a tick, those that are formed at the tick included if `at_now`."""
        first = self._first_formed_at
        if first is None:
            return self.started(now, at_now)
        if now < first or (now == first and not at_now):
            return 0
        return min(self.started(now, at_now) + 1, self.steps)

    def formed_at(self, step: int) -> int:
        """Tick at which a step is formed; `steps` gives that of the step after the run."""
        if self._first_formed_at is None:
            return self.boundary(step)
        return self.boundary(step - 1) if step else self._first_formed_at

    def durations(self, first: int, steps: int) -> list[int] | IntTicks:
        """Durations of some of the steps, µs."""
        if isinstance(self._durations, int):
            return list(repeat(self._durations, steps))
        return self._durations[first : first + steps]


class MacroStepPlanner:
    """Plans the macro-steps of an engine and carries them out.

    Parameters
    ----------
    engine : Engine
        The engine.
    enabled : bool
        Whether to plan at all; without, and for a latency model that is no `DecodeRuns`, each step is taken singly.
    """

    def __init__(self, engine: Engine, *, enabled: bool) -> None:
        self._engine = engine
        self._decodes = engine.batch.decodes
        latency = engine.latency
        self._checks = not is_own(latency)
        self._latency = latency if enabled and isinstance(latency, DecodeRuns) else None
        self._run: MacroStep | None = None

    @property
    def has_plan(self) -> bool:
        """Whether decode steps are planned that are not all carried out."""
        return self._run is not None

    def plan(self, next_turn_at: int) -> int:
        """Plan the decode steps after the steps that are formed, up to the next one that needs a decision.

        Parameters
        ----------
        next_turn_at : int, tick
            When the engine has its next turn without a plan.

        Returns
        -------
        int, tick
            When it has its next turn.
        """
        engine, decodes = self._engine, self._decodes
        if (
            self._latency is None
            or not decodes.count
            or engine.decision_gap_x8 < 8 * _WORTH_PLANNING
            or not engine.is_steady()
        ):
            return next_turn_at
        # An arrival cancels what is left of the plan, so planning far ahead costs little.
        step = engine.num_steps
        steps = min(engine.steps_to_plan(), _MAX_RUN_STEPS)
        if steps < _WORTH_PLANNING:
            return next_turn_at
        # The step that lacks a block preempts a request: it is carried out singly, too.
        steps = decodes.steps_within(step, steps, engine.kv_blocks.free)
        if steps < _WORTH_PLANNING or not self._offload_is_constant(step, steps):
            return next_turn_at
        batch = StepBatch((), decodes.count, decodes.context_tokens, engine.decode_contexts)
        durations = self._latency.decode_step_times(batch, steps)
        if self._checks:
            durations = checked_durations(engine.latency, durations)
        if not isinstance(durations, int | list | np.ndarray):
            durations = list(durations)
        if not isinstance(durations, int) and len(durations) != steps:
            raise latency_error(engine.latency, f"decode_step_times must return {steps} durations", durations)
        # With a step ahead, a planned step is formed when the one before it starts: arrivals later than that miss it.
        first_formed_at = engine.last_step_start if engine.steps_ahead else None
        self._run = run = MacroStep(engine.device_free_at, durations, steps, first_formed_at)
        return run.formed_at(steps) if engine.steps_ahead else run.boundary(steps)

    def _offload_is_constant(self, step: int, steps: int) -> bool:
        engine = self._engine
        if engine.host_tier is None:
            return True
        taken = self._decodes.blocks_in_steps(step, steps)
        used = engine.num_blocks - engine.kv_blocks.free
        return engine.host_tier.offload_is_constant(used + taken, taken + self._decodes.count)

    def commit_all(self) -> None:
        """Carry out all planned steps."""
        run = self._run
        if run is not None:
            self._commit(run, run.steps)
            self._run = None

    def commit_formed(self, now: int, at_now: bool) -> None:
        """Carry out the planned steps that have been formed before a tick, or at the tick too."""
        run = self._run
        if run is not None:
            self._commit(run, run.formed(now, at_now))

    def cancel_rest(self) -> bool:
        """Forget the planned steps that are not carried out; return whether there are any."""
        run = self._run
        self._run = None
        return run is not None and run.committed < run.steps

    def _commit(self, run: MacroStep, upto: int) -> None:
        first = run.committed
        steps = upto - first
        if steps <= 0:
            return
        run.committed = upto
        engine, decodes = self._engine, self._decodes
        if steps == 1:
            blocks_by_step = [decodes.blocks_in_step(engine.num_steps)]
        else:
            blocks_by_step = decodes.blocks_by_step(engine.num_steps, steps)
        last_start = run.boundary(upto - 1)
        last_formed_at = run.formed_at(upto - 1) if engine.steps_ahead else last_start
        durations = run.durations(first, steps)
        engine.decode(run.boundary(first), last_start, run.boundary(upto), last_formed_at, durations, blocks_by_step)

    def used_blocks(self, now: int, at_now: bool) -> int:
        """Count the KV blocks in use once the planned steps that are formed before a tick, or at it, are carried out.

        Counts without carrying them out, because a router asks this of each replica for each request.
        """
        engine = self._engine
        used = engine.num_blocks - engine.kv_blocks.free
        run = self._run
        if run is not None:
            pending = run.formed(now, at_now) - run.committed
            if pending > 0:
                used += self._decodes.blocks_in_steps(engine.num_steps, pending)
        return used
