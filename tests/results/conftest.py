"""Runs that can be checked by hand: a step takes 100 µs, 1 a prompt token and 10 a decode token."""

import pytest
from small_runs import alike, cluster, nothing, preempted, three, unserved  # noqa: F401

import blis_simpy as blis
from blis_simpy.core.request import Request


@pytest.fixture
def two_tenants(serve):
    """Two requests one after the other: TTFT 110 and 120, E2E 220 each (one gap of 110; one token), over at 1120."""
    return serve(
        (10, 2, 0, {"tenant": "a", "model": "any/model", "slo_class": "chat"}),
        (20, 1, 1000, {"tenant": "b"}),
    ).result


class RefuseThree:
    """Rejects prompts of three tokens."""

    def admit(self, request, state):
        return request.input_tokens != 3


@pytest.fixture
def logged(prepare):
    """The same run with a log of decisions and one request that is rejected."""
    requests = [
        Request("a", 0, 10, 2, tenant="a", model="any/model", slo_class="chat"),
        Request("b", 1000, 20, 1, tenant="b"),
        Request("refused", 0, 3, 2),
    ]
    scenario = prepare().scenario.with_(admission=RefuseThree(), **{"router.decision_log": True})
    return blis.Simulation(scenario, requests=requests).run()
