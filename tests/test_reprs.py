"""What a user sees who enters an object of the library."""

import inspect

import pytest

import blis_simpy as blis

PROTOCOLS = {"Observer", "RouterState", "Snapshot"}
BASES = {"Traffic"}


def test_every_public_class_has_a_repr_of_its_own():
    classes = {name: getattr(blis, name) for name in blis.__all__ if inspect.isclass(getattr(blis, name))}
    without = {name for name, cls in classes.items() if cls.__repr__ is object.__repr__}
    assert without == PROTOCOLS | BASES


@pytest.fixture(scope="module")
def simulation():
    workload = blis.Workload(rate=5, num_requests=6, prompt=10, output=3)
    return blis.Simulation(blis.Scenario(model="qwen/qwen3-14b", replicas=2, workload=workload))


OBJECTS = {
    "simulation": lambda simulation, result: simulation,
    "cluster": lambda simulation, result: simulation.cluster,
    "router": lambda simulation, result: simulation.router,
    "replica": lambda simulation, result: simulation.replicas[0],
    "slots": lambda simulation, result: simulation.replicas[0].slots,
    "blocks": lambda simulation, result: simulation.replicas[0].kv_blocks,
    "request": lambda simulation, result: simulation.requests[0],
    "legs": lambda simulation, result: simulation.requests[0].legs,
    "deployment": lambda simulation, result: simulation.deployment,
    "result": lambda simulation, result: result,
    "record": lambda simulation, result: result.record,
    "aggregate": lambda simulation, result: result.aggregate,
    "evaluation": lambda simulation, result: result.evaluation,
    "classes": lambda simulation, result: result.slo_classes,
    "subset": lambda simulation, result: result.where(replica=0),
    "steps": lambda simulation, result: result.steps,
    "plots": lambda simulation, result: result.plot,
}


@pytest.mark.parametrize("find", OBJECTS.values(), ids=OBJECTS)
def test_objects_of_a_run_have_short_reprs_without_addresses(find, simulation):
    text = repr(find(simulation, simulation.run()))
    assert " at 0x" not in text
    assert "array(" not in text
    assert len(text) < 500


def test_a_trace_shows_its_length(tmp_path):
    blis.Scenario(model="qwen/qwen3-14b", workload=blis.Workload(rate=5, num_requests=6)).run().write_trace(
        tmp_path / "t"
    )
    trace = blis.load_trace(tmp_path / "t.csv", header=str(tmp_path / "t.yaml"))
    assert repr(trace) == "<Trace of 6 requests over 1s>"
    assert repr(blis.TraceWorkload(trace=trace)) == "TraceWorkload(trace=<Trace of 6 requests over 1s>)"
