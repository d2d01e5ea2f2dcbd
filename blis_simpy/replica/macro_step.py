"""Macro-steps: decode steps of an unchanged batch, planned together and committed late.

Between two decisions (a request joins, ends, is preempted or times out) all steps of a decoding batch are alike. The
planner gets the durations of the next steps from the latency model, and the process of the replica waits for the end of
the last one: one event for all steps. To commit a step is to apply it to the state of the engine:

- `take_turn` commits the remaining steps at the end of the plan, and delivers effects that are due before;
- `commit_formed` commits the steps formed up to now, before another process reads or changes the replica;
- `cancel_rest` discards the remaining steps if that change invalidates them. The next step then starts at the end of
  the last committed one.

Macro-steps change no figure; ``macro_steps=False`` computes single steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, cast

import numpy as np

from blis_simpy.core.environment import FOREVER
from blis_simpy.core.plugin_faults import is_own
from blis_simpy.latency.base import DecodeRuns, StepBatch
from blis_simpy.replica.plugin_checks import checked_durations, latency_error
from blis_simpy.replica.tiered_store import TieredStore

if TYPE_CHECKING:
    from blis_simpy.latency.base import IntTicks
    from blis_simpy.replica.engine import Engine

__all__ = ["MacroStep", "MacroStepPlanner"]

# Bounds the size of the arrays of a plan. For so many steps, the cost of one more event is negligible.
_MAX_RUN_STEPS = 1 << 16
# A plan costs as much as this many single steps, so that a shorter one does not pay.
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
        Formation of the first step, if each step is formed at the start of the one before. If not given, each is formed
        at its own start.

    Attributes
    ----------
    committed : int
        Number of committed steps.
    turn : int
        Number of steps that are formed before the next turn of the engine: all, unless effects are due before.
    """

    __slots__ = ("_bounds", "_durations", "_first_formed_at", "committed", "start", "steps", "turn")

    def __init__(
        self, start: int, durations: int | list[int] | IntTicks, steps: int, first_formed_at: int | None = None
    ) -> None:
        self.start = start
        self.steps = steps
        self.committed = 0
        self.turn = steps
        self._first_formed_at = first_formed_at
        self._durations = durations
        # Start of each step, and end of the last. Lists are faster for a few steps, arrays for many: the type that the
        # latency model returns is kept.
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
        """Start of a step, tick; `steps` gives the end of the last one."""
        if self._bounds is None:
            return self.start + step * cast("int", self._durations)
        return int(self._bounds[step])

    def started(self, now: int, at_now: bool) -> int:
        """Return the number of steps started before a tick, or up to the tick if `at_now`."""
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
        """Return the number of steps formed before a tick, or up to the tick if `at_now`."""
        first = self._first_formed_at
        if first is None:
            return self.started(now, at_now)
        if now < first or (now == first and not at_now):
            return 0
        return min(self.started(now, at_now) + 1, self.steps)

    def formed_at(self, step: int) -> int:
        """Return the formation of a step, tick; `steps` gives that of the next step after the plan."""
        if self._first_formed_at is None:
            return self.boundary(step)
        return self.boundary(step - 1) if step else self._first_formed_at

    def durations(self, first: int, steps: int) -> list[int] | IntTicks:
        """Durations of `steps` steps from step `first` on, µs."""
        if isinstance(self._durations, int):
            return list(repeat(self._durations, steps))
        return self._durations[first : first + steps]


class MacroStepPlanner:
    """Plans and commits the macro-steps of an engine.

    Parameters
    ----------
    engine : Engine
        The engine.
    enabled : bool
        Whether to plan. If False, or if the latency model is not a `DecodeRuns`, all steps are single.
    """

    def __init__(self, engine: Engine, *, enabled: bool) -> None:
        self._engine = engine
        self._decodes = engine.batch.decodes
        latency = engine.latency
        self._checks = not is_own(latency)
        self._latency = latency if enabled and isinstance(latency, DecodeRuns) else None
        self._tiered = engine.kv if isinstance(engine.kv, TieredStore) else None
        self.run: MacroStep | None = None

    def plan(self, next_turn_at: int) -> int:
        """Plan the decode steps up to the next decision.

        Parameters
        ----------
        next_turn_at : int, tick
            Next turn of the engine without a plan.

        Returns
        -------
        int, tick
            Next turn of the engine.
        """
        engine, decodes = self._engine, self._decodes
        if (
            self._latency is None
            or not decodes.count
            or (
                engine.decision_gap_x8 < 8 * _WORTH_PLANNING
                # The mean lags behind, most of all at the start of a run.
                and engine.num_steps - engine.last_decision <= _WORTH_PLANNING
            )
        ):
            return next_turn_at
        step = engine.num_steps
        steps = min(engine.steps_to_plan(), _MAX_RUN_STEPS)
        if steps < _WORTH_PLANNING or not engine.is_steady():
            return next_turn_at
        # The first step without enough free blocks preempts a request, which is a decision.
        steps = decodes.steps_within(step, steps, self._free_blocks())
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
        # With asynchronous scheduling a step is formed at the start of the one before, so that a request that arrives
        # after that joins a later step.
        first_formed_at = engine.last_step_start if engine.steps_ahead else None
        self.run = run = MacroStep(engine.device_free_at, durations, steps, first_formed_at)
        return self._next_turn(run) if engine.plans_from_delivery else run.boundary(steps)

    def take_turn(self, now: int) -> int | None:
        """Take a turn of the engine with a plan: at its end, or where effects are due before.

        Returns
        -------
        int or None
            Tick of the next turn; None to sleep until a request or a resource changes.
        """
        run, engine = self.run, self._engine
        assert run is not None
        if run.turn == run.steps:
            self._commit(run, run.steps)
            self.run = None
            if not engine.plans_from_delivery:
                return engine.take_turn(now)
            engine.deliver(now)
            next_turn_at = self.plan(now)
            return engine.form_steps(now) if self.run is None else next_turn_at
        if not engine.deliver_first_tokens(now):
            self._commit(run, run.turn)
            # Observers of the effects must not see the steps that are formed after them.
            self.run = None
            free_blocks = engine.kv_blocks.free
            engine.deliver(now)
            # The effects may admit a waiting request, and a process may have taken blocks that were put back.
            if engine.kv_blocks.free < free_blocks or not engine.is_steady():
                return engine.form_steps(now)
            self.run = run
        return self._next_turn(run)

    def _next_turn(self, run: MacroStep) -> int:
        """Choose the next turn of a plan, and return its tick."""
        engine, turn = self._engine, run.steps
        effects = engine.next_effects
        if effects < FOREVER:
            # With a step ahead, the effects of a step are due when the step after the next is formed.
            turn = min(effects + 1 + engine.steps_ahead - (engine.num_steps - run.committed), turn)
        run.turn = turn
        return run.formed_at(turn)

    def _free_blocks(self) -> int:
        """Return the number of blocks that planned steps may take."""
        # A block that is written to a tier when it is evicted is taken at its time, not when the plan is committed.
        return self._engine.kv_blocks.free if self._tiered is None else self._tiered.blocks_without_content

    def _offload_is_constant(self, step: int, steps: int) -> bool:
        engine = self._engine
        if engine.host_tier is None:
            return True
        taken = self._decodes.blocks_in_steps(step, steps)
        used = engine.num_blocks - engine.kv_blocks.free
        return engine.host_tier.offload_is_constant(used + taken, taken + self._decodes.count)

    def commit_formed(self, now: int, at_now: bool) -> None:
        """Commit the steps formed before a tick, or up to the tick if `at_now`."""
        run = self.run
        if run is not None:
            self._commit(run, run.formed(now, at_now))

    def cancel_rest(self) -> bool:
        """Discard the uncommitted steps; return whether there were any."""
        # Nothing is undone: uncommitted steps have not changed the engine.
        run = self.run
        self.run = None
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
        engine.decode(last_start, run.boundary(upto), last_formed_at, durations, blocks_by_step)
        if upto == run.steps:
            engine.end_last_planned()

    def blocks_unchanged_until(self, now: int, at_now: bool) -> int:
        """Return the last tick before whose steps the KV blocks in use are those of now, without further events."""
        run = self.run
        if run is None:
            return FOREVER
        step, committed = self._engine.num_steps, run.committed
        formed = max(run.formed(now, at_now), committed)
        for index in range(formed, min(run.steps, formed + self._decodes.block_size)):
            if self._decodes.blocks_in_step(step + index - committed):
                return run.formed_at(index)
        return FOREVER

    def used_blocks(self, now: int, at_now: bool) -> int:
        """Return the number of KV blocks in use before a tick, or at the tick if `at_now`, formed steps included."""
        # Computed without a commit, because a router reads it for each replica and request.
        engine = self._engine
        used = engine.num_blocks - engine.kv_blocks.free
        run = self.run
        if run is not None:
            pending = run.formed(now, at_now) - run.committed
            if pending > 0:
                used += self._decodes.blocks_in_steps(engine.num_steps, pending)
        return used
