import gc

import pytest

import blis_simpy as blis
from blis_simpy.core.garbage import collected_rarely


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize(
    ("before", "inside"),
    [((700, 10, 10), (200_000, 50, 100)), ((1_000_000, 10, 200), (1_000_000, 50, 200)), ((0, 10, 10), (0, 10, 10))],
)
def test_thresholds_rise_inside_of_a_block_only(before, inside):
    gc.set_threshold(*before)
    found = []

    @collected_rarely()
    def fail():
        found.append(gc.get_threshold())
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert found == [inside]
    assert gc.get_threshold() == before


def test_a_run_collects_rarely_and_leaves_the_thresholds_of_its_process():
    gc.set_threshold(700, 10, 10)
    seen = []
    simulation = blis.Simulation(blis.Scenario(model="qwen/qwen3-14b", workload=blis.Workload(rate=2, num_requests=3)))
    simulation.on_end(lambda _request: seen.append(gc.get_threshold()[0]))
    simulation.run()
    assert seen == 3 * [200_000]
    assert gc.get_threshold() == (700, 10, 10)
