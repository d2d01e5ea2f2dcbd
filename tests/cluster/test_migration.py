"""Migration policies."""

import pytest
from test_handovers import KV_BYTES, prepare

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.errors import PluginError


def uneven():
    """By turns on two replicas: long outputs on the first, short ones on the second."""
    return [Request(f"r{i}", 1000 * i, 1600, 400 if i % 2 == 0 else 2) for i in range(8)]


def test_balance_kv_moves_requests_to_the_empty_replica():
    """Of four long requests, two move, one at each decision: then both replicas use about half of 500 blocks."""
    simulation = prepare(
        *uneven(),
        groups=(),
        replicas=2,
        kv=blis.KVSettings(blocks=500, bytes_per_token=KV_BYTES),
        migration={"policy": "balance-kv", "interval": "400ms"},
    )
    result = simulation.run()
    moved = result.requests["num_migrations"]
    assert result.requests["outcome"].tolist() == ["completed"] * 8
    assert [result.requests["id"][row] for row in moved.nonzero()[0]] == ["r4", "r6"]
    assert moved.sum() == 2
    assert result.legs["kv_source"].tolist().count(0) == 2


def test_a_threshold_prevents_migrations():
    simulation = prepare(
        *uneven(),
        groups=(),
        replicas=2,
        kv=blis.KVSettings(blocks=500, bytes_per_token=KV_BYTES),
        migration={"policy": {"type": "balance-kv", "threshold": 1.0}, "interval": "400ms"},
    )
    simulation.run()
    assert not simulation.cluster.has_handovers


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda state: [(state.decoding(0)[0], 0)], "migration policy Bad chooses a migration that is not possible"),
        (lambda state: 1 / 0, "migration policy Bad raised ZeroDivisionError"),
    ],
)
def test_wrong_answers_of_a_policy_are_named(choose, message):
    class Bad:
        def migrations(self, state):
            return choose(state)

    settings = {"groups": (), "replicas": 2, "migration": {"policy": Bad(), "interval": "300ms"}}
    with pytest.raises(PluginError, match=message):
        prepare(Request("a", 0, 2048, 300), **settings).run()


def test_without_a_policy_nothing_moves():
    simulation = prepare(Request("a", 0, 2048, 300), groups=(), replicas=2)
    simulation.run()
    assert not simulation.cluster.has_handovers
