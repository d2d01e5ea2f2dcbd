"""Transfers of KV blocks between the GPUs of a replica and its tiers.

A *load* brings the blocks of a waiting request to blocks of the GPU that are reserved for it; it is *arriving* until
its last flow has ended. A *prefetch* brings chunks to the first tier. *Writes* copy chunks from the GPU, or from one
tier to the next, in the background: the content of evicted blocks is staged, so that nothing waits for a write.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Protocol, cast

import attrs

from blis_simpy.core.environment import CONTROL_PLANE, ControlEvent, event_priority
from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.network.network import replica_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from simpy.events import Event

    from blis_simpy.core.block_keys import BlockKeys
    from blis_simpy.core.environment import Environment
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.network.flow import Flow
    from blis_simpy.replica.kv_tier import KVTier
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.replica.tier_pool import TierPool

__all__ = ["Arrival", "LoadPlan", "LoadRecord", "Receiver", "TierTransfers"]

# As the start and the end of flows: before the turns of replicas.
_FLOW = event_priority(CONTROL_PLANE, ControlEvent.LINK)


class Receiver(Protocol):
    """Interface of the replica."""

    def loaded(self, leg: RunningRequest, tokens: int) -> None:
        """Let a request continue whose blocks have arrived, up to a number of tokens."""
        ...

    def retry(self, leg: RunningRequest) -> None:
        """Let a request look for its blocks again."""
        ...


class LoadPlan:
    """What a request loads.

    Parameters
    ----------
    parts : list of (KVTier, list of int, int)
        Tier, keys of the chunks and number of blocks to load, in the order of the prompt.
    blocks : int
        Blocks of the prompt that are on the GPU after the load.
    """

    __slots__ = ("blocks", "parts")

    def __init__(self, parts: list[tuple[KVTier, list[int], int]], blocks: int) -> None:
        self.parts = parts
        self.blocks = blocks


class Arrival:
    """Chunks on their way to the GPU or to the first tier.

    Parameters
    ----------
    keys : list of int
        The chunks.

    Attributes
    ----------
    flows : dict of Flow
        Flows that have not ended.
    waiting : dict of RunningRequest
        Requests that wait for the end, in order.
    """

    __slots__ = ("flows", "keys", "waiting")

    def __init__(self, keys: list[int]) -> None:
        self.keys = keys
        self.flows: dict[Event, Flow] = {}
        self.waiting: dict[RunningRequest, None] = {}


@attrs.define
class LoadRecord:
    """What a request has loaded from KV tiers on a replica.

    Attributes
    ----------
    started_at : int, tick
        When it first left the wait queue to load, or to wait for blocks that another request loads.
    wait_us : int, µs
        Time in which it waited for its blocks.
    tokens : int
        Tokens in the blocks that it loaded itself.
    """

    started_at: int
    wait_us: int = 0
    tokens: int = 0


class TierTransfers:
    """Loads, prefetches and writes of one replica.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    pool : TierPool
        Tiers of the replicas.
    replica : int
        Index of the replica.
    latency : LatencyModel
        Latency model, to estimate the time of a recomputation.
    block_size : int
        Tokens per KV block.
    always : bool
        Whether to load even if a recomputation is faster.
    max_loading : int or None
        Most requests that load at a time; None = unlimited.
    prefetch_after : int or None, µs
        Time from the end of a request of a session to the prefetch of its chunks; None = no such prefetch.
    receiver : Receiver
        The replica.

    Attributes
    ----------
    records : dict of int to LoadRecord
        Requests that have waited for blocks from a tier.
    """

    def __init__(
        self,
        env: Environment,
        pool: TierPool,
        *,
        replica: int,
        latency: LatencyModel,
        block_size: int,
        always: bool,
        max_loading: int | None,
        prefetch_after: int | None,
        receiver: Receiver,
    ) -> None:
        self._env = env
        self._network = pool.network
        self._pool = pool
        self._replica = replica
        self._endpoint = replica_endpoint(replica)
        self._latency = latency
        self._block_size = block_size
        self._always = always
        self._max_loading = max_loading
        self._prefetch_after = prefetch_after
        self._found_tiers: list[KVTier] = []
        self._loads: dict[RunningRequest, tuple[LoadPlan, Arrival]] = {}
        self._arriving: dict[int, Arrival] = {}
        # Flows of writes, with their tiers and chunks.
        self._writes: dict[Event, tuple[KVTier, list[int]]] = {}
        self._prefetches: dict[Event, tuple[KVTier, Arrival]] = {}
        # Chunks that the GPU has lost at this tick.
        self._evicted: list[int] = []
        self._fails = False
        self._receiver = receiver
        self.records: dict[int, LoadRecord] = {}
        # Since when requests wait for their blocks.
        self._waiting_since: dict[RunningRequest, int] = {}

    @property
    def known_tiers(self) -> list[KVTier]:
        """The tiers of the replica; empty before it has used any."""
        return self._found_tiers

    @property
    def _tiers(self) -> list[KVTier]:
        # On first use, because a replica is built before it has its GPUs.
        if not self._found_tiers:
            self._found_tiers = self._pool.of_replica(self._replica)
        return self._found_tiers

    def _chunk_keys(self, keys: BlockKeys, first: int = 0) -> list[int]:
        """Return the keys of the whole chunks of some blocks, from chunk `first` on."""
        chunk = self._pool.chunk
        return [key for blocks in keys.ranges() for key in blocks][first * chunk + chunk - 1 :: chunk]

    def entered(self, leg: RunningRequest) -> None:
        """Count a request for its chunks, if a tier wants to know."""
        if leg.keys and self._pool.counts_requests:
            self._pool.ask(self._chunk_keys(cast("BlockKeys", leg.keys)))

    def plan(self, leg: RunningRequest, cached: int) -> LoadPlan | Arrival | None:
        """Decide what a waiting request loads.

        Parameters
        ----------
        leg : RunningRequest
            The request, with its keys.
        cached : int
            Leading blocks that the GPU has.

        Returns
        -------
        LoadPlan, Arrival or None
            The load; or an arrival of its next chunk, for which it should wait; or None if there is nothing to load or
            a recomputation is faster.
        """
        chunk = self._pool.chunk
        limit = (leg.input_tokens - 1) // self._block_size
        if not leg.keys or cached >= limit:
            return None
        first = cached // chunk
        wanted = self._chunk_keys(cast("BlockKeys", leg.keys), first)
        parts: list[tuple[KVTier, list[int], int]] = []
        blocks = cached
        for number, key in enumerate(wanted, start=first):
            tier = self._tier_of(key)
            end = min((number + 1) * chunk, limit)
            if end <= blocks:
                break
            if (arrival := self._arriving.get(key)) is not None:
                return arrival
            if tier is None:
                break
            if parts and parts[-1][0] is tier:
                _, keys, length = parts[-1]
                keys.append(key)
                parts[-1] = (tier, keys, length + end - blocks)
            else:
                parts.append((tier, [key], end - blocks))
            blocks = end
        return self._best(leg, cached, parts) if parts else None

    def _tier_of(self, key: int) -> KVTier | None:
        """Return the first tier from which a chunk can be read."""
        return next((tier for tier in self._tiers if key in tier), None)

    def _best(self, leg: RunningRequest, cached: int, parts: list[tuple[KVTier, list[int], int]]) -> LoadPlan | None:
        """Return the load of the leading parts that saves the most time; None if none saves any."""
        if self._always:
            return LoadPlan(parts, cached + sum(blocks for _, _, blocks in parts))
        best, most, load_us, loaded = None, 0, 0, 0
        for number, (tier, _, blocks) in enumerate(parts, start=1):
            loaded += blocks
            size = self._pool.num_bytes(blocks)
            load_us = max(load_us, self._network.expected_time(tier.endpoint, self._endpoint, size))
            saved = self._recomputation_us(leg, cached, loaded) - load_us
            if saved > most:
                best, most = LoadPlan(parts[:number], cached + loaded), saved
        return best

    def _recomputation_us(self, leg: RunningRequest, cached: int, blocks: int) -> int:
        size = self._block_size
        member = StepMember(leg.input_tokens, cached * size, blocks * size, leg.request.output_tokens)
        return self._latency.step_time(StepBatch((member,), 0, 0, list))

    @property
    def is_full(self) -> bool:
        """Whether no further request may load now."""
        return self._max_loading is not None and len(self._loads) >= self._max_loading

    def wait_for(self, leg: RunningRequest, arrival: Arrival) -> None:
        """Let a request look for its blocks again after an arrival."""
        arrival.waiting[leg] = None
        self._wait(leg)

    def load(self, leg: RunningRequest, plan: LoadPlan) -> None:
        """Start the load of a request, for which blocks of the GPU are reserved."""
        arrival = Arrival([key for _, keys, _ in plan.parts for key in keys])
        self._loads[leg] = plan, arrival
        self._wait(leg)
        self._arriving.update(dict.fromkeys(arrival.keys, arrival))
        for tier, keys, blocks in plan.parts:
            # The last chunk first, here and where chunks are written: without the start of a prompt, its other chunks
            # are useless, so that it is evicted last.
            for key in reversed(keys):
                tier.pin(key)
            self._receive(tier, arrival, blocks, self._load_part_ended, kind="kv load", request=leg.request.id)

    def _receive(
        self,
        tier: KVTier,
        arrival: Arrival,
        blocks: int,
        ended: Callable[[Event], None],
        *,
        kind: str,
        request: str,
    ) -> Flow:
        """Send blocks from a tier to the replica."""
        size = self._pool.num_bytes(blocks)
        flow = self._network.send(tier.endpoint, self._endpoint, size, kind=kind, request=request)
        arrival.flows[flow] = flow
        flow.callbacks.append(ended)
        return flow

    def _load_part_ended(self, flow: Event) -> None:
        leg = next(leg for leg, (_, arrival) in self._loads.items() if flow in arrival.flows)
        plan, arrival = self._loads[leg]
        del arrival.flows[flow]
        if not arrival.flows:
            self._end_load(leg)
            for tier, keys, _ in plan.parts:
                if tier.is_exclusive:
                    for key in keys:
                        tier.remove(key)
            self._end_wait(leg)
            self.records[leg.request.row].tokens += sum(blocks for _, _, blocks in plan.parts) * self._block_size
            self._receiver.loaded(leg, plan.blocks * self._block_size)

    def _wait(self, leg: RunningRequest) -> None:
        now = self._env.now
        self._waiting_since[leg] = now
        if leg.request.row not in self.records:
            self.records[leg.request.row] = LoadRecord(now)

    def _end_wait(self, leg: RunningRequest) -> None:
        if (since := self._waiting_since.pop(leg, None)) is not None:
            self.records[leg.request.row].wait_us += self._env.now - since

    def _end_load(self, leg: RunningRequest) -> None:
        plan, arrival = self._loads.pop(leg)
        for tier, keys, _ in plan.parts:
            for key in keys:
                tier.unpin(key)
        self._end_arrival(arrival)

    def _end_arrival(self, arrival: Arrival) -> None:
        for key in arrival.keys:
            del self._arriving[key]
        if arrival.waiting:
            # After the loaded request has its blocks.
            self._env.call_at(self._env.now, _FLOW, self._retry, list(arrival.waiting))

    def _retry(self, event: Event) -> None:
        for leg in cast("list[RunningRequest]", event.value):
            self._end_wait(leg)
            self._receiver.retry(leg)

    def cancel(self, leg: RunningRequest) -> None:
        """End the load of a request that does not need it any more, or its wait for an arrival."""
        self._end_wait(leg)
        if leg in self._loads:
            for flow in self._loads[leg][1].flows.values():
                flow.cancel()
            self._end_load(leg)
            return
        for arrival in self._arriving.values():
            arrival.waiting.pop(leg, None)

    def prefetch(self, leg: RunningRequest, cached: int) -> None:
        """Copy the chunks of a request that only lower tiers have to the first tier."""
        if not leg.keys:
            return
        for tier, keys in self._in_lower_tiers(
            self._chunk_keys(cast("BlockKeys", leg.keys), cached // self._pool.chunk)
        ):
            blocks = len(keys) * self._pool.chunk
            size = self._pool.num_bytes(blocks)
            load_us = self._network.expected_time(tier.endpoint, self._endpoint, size)
            if self._always or load_us < self._recomputation_us(leg, cached, blocks):
                self._prefetch(tier, keys)

    def _in_lower_tiers(self, keys: Iterable[int]) -> list[tuple[KVTier, list[int]]]:
        """Return the chunks of a prompt that only lower tiers have, by their tiers, up to the first that none has."""
        first, found = self._tiers[0], []
        for key in keys:
            tier = self._tier_of(key)
            if key in self._arriving or (tier is None and not first.has(key)):
                break
            # Used, so that the chunks that follow do not evict it.
            first.use(key)
            if tier is not None and tier is not first and not first.has(key):
                found.append((tier, key))
        return [(tier, [key for _, key in group]) for tier, group in groupby(found, key=lambda pair: pair[0])]

    def _expect_return(self, event: Event) -> None:
        """Prefetch the chunks of a session, for which no request waits yet."""
        # A replica that was restarted has no memories before its first request.
        if self._found_tiers:
            for tier, keys in self._in_lower_tiers(cast("list[int]", event.value)):
                self._prefetch(tier, keys)

    def _prefetch(self, tier: KVTier, keys: list[int]) -> None:
        for key in keys:
            tier.pin(key)
        arriving = self._make_room(0, keys)
        for key in keys:
            if key not in arriving:
                tier.unpin(key)
        if arriving:
            arrival = Arrival(arriving)
            self._arriving.update(dict.fromkeys(arriving, arrival))
            blocks = len(arriving) * self._pool.chunk
            flow = self._receive(tier, arrival, blocks, self._prefetch_ended, kind="kv prefetch", request="")
            self._prefetches[flow] = tier, arrival

    def _prefetch_ended(self, flow: Event) -> None:
        tier, arrival = self._prefetches.pop(flow)
        for key in arrival.keys:
            tier.unpin(key)
            self._tiers[0].arrived(key)
        self._end_arrival(arrival)

    def computed(self, legs: Iterable[tuple[RunningRequest, int, int]], at: int) -> None:
        """Write chunks that are full when a step ends.

        Parameters
        ----------
        legs : iterable of (RunningRequest, int, int)
            Requests, with their numbers of full blocks before and after the step.
        at : int, tick
            End of the step.
        """
        chunk = self._pool.chunk
        writes: list[tuple[str, list[int]]] = []
        for leg, before, after in legs:
            keys = cast("BlockKeys | None", leg.keys)
            if keys and after // chunk > before // chunk:
                writes.append((leg.request.id, self._chunk_keys(keys.first(after), before // chunk)))
        if writes:
            self._env.call_at(at, _FLOW, self._write_computed, writes)

    def _write_computed(self, event: Event) -> None:
        for request, keys in cast("list[tuple[str, list[int]]]", event.value):
            for number, settings in enumerate(self._pool.settings):
                if settings.write_on == "computation":
                    self._write(number, keys, request)

    def ended(self, leg: RunningRequest, blocks: int) -> None:
        """Write the chunks of the first blocks of a request that leaves the GPU."""
        if leg.keys:
            keys = self._chunk_keys(cast("BlockKeys", leg.keys).first(blocks))
            prefilled = leg.input_tokens // self._block_size // self._pool.chunk
            for number, settings in enumerate(self._pool.settings):
                # Those of its prefill were written when they were computed, or not yet asked for often enough.
                is_written = settings.write_on == "computation" and settings.write_after == 1
                if settings.write_on != "eviction":
                    self._write(number, keys[prefilled:] if is_written else keys, leg.request.id)
            if self._prefetch_after is not None and leg.request.session:
                self._env.call_at(self._env.now + self._prefetch_after, _FLOW, self._expect_return, keys)

    def evicted(self, keys: Iterable[int]) -> None:
        """Write chunks that the GPU loses; those of one tick together."""
        if self._fails:
            return
        if not self._evicted:
            self._env.call_at(self._env.now, _FLOW, self._write_evicted)
        self._evicted += keys

    def _write_evicted(self, _event: Event) -> None:
        keys, self._evicted = self._evicted, []
        if self._pool.settings[0].write_on == "eviction":
            self._write(0, keys, "")

    def _write(self, number: int, keys: Iterable[int], request: str) -> None:
        """Write chunks to a tier that does not have them."""
        if self._fails:
            return
        tier = self._tiers[number]
        new = self._make_room(number, [key for key in keys if self._pool.is_wanted(number, key)])
        if new:
            size = self._pool.num_bytes(len(new) * self._pool.chunk)
            flow = self._network.send(self._endpoint, tier.endpoint, size, kind="kv write", request=request)
            self._writes[flow] = tier, new
            flow.callbacks.append(self._write_ended)

    def _make_room(self, number: int, keys: Sequence[int]) -> list[int]:
        """Expect chunks in a tier; return those that are new there. Evicted ones may go to the next tier."""
        tier, new, evicted = self._tiers[number], [], []
        for key in reversed(keys):
            if tier.has(key):
                tier.use(key)
                continue
            victims = tier.expect(key)
            if victims is not None:
                evicted += victims
                new.append(key)
        below = number + 1
        if evicted and below < len(self._tiers) and self._pool.settings[below].write_on == "eviction":
            self._write(below, evicted, "")
        return new

    def _write_ended(self, flow: Event) -> None:
        tier, keys = self._writes.pop(flow)
        for key in keys:
            tier.arrived(key)

    def fail(self) -> None:
        """Lose what is on the way, and the memories of the replica itself; nothing is written until `restart`."""
        self._fails = True
        for flow, (tier, keys) in self._writes.items():
            cast("Flow", flow).cancel()
            for key in keys:
                tier.forget(key)
        self._writes.clear()
        for flow, (tier, arrival) in self._prefetches.items():
            cast("Flow", flow).cancel()
            for key in arrival.keys:
                tier.unpin(key)
                self._tiers[0].forget(key)
            self._end_arrival(arrival)
        self._prefetches.clear()

    def restart(self) -> None:
        """Begin again with empty memories of the replica, and with the GPUs that it gets next."""
        for tier, settings in zip(self._found_tiers, self._pool.settings, strict=False):
            if settings.shared_by == "replica":
                tier.clear()
        self._found_tiers = []
        self._fails = False
