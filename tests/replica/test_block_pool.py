"""The KV store of vLLM: which blocks get a hash, in which order they are taken, and which are found. Blocks of 4."""

import pytest

from blis_simpy.core.environment import Environment
from blis_simpy.core.request import Phase, Request
from blis_simpy.core.resources import KVBlocks
from blis_simpy.core.token_spans import Span
from blis_simpy.replica.block_pool import BlockPool
from blis_simpy.replica.running_request import RunningRequest

SIZE = 4


def pool(blocks=8, **options):
    return BlockPool(KVBlocks(Environment(), blocks), SIZE, **options)


def leg_of(tokens, stream="p", output=0):
    """A request with a prompt of a stream, whose output later prompts may contain if there is any."""
    request = Request(
        f"{stream}{tokens}",
        0,
        tokens,
        max(output, 1),
        content=(Span(stream, 0, tokens),),
        output_stream=f"out:{stream}" if output else None,
    )
    return RunningRequest(request, 0, Phase.BOTH, 0)


def admitted(kv, leg, end=None):
    prefix = kv.cached_prefix(leg)
    assert kv.admit(leg, prefix, leg.input_tokens if end is None else end)
    return len(prefix)


def found(kv, tokens, stream="p"):
    return len(kv.cached_prefix(leg_of(tokens, stream)))


def test_block_is_found_from_its_allocation_on_but_never_the_last_known_token():
    """A prompt of 10 fills two blocks. One of 8 that is equal computes its second block again, whole."""
    kv = pool()
    admitted(kv, leg_of(10))
    assert [found(kv, tokens) for tokens in (4, 5, 8, 9, 10, 30)] == [0, 1, 1, 2, 2, 2]
    assert found(kv, 10, "other") == 0


def test_chunk_gives_a_hash_to_the_blocks_that_it_fills():
    kv, leg = pool(), leg_of(12)
    admitted(kv, leg, end=7)
    assert found(kv, 12) == 1
    kv.extend(leg, 8)
    assert found(kv, 12) == 2


def test_of_equal_blocks_the_one_that_got_its_hash_first_is_found():
    """Both prompts of 8 compute their second block: when the first request's is gone, the other one's is found.

    A third prompt of 9 takes one new block, and the second block of the prefix if no request holds it.
    """
    kv, first, second, third = pool(), leg_of(8), leg_of(8), leg_of(9)
    admitted(kv, first)
    assert admitted(kv, second) == 1
    kv.release(first, 8, 8)
    assert kv.free_blocks_taken(third, kv.cached_prefix(third), 9) == 2
    # Five blank blocks, then the block of the first request: the shared one is in use.
    kv.take(6)
    assert len(kv.cached_prefix(third)) == 2
    assert kv.free_blocks_taken(third, kv.cached_prefix(third), 9) == 1


def test_blocks_without_a_hash_are_taken_first_then_the_oldest_of_the_others():
    """Three blocks: 9 tokens fill two of them, whose hashes are lost in the order third, second, first."""
    kv, leg = pool(blocks=3), leg_of(9)
    admitted(kv, leg)
    kv.release(leg, 9, 9)
    assert found(kv, 9) == 2
    kv.take(1)
    assert found(kv, 9) == 2
    kv.take(1)
    assert found(kv, 9) == 1
    kv.take(1)
    assert found(kv, 9) == 0


def test_later_release_is_evicted_later():
    kv, old, new = pool(blocks=4), leg_of(8, "old"), leg_of(8, "new")
    admitted(kv, old)
    admitted(kv, new)
    kv.release(old, 8, 8)
    kv.release(new, 8, 8)
    kv.take(2)
    assert (found(kv, 9, "old"), found(kv, 9, "new")) == (0, 2)


def test_claimed_block_leaves_the_free_list_and_counts_as_a_hit():
    """Four blocks, two of them cached and free: a prompt of 9 that finds both takes one more, and one is left."""
    kv, leg = pool(blocks=4), leg_of(8)
    admitted(kv, leg)
    kv.release(leg, 8, 8)
    assert kv.pool.free == 4
    assert admitted(kv, leg_of(9)) == 2
    assert (kv.pool.free, kv.free_list_length(), kv.hits, kv.misses) == (1, 1, 2, 3)


def test_admission_that_does_not_fit_changes_nothing():
    kv, leg = pool(blocks=3), leg_of(8)
    admitted(kv, leg)
    kv.release(leg, 8, 8)
    longer = leg_of(16)
    prefix = kv.cached_prefix(longer)
    assert len(prefix) == 2
    assert not kv.admit(longer, prefix, 16)
    assert (kv.pool.free, kv.free_list_length(), kv.hits, kv.misses) == (3, 3, 0, 2)
    assert found(kv, 9) == 2


def test_output_is_found_as_far_as_it_has_a_hash():
    """Prompt of 6, output of 7 less the last: 12 stored tokens are three blocks, two with a hash if 11 are hashed."""
    for hashed, blocks in ((12, 3), (11, 2)):
        kv, leg = pool(), leg_of(6, output=7)
        admitted(kv, leg)
        kv.take(1)
        kv.release(leg, 12, hashed)
        again = RunningRequest(
            Request("again", 0, 14, 1, content=(Span("p", 0, 6), Span("out:p", 0, 8))), 0, Phase.BOTH, 0
        )
        assert len(kv.cached_prefix(again)) == blocks


def test_preempted_request_finds_its_own_blocks_even_without_a_name():
    """A prompt of 6 that no other contains, and 6 outputs: three full blocks; a lookup of 12 tokens finds 2."""
    kv = pool()
    leg = RunningRequest(Request("r", 0, 6, 20), 0, Phase.BOTH, 0)
    admitted(kv, leg)
    kv.take(1)
    kv.preempt(leg, 12, 12, 12)
    assert kv.pool.free == 8
    leg.input_tokens = 12
    assert len(kv.cached_prefix(leg)) == 2
    leg.input_tokens = 13
    assert len(kv.cached_prefix(leg)) == 3


def test_without_prefix_caching_nothing_is_found_and_freed_blocks_are_taken_first():
    kv, leg = pool(prefix_caching=False), leg_of(8, output=3)
    admitted(kv, leg)
    kv.preempt(leg, 8, 8, 8)
    assert (found(kv, 9), kv.hits) == (0, 0)
    assert (kv.pool.free, kv.free_list_length()) == (8, 8)


def test_block_of_another_process_has_no_content():
    """Two blocks with a hash are free; another process takes the older one and puts it back: it is taken first."""
    kv, leg = pool(blocks=2), leg_of(8)
    admitted(kv, leg)
    kv.release(leg, 8, 8)
    kv.pool.take(1)
    kv.external_get(1)
    assert found(kv, 9) == 1
    kv.external_put(1)
    kv.pool.put_back(1)
    kv.take(1)
    assert found(kv, 9) == 1


def test_clearing_the_cache_forgets_free_blocks_but_not_held_ones():
    kv, free, held = pool(), leg_of(8, "free"), leg_of(8, "held")
    admitted(kv, free)
    admitted(kv, held)
    kv.release(free, 8, 8)
    kv.clear_cache()
    assert (found(kv, 9, "free"), found(kv, 9, "held")) == (0, 2)
    assert kv.free_list_length() == kv.pool.free == 6


@pytest.mark.parametrize("blocks", [1, 5])
def test_empty_prompt_takes_no_block_and_stores_nothing(blocks):
    kv, leg = pool(blocks=blocks), RunningRequest(Request("r", 0, 0, 3), 0, Phase.BOTH, 0)
    assert kv.admit(leg, (), 0)
    assert (kv.pool.free, leg.num_blocks, leg.extra_stored) == (blocks, 0, 0)
