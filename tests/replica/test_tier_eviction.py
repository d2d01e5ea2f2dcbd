"""Eviction policies: sequences of accesses whose hits can be counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.replica.kv_tier import KVTier
from blis_simpy.replica.tier_eviction import (
    EVICTION_POLICIES,
    FirstInFirstOut,
    LeastFrequentlyUsed,
    LeastRecentlyUsed,
    Optimal,
    num_hits,
)

A, B, C, D = range(4)


@pytest.mark.parametrize(
    ("accesses", "lru", "fifo", "lfu", "optimal"),
    [
        # Each access evicts what is needed next; the optimum keeps a.
        ([A, B, C, A, B, C], 0, 0, 0, 2),
        # LRU and LFU keep a, which was used again; FIFO evicts it.
        ([A, B, A, C, A], 2, 1, 2, 2),
        # LFU keeps a with three uses, although b is newer.
        ([A, A, A, B, C, A, B, C], 2, 2, 3, 4),
    ],
)
def test_hits_with_two_chunks(accesses, lru, fifo, lfu, optimal):
    policies = (LeastRecentlyUsed(), FirstInFirstOut(), LeastFrequentlyUsed(), Optimal(accesses))
    assert [num_hits(accesses, 2, policy) for policy in policies] == [lru, fifo, lfu, optimal]


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 5))
def test_no_policy_has_more_hits_than_the_optimum(accesses, capacity):
    best = num_hits(accesses, capacity, Optimal(accesses))
    for make in EVICTION_POLICIES.values():
        assert num_hits(accesses, capacity, make()) <= best


@pytest.mark.parametrize("name", EVICTION_POLICIES)
def test_pinned_chunks_are_not_evicted(name):
    tier = KVTier("host", "host", 2, EVICTION_POLICIES[name](), chunk_bytes=1, is_exclusive=False)
    for key in (A, B):
        assert tier.expect(key) == []
        tier.arrived(key)
    tier.pin(A)
    assert tier.expect(C) == [B]
    # a is read and c is arriving.
    assert tier.expect(D) is None
    tier.unpin(A)
    assert tier.expect(D) == [A]
    assert (tier.num_chunks, tier.evicted, tier.rejected) == (2, 2, 1)


@pytest.mark.parametrize("name", EVICTION_POLICIES)
@given(steps=st.lists(st.tuples(st.sampled_from(["expect", "arrived", "pin", "unpin", "remove"]), st.integers(0, 5))))
def test_a_tier_keeps_its_capacity_and_each_chunk_once(name, steps):
    tier = KVTier("host", "host", 3, EVICTION_POLICIES[name](), chunk_bytes=1, is_exclusive=False)
    pins = {}
    for step, key in steps:
        if step == "expect" and not tier.has(key):
            tier.expect(key)
        elif step == "arrived":
            tier.arrived(key)
        elif step == "pin" and key in tier:
            tier.pin(key)
            pins[key] = pins.get(key, 0) + 1
        elif step == "unpin" and pins.get(key):
            tier.unpin(key)
            pins[key] -= 1
        elif step == "remove":
            tier.remove(key)
        assert tier.num_chunks <= 3
        assert tier.is_consistent
        assert all(key in tier for key, count in pins.items() if count)
