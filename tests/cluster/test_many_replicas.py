"""The cost of a replica does not grow with the number of replicas."""

from functools import partial

import pytest
from call_counter import calls

import blis_simpy as blis

SCENARIO = blis.Scenario(
    model="my/model",
    hardware="H100",
    tp=1,
    kv=blis.KVSettings(blocks=200),
    latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(5000, 10, 1)),
    workload=blis.Workload(rate=500, num_requests=3, prompt=16, output=2),
)


@pytest.mark.parametrize("router", ["round-robin", "least-loaded", "weighted"])
def test_four_times_as_many_replicas_cost_four_times_as_much(router):
    """From 100 to 400 replicas: set-up and run, and the text of the result, which lists 63 replicas at most."""

    def run(number):
        results.append(SCENARIO.with_(replicas=number, router=router).run())

    results, costs, texts = [], [], []
    for number in (4, 100, 400):  # the first one imports
        costs.append(calls(partial(run, number)))
        texts.append(calls(lambda: str(results[-1])))
    assert costs[2] < 4.1 * costs[1]
    assert texts[2] < 2 * texts[1]


def test_of_many_replicas_the_busiest_are_listed():
    result = SCENARIO.with_(replicas=100).run()
    lines = str(result).splitlines()
    (rest,) = (line.split() for line in lines if " others " in line)
    assert rest[:4] == ["37", "others", "0", "0"]
    assert sum(line.split()[:1] in ([str(n)] for n in range(100)) for line in lines if line.strip()) >= 63
