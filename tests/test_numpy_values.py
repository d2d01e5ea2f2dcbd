"""Numbers and arrays of numpy, ranges and data frames where numbers and lists are expected."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.core.table import Table
from blis_simpy.plain_values import plain

MODEL = "qwen/qwen3-14b"
TABLE = {"arrived_at_us": [0, 1000], "input_tokens": [10, 20], "output_tokens": [3, 4]}


@pytest.fixture(scope="module")
def scenario():
    return blis.Scenario(model=MODEL, workload=blis.Workload(rate=4, num_requests=3, prompt=10, output=2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int32(3), 3),
        (np.array(2.5), 2.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (range(2), [0, 1]),
        (np.linspace(0, 1, 3), [0.0, 0.5, 1.0]),
        ([1], [1]),
        (np.ndarray, np.ndarray),
    ],
)
def test_values_of_numpy_become_values_of_python(value, expected):
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


def test_settings_take_numbers_and_arrays_of_numpy_and_keep_those_of_python():
    workload = blis.Workload(rate=np.float32(4), num_requests=np.array(5), prompt=np.int64(9))
    latency = blis.LatencySettings(backend="blackbox", alpha=np.zeros(3), beta=range(1, 4))
    scenario = blis.Scenario(
        model=np.str_(MODEL),
        replicas=np.int64(2),
        horizon=np.int64(10**7),
        workload=workload,
        latency=latency,
        router={"decision_log": np.bool_(True)},
    )
    assert scenario == blis.Scenario(
        model=MODEL,
        replicas=2,
        horizon="10s",
        workload=blis.Workload(rate=4.0, num_requests=5, prompt=9),
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(1, 2, 3)),
        router={"decision_log": True},
    )
    assert "numpy" not in repr(scenario)
    assert "!!" not in scenario.to_yaml()


def test_a_count_may_be_a_whole_float():
    workload = blis.Workload(rate=4, num_requests=1e3, prompt=5e2, output=np.float64(9))
    assert workload == blis.Workload(rate=4, num_requests=1000, prompt=500, output=9)
    assert type(workload.num_requests) is int
    with pytest.raises(blis.ScenarioError, match=r"^num_requests must be an integer, got 2\.5$"):
        blis.Workload(num_requests=2.5)


def test_a_time_may_not_be_a_float_which_is_usually_meant_in_seconds(scenario):
    with pytest.raises(blis.ScenarioError, match=r"^horizon must be an integer"):
        scenario.with_(horizon=10.0)


def test_an_empirical_distribution_of_samples_has_equal_weights():
    assert blis.Empirical(np.array([10, 20])) == blis.Empirical((10, 20), (1.0, 1.0))


@pytest.mark.parametrize("values", [range(1, 3), np.arange(1, 3), [np.int64(1), np.int64(2)]])
def test_a_grid_takes_ranges_and_arrays(scenario, values):
    found = blis.sweep(scenario, {"replicas": values}, executor="serial")
    assert [point.settings for point in found.points] == [{"replicas": 1}, {"replicas": 2}]


def test_the_rows_of_a_data_frame_are_points_of_a_sweep(scenario):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"replicas": [1, 2], "workload.rate": [2.0, 3.0]})
    found = blis.sweep(scenario, frame, executor="serial")
    assert [point.settings for point in found.points] == frame.to_dict("records")


def test_experiments_take_counts_fractions_and_seeds_of_numpy(scenario):
    one = blis.replicate(scenario, np.int64(2), seed=np.int64(7), confidence=np.float32(0.5), executor="serial")
    other = blis.replicate(scenario, 2, seed=7, confidence=0.5, executor="serial")
    assert repr(one) == repr(other)
    assert blis.Range(np.int64(1), np.int64(8)).at(0.99) == 8


def test_a_bound_of_numpy_is_checked_like_one_of_python(scenario):
    with pytest.raises(blis.ScenarioError, match=r"^low must be a number > 0, got 0"):
        blis.capacity(scenario, {"ttft_p99_ms": np.float64(100)}, low=np.int64(0), executor="serial")


def test_a_request_takes_integers_of_numpy_and_text_with_a_unit():
    request = blis.Request("a", "5s", np.int64(10), np.int32(2), deadline=np.int64(9))
    assert request == request
    assert (request.arrived_at, request.input_tokens, request.output_tokens, request.deadline) == (5_000_000, 10, 2, 9)
    assert type(request.input_tokens) is type(request.deadline) is int


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", 0.5, 10, 2), "arrived_at must be a whole number of microseconds"),
        (("a", 0, 10.0, 2), "input_tokens must be an integer, got 10.0"),
        (("a", 0, 10, True), "output_tokens must be an integer, got True"),
        (("a", 0, 10, -2), "output_tokens must be >= 0, got -2"),
    ],
)
def test_a_wrong_request_is_refused_when_it_is_made(arguments, message):
    with pytest.raises(blis.ScenarioError, match=f"^{message}"):
        blis.Request(*arguments)


def test_a_data_frame_is_a_workload_and_a_list_of_requests(scenario):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(TABLE)
    expected = scenario.with_(workload=blis.RequestWorkload.of_table(TABLE)).run()
    assert scenario.with_(workload=frame).run().requests == expected.requests
    assert blis.RequestWorkload(frame) == blis.RequestWorkload.of_table(TABLE)
    assert blis.Simulation(scenario, requests=frame).run().requests == expected.requests


def test_a_data_frame_is_not_a_trace():
    pd = pytest.importorskip("pandas")
    for read in (blis.load_trace, lambda frame: blis.TraceWorkload(trace=frame)):
        with pytest.raises(blis.ScenarioError, match=r"^trace must be the name of a file"):
            read(pd.DataFrame(TABLE))


def test_a_table_is_made_of_lists_ranges_and_data_frames():
    pd = pytest.importorskip("pandas")
    table = Table.of({"a": [1, 2], "b": range(2), "c": ["x", "y"]})
    assert table == Table.of(table.to_pandas())
    assert [table[name].dtype.kind for name in table] == ["i", "i", "O"]
    assert pd.DataFrame({"c": ["x", "y"]})["c"].tolist() == table["c"].tolist()
    with pytest.raises(blis.ScenarioError, match=r"^columns must have the same length, not 1, 2$"):
        Table.of({"a": [1], "b": [1, 2]})


def test_a_delay_and_an_index_may_be_integers_of_numpy(scenario):
    simulation = blis.Simulation(scenario.with_(replicas=2))
    seen = []

    def outage(env):
        yield env.timeout(np.int64(5))
        simulation.cluster.fail(np.int64(1))
        seen.append(env.now)

    simulation.env.process(outage(simulation.env))
    simulation.run()
    assert seen == [5]
    assert type(seen[0]) is int
