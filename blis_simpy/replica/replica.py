"""A replica: one inference engine as a SimPy process.

The process sleeps while there is nothing to do, takes its turn at the start of each step that needs a decision, and
sleeps through the runs of decode steps between. What lands in the middle of a run (a new request, a timeout, somebody
who takes KV blocks or slots) first settles the steps that have started, then changes the state, and wakes the process
at the end of the step under way if the rest of the run no longer holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy import registry
from blis_simpy.core.environment import Environment, ReplicaEvent, Wakeup, event_priority, replica_actor
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.resources import BatchSlots, KVBlocks
from blis_simpy.replica.engine import Engine
from blis_simpy.replica.observation import Observation
from blis_simpy.replica.schedulers import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from simpy.events import Event

    from blis_simpy.core.observers import Hooks
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.replica.log import ReplicaLog, StepLog
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.settings import EngineSettings, KVSettings

__all__ = ["Replica"]


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
        Limits and policies of the engine.
    kv_settings : KVSettings
        KV store and block size.
    num_blocks : int
        KV blocks.
    max_model_len : int
        Cap on prompt and output, tokens; 0 = none.
    latency : LatencyModel
        How long steps take.
    horizon : int, tick
        Deadlines beyond it are not watched.
    on_end : callable
        Told of each request that ended here.
    on_idle : callable
        Told when the replica has run out of work.
    hooks : Hooks
        Told of first tokens and preemptions.

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
    turn_away : callable or None
        Gets the requests that are about to enter the wait queue, while the replica takes none.
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
        on_end: Callable[[Request], None],
        on_idle: Callable[[], None],
        hooks: Hooks,
    ) -> None:
        self.env = env
        self.index = index
        self.model = model
        self.block_size = kv_settings.block_size
        self.slots = BatchSlots(env, settings.max_num_seqs)
        self.kv_blocks = KVBlocks(env, num_blocks)
        self._latency = latency
        self._horizon = horizon
        self._on_idle = on_idle
        self._kv: KVStore = registry.build("kv_store", kv_settings.chosen_store, self.kv_blocks, kv_settings.block_size)
        self._engine = Engine(
            settings=settings,
            max_model_len=max_model_len,
            block_size=kv_settings.block_size,
            latency=latency,
            former=registry.build("batching", settings.batching),
            queue=WaitQueue(
                registry.build("scheduler", settings.scheduler), registry.build("priority", settings.priority)
            ),
            kv=self._kv,
            pool=self.kv_blocks,
            slots=self.slots,
            on_end=on_end,
            hooks=hooks,
        )
        lane = replica_actor(index)
        self._queued_priority = event_priority(lane, ReplicaEvent.QUEUED)
        self._step_priority = event_priority(lane, ReplicaEvent.STEP)
        self._timeout_priority = event_priority(lane, ReplicaEvent.TIMEOUT)
        self.turn_away: Callable[[Request], None] | None = None
        self._asleep = True
        self._stepping = False
        self._alarm = Wakeup(env, self._step_priority)
        self.slots.keeper = self
        self.kv_blocks.keeper = self
        self.process = self._alarm.process = env.process(self.serve())

    # ------------------------------------------------------------------------------------------------ the process

    def serve(self) -> Generator[Event, None, None]:
        """Step while there is work; sleep otherwise."""
        env = self.env
        engine = self._engine
        waiting = self._alarm.off()
        while True:
            yield waiting
            engine.finish_plan()
            if engine.has_work:
                self._stepping = True
                stepped = engine.step(env.now)
                self._stepping = False
                if stepped:
                    engine.plan()
                    waiting = self._alarm.at(engine.next_step_at)
                    continue
            waiting = self._alarm.off()
            self._asleep = True
            self._on_idle()

    def _wake(self, at: int) -> None:
        """Let the process take its next turn at another tick than it waits for."""
        self._alarm.move(at)
        self._asleep = False

    def _after_change(self, still_holds: bool) -> None:
        """Wake the process earlier if the steps it planned no longer hold, or at once if it slept and has work."""
        engine = self._engine
        if self._asleep:
            if engine.has_work:
                self._wake(self.env.now)
        elif engine.has_plan and not (still_holds and engine.is_steady()):
            planned = engine.next_step_at
            engine.cut()
            if engine.next_step_at != planned:
                self._wake(engine.next_step_at)

    # ------------------------------------------------------------------------------------------------ requests

    def submit(self, request: Request) -> None:
        """Hand over a request, which enters the wait queue after the queueing delay of the latency model."""
        now = self.env.now
        request.replica = self.index
        request.routed_at = now
        self._engine.log.last_activity = now
        delay = self._latency.queueing_time(request.input_tokens)
        self.env.call_at(now + delay, self._queued_priority, self._enter, request)

    def _enter(self, turn: Event) -> None:
        now = self.env.now
        request: Request = turn._value
        if self.turn_away is not None:
            self.turn_away(request)
            return
        self.settle()
        sequence = self._engine.enter(request, now)
        if sequence is None:
            return
        deadline = sequence.request.deadline
        if 0 < deadline <= self._horizon:
            self.env.call_at(deadline, self._timeout_priority, self._time_out, sequence)
        self._after_change(still_holds=True)

    def _time_out(self, turn: Event) -> None:
        sequence: RunningRequest = turn._value
        if sequence.withdrawn or sequence.request.outcome not in (RequestOutcome.QUEUED, RequestOutcome.RUNNING):
            return
        self.settle()
        was_queued = sequence.batch_position < 0
        self._engine.time_out(sequence, self.env.now)
        self._after_change(still_holds=was_queued)

    def discard(self, request: Request) -> None:
        """Drop a request that was sent here and is not in the queue."""
        self._engine.discard(request, self.env.now)

    def withdraw_queue(self) -> list[Request]:
        """Take the waiting requests away, in their order; they may be submitted again, here or elsewhere."""
        self.settle()
        requests = self._engine.withdraw_queue()
        self._after_change(still_holds=True)
        return requests

    def abort(self) -> list[Request]:
        """Take all requests away, first those that run, and with them everything that was cached.

        The step under way ends when it would have ended.
        """
        self.settle()
        requests = self._engine.abort()
        self._after_change(still_holds=False)
        return requests

    # ------------------------------------------------------------------------------------------------ the pools

    def settle(self) -> None:
        """Carry out the planned steps that have started by this place in the total order."""
        if self._engine.has_plan:
            env = self.env
            self._engine.settle(env.now, env.place >= self._step_priority)

    def external_get(self, blocks: int) -> None:
        """Take blocks from the free list for another process."""
        self._kv.lend(blocks)

    def external_put(self, blocks: int) -> None:
        """Put blocks of another process back."""
        self._kv.give(blocks)

    def pools_changed(self) -> None:
        """Take note that another process took or gave slots or blocks."""
        if not self._stepping:
            self._after_change(still_holds=False)

    # ------------------------------------------------------------------------------------------------ observation

    @property
    def load(self) -> Callable[[], int]:
        """A function that counts the requests in queue and batch together; made for those who ask often."""
        return self._engine.load

    @property
    def block_usage(self) -> Callable[[], int]:
        """A function that counts the KV blocks in use as `used_blocks` does; made for those who ask often."""
        env, count, priority = self.env, self._engine.used_blocks, self._step_priority
        return lambda: count(env.now, env.place >= priority)

    @property
    def queue_depth(self) -> int:
        """Requests in the wait queue now."""
        return len(self._engine.queue)

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
        self.settle()
        total = int(self.kv_blocks.capacity)
        return Observation(
            at=self.env.now,
            queue_depth=len(self._engine.queue),
            batch_size=self._engine.batch_size,
            used_blocks=total - self.kv_blocks.free,
            total_blocks=total,
            hit_rate=self._kv.hit_rate,
        )

    @property
    def is_idle(self) -> bool:
        """Whether it sleeps, with nobody running or waiting."""
        return self._asleep and not self._engine.has_work

    @property
    def log(self) -> ReplicaLog:
        """Counters so far, brought up to date."""
        self.settle()
        return self._engine.log

    @property
    def hit_rate(self) -> float:
        """Fraction of KV blocks that came from the prefix cache, since the start."""
        return float(self.kv_store.hit_rate)

    @property
    def kv_store(self) -> KVStore:
        """The owner of the KV blocks, brought up to date: hits, misses and rates since the start."""
        self.settle()
        return self._kv

    @property
    def steps(self) -> StepLog:
        """What was done in each step so far, brought up to date."""
        self.settle()
        return self._engine.steps

    @property
    def token_processing_us(self) -> int:
        """Time that the latency model adds to each token's latency, but not to the clock, µs."""
        return self._latency.output_token_processing_time()

    def last_activity(self, upto: int) -> int:
        """Return the last tick up to one, at most the current one, at which something happened here."""
        self.settle()
        self._engine.count_gaps()
        return self._engine.last_activity(upto)

    def finish(self, horizon: int) -> int:
        """Carry out all steps that start up to the horizon, and end.

        Returns
        -------
        int, tick
            Last tick up to the horizon at which something happened here.
        """
        self._engine.settle(horizon, at_now=True)
        self._engine.cut()
        self._engine.count_gaps()
        return self._engine.last_activity(horizon)
