import numpy as np
import pytest
from experiment_policies import Always

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.design_points import Range, changed_scenario, design_points, label
from blis_simpy.experiment.seeds import replication_seeds


def test_a_grid_has_all_combinations_the_last_setting_changing_fastest():
    points = design_points({"a": [1, 2], "b": ["x", "y", "z"]}, "grid", None, 0)
    assert [tuple(point.values()) for point in points] == [(1, "x"), (1, "y"), (1, "z"), (2, "x"), (2, "y"), (2, "z")]


def test_a_latin_hypercube_has_one_point_in_each_slice():
    points = design_points({"a": (0.0, 10.0), "b": (1, 10), "c": ["x", "y"]}, "latin-hypercube", 10, 1)
    assert sorted(int(point["a"]) for point in points) == list(range(10))
    assert sorted(point["b"] for point in points) == list(range(1, 11))
    assert sorted(point["c"] for point in points) == ["x"] * 5 + ["y"] * 5


def test_sobol_points_fill_each_quarter_evenly():
    points = design_points({"a": (0.0, 2.0), "b": Range(1.0, 100.0, log=True)}, "sobol", 16, 1)
    quarters = [(point["a"] < 1, point["b"] < 10) for point in points]
    assert {quarter: quarters.count(quarter) for quarter in set(quarters)} == dict.fromkeys(
        [(True, True), (True, False), (False, True), (False, False)], 4
    )


def test_designs_repeat_themselves_with_their_seed():
    once, again, other = (design_points({"a": (0.0, 1.0)}, "sobol", 4, seed) for seed in (1, 1, 2))
    assert once == again != other


def test_a_range_of_whole_numbers_has_both_ends_and_each_as_often():
    values = [Range(1, 4).at(share) for share in np.linspace(0, 1, 401)]
    assert [values.count(value) for value in (1, 2, 3, 4)] == [100, 100, 100, 101]
    assert all(type(value) is int for value in values)
    assert {Range(1, 1000, log=True).at(share) for share in (0.0, 0.999999, 1.0)} == {1, 1000}


def test_every_point_has_the_same_seeds(small):
    found = blis.sweep(small, {"replicas": [1, 2]}, replications=2, executor="serial")
    assert found.runs["seed"].tolist() == replication_seeds(42, 2) * 2
    assert found.runs["point"].tolist() == [0, 0, 1, 1]
    assert found.runs["replicas"].tolist() == [1, 1, 2, 2]


def test_a_row_of_a_sweep_is_a_run_of_the_changed_scenario(small):
    found = blis.sweep(small, {"workload.rate": [10, 40], "router": [Always(0), "least-loaded"]}, executor="serial")
    point = found.points[3]
    assert point.settings == {"workload.rate": 40, "router": "least-loaded"}
    again = small.with_(**point.settings).run(seed=replication_seeds(42, 1)[0])
    assert found.runs["e2e_mean_ms"][3] == again.metric("e2e_mean_ms")
    assert found.runs["router"].tolist() == ["Always", "least-loaded"] * 2


def test_rows_have_intervals_and_become_a_data_frame(small):
    found = blis.sweep(small, {"replicas": [1, 2]}, replications=3, metrics="e2e_mean_ms", executor="serial")
    interval = found.points[0].replications.interval("e2e_mean_ms")
    assert found.rows[0] == {
        "replicas": 1,
        "replications": 3,
        "e2e_mean_ms_mean": interval.estimate,
        "e2e_mean_ms_low": interval.low,
        "e2e_mean_ms_high": interval.high,
    }
    frame = found.to_pandas()
    assert frame["replicas"].tolist() == [1, 2]
    assert len(found.to_pandas(runs=True)) == 6


def test_the_best_point(small):
    found = blis.sweep(small, {"replicas": [2, 1, 4], "workload.rate": [40]}, executor="serial")
    assert str(found.best("e2e_mean_ms")) == "replicas=4, workload.rate=40"
    assert found.best("e2e_mean_ms", maximise=True).settings["replicas"] == 1
    nothing = blis.sweep(small.with_(admission="reject-all"), {"replicas": [1]}, executor="serial")
    with pytest.raises(ScenarioError, match="metric is missing in some runs of every point, got 'e2e_mean_ms'"):
        nothing.best("e2e_mean_ms")


def test_the_rate_of_a_specification_is_that_of_all_its_clients(small):
    chat = blis.Client(
        id="chat",
        rate_fraction=1,
        arrival=blis.Arrival("constant"),
        input_distribution=blis.LengthDistribution("constant", {"value": 100}),
        output_distribution=blis.LengthDistribution("constant", {"value": 20}),
    )
    scenario = small.with_(workload=blis.WorkloadSpec(clients=[chat], aggregate_rate=1, num_requests=3))
    changed = changed_scenario(scenario, {"workload.rate": 4})
    assert changed.run().requests["arrived_at_us"].tolist() == [250_000, 500_000, 750_000]


def test_points_may_be_given_one_by_one(small):
    found = blis.sweep(small, [{"replicas": 1}, {"replicas": 2, "kv.blocks": 500}], executor="serial")
    assert [str(point) for point in found.points] == ["replicas=1", "replicas=2, kv.blocks=500"]
    assert found.settings == ("replicas", "kv.blocks")
    assert found.table().text().count("\n") == 4


def test_a_table_names_points_with_their_intervals(small):
    found = blis.sweep(small, {"router": [{"policy": "weighted"}, "round-robin"]}, replications=2, executor="serial")
    lines = repr(found).splitlines()
    assert lines[0] == "2 points, 2 replications each, 95 %"
    assert [line.split()[0] for line in lines[3:]] == ["weighted", "round-robin"]
    assert " ± " in lines[3]
    assert "<table" in found._repr_html_()


def test_labels_are_short():
    assert (
        label({"a": {"type": "p", "k": 2}, "b": 0.1 + 0.2, "c": Always, "d": "text"})
        == "a=p(k=2), b=0.3, c=Always, d=text"
    )


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        ({}, {}, "grid must not be empty"),
        ([], {}, "grid must be a mapping of settings to values"),
        ({"replicas": 3}, {}, "grid['replicas'] must be a list of values, got 3"),
        ({"router": "weighted"}, {}, "grid['router'] must be a list of values, got 'weighted'"),
        ({"replicas": (1, 3)}, {"design": "sobol"}, "samples must be given for the design 'sobol'"),
        ({"replicas": [1]}, {"samples": 3}, "samples must be left out for a grid"),
        (
            {"replicas": (1, 3)},
            {"design": "sobol", "samples": 3},
            "samples must be a power of two for the design 'sobol', got 3",
        ),
        (
            {"replicas": (3, 1)},
            {"design": "latin-hypercube", "samples": 3},
            "grid['replicas'].high must be > low (3), got 1",
        ),
        (
            {"replicas": 3},
            {"design": "latin-hypercube", "samples": 3},
            "grid['replicas'] must be (low, high), a Range or a list of values, got 3",
        ),
        ({"seed": [1, 2]}, {}, "grid['seed'] cannot be varied: each replication has a seed of its own"),
        ({"replicas": [1]}, {"design": "cube"}, "design is unknown, got 'cube'; known: grid, latin-hypercube, sobol"),
        (
            {"replicas": [1, 0], "engine.max_num_seq": [3]},
            {},
            (
                "replicas=1, engine.max_num_seq=3: engine.max_num_seq is not a setting; did you mean max_num_seqs?\n"
                "replicas=0, engine.max_num_seq=3: replicas must be >= 1, got 0\n"
                "replicas=0, engine.max_num_seq=3: engine.max_num_seq is not a setting; did you mean max_num_seqs?"
            ),
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_run(small, grid, options, message):
    with pytest.raises(ScenarioError) as raised:
        blis.sweep(small, grid, executor="serial", **options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((1, 1), "high must be > low (1), got 1"),
        (("a", 2), "low must be a finite number, got 'a'"),
        ((0, 2, True), "low must be > 0 for a logarithmic range, got 0"),
    ],
)
def test_bounds_that_are_none_are_refused(bounds, message):
    with pytest.raises(ScenarioError) as raised:
        Range(*bounds)
    assert str(raised.value) == message
