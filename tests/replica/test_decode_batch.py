"""Sums over decoding requests, against the requests themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.core.request import Phase, Request
from blis_simpy.replica.decode_batch import DecodeBatch
from blis_simpy.replica.running_request import RunningRequest


def decoding(batch, position, *, prompt, output, first_step):
    """Add a request whose prompt is done before `first_step`; its first token came with the step before."""
    leg = RunningRequest(Request(f"r{position}", 0, prompt, output), 0, Phase.BOTH, 0)
    leg.batch_position = position
    leg.first_decode_step = first_step
    leg.last_step = first_step + output - 2
    batch.add(leg)
    return leg


def test_example_of_the_module():
    """Prompt of 6, blocks of 4, first decode step 10: blocks are taken in the steps 12, 16, 20."""
    batch = DecodeBatch(4)
    leg = decoding(batch, 0, prompt=6, output=12, first_step=10)
    assert [step for step in range(10, 21) if batch.needs_block(leg, step)] == [12, 16, 20]
    assert [batch.blocks_in_step(step) for step in range(10, 15)] == [0, 0, 1, 0, 0]
    assert batch.blocks_by_step(11, 6) == [0, 1, 0, 0, 0, 1]


def test_requests_end_in_their_last_step_in_batch_order():
    batch = DecodeBatch(4)
    late = decoding(batch, 0, prompt=1, output=5, first_step=1)
    both = [decoding(batch, position, prompt=1, output=3, first_step=1) for position in (2, 1)]
    assert batch.next_end() == 2
    assert batch.pop_ended(1) == []
    assert batch.pop_ended(2) == both[::-1]
    assert batch.next_end() == 4
    assert batch.pop_ended(4) == [late]
    assert batch.next_end() == -1


def test_request_that_left_early_does_not_end():
    batch = DecodeBatch(4)
    leg = decoding(batch, 0, prompt=1, output=3, first_step=1)
    batch.remove(leg, 2)
    leg.batch_position = -1
    assert (batch.count, batch.context_tokens, batch.next_end()) == (0, 1 - 2, -1)


def test_postponed_request_gets_every_token_and_block_a_step_later():
    batch = DecodeBatch(4)
    leg = decoding(batch, 0, prompt=6, output=12, first_step=10)
    batch.postpone(leg, 10)
    batch.advance(1)
    assert batch.context_tokens == batch.progress(leg, 11) == 6
    assert [step for step in range(11, 22) if batch.needs_block(leg, step)] == [13, 17, 21]
    assert batch.next_end() == leg.last_step == 21


requests = st.lists(st.tuples(st.integers(0, 40), st.integers(2, 60)), min_size=1, max_size=8)


@given(requests, st.integers(1, 9), st.integers(0, 30), st.integers(0, 60))
def test_blocks_taken_are_those_of_the_single_requests(rows, block_size, done, free_blocks):
    """After `done` steps: blocks of single steps, of several, and how many steps the free ones last."""
    batch = DecodeBatch(block_size)
    for position, (prompt, output) in enumerate(rows):
        decoding(batch, position, prompt=prompt, output=output, first_step=1)
    batch.advance(done)
    assert batch.context_tokens == sum(prompt + done for prompt, _ in rows)
    first, steps = done + 1, 50
    taken = [sum((prompt + step - 1) % block_size == 0 for prompt, _ in rows) for step in range(first, first + steps)]
    assert batch.blocks_by_step(first, steps) == taken
    assert [batch.blocks_in_step(first + number) for number in range(steps)] == taken
    assert [batch.blocks_in_steps(first, number) for number in range(1, steps)] == [
        sum(taken[:number]) for number in range(1, steps)
    ]
    lasting = next((number for number in range(steps) if sum(taken[: number + 1]) > free_blocks), steps)
    assert batch.steps_within(first, steps, free_blocks) == lasting


@pytest.mark.parametrize("block_size", [1, 16])
def test_request_with_a_token_stored_twice_takes_its_blocks_a_step_earlier(block_size):
    """An empty prompt stores its first output token when it is admitted and again when it decodes."""
    batch = DecodeBatch(block_size)
    leg = RunningRequest(Request("empty", 0, 0, 40), 0, Phase.BOTH, 0)
    leg.batch_position, leg.first_decode_step, leg.last_step, leg.extra_stored = 0, 1, 39, 1
    batch.add(leg)
    assert [step for step in range(1, 40) if batch.needs_block(leg, step)] == [
        step for step in range(1, 40) if (1 + step - 1) % block_size == 0
    ]
