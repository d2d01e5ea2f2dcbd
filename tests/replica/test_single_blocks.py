"""Free list and lookup of single blocks, in the store that has them."""

import pytest

from blis_simpy.core.environment import Environment
from blis_simpy.core.request import Phase, Request
from blis_simpy.core.resources import KVBlocks
from blis_simpy.core.token_spans import Span
from blis_simpy.replica.kv_offload import TwoTier
from blis_simpy.replica.running_request import RunningRequest
from blis_simpy.replica.single_blocks import Block


def store(blocks, block_size=4):
    return TwoTier(KVBlocks(Environment(), blocks), block_size, cpu_blocks=100)


def leg_of(tokens):
    return RunningRequest(Request("r", 0, tokens, 1, content=(Span("p", 0, tokens),)), 0, Phase.BOTH, 0)


def admitted(kv, tokens):
    leg = leg_of(tokens)
    assert kv.admit(leg, kv.cached_prefix(leg), tokens)
    return leg


def test_new_block_is_held_by_the_request_that_fills_it():
    block = Block(7)
    assert (block.key, block.num_holders) == (7, 1)


def test_the_last_prompt_token_is_never_found():
    kv = store(8)
    admitted(kv, 8)
    assert [len(kv.cached_prefix(leg_of(tokens))) for tokens in (4, 5, 8, 9)] == [0, 1, 1, 2]


@pytest.mark.parametrize(("block_size", "blocks"), [(1, [1, 1, 4, 5]), (4, [1, 1, 1, 2])])
def test_a_chunk_takes_a_block_for_each_started_one_and_an_empty_prompt_takes_one(block_size, blocks):
    kv, leg = store(8, block_size), leg_of(5)
    assert [kv.blocks_to_admit(leg, (), end) for end in (0, 1, 4, 5)] == blocks


def test_free_blocks_taken_are_new_ones_and_cached_ones_that_nobody_holds():
    """Three blocks of a prompt, which is released while another one shares the first: two of them are free."""
    kv = store(9)
    first, _ = admitted(kv, 12), admitted(kv, 6)
    kv.release(first, 12, 12)
    leg = leg_of(17)
    prefix = kv.cached_prefix(leg)
    assert (len(prefix), kv.blocks_to_admit(leg, prefix, 17), kv.free_blocks_taken(leg, prefix, 17)) == (3, 2, 4)


def test_blocks_without_a_key_are_taken_and_put_back_in_any_numbers():
    kv = store(8)
    lengths = []
    for change in (-3, +1, -6, +5, -2, -3, +2):
        if change < 0:
            assert kv.take(-change)
        else:
            kv.external_put(change)
            kv.pool.put_back(change)
        lengths.append(kv.free_list_length())
    assert lengths == [5, 6, 0, 5, 3, 0, 2]


def pass_on(kv):
    """Let another process take the first free block, and put it back."""
    assert kv.take(1)
    kv.external_put(1)
    kv.pool.put_back(1)


def test_blocks_of_other_processes_keep_their_places_among_those_with_a_key():
    """Free: a block of another process, the two of a prompt, last one first, and another block; taken in turn."""
    kv = store(4)
    leg = admitted(kv, 8)
    pass_on(kv)
    kv.release(leg, 8, 8)
    pass_on(kv)
    found = []
    for _ in range(3):
        found.append(len(kv.cached_prefix(leg_of(9))))
        assert kv.take(1)
    assert found == [2, 2, 1]
