"""A KV block with an identity."""

from blis_simpy.replica.single_blocks import Block


def test_new_block_is_held_by_the_request_that_fills_it():
    block = Block(7)
    assert (block.key, block.num_holders) == (7, 1)
