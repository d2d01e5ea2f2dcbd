"""Rules of a step in which engines differ: chunk limits, admission, victims, resumption. Blocks of 4 tokens."""

import pytest

from blis_simpy.core.environment import Environment
from blis_simpy.core.request import Phase, Request, RequestOutcome
from blis_simpy.core.resources import BatchSlots, KVBlocks
from blis_simpy.replica.block_pool import BlockPool
from blis_simpy.replica.kv_block import HeldBlocks, Segment
from blis_simpy.replica.running_batch import RunningBatch
from blis_simpy.replica.running_request import RunningRequest
from blis_simpy.replica.step_rules import (
    FirstChunkFits,
    KeepOutputs,
    LatestAdmitted,
    LeastUrgent,
    SharedChunkLimit,
    StartOver,
    WholeSequenceFits,
)

SIZE = 4


def leg_of(name="r", input_tokens=8, routed_at=0, priority=0, **options):
    return RunningRequest(Request(name, 0, input_tokens, 5, priority=priority, **options), 0, Phase.BOTH, routed_at)


def store_with(free, blocks=10):
    kv = BlockPool(KVBlocks(Environment(), blocks), SIZE)
    kv.take(blocks - free)
    return kv


def batch_of(*legs):
    kv = store_with(free=10)
    batch = RunningBatch(BatchSlots(Environment(), 8), kv, SIZE)
    for leg in legs:
        batch.join(leg)
    return batch


@pytest.mark.parametrize(
    ("adaptive", "num_requests", "tokens"),
    [(False, 1, 100), (False, 2, 10), (False, 50, 10), (True, 1, 100), (True, 2, 50), (True, 10, 10), (True, 50, 10)],
)
def test_chunk_limit_is_lifted_for_one_request_and_may_be_a_share_of_the_budget(adaptive, num_requests, tokens):
    assert SharedChunkLimit(10, 100, adaptive=adaptive).tokens(num_requests) == tokens


@pytest.mark.parametrize(
    ("free", "kept", "first_chunk", "whole"),
    [
        (1, 0, False, False),
        (2, 0, True, False),
        (3, 0, True, False),
        (4, 0, True, True),
        (4, 1, True, False),
        (5, 1, True, True),
        (2, 1, False, False),
    ],
)
def test_admission_needs_blocks_for_the_first_chunk_or_for_all_tokens(free, kept, first_chunk, whole):
    """A prompt of 14 tokens takes 4 blocks, its first chunk of 7 takes 2."""
    kv, leg = store_with(free), leg_of(input_tokens=14)
    assert FirstChunkFits(kv).fits(leg, (), 7, kept) is first_chunk
    assert WholeSequenceFits(kv).fits(leg, (), 7, kept) is whole
    assert FirstChunkFits(kv).stays_blocked(leg, (), 7, kept) is not first_chunk
    assert WholeSequenceFits(kv).stays_blocked(leg, (), 7, kept) is not whole


def test_cached_blocks_that_nobody_holds_count_as_needed():
    """Of a prompt of 14 tokens two blocks are cached, one of them free: 2 new ones, and the free one is taken."""
    kv, leg = store_with(free=3), leg_of(input_tokens=14)
    prefix = HeldBlocks()
    for position, num_holders in enumerate((1, 0)):
        segment = Segment(line=1, position=position, length=1)
        segment.num_holders = num_holders
        prefix.append(segment, 1)
    assert WholeSequenceFits(kv).blocks_needed(leg, prefix, 12) == 3
    assert WholeSequenceFits(kv).fits(leg, prefix, 12, 0)
    assert not WholeSequenceFits(kv).fits(leg, prefix, 12, 1)
    assert not FirstChunkFits(kv).fits(leg, prefix, 14, 1)
    assert FirstChunkFits(kv).fits(leg, prefix, 12, 1)


def test_whole_sequence_of_a_resumed_request_has_its_outputs():
    kv, leg = store_with(free=2), leg_of(input_tokens=8)
    assert WholeSequenceFits(kv).fits(leg, (), 8, 0)
    leg.input_tokens = 9
    assert not WholeSequenceFits(kv).fits(leg, (), 8, 0)


def test_latest_victim_is_the_last_of_the_batch():
    first, last = leg_of("first", priority=9), leg_of("last")
    assert LatestAdmitted().victim(batch_of(first, last)) is last


@pytest.mark.parametrize(
    ("members", "victim"),
    [
        # (priority, arrival at the replica) in batch order
        ([(0, 5), (7, 1), (3, 9)], 1),
        ([(7, 1), (7, 4), (7, 2)], 1),
        ([(7, 4), (7, 4), (0, 4)], 0),
        ([(-1, 0), (-2, 9)], 0),
    ],
)
def test_least_urgent_victim_has_the_largest_number_then_the_latest_arrival_then_stands_first(members, victim):
    legs = [leg_of(str(n), priority=priority, routed_at=at) for n, (priority, at) in enumerate(members)]
    assert LeastUrgent().victim(batch_of(*legs)) is legs[victim]


def test_request_that_starts_over_gets_a_new_leg_and_finds_its_prompt_alone():
    leg = leg_of(input_tokens=8)
    rule = StartOver()
    assert (rule.findable(leg, 5), rule.findable(leg, 20)) == (5, 8)
    again = rule.requeued(leg, outputs=3, step=9, now=70)
    assert again is not leg
    assert (again.previous, again.num_outputs, again.input_tokens, again.num_preemptions) == (leg, 0, 8, 1)
    assert (leg.outcome, leg.finished_at) == (RequestOutcome.PREEMPTED, 70)


def test_request_that_keeps_its_outputs_waits_as_the_same_leg_with_a_longer_prompt():
    leg = leg_of(input_tokens=8)
    leg.first_decode_step, leg.last_step = 5, 20
    leg.ttft = 33
    rule = KeepOutputs()
    assert rule.findable(leg, 20) == 20
    assert rule.requeued(leg, outputs=5, step=9, now=70) is leg
    assert (leg.outcome, leg.num_outputs, leg.input_tokens, leg.num_preemptions) == (RequestOutcome.QUEUED, 5, 13, 1)
    assert (leg.computed, leg.decoding, leg.ttft) == (0, False, 33)
    assert leg.segments == ((4, 8),)
