"""Segments of blocks behave like single blocks: both stores against one that keeps and moves each block by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.core.environment import Environment
from blis_simpy.core.request import Phase, Request
from blis_simpy.core.resources import KVBlocks
from blis_simpy.core.token_spans import Span
from blis_simpy.replica.block_pool import BlockPool
from blis_simpy.replica.kv_store import SingleTier
from blis_simpy.replica.running_request import RunningRequest

if TYPE_CHECKING:
    from blis_simpy.replica.paged_blocks import PagedBlocks

SIZE = 2
Key = tuple[Any, ...]


class OneBlock:
    def __init__(self) -> None:
        self.key: Key | None = None
        self.holders = 0


class SingleBlockStore:
    """The rules of both stores for single blocks; keys are all tokens up to the end of a block."""

    def __init__(self, capacity: int, *, like_vllm: bool) -> None:
        self.like_vllm = like_vllm
        self.free = [OneBlock() for _ in range(capacity)]
        self.named: list[OneBlock] = []
        self.held: dict[str, list[OneBlock]] = {}

    def lookup(self, keys: list[Key], limit: int) -> list[OneBlock]:
        prefix: list[OneBlock] = []
        for key in keys[:limit]:
            same = [block for block in self.named if block.key == key]
            if not same:
                break
            prefix.append(same[0] if self.like_vllm else same[-1])
        return prefix

    def take(self, blocks: int) -> list[OneBlock]:
        taken, self.free = self.free[:blocks], self.free[blocks:]
        for block in taken:
            if block in self.named:
                self.named.remove(block)
            block.key = None
        return taken

    def name(self, request: str, keys: list[Key], tokens: int) -> None:
        for block, key in zip(self.held[request][: tokens // SIZE], keys, strict=False):
            if block.key is None:
                block.key = key
                if not self.like_vllm:  # an older block with this key is found no more, not even later
                    self.named = [other for other in self.named if other.key != key]
                self.named.append(block)

    def admit(self, request: str, keys: list[Key], limit: int, end: int) -> bool:
        prefix = self.lookup(keys, limit)
        new = -(-end // SIZE) - len(prefix)
        if new + sum(not block.holders for block in prefix) > len(self.free):
            return False
        self.free = [block for block in self.free if block not in prefix]
        self.held[request] = prefix + self.take(new)
        for block in self.held[request]:
            block.holders += 1
        self.name(request, keys, end)
        return True

    def extend(self, request: str, keys: list[Key], end: int) -> bool:
        new = -(-end // SIZE) - len(self.held[request])
        if new > len(self.free):
            return False
        taken = self.take(new)
        for block in taken:
            block.holders += 1
        self.held[request] += taken
        self.name(request, keys, end)
        return True

    def release(self, request: str, tokens: int) -> None:
        blank: list[OneBlock] = []
        for index, block in reversed(list(enumerate(self.held.pop(request)))):
            block.holders -= 1
            if block.holders:
                continue
            # vLLM's blocks without a hash are used first; full ones have a hash, though nobody may look for it.
            (blank if self.like_vllm and index >= tokens // SIZE else self.free).append(block)
        self.free = blank + self.free


def free_keys(store: PagedBlocks, names: dict[int, Key]) -> list[Key | None]:
    keys: list[Key | None] = [None] * store._blank
    for part in store._free:
        first = (part.line << 32) + part.position
        keys += [names[first + at] if part.line else None for at in reversed(range(part.length))]
    return keys


# Few prompts, some of them whole blocks, so that requests often share blocks or compute the same ones.
contents = st.lists(st.sampled_from([("a", 0, 4), ("a", 0, 8), ("a", 0, 11), ("b", 0, 6)]), max_size=2)
operations = st.one_of(
    st.tuples(st.just("admit"), contents, st.integers(0, 3), st.integers(1, 24)),
    st.tuples(st.just("extend"), st.integers(0, 9), st.integers(1, 8)),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("preempt"), st.integers(0, 9)),
    st.tuples(st.just("external"), st.integers(1, 3)),
)


@pytest.mark.parametrize("kind", [SingleTier, BlockPool])
@given(st.lists(operations, min_size=20, max_size=40), st.integers(8, 20))
def test_segments_are_found_shared_and_evicted_like_single_blocks(kind, operations, capacity):
    pool = KVBlocks(Environment(), capacity)
    store = kind(pool, SIZE)
    plain = SingleBlockStore(capacity, like_vllm=kind is BlockPool)
    running: dict[str, tuple[RunningRequest, list[Key], int]] = {}
    names: dict[int, Key] = {}
    for number, (operation, *details) in enumerate(operations):
        if operation == "admit":
            spans, more, chunk = details
            content = tuple(Span(*span) for span in spans)
            tokens = [(span.stream, span.start + at) for span in content for at in range(span.tokens)]
            named = len(tokens) // SIZE
            tokens += [(f"r{number}", at) for at in range(more if tokens else more + 1)]
            request = Request(f"r{number}", 0, len(tokens), 1, content=content or None)
            leg = RunningRequest(request, 0, Phase.BOTH, 0)
            keys = [tuple(tokens[: end * SIZE]) for end in range(1, len(tokens) // SIZE + 1)]
            prefix = store.cached_prefix(leg)
            names |= zip(leg.keys, keys, strict=False)
            limit = (len(tokens) - 1) // SIZE
            assert len(prefix) == len(plain.lookup(keys[:named], limit))
            end = min(len(tokens), len(prefix) * SIZE + chunk)
            admitted = store.admit(leg, prefix, end)
            assert admitted == plain.admit(request.id, keys[:named], limit, end)
            if admitted:
                running[request.id] = (leg, keys, end)
        elif operation == "external":
            blocks = min(details[0], pool.free)
            pool.take(blocks)
            store.external_get(blocks)
            for block in plain.take(blocks):
                plain.free.insert(0, block) if plain.like_vllm else plain.free.append(block)
            store.external_put(blocks)
            pool.put_back(blocks)
        elif running:
            name = list(running)[details[0] % len(running)]
            leg, keys, stored = running[name]
            named = len(leg.keys)
            if operation == "extend":
                end = min(leg.input_tokens, stored + details[1])
                extended = store.extend(leg, end)
                assert extended == plain.extend(name, keys[:named], end)
                running[name] = (leg, keys, end if extended else stored)
            else:
                del running[name]
                if operation == "preempt":
                    store.preempt(leg, stored, stored, stored)
                    names |= zip(leg.keys, keys, strict=False)
                    plain.name(name, keys, stored)
                else:
                    store.release(leg, stored, stored)
                plain.release(name, stored)
        assert free_keys(store, names) == [block.key for block in plain.free]
        assert pool.free == len(plain.free)


def serving(store: PagedBlocks, name: str, blocks: int, shared: int) -> None:
    """One request after the other: 16 tokens a block, the beginning shared, all in one chunk."""
    content = (Span("shared", 0, 16 * shared), Span(name, 0, 16 * (blocks - shared)))
    leg = RunningRequest(Request(name, 0, 16 * blocks + 1, 1, content=content), 0, Phase.BOTH, 0)
    prefix = store.cached_prefix(leg)
    assert store.admit(leg, prefix, leg.input_tokens)
    store.release(leg, leg.input_tokens, leg.input_tokens)


@pytest.mark.parametrize("kind", [SingleTier, BlockPool])
@pytest.mark.parametrize("blocks", [10, 1000])
def test_the_segments_of_a_store_do_not_grow_with_the_length_of_the_prompts(kind, blocks):
    """Ten prompts of 10 or of 1000 blocks, the first half shared: one segment for the beginning, one a prompt."""
    store = kind(KVBlocks(Environment(), 100_000), 16)
    for number in range(10):
        serving(store, f"r{number}", blocks, blocks // 2)
    assert sum(len(found) for found in store._found.values()) == 11
    assert sum(1 for part in store._free if part.line) == 11
