"""A replica: one inference engine as a SimPy process.

The process (`Replica.serve`) waits while there is nothing to do, takes a step when one is due, and waits for the end of
the step or of the run of decode steps that was planned after it. A new request, a timeout, or another process that
takes KV blocks or slots first makes the steps count that have started, then changes the state, and wakes the process at
the end of the current step if the rest of the plan is no longer right.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, cast

from simpy.exceptions import Interrupt

from blis_simpy import registry
from blis_simpy.core.environment import Environment, ReplicaEvent, Wakeup, event_priority, replica_actor
from blis_simpy.core.plugin_faults import is_own
from blis_simpy.core.request import Phase, Request, RequestOutcome
from blis_simpy.core.resources import BatchSlots, BlockReservation, KVBlocks, SlotReservation
from blis_simpy.replica.macro_step import MacroStepPlanner
from blis_simpy.replica.observation import Observation
from blis_simpy.replica.plugin_checks import checked_queueing_time
from blis_simpy.replica.profiles import build_engine
from blis_simpy.replica.running_request import RunningRequest
from blis_simpy.replica.wait_queue import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import numpy as np
    from numpy.typing import NDArray
    from simpy.events import Event

    from blis_simpy.core.observers import Observers
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.log import ReplicaLog, StepLog
    from blis_simpy.replica.settings import EngineSettings, KVSettings

__all__ = ["Intake", "Replica"]


class Intake(Enum):
    """What a replica does with requests that are about to enter its wait queue."""

    ACCEPT = "accept"
    WITHDRAW = "withdraw"
    """Gives them up, to be routed again."""
    DROP = "drop"


_ACCEPT = Intake.ACCEPT


class Replica:
    """One inference engine with its own queue, batch and KV blocks.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    index : int
        Number of the replica; at one tick, lower numbers come first.
    model : str
        Name of the model that it serves; a label.
    settings : EngineSettings
        Limits and policies of the engine, completed by its profile.
    kv_settings : KVSettings
        KV store and block size, completed by the engine profile.
    num_blocks : int
        KV blocks.
    max_model_len : int
        Cap on prompt and output, tokens; 0 = none.
    latency : LatencyModel
        Duration of steps.
    horizon : int, tick
        Deadlines beyond it are not watched.
    observers : Observers
        Observers of what happens to requests here.

    Attributes
    ----------
    slots : BatchSlots
        Batch slots, a `simpy.Resource`.
    kv_blocks : KVBlocks
        KV blocks, a `simpy.Container` whose level is the number of free ones.
    process : simpy.Process
        The replica's own process.
    model : str
        Name of the model.
    block_size : int
        Tokens a KV block.
    token_budget : int
        Most tokens of a step.
    intake : Intake
        What happens to requests that are about to enter the wait queue.
    """

    def __init__(
        self,
        env: Environment,
        *,
        index: int,
        model: str,
        settings: EngineSettings,
        kv_settings: KVSettings,
        num_blocks: int,
        max_model_len: int,
        latency: LatencyModel,
        horizon: int,
        observers: Observers,
    ) -> None:
        self.env = env
        self.index = index
        self.model = model
        self.block_size = kv_settings.block_size
        self.intake = Intake.ACCEPT
        assert settings.max_num_seqs is not None
        assert settings.max_num_batched_tokens is not None
        self.token_budget = settings.max_num_batched_tokens
        self.slots = BatchSlots(env, settings.max_num_seqs)
        self.kv_blocks = KVBlocks(env, num_blocks)
        self._latency = latency
        self._queueing_time = latency.queueing_time if is_own(latency) else checked_queueing_time(latency)
        self._horizon = horizon
        self._observers = observers
        self._kv: KVStore = registry.build("kv_store", kv_settings.chosen_store, self.kv_blocks, kv_settings.block_size)
        self._queue = WaitQueue(
            registry.build("scheduler", settings.scheduler), registry.build("priority", settings.priority)
        )
        self._engine = build_engine(
            settings,
            max_model_len=max_model_len,
            reserved_blocks=kv_settings.reserved_blocks or 0,
            latency=latency,
            queue=self._queue,
            kv=self._kv,
            slots=self.slots,
            observers=observers,
        )
        self._planner = MacroStepPlanner(self._engine, enabled=settings.macro_steps)
        actor = replica_actor(index)
        self._queued_priority = event_priority(actor, ReplicaEvent.QUEUED)
        self._step_priority = event_priority(actor, ReplicaEvent.STEP)
        self._response_priority = event_priority(actor, ReplicaEvent.RESPONSE)
        self._timeout_priority = event_priority(actor, self._engine.timeout_event)
        self._asleep = True
        # First waiting request, while the process waits for slots or blocks that other processes hold.
        self._blocked: RunningRequest | None = None
        self._wakeup = Wakeup(env, self._step_priority)
        self.slots.owner = self
        self.kv_blocks.owner = self
        self.process = self._wakeup.process = env.process(self.serve())

    def serve(self) -> Generator[Event, None, None]:
        """Step while there is work; wait otherwise."""
        env, engine, planner, wakeup = self.env, self._engine, self._planner, self._wakeup
        due = wakeup.never()
        while True:
            yield due
            planner.commit_all()
            next_turn_at = engine.take_turn(env.now)
            while next_turn_at is None and (reservation := self._reservation()) is not None:
                yield from self._wait_for(reservation)
                next_turn_at = engine.take_turn(env.now)
                self.slots.serve_waiting()
                self.kv_blocks.serve_waiting()
            if engine.responses:
                self._send_responses()
            if next_turn_at is not None:
                due = wakeup.at(planner.plan(next_turn_at))
            else:
                due = wakeup.never()
                self._asleep = True
                if self._observers.idle is not None:
                    self._observers.idle(self.index)

    def _send_responses(self) -> None:
        for leg in self._engine.responses:
            self.env.call_at(leg.finished_at, self._response_priority, self._respond, leg)
        self._engine.responses.clear()

    def _respond(self, event: Event) -> None:
        if self._observers.leg_finished is not None:
            self._observers.leg_finished(cast("RunningRequest", event.value))

    def _reservation(self) -> SlotReservation | BlockReservation | None:
        """Ask for the slot or the blocks that the first waiting request lacks because other processes hold them."""
        if not self._queue.waiting:
            return None
        if not self.slots.free:
            return self.slots.reserve()
        blocks = self._engine.blocks_for_head()
        return self.kv_blocks.reserve(blocks) if blocks > self.kv_blocks.free else None

    def _wait_for(self, reservation: SlotReservation | BlockReservation) -> Generator[Event, None, None]:
        """Wait in SimPy's queue, as any other process does; give up if another request becomes the first to wait."""
        self._blocked = self._queue.head
        with suppress(Interrupt):
            yield reservation
        self._blocked = None
        # First the place of a step in the total order, then the step.
        yield self.env.event_at(self.env.now, self._step_priority)
        reservation.end()

    def _wake(self, at: int) -> None:
        """Let the process take its next step at another tick than it waits for."""
        self._wakeup.move(at)
        self._asleep = False

    def _after_change(self, *, plan_holds: bool) -> None:
        """Wake the process earlier if the steps it planned are wrong, or at once if it waits and there is work."""
        engine, planner = self._engine, self._planner
        if self._asleep:
            if engine.has_work:
                self._wake(self.env.now)
        elif self._blocked is not None:
            engine.take_inputs(self.env.now)
            # As long as the same request is first, the process keeps its place in the queue of the resource.
            if self._blocked is not self._queue.head or not self._queue.is_stable:
                self._blocked = None
                self.process.interrupt()
        elif planner.has_plan and not (plan_holds and engine.is_steady()) and planner.cancel_rest():
            # The steps that were formed go on to their end.
            self._wake(engine.next_turn_at)

    @property
    def stalled_policy(self) -> object | None:
        """Batch policy of others that admits none of the waiting requests although no slot or block is in use."""
        policy = self._engine.policy
        is_unused = self.slots.free == self.slots.capacity and self.kv_blocks.free == self.kv_blocks.capacity
        return policy if not is_own(policy) and self._engine.queue.waiting and is_unused else None

    def submit(self, request: Request, phase: Phase = Phase.BOTH) -> None:
        """Begin a leg of a request, which enters the wait queue after the queueing delay of the latency model."""
        now = self.env.now
        request.leg = leg = RunningRequest(request, self.index, phase, now)
        self._engine.log.last_activity = now
        delay = self._queueing_time(leg.input_tokens)
        self.env.call_at(now + delay, self._queued_priority, self._enter, leg)

    def _enter(self, event: Event) -> None:
        leg = cast("RunningRequest", event.value)
        if self.intake is not _ACCEPT:
            self._refuse([leg])
            return
        self.catch_up()
        if not self._engine.enter(leg, self.env.now):
            return
        deadline = leg.request.deadline
        if 0 < deadline <= self._horizon:
            self.env.call_at(max(deadline, self.env.now), self._timeout_priority, self._time_out, leg)
        self._after_change(plan_holds=True)

    def _time_out(self, event: Event) -> None:
        entered = cast("RunningRequest", event.value)
        leg = entered.request.leg
        # The leg that entered may have been preempted, and so replaced by another on its position in the queue.
        if (
            not isinstance(leg, RunningRequest)
            or leg.outcome not in (RequestOutcome.QUEUED, RequestOutcome.RUNNING)
            or (leg.replica, leg.position) != (self.index, entered.position)
        ):
            return
        self.catch_up()
        plan_holds = self._engine.time_out(leg, self.env.now)
        self._after_change(plan_holds=plan_holds)

    def refuse_queue(self, intake: Intake) -> None:
        """Withdraw or drop the waiting requests, and from now on those that are about to wait; running ones go on."""
        self.intake = intake
        self.catch_up()
        legs = self._engine.remove_queue()
        self._after_change(plan_holds=True)
        self._refuse(legs)

    def abort(self) -> None:
        """Withdraw all requests, first the running ones, and forget the prefix cache.

        The current step ends when it would have ended.
        """
        self.intake = Intake.WITHDRAW
        self.catch_up()
        legs = self._engine.remove_all()
        self._after_change(plan_holds=False)
        self._refuse(legs)

    def _refuse(self, legs: Iterable[RunningRequest]) -> None:
        now = self.env.now
        for leg in legs:
            if self.intake is Intake.DROP:
                # A request that was dropped has no figures from before.
                leg.previous = None
                self._engine.drop(leg, now)
                continue
            leg.withdraw(now)
            if self._observers.leg_finished is not None:
                self._observers.leg_finished(leg)

    def catch_up(self) -> None:
        """Carry out the planned steps that have been formed by this place in the total order."""
        if self._planner.has_plan:
            env = self.env
            self._planner.commit_formed(env.now, env.tick_position >= self._step_priority)

    def external_get(self, blocks: int) -> None:
        """Take KV blocks off the free list for another process."""
        self._kv.external_get(blocks)

    def external_put(self, blocks: int) -> None:
        """Put KV blocks of another process back on the free list."""
        self._kv.external_put(blocks)

    def resources_changed(self) -> None:
        """React to another process that has taken slots or blocks or put them back."""
        # Within a step, slots and blocks that it puts back may go to a process that waits: that is no change from
        # outside, which would make the replica step again.
        if self.env.active_process is not self.process:
            self._after_change(plan_holds=False)

    @property
    def load(self) -> Callable[[], int]:
        """A function that counts the requests in queue and batch together, for frequent calls."""
        return self._engine.load

    @property
    def block_usage(self) -> Callable[[], int]:
        """A function that counts the KV blocks in use as `used_blocks` does, for frequent calls."""
        env, count, priority = self.env, self._planner.used_blocks, self._step_priority
        return lambda: count(env.now, env.tick_position >= priority)

    @property
    def queue_depth(self) -> int:
        """Requests in the wait queue now."""
        return self._engine.queue_depth

    @property
    def batch_size(self) -> int:
        """Requests in the running batch now."""
        return self._engine.batch_size

    @property
    def used_blocks(self) -> int:
        """KV blocks in use now, those of other processes included."""
        return self.block_usage()

    def observe(self) -> Observation:
        """Return the state of the replica as of now."""
        self.catch_up()
        total = int(self.kv_blocks.capacity)
        return Observation(
            at=self.env.now,
            queue_depth=self._engine.queue_depth,
            batch_size=self._engine.batch_size,
            used_blocks=total - self.kv_blocks.free,
            total_blocks=total,
            hit_rate=self._kv.hit_rate,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no request runs or waits, and the last step is over."""
        return self._asleep and not self._engine.has_work

    @property
    def log(self) -> ReplicaLog:
        """Counters so far, brought up to date."""
        self.catch_up()
        return self._engine.log

    @property
    def hit_rate(self) -> float:
        """Fraction of KV blocks that came from the prefix cache, since the start."""
        return float(self.kv_store.hit_rate)

    @property
    def kv_store(self) -> KVStore:
        """The KV store, brought up to date: hits, misses and rates since the start."""
        self.catch_up()
        return self._kv

    @property
    def steps(self) -> StepLog:
        """Record of each step so far, brought up to date."""
        self.catch_up()
        return self._engine.steps

    def step_gaps(self) -> NDArray[np.int64]:
        """Gap that each step so far made between two tokens of a request that got one in the step before it, µs."""
        self.catch_up()
        return self._engine.step_gaps()

    @property
    def token_processing_us(self) -> int:
        """Time that the latency model adds to each token's latency, but not to the clock, µs."""
        return self._latency.output_token_processing_time()

    def last_activity(self, upto: int) -> int:
        """Return the last tick up to one, at most the current one, at which something happened here."""
        self.catch_up()
        self._engine.count_gaps()
        return self._engine.last_activity(upto)

    def finish(self, horizon: int) -> int:
        """Carry out all steps that are formed up to the horizon, and end.

        Returns
        -------
        int, tick
            Last tick up to the horizon at which something happened here.
        """
        self._planner.commit_formed(horizon, at_now=True)
        self._planner.cancel_rest()
        self._engine.count_gaps()
        return self._engine.last_activity(horizon)
