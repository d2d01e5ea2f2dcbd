"""Random clusters with roles: many steps at once against one at a time, and what is conserved, with failures."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_clusters import cases, laws, run, runs_of_steps_everywhere

from blis_simpy.cluster.settings import ReplicaGroup
from blis_simpy.core.request import RequestOutcome

__all__ = ["runs_of_steps_everywhere"]

NETWORKS = (
    None,
    {"nic_bandwidth": 1e6},
    {"nic_bandwidth": 20e6, "nic_latency": 30},
    {"nic_bandwidth": float("inf")},
)


@st.composite
def disaggregated(draw):
    """A random cluster with prefill and decode replicas, which exchange blocks over a slow or a fast network."""
    case = draw(cases(profile="vllm"))
    roles = draw(
        st.sampled_from([("prefill", "decode"), ("prefill", "both"), ("decode", "both"), ("prefill", "decode", "both")])
    )
    scenario = case.scenario.with_(
        replicas=1,
        groups=[ReplicaGroup(role=role, replicas=draw(st.integers(1, 2))) for role in roles],
        network=draw(st.sampled_from(NETWORKS)),
        disaggregation={
            "decider": draw(st.sampled_from(["always", "always", {"type": "prefix", "non_cached_tokens": 9}])),
            "prefill_policy": draw(st.sampled_from(["round-robin", "least-loaded"])),
            "transfer": draw(st.sampled_from(["pull", "layered"])),
            "first_token": draw(st.sampled_from(["decode", "prefill"])),
            "dispatch_delay": draw(st.sampled_from([0, 0, 40])),
            "hold_timeout": draw(st.sampled_from([300, 480_000_000])),
            "num_layers": draw(st.sampled_from([1, 2, 8])),
        },
        **{"kv.bytes_per_token": draw(st.sampled_from([100.0, 3000.0]))},
    )
    return attrs.evolve(case, scenario=scenario)


@pytest.mark.equivalence
def test_random_roles_step_by_step_and_many_steps_at_once():
    """Not vacuous: handovers happen, and some of them fail."""
    seen = Counter()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(disaggregated())
    def check(case):
        _, plain = run(case, macro_steps=False)
        simulation, fast = run(case, macro_steps=True)
        for name, value in plain.items():
            assert fast[name] == value, name
        laws(case, simulation, fast)
        handed_over = [leg for request in simulation.requests for leg in request.legs if leg.handover is not None]
        seen["handovers"] += len(handed_over)
        seen["given up"] += sum(leg.outcome is RequestOutcome.WITHDRAWN for leg in handed_over)
        seen["started over"] += len(simulation.cluster.restarts)
        if case.scenario.horizon is None:
            for replica in simulation.replicas:
                assert len(replica.held_legs) == replica.used_blocks == 0

    check()
    assert seen["handovers"] > 50
    assert seen["given up"] > 0
    assert seen["started over"] > 0
