"""What the KV stores on the GPU have in common: counts, and a free list of segments. Blocks of 4."""

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

SIZE = 4
STORES = pytest.mark.parametrize("store", [SingleTier, BlockPool])


def leg_of(tokens, stream=None):
    content = None if stream is None else (Span(stream, 0, tokens),)
    return RunningRequest(Request(f"{stream}-{tokens}", 0, tokens, 5, content=content), 0, Phase.BOTH, 0)


@STORES
def test_blocks_of_chunks_are_counted_once_a_block(store):
    """Chunks of 3, 3 and 7 tokens: 1 block, 1 more, 2 more."""
    kv, leg = store(KVBlocks(Environment(), 9), SIZE), leg_of(13)
    assert kv.admit(leg, (), 3)
    assert [kv.blocks_to_extend(leg, end) for end in (4, 5, 6, 13)] == [0, 1, 1, 3]
    assert kv.extend(leg, 6)
    assert kv.extend(leg, 13)
    assert (leg.num_blocks, kv.pool.free, kv.misses, kv.hits) == (4, 5, 4, 0)


@STORES
def test_allocation_that_does_not_fit_changes_nothing(store):
    kv, leg = store(KVBlocks(Environment(), 2), SIZE), leg_of(20)
    assert not kv.admit(leg, (), 9)
    assert kv.admit(leg, (), 8)
    assert not kv.extend(leg, 9)
    assert not kv.take(1)
    assert (leg.num_blocks, kv.pool.free, kv.misses, kv.free_list_length()) == (2, 0, 2, 0)


@STORES
def test_free_blocks_taken_are_new_ones_and_cached_ones_that_nobody_holds(store):
    """A prompt of two blocks is released while one with the same first block runs: one block is held, one is free."""
    kv, first, second, leg = store(KVBlocks(Environment(), 9), SIZE), leg_of(9, "p"), leg_of(6, "p"), leg_of(13, "p")
    assert kv.admit(first, kv.cached_prefix(first), 9)
    assert kv.admit(second, kv.cached_prefix(second), 6)
    kv.release(first, 9, 9)
    prefix = kv.cached_prefix(leg)
    assert kv.free_blocks_taken(leg, (), 13) == kv.blocks_to_admit(leg, (), 13) == 4
    assert (len(prefix), kv.blocks_to_admit(leg, prefix, 13)) == (2, 2)
    assert kv.free_blocks_taken(leg, prefix, 13) == 3


def cached(kv, tokens):
    """Blocks of a prompt in the cache, and those of them that are free."""
    leg = leg_of(tokens, "p")
    prefix = kv.cached_prefix(leg)
    return len(prefix), kv.free_blocks_taken(leg, prefix, tokens) - kv.blocks_to_admit(leg, prefix, tokens)


@pytest.mark.parametrize(("store", "found"), [(SingleTier, [(2, 1), (1, 0)]), (BlockPool, [(2, 0), (2, 0)])])
def test_of_equal_blocks_one_is_found(store, found):
    """Two prompts of two blocks; the second one shares the first block only, and computes the last one again.

    The reference finds the block of the second request, which is released, and none when that is evicted.
    """
    kv, first, second = store(KVBlocks(Environment(), 5), SIZE), leg_of(8, "p"), leg_of(8, "p")
    assert kv.admit(first, kv.cached_prefix(first), 8)
    assert kv.admit(second, kv.cached_prefix(second), 8)
    kv.release(second, 8, 8)
    counts = []
    for blocks in (2, 1):
        assert kv.take(blocks)
        counts.append(cached(kv, 9))
    assert counts == found


@pytest.mark.parametrize(
    ("store", "found"), [(SingleTier, [(3, 1), (3, 1), (1, 0)]), (BlockPool, [(3, 1), (3, 0), (3, 0)])]
)
def test_blocks_of_prompts_in_tandem_are_found_block_by_block(store, found):
    """Both requests compute the second block of the prompt, and then the third one.

    The first request is released, and its blocks are evicted. The reference finds its second block and the third one of
    the second request, vLLM the other way round.
    """
    kv, first, second = store(KVBlocks(Environment(), 8), SIZE), leg_of(17, "p"), leg_of(17, "p")
    assert kv.admit(first, kv.cached_prefix(first), 4)
    assert kv.admit(second, kv.cached_prefix(second), 8)
    assert kv.extend(first, 12)
    assert kv.extend(second, 12)
    kv.release(first, 12, 12)
    counts = []
    for blocks in (3, 1, 1):
        assert kv.take(blocks)
        counts.append(cached(kv, 17))
    assert counts == found


@STORES
def test_admission_stays_blocked_only_if_the_new_blocks_do_not_fit(store):
    """Two free blocks for 2 new ones and a cached one that is free: no fit, but a shorter prefix might do."""
    kv, first, leg = store(KVBlocks(Environment(), 2), SIZE), leg_of(5, "p"), leg_of(12, "p")
    assert kv.admit(first, kv.cached_prefix(first), 5)
    kv.release(first, 5, 5)
    prefix = kv.cached_prefix(leg)
    assert len(prefix) == 1
    assert kv.free_blocks_taken(leg, prefix, 12) == 3
    assert not kv.stays_blocked(leg, prefix, 12, 0)
    assert kv.stays_blocked(leg, prefix, 12, 1)
    assert kv.stays_blocked(leg, (), 12, 0)


@STORES
def test_hit_rate_counts_claimed_and_allocated_blocks(store):
    kv, first, second = store(KVBlocks(Environment(), 9), SIZE), leg_of(12, "p"), leg_of(14, "p")
    assert kv.hit_rate == 0.0
    assert kv.admit(first, kv.cached_prefix(first), 12)
    assert kv.admit(second, kv.cached_prefix(second), 14)
    assert (kv.hits, kv.misses, kv.hit_rate) == (3, 4, 3 / 7)
    assert kv.thrashing_rate == 0.0


@STORES
@given(st.data())
def test_no_block_is_lost_or_counted_twice(store, data):
    """Random prompts with shared beginnings come, grow by output and go, beside another process."""
    kv = store(KVBlocks(Environment(), 12), SIZE)
    running: list[tuple[RunningRequest, int]] = []
    outside = 0
    for number in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["admit", "grow", "release", "preempt", "outside", "clear"]))
        if action == "admit":
            leg = leg_of(data.draw(st.integers(1, 30)), data.draw(st.sampled_from(["a", "b", f"own{number}"])))
            if kv.admit(leg, kv.cached_prefix(leg), leg.input_tokens):
                running.append((leg, leg.input_tokens))
        elif action == "clear":
            kv.clear_cache()
        elif action == "outside":
            # Another process holds blocks, or gives them back.
            if outside:
                kv.external_put(outside)
                kv.pool.put_back(outside)
                outside = 0
            elif kv.pool.take(blocks := data.draw(st.integers(0, kv.pool.free))):
                kv.external_get(blocks)
                outside = blocks
        elif running:
            leg, stored = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if action == "grow":
                if stored % SIZE or kv.take(1):
                    stored += 1
                running.append((leg, stored))
            elif action == "release":
                kv.release(leg, stored, stored)
            else:
                kv.preempt(leg, stored, stored, min(stored, leg.input_tokens))
        assert kv.free_list_length() == kv.pool.free
        held = [list(leg.blocks.backwards()) for leg, _ in running]
        distinct = {segment for segments in held for segment in segments}
        unnamed = sum(-(-stored // SIZE) - len(leg.blocks) for leg, stored in running)
        assert kv.pool.free == 12 - outside - sum(segment.length for segment in distinct) - unnamed
        assert all(segment.num_holders == sum(segment in segments for segments in held) for segment in distinct)
