"""A KV store that passes all calls to another one, and checks arguments and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sized

    from blis_simpy.core.resources import KVBlocks
    from blis_simpy.replica.running_request import RunningRequest
    from blis_simpy.testing.conformance.replica_cases import Violations

__all__ = ["WatchedKVStore", "WatchedTwoTierStore"]

_Tokens = tuple[tuple[str, int], ...]
"""Stream and offset of each stored token."""


class WatchedKVStore:
    """Passes all calls to a KV store, and checks them.

    Parameters
    ----------
    store : KVStore
        The store.
    pool : KVBlocks
        Its blocks.
    block_size : int
        Tokens per block.
    violations : Violations
        Records violations.
    strict : bool
        Whether a failed allocation must change nothing.
    """

    keeps_evicted = False
    """Whether lookups may find evicted content again."""

    def __init__(self, store: Any, pool: KVBlocks, block_size: int, violations: Violations, *, strict: bool) -> None:
        self.block_size = block_size
        self._store = store
        self._pool = pool
        self.violations = violations
        self._strict = strict
        self._stored: dict[RunningRequest, int] = {}
        self._free: list[_Tokens] = []
        self._ever: set[_Tokens] = set()
        # Requests with True from `stays_blocked`, and the end of their chunk; cleared when a block is put back.
        self._blocked: dict[RunningRequest, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _violated(self, test: str, rule: str, **found: object) -> None:
        self.violations.add(test, rule, **found, free_blocks=self._pool.free)

    def cached_prefix(self, leg: RunningRequest) -> Sized:
        """Pass on; compare the found content with the stored content."""
        prefix: Sized = self._asked("cached_prefix", leg)
        tokens = len(prefix) * self.block_size
        if not tokens:
            return prefix
        found = {"request": leg.request.id, "cached_tokens": tokens}
        if tokens >= leg.input_tokens:
            rule = "cached_prefix must leave the last prompt token to compute"
            self._violated("last token", rule, **found, prompt_tokens=leg.input_tokens)
        wanted = _tokens_of(leg, tokens)
        running = [_tokens_of(other, stored) for other, stored in self._stored.items()]
        if not _any_starts_with(wanted, (*self._ever, *running)):
            rule = "cached_prefix must return blocks only whose tokens were stored before"
            self._violated("content", rule, **found, prompt=leg.request.content)
        elif not self.keeps_evicted and not _any_starts_with(wanted, (*self._free, *running)):
            rule = "cached_prefix must not return the content of blocks that have been taken since"
            self._violated("eviction", rule, **found)
        return prefix

    def stays_blocked(self, leg: RunningRequest, prefix: Sized, end: int, kept: int) -> bool:
        """Pass on; record the answer."""
        blocked = bool(self._asked("stays_blocked", leg, prefix, end, kept))
        if blocked and not kept:
            self._blocked[leg] = end
        return blocked

    def blocks_to_admit(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Pass on."""
        return int(self._asked("blocks_to_admit", leg, prefix, end))

    def free_blocks_taken(self, leg: RunningRequest, prefix: Sized, end: int) -> int:
        """Pass on."""
        return int(self._asked("free_blocks_taken", leg, prefix, end))

    def blocks_to_extend(self, leg: RunningRequest, end: int) -> int:
        """Pass on."""
        return int(self._asked("blocks_to_extend", leg, end))

    def _asked(self, question: str, *arguments: Any) -> Any:
        before = self._counts()
        answer = getattr(self._store, question)(*arguments)
        again = getattr(self._store, question)(*arguments)
        rule = f"{question} must change nothing, and give equal answers to equal questions"
        if self._counts() != before or answer != again:
            found = {"before": before, "after": self._counts(), "answers": (answer, again)}
            self._violated("questions", rule, **found)
        return answer

    def admit(self, leg: RunningRequest, prefix: Sized, end: int) -> bool:
        """Pass on; check what is taken."""
        fewest = self.blocks_to_admit(leg, prefix, end)
        self.stays_blocked(leg, prefix, end, 0)
        admitted, taken = self._allocated("admit", leg, lambda: self._store.admit(leg, prefix, end))
        if not admitted:
            return False
        found = {"request": leg.request.id, "end": end, "cached_blocks": len(prefix), "taken": taken}
        if self._blocked.get(leg) == end:
            rule = "stays_blocked must be False if admit can succeed before a block is put back"
            self._violated("blocked", rule, **found)
        if self._pool.free + taken < fewest:
            rule = "admit must fail with fewer free blocks than blocks_to_admit"
            self._violated("lower bound", rule, **found, blocks_to_admit=fewest)
        most = -(-max(end, 1) // self.block_size)
        if not 0 <= taken <= most:
            rule = f"admit must take at most the {most} blocks of the prompt"
            self._violated("count", rule, **found)
        self._stored[leg] = end
        self._settle()
        return True

    def extend(self, leg: RunningRequest, end: int) -> bool:
        """Pass on; check what is taken."""
        needed = self.blocks_to_extend(leg, end)
        fits = needed <= self._pool.free
        extended, taken = self._allocated("extend", leg, lambda: self._store.extend(leg, end))
        self._check_fit("extend", fits, extended, taken, needed)
        if extended:
            self._stored[leg] = end
            self._settle()
        return extended

    def take(self, blocks: int) -> bool:
        """Pass on; check what is taken."""
        fits = blocks <= self._pool.free
        took, taken = self._allocated("take", None, lambda: self._store.take(blocks))
        self._check_fit("take", fits, took, taken, blocks)
        self._settle()
        return took

    def _allocated(self, verb: str, leg: RunningRequest | None, allocate: Callable[[], bool]) -> tuple[bool, int]:
        free, before = self._pool.free, self._state(leg)
        succeeded = bool(allocate())
        if not succeeded and (self._strict or verb != "extend") and self._state(leg) != before:
            rule = f"{verb} must check first, and change nothing when it returns False"
            self._violated("failure", rule, before=before, after=self._state(leg))
        return succeeded, free - self._pool.free

    def _check_fit(self, verb: str, fits: bool, succeeded: bool, taken: int, needed: int) -> None:
        if fits and not succeeded:
            self._violated("fits", f"{verb} must succeed if as many blocks are free as it needs", needed=needed)
        if succeeded and taken != needed and (fits or self._strict):
            self._violated("count", f"{verb} must take as many blocks as it needs", needed=needed, taken=taken)

    def _counts(self) -> dict[str, object]:
        store = self._store
        return {"free": self._pool.free, "hits": store.hits, "misses": store.misses}

    def _state(self, leg: RunningRequest | None) -> dict[str, object]:
        """Return the state that a failed allocation must not change."""
        state: dict[str, object] = {"free": self._pool.free}
        if self._strict:
            state |= self._counts() | {"hit_rate": self._store.hit_rate}
            if leg is not None:
                cached = len(self._store.cached_prefix(leg))
                state |= {"held": leg.num_blocks, "named": len(leg.blocks), "cached": cached}
        return state

    def name_output(self, leg: RunningRequest, tokens: int) -> None:
        """Pass on; lookups may find the output afterwards."""
        self._store.name_output(leg, tokens)
        if leg in self._stored:
            self._stored[leg] = max(self._stored[leg], tokens)

    def release(self, leg: RunningRequest, tokens: int, hashed: int) -> None:
        """Pass on; the content stays."""
        self._put_back(lambda: self._store.release(leg, tokens, hashed), leg, tokens)

    def preempt(self, leg: RunningRequest, tokens: int, hashed: int, findable: int) -> None:
        """Pass on; the content stays."""
        self._put_back(lambda: self._store.preempt(leg, tokens, hashed, findable), leg, tokens)

    def _put_back(self, put_back: Callable[[], None], leg: RunningRequest, tokens: int) -> None:
        content = _tokens_of(leg, max(tokens, self._stored.pop(leg, 0)))
        self._ever.add(content)
        # Recorded before the call, because a waiting process may take the blocks immediately.
        self._free.append(content)
        self._blocked.clear()
        put_back()
        self._settle()
        if not self._stored:
            self._check_idle()

    def external_get(self, blocks: int) -> None:
        """Pass on."""
        self._store.external_get(blocks)
        self._settle()

    def external_put(self, blocks: int) -> None:
        """Pass on."""
        self._store.external_put(blocks)
        self._blocked.clear()

    def clear_cache(self) -> None:
        """Pass on; lookups must not find content of free blocks afterwards."""
        self._store.clear_cache()
        self._free.clear()

    def _settle(self) -> None:
        free, capacity = self._pool.free, int(self._pool.capacity)
        if not 0 <= free <= capacity:
            self._violated("conservation", f"between 0 and all {capacity} blocks must be free")
        if not free:
            self._free.clear()
        hit_rate, thrashing_rate = self._store.hit_rate, self._store.thrashing_rate
        if not (0 <= hit_rate <= 1 and thrashing_rate >= 0):
            rule = "hit_rate must lie between 0 and 1, and thrashing_rate must not be negative"
            self._violated("rates", rule, hit_rate=hit_rate, thrashing_rate=thrashing_rate)

    def _check_idle(self) -> None:
        """Check that all blocks are free, while no request holds any."""
        pool = self._pool
        elsewhere = pool.held_externally + pool.num_reserved
        if pool.free + elsewhere != pool.capacity:
            rule = f"all {pool.capacity} blocks must be free when no request runs"
            self._violated("conservation", rule, held_by_other_processes=elsewhere)


class WatchedTwoTierStore(WatchedKVStore):
    """The same for a store with a second tier."""

    keeps_evicted = True

    def claim_transfer(self) -> int:
        """Pass on; a second claim must be empty."""
        claimed, again = self._store.claim_transfer(), self._store.claim_transfer()
        if type(claimed) is not int or claimed < 0 or again != 0:
            rule = "claim_transfer must return whole µs, and 0 the second time"
            self._violated("transfer", rule, claims=(claimed, again))
        return int(claimed)

    def offload(self, batch: Iterable[RunningRequest], stored_tokens: Callable[[RunningRequest], int]) -> None:
        """Pass on."""
        self._store.offload(batch, stored_tokens)

    def offload_is_constant(self, full_blocks: int, new_full_blocks: int) -> bool:
        """Pass on."""
        return bool(self._store.offload_is_constant(full_blocks, new_full_blocks))


def _tokens_of(leg: RunningRequest, count: int) -> _Tokens:
    """Return stream and offset of the first tokens of prompt and output."""
    request = leg.request
    tokens = [(stream, start + offset) for stream, start, length in request.content or () for offset in range(length)]
    own = f"prompt of {request.id}"
    tokens += [(own, offset) for offset in range(len(tokens), leg.input_tokens)]
    output = request.output_stream or f"output of {request.id}"
    tokens += [(output, offset) for offset in range(count - len(tokens))]
    return tuple(tokens[:count])


def _any_starts_with(wanted: _Tokens, contents: Iterable[_Tokens]) -> bool:
    return any(content[: len(wanted)] == wanted for content in contents)
