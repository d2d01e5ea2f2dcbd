"""The running batch: members, slots and stored tokens."""

import pytest

from blis_simpy.core.environment import Environment
from blis_simpy.core.request import Phase, Request
from blis_simpy.core.resources import BatchSlots, KVBlocks
from blis_simpy.replica.kv_store import SingleTier
from blis_simpy.replica.running_batch import RunningBatch
from blis_simpy.replica.running_request import RunningRequest


@pytest.fixture
def batch():
    env = Environment()
    return RunningBatch(BatchSlots(env, 3), SingleTier(KVBlocks(env, 10), 16), 16)


def leg(name, **options):
    return RunningRequest(Request(name, 0, 10, 20, **options), 0, Phase.BOTH, 0)


def joined(batch, *names, **options):
    legs = [leg(name, **options) for name in names]
    for member in legs:
        batch.join(member)
    return legs


def start_decoding(batch, member, step):
    member.computed, member.first_decode_step, member.last_step = 10, step, step + 18
    batch.end_prefills([other for other in batch.prefilling if other is not member])
    batch.decodes.add(member)


def test_members_are_in_order_of_admission_and_hold_a_slot_each(batch):
    a, b, c = joined(batch, "a", "b", "c")
    assert list(batch.members.values()) == batch.prefilling == [a, b, c]
    assert (batch.latest, batch.slots.free) == (c, 0)
    batch.leave(b, 0)
    assert (list(batch.members.values()), batch.prefilling, batch.slots.free) == ([a, c], [a, c], 1)


def test_position_of_a_member_that_left_is_not_used_again(batch):
    a, b = joined(batch, "a", "b")
    batch.leave(b, 0)
    (c,) = joined(batch, "c")
    assert (a.batch_position, b.batch_position, c.batch_position) == (0, -1, 2)


def test_member_without_a_slot_is_an_error(batch):
    joined(batch, "a", "b", "c")
    with pytest.raises(AssertionError, match="without a free slot"):
        joined(batch, "d")


def test_member_that_leaves_while_it_decodes_leaves_the_sums(batch):
    a, b = joined(batch, "a", "b")
    start_decoding(batch, a, 1)
    batch.decodes.advance(4)
    assert (batch.decodes.count, batch.decodes.context_tokens) == (1, 14)
    batch.leave(a, 5)
    assert (batch.decodes.count, batch.decodes.context_tokens) == (0, 0)
    assert list(batch.members.values()) == [b]


def test_stored_tokens_are_progress_and_what_was_just_granted(batch):
    a, b = joined(batch, "a", "b")
    start_decoding(batch, a, 1)
    a.granted = 1
    b.computed, b.granted = 4, 3
    assert batch.stored_tokens(a, 5) == 10 + 4 + 1
    assert batch.stored_tokens(b, 5) == 4 + 3


def test_contexts_of_decoding_members_are_in_batch_order(batch):
    a, b, c = joined(batch, "a", "b", "c")
    start_decoding(batch, c, 1)
    start_decoding(batch, a, 3)
    assert batch.decode_contexts(5) == [12, 14]
    assert batch.decode_contexts(5, {a.batch_position}) == [14]
    assert b.first_decode_step < 0
