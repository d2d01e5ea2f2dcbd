"""Conformance suite for KV stores, which are checked in simulations of a replica."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import Span
from blis_simpy.replica.kv_store import HostTier
from blis_simpy.testing.conformance.replica_cases import (
    ReplicaCase,
    ReplicaSuite,
    ViolationFoundError,
    Violations,
    outcomes,
    replica_cases,
)
from blis_simpy.testing.conformance.suite import require
from blis_simpy.testing.conformance.watched_kv_store import WatchedKVStore, WatchedTwoTierStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.core.token_spans import TokenSpans
    from blis_simpy.replica.kv_store import KVStore
    from blis_simpy.simulation import Simulation

__all__ = ["KVStoreTests"]

_POLL_US = 10_000


class KVStoreTests(ReplicaSuite):
    """Tests of the rules of `blis_simpy.replica.kv_store.KVStore` and `HostTier`.

    ``make(pool, block_size)`` returns a store for the blocks of a `KVBlocks`, with a number of tokens per block.

    Attributes
    ----------
    reloads_on_failure : bool
        Whether a failed allocation may reload blocks from another tier, as in ``two-tier``. Then a failed `extend` may
        leave the request with more blocks, and other failures may change everything but the number of free blocks.
    """

    reloads_on_failure = False

    def make(self, pool: KVBlocks, block_size: int) -> KVStore:
        """Return a new store."""
        raise NotImplementedError(f"{type(self).__name__}.make must return a new instance of the plug-in")

    def watch(self, case: ReplicaCase) -> Violations:
        """Simulate a case, with another process that takes blocks, and return the violations of the store."""
        stores: list[WatchedKVStore] = []

        def make(pool: KVBlocks, block_size: int) -> WatchedKVStore:
            store = self.make(pool, block_size)
            watched = WatchedTwoTierStore if isinstance(store, HostTier) else WatchedKVStore
            violations = Violations(store, case.name)
            stores.append(watched(store, pool, block_size, violations, strict=not self.reloads_on_failure))
            return stores[-1]

        simulation = case.simulation(macro_steps=True, store=make)
        violations = stores[0].violations
        simulation.wait_for(simulation.env.process(_empty_and_fill(simulation, stores[0])))
        simulation.env.process(_borrow_blocks(simulation))
        with suppress(ViolationFoundError):
            simulation.run()
            unserved = [request.id for request in simulation.requests if request.outcome < RequestOutcome.COMPLETED]
            if unserved:
                violations.add("reuse", "blocks that were put back must serve later requests", not_served=unserved)
        return violations

    def test_a_failed_allocation_changes_nothing(self) -> None:
        """`admit`, `extend` and `take` check first; False means that counts, held blocks and cache are as before."""
        self.check("failure")

    def test_as_many_blocks_are_taken_as_are_needed(self) -> None:
        """`take` takes what it is asked for, `extend` takes `blocks_to_extend`, `admit` at most the prompt's blocks."""
        self.check("count")

    def test_an_allocation_that_fits_succeeds(self) -> None:
        """`take` and `extend` succeed if enough blocks are free."""
        self.check("fits")

    def test_blocks_to_admit_is_a_lower_bound(self) -> None:
        """`admit` fails with fewer free blocks than `blocks_to_admit`, for which a blocked replica waits."""
        self.check("lower bound")

    def test_a_blocked_request_stays_blocked(self) -> None:
        """After `stays_blocked` has returned True, `admit` fails until a block is put back."""
        self.check("blocked")

    def test_all_blocks_come_back(self) -> None:
        """All blocks are free while no request is running, and never more than the capacity."""
        self.check("conservation")

    def test_blocks_that_come_back_can_be_taken(self) -> None:
        """After all requests have ended, another process, or one request, can take all blocks."""
        self.check("reuse")

    def test_a_cached_prefix_leaves_the_last_prompt_token(self) -> None:
        """The cached prefix excludes the last prompt token, whose computation gives the first output token."""
        self.check("last token")

    def test_a_cached_prefix_was_stored_before(self) -> None:
        """A block is found only if its tokens and all tokens before it were stored before."""
        self.check("content")

    def test_a_taken_block_loses_its_content(self) -> None:
        """After all free blocks were taken, or `clear_cache` was called, only blocks of running requests are found."""
        self.check("eviction")

    def test_questions_change_nothing(self) -> None:
        """`cached_prefix`, `stays_blocked`, `blocks_to_admit` and `blocks_to_extend` change nothing."""
        self.check("questions")

    def test_rates_are_fractions(self) -> None:
        """`hit_rate` lies between 0 and 1; `thrashing_rate` is not negative."""
        self.check("rates")

    def test_transfer_time_is_claimed_once(self) -> None:
        """`claim_transfer` returns an integer number of µs, and then 0 until the next transfer."""
        self.check("transfer")

    def test_macro_steps_change_no_figure(self) -> None:
        """Macro-steps, which rely on `stays_blocked` and `offload_is_constant`, change no figure."""
        for case, violations in zip(replica_cases(), self.violations(), strict=True):
            if violations:
                continue
            one, other = (case.simulation(macro_steps=macro, store=self._factory()) for macro in (False, True))
            for simulation in (one, other):
                simulation.run()
            for first, second in zip(outcomes(one), outcomes(other), strict=True):
                rule = "macro-steps must change no figure: stays_blocked or offload_is_constant is wrong"
                require(
                    first == second, violations.plugin, rule, case=case.name, single_steps=first, macro_steps=second
                )

    def _factory(self) -> Any:
        def make(pool: KVBlocks, block_size: int) -> KVStore:
            return self.make(pool, block_size)

        return make


def _borrow_blocks(simulation: Simulation) -> Generator[Event, Any, None]:
    """Hold a few blocks three times, as another process may."""
    blocks = simulation.replicas[0].kv_blocks
    for pause in (300, 2_000, 5_000):
        yield simulation.env.timeout(pause)
        yield blocks.get(3)
        yield simulation.env.timeout(700)
        yield blocks.put(3)


def _empty_and_fill(simulation: Simulation, store: WatchedKVStore) -> Generator[Event, Any, None]:
    """Wait for all requests; send one prompt before and after evictions, and one that fills all blocks."""
    env, blocks = simulation.env, simulation.replicas[0].kv_blocks
    while any(request.outcome < RequestOutcome.COMPLETED for request in simulation.requests):
        yield env.timeout(_POLL_US)
    capacity = int(blocks.capacity)
    tokens = 5 * store.block_size

    def send(name: str, input_tokens: int, content: TokenSpans | None) -> Event:
        return simulation.submit(Request(name, env.now, input_tokens, 1, content=content))

    for name in ("stored", "found"):
        yield send(name, tokens, (Span("again", 0, tokens),))
        yield env.timeout(_POLL_US)
    yield blocks.get(capacity)
    yield blocks.put(capacity)
    yield send("after all blocks were taken", tokens, (Span("again", 0, tokens),))
    yield env.timeout(_POLL_US)
    store.clear_cache()
    yield send("after the cache was cleared", tokens, (Span("again", 0, tokens),))
    yield env.timeout(_POLL_US)
    yield send("as large as all blocks", capacity * store.block_size - 1, None)
