"""Processes of a scenario, and the copies of instances that each simulation has of its own."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from small_clusters import prepare, requests, scenario

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.cluster.processes import Outage
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.load_files import load_scenario
from blis_simpy.settings.fields import setting, settings_class

SEEN = []


def note(simulation, every=20, times=2):
    for _ in range(times):
        yield simulation.env.timeout(every)
        SEEN.append(simulation.env.now)


def listen(simulation):
    """Adds a hook and has no steps of its own."""
    simulation.on_arrival(lambda request: SEEN.append(request.id))


class Counting:
    """A process that counts its calls, and a router that counts its decisions."""

    def __init__(self):
        self.calls = self.decisions = 0

    def __call__(self, simulation):
        self.calls += 1
        SEEN.append(self.calls)

    def route(self, request, state):
        self.decisions += 1
        return self.decisions % len(state.snapshots)


@settings_class
class Growing:
    """Adds a replica at regular intervals."""

    every: int = setting(help="Interval.", unit="us", gt=0)
    times: int = setting(default=1, help="Number of replicas.", ge=0)

    def __call__(self, simulation):
        for _ in range(self.times):
            yield simulation.env.timeout(self.every)
            simulation.cluster.add_replica()


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


@pytest.mark.parametrize(
    ("processes", "seen"),
    [
        ([note], [20, 40]),
        ([note, note], [20, 20, 40, 40]),
        (["note"], [20, 40]),
        ([{"type": "note", "every": 5, "times": 3}], [5, 10, 15]),
        ([Counting], [1]),
        ([Counting()], [1]),
        ([listen], [f"request_{i}" for i in range(6)]),
        ([], []),
    ],
)
def test_a_process_is_called_with_the_simulation_and_its_generator_runs_in_it(processes, seen):
    with registry.added("process", "note", note):
        prepare(processes=processes).run()
    assert seen == SEEN


def test_a_process_describes_its_options_as_settings(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: m\nprocesses:\n- type: growing\n  every: 0\n  tims: 2\n")
    with registry.added("process", "growing", Growing):
        made = scenario(processes=[{"type": "growing", "every": 15, "times": 2}])
        simulation = blis.Simulation(made, requests=requests())
        simulation.run()
        assert len(simulation.replicas) == 4
        assert made.with_(**{"processes[0].times": 0}).processes == ({"type": "growing", "every": 15, "times": 0},)
        with pytest.raises(ScenarioError) as caught:
            load_scenario(path)
    assert str(caught.value).splitlines() == [
        f"{path}: processes[0].every must be > 0, got 0 (line 4)",
        f"{path}: processes[0].tims is not a setting (line 5); did you mean times?",
    ]


@pytest.mark.parametrize(
    ("processes", "line"),
    [
        (note, "processes must be a list, got <function note"),
        ([3], "processes[0] must be a name or a mapping with 'type', got 3"),
        (["otage"], "processes[0] is unknown, got 'otage'; did you mean 'outage'?"),
        ([{"every": 3}], "processes[0] must name its plug-in under 'type', got {'every': 3}"),
        ([{"type": "outage"}], "processes[0].start is required"),
    ],
)
def test_a_wrong_process_is_refused_at_once(processes, line):
    with pytest.raises(ScenarioError) as caught:
        scenario(processes=processes)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("process", "line"),
    [
        (object(), "process object cannot be called with the simulation"),
        (lambda simulation: 3, "process <lambda> must return a generator or nothing, got 3"),
        (lambda: None, "process <lambda> raised TypeError"),
        (lambda simulation: 1 / 0, "process <lambda> raised ZeroDivisionError('division by zero')"),
    ],
)
def test_a_process_that_misbehaves_is_named_in_one_line(process, line):
    with pytest.raises(PluginError) as caught:
        prepare(processes=[process])
    assert str(caught.value).startswith(line)


def test_an_outage_fails_a_replica_and_restores_it(tmp_path):
    made = scenario(processes=[Outage(start=20, duration="1ms", replica=1)])
    simulation = blis.Simulation(made, requests=requests())
    states = []
    for tick in (20, 21, 1020, 1021):
        simulation.run(until=tick)
        states.append(str(simulation.cluster.state(1)))
    assert states == ["active", "terminated", "terminated", "active"]
    path = tmp_path / "x.yaml"
    made.write(path)
    again = load_scenario(path)
    assert again.processes == ({"type": "outage", "start": 20, "duration": 1000, "replica": 1},)
    other = blis.Simulation(again, requests=requests()).run()
    assert other.summary == blis.Simulation(made, requests=requests()).run().summary


def test_an_outage_without_a_duration_lasts():
    simulation = prepare(processes=[Outage(start=20)])
    simulation.run()
    assert str(simulation.cluster.state(0)) == "terminated"


def test_a_scenario_with_a_process_survives_pickling():
    made = scenario(processes=[note, Counting, Outage(start=1)])
    assert pickle.loads(pickle.dumps(made)) == made


def test_an_instance_leaks_nothing_from_run_to_run():
    """With three requests and two replicas, a router that went on counting would begin with the other replica."""
    made = scenario(router=Counting())
    runs = [blis.Simulation(made, requests=requests(3)) for _ in range(2)]
    for simulation in runs:
        simulation.run()
    assert [[request.replica for request in simulation.requests] for simulation in runs] == [[1, 0, 1]] * 2
    assert made.router.policy.decisions == 0
    assert [simulation.settings.router.policy.decisions for simulation in runs] == [3, 3]


def test_an_instance_in_several_places_is_one_copy():
    both = Counting()
    simulation = prepare(router=both, processes=[both])
    simulation.run()
    (copy,) = simulation.settings.processes
    assert copy is simulation.settings.router.policy
    assert (copy.calls, copy.decisions) == (1, 6)
    assert (both.calls, both.decisions) == (0, 0)


class Gaps:
    drawn = 0

    def inter_arrival_times(self, rng, rate_per_s, n):
        self.drawn += n
        return np.full(n, 1000 * self.drawn, dtype=np.int64)


class Scorer:
    scored = 0

    def score(self, request, snapshots):
        self.scored += 1
        return [1.0] * len(snapshots)


def test_instances_in_options_groups_and_workload_are_copied_too():
    gaps, scorer = Gaps(), Scorer()
    made = scenario(
        router={"policy": "weighted", "scorers": [(scorer, 1)]},
        workload=blis.Workload(prompt=16, output=3, num_requests=5, arrivals=gaps),
        groups=[{"replicas": 2, "latency": {"alpha": [0, 0, 0], "beta": [1000, 10, 5]}}],
    )
    first, second = made.run(), made.run()
    assert first.requests["arrived_at_us"].tolist() == second.requests["arrived_at_us"].tolist()
    assert (gaps.drawn, scorer.scored) == (0, 0)


def test_an_instance_that_cannot_be_copied_is_shared_with_a_warning(caplog):
    class Locked(Counting):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    shared = Locked()
    simulation = prepare(router=shared)
    assert simulation.settings.router.policy is shared
    assert [record.getMessage() for record in caplog.records] == [
        (
            "routing Locked cannot be copied, so all simulations share it: cannot pickle '_thread.lock' object; "
            "pass its class, or a function that returns it"
        )
    ]


def test_an_outage_of_a_replica_that_is_not_there_is_a_mistake_in_the_scenario():
    outage = {"type": "outage", "replica": 7, "start": 0}
    with pytest.raises(ScenarioError, match=r"outage\.replica must be below 1, the number of replicas, got 7"):
        scenario(replicas=1, processes=[outage]).with_(workload=blis.Workload(num_requests=1)).run()
