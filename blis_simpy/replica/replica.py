"""A replica: one inference engine as a SimPy process.

The process (`Replica.serve`) forms a step, waits for the end of it and of the decode steps planned after it, and sleeps
without work. A new request, a timeout or another process that takes slots or KV blocks changes the state in between.
Each change first commits the planned steps formed up to now. If it invalidates the rest of the plan, it wakes the
process at the end of the current step.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, cast

from simpy.exceptions import Interrupt

from blis_simpy import registry
from blis_simpy.core.environment import Environment, ReplicaEvent, Wakeup, event_priority, replica_actor
from blis_simpy.core.plugin_faults import is_own
from blis_simpy.core.request import Handover, Leg, Phase, Request, RequestOutcome
from blis_simpy.core.resources import BatchSlots, BlockReservation, KVBlocks, SlotReservation
from blis_simpy.replica.macro_step import MacroStepPlanner
from blis_simpy.replica.observation import Observation
from blis_simpy.replica.plugin_checks import checked_queueing_time
from blis_simpy.replica.profiles import build_engine
from blis_simpy.replica.running_request import RunningRequest
from blis_simpy.replica.tier_transfers import TierTransfers
from blis_simpy.replica.tiered_store import TieredStore
from blis_simpy.replica.wait_queue import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping

    from simpy.events import Event

    from blis_simpy.core.observers import Observers
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.kv_tier import KVTier
    from blis_simpy.replica.log import ReplicaLog, StepLog
    from blis_simpy.replica.settings import EngineSettings, KVSettings
    from blis_simpy.replica.tier_pool import TierPool
    from blis_simpy.replica.tier_transfers import LoadRecord

__all__ = ["Intake", "Replica"]


class Intake(Enum):
    """Treatment of requests on their way to the wait queue of a replica."""

    ACCEPT = "accept"
    WITHDRAW = "withdraw"
    """They are routed again."""
    DROP = "drop"


_ACCEPT = Intake.ACCEPT


class Replica:
    """One inference engine with its own queue, batch and KV blocks.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    index : int
        Number of the replica; orders the replicas within a tick.
    model : str
        Name of its model; a label.
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
        End of simulated time; later deadlines are ignored.
    observers : Observers
        Observers of requests.
    tier_pool : TierPool, optional
        KV tiers of the replica and of those that share them.

    Attributes
    ----------
    slots : BatchSlots
        Batch slots, a `simpy.Resource`.
    kv_blocks : KVBlocks
        KV blocks, a `simpy.Container`; its level is the number of free ones.
    process : simpy.Process
        Process of the replica.
    model : str
        Name of the model.
    settings : EngineSettings
        Settings of the engine, with the values of its profile.
    block_size : int
        Tokens per KV block.
    token_budget : int
        Most tokens of a step.
    changed : set of int
        The replica adds its index at each change of queue, batch or KV blocks.
    intake : Intake
        Treatment of requests on their way to the wait queue.
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
        tier_pool: TierPool | None = None,
    ) -> None:
        self.env = env
        self.index = index
        self.model = model
        self.settings = settings
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
        self._tiers: TierTransfers | None = None
        self._kv: KVStore
        if tier_pool is None:
            self._kv = registry.build("kv_store", kv_settings.chosen_store, self.kv_blocks, kv_settings.block_size)
        else:
            self._tiers = TierTransfers(
                env,
                tier_pool,
                replica=index,
                latency=latency,
                block_size=kv_settings.block_size,
                always=kv_settings.load_if == "always",
                max_loading=kv_settings.max_loading,
                prefetch_after=kv_settings.prefetch_after,
                receiver=self,
            )
            self._kv = TieredStore(
                self.kv_blocks,
                kv_settings.block_size,
                hasher=tier_pool.hasher,
                transfers=self._tiers,
                writes_evicted=kv_settings.tiers[0].write_on == "eviction",
            )
        self._prefetches = kv_settings.prefetch
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
            tiers=self._tiers,
        )
        self._planner = MacroStepPlanner(self._engine, enabled=settings.macro_steps)
        actor = replica_actor(index)
        self._queued_priority = event_priority(actor, ReplicaEvent.QUEUED)
        self._step_priority = event_priority(actor, ReplicaEvent.STEP)
        self._response_priority = event_priority(actor, ReplicaEvent.RESPONSE)
        self._timeout_priority = event_priority(actor, self._engine.timeout_event)
        self._asleep = True
        # Head of the wait queue, while the process waits for a slot or blocks held by other processes.
        self._blocked: RunningRequest | None = None
        self._wakeup = Wakeup(env, self._step_priority)
        self.changed: set[int] = set()
        self.slots.owner = self
        self.kv_blocks.owner = self
        self.process = self._wakeup.process = env.process(self.serve())

    def __repr__(self) -> str:
        return f"<Replica {self.index} of {self.model}: {self.batch_size:,} running, {self.queue_depth:,} queued>"

    def serve(self) -> Generator[Event, None, None]:
        """Form steps while there is work, and sleep otherwise."""
        env, engine, planner, wakeup = self.env, self._engine, self._planner, self._wakeup
        due: Event | None = wakeup.never()
        while True:
            if due is not None:
                yield due
            self.changed.add(self.index)
            next_turn_at = engine.take_turn(env.now) if planner.run is None else planner.take_turn(env.now)
            while next_turn_at is None and (reservation := self._reservation()) is not None:
                self._send_responses()
                yield from self._wait_for(reservation)
                next_turn_at = engine.take_turn(env.now)
                self.slots.serve_waiting()
                self.kv_blocks.serve_waiting()
            if engine.responses:
                self._send_responses()
            if next_turn_at is not None:
                tick = planner.plan(next_turn_at) if planner.run is None else next_turn_at
                # Most steps of a calm replica end before anything else happens: they need no event.
                due = None if env.advance(tick, self._step_priority) else wakeup.at(tick)
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
        """Reserve the slot or blocks that the head of the wait queue lacks; None if it lacks nothing."""
        if not self._queue.waiting:
            return None
        if not self.slots.free:
            return self.slots.reserve()
        blocks = self._engine.blocks_for_head()
        return self.kv_blocks.reserve(blocks) if blocks > self.kv_blocks.free else None

    def _wait_for(self, reservation: SlotReservation | BlockReservation) -> Generator[Event, None, None]:
        """Wait in the queue of the resource, like other processes; `_after_change` interrupts if the head changes."""
        self._blocked = self._queue.head
        if self._observers.blocked is not None:
            self._observers.blocked(self.index)
        with suppress(Interrupt):
            yield reservation
        self._blocked = None
        # The reservation may succeed at any position of the tick, but a step belongs to its own.
        yield self.env.event_at(self.env.now, self._step_priority)
        reservation.end()
        self.changed.add(self.index)

    def _wake(self, at: int) -> None:
        """Move the next turn of the process to a tick."""
        self._wakeup.move(at)
        self._asleep = False

    def _after_change(self, *, plan_holds: bool) -> None:
        """Wake the process if it sleeps and there is work; cancel planned steps that a change has invalidated."""
        engine, planner = self._engine, self._planner
        self.changed.add(self.index)
        if self._asleep:
            if engine.has_work:
                self._wake(self.env.now)
        elif self._blocked is not None:
            engine.take_inputs(self.env.now)
            # While the head of the wait queue is the same, the process keeps its place in the queue of the resource.
            if self._blocked is not self._queue.head or not self._queue.is_stable:
                self._blocked = None
                self.process.interrupt()
        elif planner.run is not None and not (plan_holds and engine.is_steady()) and planner.cancel_rest():
            # Formed steps run to their end.
            self._wake(engine.next_turn_at)

    @property
    def stalled_policy(self) -> object | None:
        """Batch policy of others that admits none of the waiting requests although no slot or block is in use."""
        policy = self._engine.policy
        is_unused = self.slots.free == self.slots.capacity and self.kv_blocks.free == self.kv_blocks.capacity
        return policy if not is_own(policy) and self._engine.queue.waiting and is_unused else None

    def submit(self, request: Request, phase: Phase = Phase.BOTH) -> None:
        """Start a leg of a request; it enters the wait queue after the queueing delay of the latency model."""
        request.leg = leg = RunningRequest(request, self.index, phase, self.env.now)
        self._start(leg)

    def take_over(self, handover: Handover) -> RunningRequest:
        """Start a leg of a request whose KV blocks another replica sends.

        The leg is not that of its request while the source computes the prompt, see `Handovers`.
        """
        source, request = handover.source, handover.source.request
        leg = RunningRequest(request, self.index, Phase.DECODE, self.env.now)
        leg.handover = handover
        if handover.num_outputs:
            leg.num_outputs = handover.num_outputs
            leg.input_tokens += handover.num_outputs
            leg.ttft, leg.itl_sum, leg.itl_count = source.ttft, source.itl_sum, source.itl_count
        self._start(leg)
        return leg

    def _start(self, leg: RunningRequest) -> None:
        now = self.env.now
        self._engine.log.last_activity = now
        if self._tiers is not None:
            self._look_ahead(leg)
        delay = self._queueing_time(leg.input_tokens)
        self.env.call_at(now + delay, self._queued_priority, self._enter, leg)

    def _look_ahead(self, leg: RunningRequest) -> None:
        """Let the KV tiers know of a request that is on its way to the wait queue."""
        assert self._tiers is not None
        self.catch_up()
        cached = len(self._kv.cached_prefix(leg))
        self._tiers.entered(leg)
        if self._prefetches:
            self._tiers.prefetch(leg, cached)

    def loaded(self, leg: RunningRequest, tokens: int) -> None:
        """Let a request whose blocks of `tokens` tokens have arrived from a KV tier wait for a batch slot."""
        self.catch_up()
        self._engine.loaded(leg, tokens)
        self._after_change(plan_holds=True)

    def retry(self, leg: RunningRequest) -> None:
        """Let a request that waited for the KV blocks of another one look for its own again."""
        self.catch_up()
        self._engine.retry(leg, self.env.now)
        self._after_change(plan_holds=True)

    def receive(self, leg: RunningRequest) -> None:
        """Let a request whose KV blocks have arrived wait for a batch slot."""
        self.catch_up()
        self._engine.receive(leg)
        self._after_change(plan_holds=True)

    def hand_over(self, leg: RunningRequest) -> None:
        """End a decoding request with the current step, and hold its blocks for another replica."""
        self.catch_up()
        self._engine.hand_over(leg, self.env.now)
        self._after_change(plan_holds=False)

    @property
    def last_step(self) -> tuple[int, int]:
        """Start and duration of the last formed step, tick and µs."""
        start = self._engine.last_step_start
        return start, self._engine.device_free_at - start

    @property
    def receives_blocks(self) -> bool:
        """Whether the KV store can receive blocks from other replicas."""
        return self._engine.receiving_store is not None

    @property
    def can_hand_over(self) -> bool:
        """Whether engine and KV store support requests that begin or continue on other replicas."""
        return self.settings.step_effects == "end" and self.settings.resume == "recompute" and self.receives_blocks

    @property
    def is_blocked(self) -> bool:
        """Whether requests wait and none runs, because slots or KV blocks are held by others."""
        return self._blocked is not None

    @property
    def held_legs(self) -> Collection[RunningRequest]:
        """The legs that have ended, but whose KV blocks another replica still needs."""
        return self._engine.held.keys()

    @property
    def loading_legs(self) -> Collection[RunningRequest]:
        """The waiting requests whose KV blocks are on their way."""
        return self._queue.loading.keys()

    def decodes(self, leg: Leg) -> bool:
        """Whether a leg decodes here, perhaps with its last output pending."""
        self.catch_up()
        batch = self._engine.batch
        return isinstance(leg, RunningRequest) and leg.decoding and batch.members.get(leg.batch_position) is leg

    def decoding(self) -> list[RunningRequest]:
        """Return the decoding requests in batch order, without those with their last output pending."""
        self.catch_up()
        return self._engine.batch.decoding()

    def held_blocks(self) -> int | None:
        """Count the KV blocks of all legs, one by one; None if the KV store cannot tell."""
        self.catch_up()
        return self._engine.held_blocks()

    def holds(self, leg: Leg) -> bool:
        """Whether the replica holds the KV blocks of a leg that has ended."""
        return leg in self._engine.held

    def release_held(self, leg: RunningRequest) -> None:
        """Release the KV blocks of a leg that has ended; they stay in the prefix cache."""
        self.catch_up()
        self._engine.release_held(leg)
        self._after_change(plan_holds=True)

    def cached_tokens(self, request: Request) -> int:
        """Return the number of prompt tokens of a request in the prefix cache now."""
        self.catch_up()
        leg = RunningRequest(request, self.index, Phase.BOTH, self.env.now)
        return len(self._kv.cached_prefix(leg)) * self.block_size

    def planned_outputs(self, request: Request) -> int:
        """Return the number of output tokens of a request, within the limits of the replica."""
        return self._engine.planned_outputs(request)

    def withdraw(self, leg: RunningRequest) -> None:
        """Withdraw a request that waits, loads its KV blocks or computes its prompt."""
        self.catch_up()
        if leg.outcome is RequestOutcome.PENDING:
            # On its way to the wait queue, where it is discarded.
            self._end_withdrawn(leg)
            return
        waited = leg.batch_position < 0
        self._engine.remove(leg)
        self._end_withdrawn(leg)
        self._after_change(plan_holds=waited)

    def _enter(self, event: Event) -> None:
        leg = cast("RunningRequest", event.value)
        if leg.outcome is not RequestOutcome.PENDING:
            return
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
        # A preemption replaces the leg by a new one with the same position, so the position is compared, not the leg.
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
        """Withdraw or drop waiting requests and those on their way; running requests continue."""
        self.intake = intake
        self.catch_up()
        legs = self._engine.remove_queue()
        self._after_change(plan_holds=True)
        self._refuse(legs)

    def abort(self) -> None:
        """Withdraw all requests, the running ones first, and clear the prefix cache; the current step continues."""
        self.intake = Intake.WITHDRAW
        self.catch_up()
        if self._tiers is not None:
            self._tiers.fail()
        legs = self._engine.remove_all()
        if self._tiers is not None:
            self._tiers.restart()
        self._after_change(plan_holds=False)
        self._refuse(legs)

    def _refuse(self, legs: Iterable[RunningRequest]) -> None:
        now = self.env.now
        for leg in legs:
            if self.intake is Intake.DROP:
                # A dropped request reports no timestamps of earlier legs.
                leg.previous = None
                self._engine.drop(leg, now)
                continue
            self._end_withdrawn(leg)

    def _end_withdrawn(self, leg: RunningRequest) -> None:
        leg.withdraw(self.env.now)
        if self._observers.leg_finished is not None:
            self._observers.leg_finished(leg)

    @property
    def kv_tiers(self) -> list[KVTier]:
        """The KV tiers that the replica has used."""
        return [] if self._tiers is None else self._tiers.known_tiers

    @property
    def kv_loads(self) -> Mapping[int, LoadRecord] | None:
        """What requests have loaded from KV tiers here; None without tiers."""
        return None if self._tiers is None else self._tiers.records

    def catch_up(self) -> None:
        """Commit the planned steps formed up to the current position of the tick."""
        if self._planner.run is not None:
            env = self.env
            self._planner.commit_formed(env.now, env.tick_position >= self._step_priority)

    def external_get(self, blocks: int) -> None:
        """Remove KV blocks from the free list for another process."""
        self._kv.external_get(blocks)

    def external_put(self, blocks: int) -> None:
        """Return KV blocks of another process to the free list."""
        self._kv.external_put(blocks)

    def resources_changed(self) -> None:
        """React to a change of slots or blocks by another process."""
        # Slots and blocks that a step puts back may go to a waiting process, within the turn of this replica. Then it
        # need not be woken.
        if self.env.active_process is not self.process:
            self._after_change(plan_holds=False)

    @property
    def load(self) -> Callable[[], int]:
        """Function that returns the number of waiting and running requests, for frequent calls."""
        return self._engine.load

    @property
    def block_usage(self) -> Callable[[], int]:
        """Function that returns `used_blocks`, for frequent calls."""
        env, count, priority = self.env, self._planner.used_blocks, self._step_priority
        return lambda: count(env.now, env.tick_position >= priority)

    def blocks_unchanged_until(self) -> int:
        """Return the last tick before whose steps `used_blocks` is what it is now, unless an event changes it."""
        env = self.env
        return self._planner.blocks_unchanged_until(env.now, env.tick_position >= self._step_priority)

    @property
    def queue_depth(self) -> int:
        """Number of requests in the wait queue."""
        return self._engine.queue_depth

    @property
    def batch_size(self) -> int:
        """Number of requests in the running batch."""
        return self._engine.batch_size

    @property
    def used_blocks(self) -> int:
        """Number of KV blocks in use, including those of other processes."""
        # Not `self.block_usage()`: compiled by mypyc 2.4, that returns the function.
        usage = self.block_usage
        return usage()

    def observe(self) -> Observation:
        """Return the current state of the replica."""
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
        """Whether no request is running or waiting, also for its KV blocks, and the last step has ended."""
        return self._asleep and not (self._engine.has_work or self._queue.loading)

    @property
    def log(self) -> ReplicaLog:
        """Counters, up to date."""
        self.catch_up()
        return self._engine.log

    @property
    def hit_rate(self) -> float:
        """Fraction of allocated KV blocks that came from the prefix cache, since the start."""
        return float(self.kv_store.hit_rate)

    @property
    def kv_store(self) -> KVStore:
        """KV store, up to date."""
        self.catch_up()
        return self._kv

    @property
    def steps(self) -> StepLog:
        """Record of all steps, up to date."""
        self.catch_up()
        return self._engine.steps

    @property
    def gaps_include_pauses(self) -> bool:
        """Whether the gap between two tokens is the time between the ends of their steps, or the duration of the later.

        The two differ only if a replica pauses while requests decode.
        """
        return self._engine.gaps_include_pauses

    @property
    def token_processing_us(self) -> int:
        """Processing time per output token, µs; part of the latencies, does not occupy the engine."""
        return self._latency.output_token_processing_time()

    def last_activity(self, upto: int) -> int:
        """Return the tick of the last arrival, timeout, step start or step end up to a tick, at most now."""
        self.catch_up()
        self._engine.count_gaps()
        return self._engine.last_activity(upto)

    def finish(self, horizon: int) -> int:
        """Commit the steps formed up to the horizon, and cancel the others.

        Returns
        -------
        int, tick
            Tick of the last arrival, timeout, step start or step end up to the horizon.
        """
        self._planner.commit_formed(horizon, at_now=True)
        self._planner.cancel_rest()
        self._engine.count_gaps()
        return self._engine.last_activity(horizon)
