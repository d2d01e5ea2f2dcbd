"""Results of runs with policies that have no registered name."""

import pytest

import blis_simpy as blis
from blis_simpy.settings.saved_plugin import SavedPlugin


class First:
    """Routes every request to the first replica."""

    def route(self, request, state):
        return 0


class Every:
    """Accepts every request of at least some tokens."""

    def __init__(self, tokens):
        self.tokens = tokens

    def admit(self, request, state):
        return request.input_tokens >= self.tokens

    def __repr__(self):
        return f"Every({self.tokens})"


class Twice:
    """Lengths that are always two."""

    def sample(self, rng, n):
        import numpy as np

        return np.full(n, 2)


def watch(simulation):
    """Do nothing."""


def watch_without_name():
    return lambda simulation: None


CHANGES = {
    "class": ({"router": First}, "First"),
    "instance": ({"router": First()}, "First"),
    "instance with options": ({"admission": Every(3)}, "Every(3)"),
    "process": ({"processes": (watch,)}, "watch"),
    "lambda": ({"processes": (watch_without_name(),)}, "watch_without_name.<locals>.<lambda>"),
    "lengths": ({"workload.output": Twice()}, "Twice"),
}


@pytest.mark.parametrize(("changes", "name"), CHANGES.values(), ids=CHANGES)
def test_a_result_with_a_plugin_of_ones_own_is_saved_with_its_name(changes, name, tmp_path):
    workload = blis.Workload(rate=5, num_requests=4, prompt=10, output=2)
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=workload).with_(**changes)
    result = scenario.run()
    result.save(tmp_path / "one.blis")
    loaded = blis.load_result(tmp_path / "one.blis")
    assert loaded.requests == result.requests
    assert loaded.report() == result.report()
    assert f"{__name__}.{name}" in repr(loaded.scenario)
    loaded.save(tmp_path / "two.blis")
    assert (tmp_path / "two.blis").read_bytes() == (tmp_path / "one.blis").read_bytes()
    with pytest.raises(blis.ScenarioError, match="cannot be made again: its class was not registered, got"):
        loaded.scenario.run()
    with pytest.raises(blis.ScenarioError, match="cannot be written"):
        scenario.to_yaml()


def test_the_stand_in_has_the_name_of_the_class_in_summaries():
    assert SavedPlugin.of(Every(3)).__name__ == "Every"
    assert SavedPlugin.of(First).__name__ == "First"


def test_a_run_of_requests_or_a_trace_in_memory_is_saved(tmp_path):
    table = {"arrived_at_us": [0, 1000], "input_tokens": [10, 20], "output_tokens": [3, 4]}
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=blis.RequestWorkload.of_table(table))
    result = scenario.run()
    result.save(tmp_path / "run.blis")
    assert blis.load_result(tmp_path / "run.blis").requests == result.requests
    result.write_trace(tmp_path / "trace")
    trace = blis.load_trace(tmp_path / "trace.csv", header=str(tmp_path / "trace.yaml"))
    again = scenario.with_(workload=trace).run()
    again.save(tmp_path / "again.blis")
    assert blis.load_result(tmp_path / "again.blis").requests == again.requests
