"""Settings of a replica that depend on each other."""

import pytest

from blis_simpy.replica.kv_store import SingleTier
from blis_simpy.replica.settings import KVSettings


@pytest.mark.parametrize(
    ("settings", "store"),
    [
        ({}, {"type": "single-tier"}),
        ({"cpu_blocks": 5}, {"type": "two-tier", "cpu_blocks": 5, "bandwidth": 100.0, "base_latency": 0}),
        (
            {"store": "two-tier", "cpu_blocks": 5, "transfer_bandwidth": 2.0, "transfer_base_latency": 7},
            {"type": "two-tier", "cpu_blocks": 5, "bandwidth": 2.0, "base_latency": 7},
        ),
        ({"store": SingleTier, "cpu_blocks": 5}, SingleTier),
    ],
)
def test_host_blocks_choose_the_two_tier_store(settings, store):
    assert KVSettings(**settings).chosen_store == store
