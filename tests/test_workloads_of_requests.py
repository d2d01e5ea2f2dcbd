"""Traces and requests made by hand as the workload of a scenario."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.fingerprint import scenario_form
from blis_simpy.load_files import load_scenario, parse_scenario

SMALL = {"model": "qwen/qwen3-14b", "hardware": "H100", "tp": 1}
ROWS = "arrived_at,num_prefill_tokens,num_decode_tokens\n" + "".join(
    f"{second},{100 + second},{10 + second}\n" for second in range(8)
)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(ROWS)
    return path


def options(trace, **others):
    columns = {"arrival": "arrived_at", "input_tokens": "num_prefill_tokens", "output_tokens": "num_decode_tokens"}
    return {"trace": str(trace), "format": {"type": "table", "columns": columns}, **others}


def arrivals(scenario):
    return scenario.run().requests["arrived_at_us"].tolist()


def test_a_scenario_file_names_a_trace_relative_to_its_folder(trace):
    file = trace.with_name("scenario.yaml")
    file.write_text(
        "model: qwen/qwen3-14b\nhardware: H100\ntp: 1\nworkload:\n  trace: table.csv\n  format: table\n  columns: "
        "{arrival: arrived_at, input_tokens: num_prefill_tokens, output_tokens: num_decode_tokens}\n  limit: 3\n"
    )
    scenario = load_scenario(file)
    assert scenario.run().requests["output_tokens"].tolist() == [10, 11, 12]
    scenario.write(trace.with_name("again.yaml"))
    assert load_scenario(trace.with_name("again.yaml")) == scenario


def test_start_end_limit_and_scale_choose_a_part_of_a_trace(trace):
    scenario = blis.Scenario(**SMALL, workload=options(trace, start="2s", end="5s", scale=0.5))
    assert arrivals(scenario) == [0, 500_000, 1_000_000]


def test_a_trace_in_memory_gives_the_figures_of_a_replay(trace):
    loaded = blis.TraceWorkload(**options(trace)).load()
    scenario = blis.Scenario(**SMALL, workload=loaded)
    assert scenario.run().summary == blis.replay(blis.Scenario(**SMALL), loaded).summary


def test_the_rate_of_a_trace_changes_by_stretching_its_time(trace):
    workload = blis.TraceWorkload(**options(trace)).with_rate(4)
    assert workload.scale == 0.25
    assert arrivals(blis.Scenario(**SMALL, workload=workload)) == [250_000 * row for row in range(8)]


def test_a_sweep_over_the_rate_of_a_trace(trace):
    sweep = blis.sweep(
        blis.Scenario(**SMALL, workload=options(trace)),
        {"workload.rate": [1.0, 4.0]},
        metrics="duration_s",
        executor="serial",
        progress=False,
    )
    durations = [row["duration_s_mean"] for row in sweep.rows]
    assert durations[0] > 7 > durations[1] > 1.75


def test_routers_are_compared_on_a_trace(trace):
    base = blis.Scenario(**SMALL, replicas=2, workload=options(trace))
    found = blis.compare(
        {"least-loaded": base.with_(router="least-loaded"), "round-robin": base.with_(router="round-robin")},
        replications=2,
        metrics="completed",
        executor="serial",
        progress=False,
    )
    assert found.values("round-robin", "completed").tolist() == [8.0, 8.0]


def test_the_digest_follows_the_content_of_the_trace_not_its_name(trace):
    scenario = blis.Scenario(**SMALL, workload=options(trace))
    first = scenario_form(scenario)
    copy = trace.with_name("copy.csv")
    copy.write_text(ROWS)
    assert scenario_form(blis.Scenario(**SMALL, workload=options(copy))) == first
    assert scenario_form(scenario.with_(**{"workload.limit": 3})) != first
    trace.write_text(ROWS.replace("101", "999"))
    assert scenario_form(scenario) != first


def test_a_cap_holds_for_a_trace(trace):
    scenario = blis.Scenario(**SMALL, workload=options(trace, scale=0.001, max_in_flight=1))
    held = scenario.run().requests["due_at_us"]
    assert (held >= 0).sum() == 7


def test_a_wrong_trace_workload_names_the_setting(trace):
    with pytest.raises(ScenarioError, match=r"workload.format is unknown, got 'azur'; did you mean 'azure'"):
        blis.Scenario(**SMALL, workload={"trace": "a.csv", "format": "azur"})
    with pytest.raises(ScenarioError, match=r"workload.scale must be > 0"):
        blis.Scenario(**SMALL, workload={"trace": "a.csv", "scale": 0})
    with pytest.raises(blis.WorkloadTraceError, match=r"nothing.csv: cannot be read: No such file"):
        blis.Scenario(**SMALL, workload={"trace": "nothing.csv", "format": "azure"}).run()


def test_requests_made_by_hand_are_served_anew_in_every_run():
    requests = [blis.Request(f"r{number}", 1000 * number, input_tokens=10, output_tokens=5) for number in range(3)]
    scenario = blis.Scenario(**SMALL, workload=requests)
    assert scenario.run().summary == scenario.run().summary
    assert [request.outcome.name for request in requests] == ["PENDING"] * 3
    replications = blis.replicate(scenario, 2, metrics="completed", executor="serial", progress=False)
    assert replications.values("completed").tolist() == [3.0, 3.0]


def test_requests_with_the_same_content_have_the_same_digest():
    def scenario(tokens):
        return blis.Scenario(**SMALL, workload=[blis.Request("r", 0, input_tokens=tokens, output_tokens=5)])

    assert scenario_form(scenario(10)) == scenario_form(scenario(10)) != scenario_form(scenario(11))
    assert scenario(10) == scenario(10) != scenario(11)


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_table_of_requests_is_a_workload(as_frame):
    table = {
        "arrived_at_s": np.array([0.0, 0.5]),
        "input_tokens": np.array([100, 200]),
        "output_tokens": [20.0, 30.0],
        "tenant": ["a", "b"],
    }
    if as_frame:
        table = pytest.importorskip("pandas").DataFrame(table)
    result = blis.Scenario(**SMALL, workload=blis.RequestWorkload.of_table(table)).run()
    assert result.requests["arrived_at_us"].tolist() == [0, 500_000]
    assert result.requests["tenant"].tolist() == ["a", "b"]
    assert result.summary["completed_requests"] == 2


def test_wrong_columns_of_a_table_are_reported_together():
    with pytest.raises(ScenarioError) as caught:
        blis.RequestWorkload.of_table({"arrived_at": [0], "input_token": [1], "output_tokens": [1]})
    assert [problem.path for problem in caught.value.problems] == ["input_token", "input_tokens"]


COLUMNS = {"arrived_at": [0, 1], "input_tokens": [5, 5], "output_tokens": [2, 2]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "must be a data frame or a mapping of columns, got [1, 2]"),
        ({**COLUMNS, "arrived_at": 0}, "arrived_at must be a column of values, got 0"),
        ({**COLUMNS, "input_tokens": [5]}, "input_tokens must have 2 rows, like the first column, got 1"),
        ({**COLUMNS, "arrived_at_us": [0, 1]}, "arrived_at_us is given by another column, too"),
        *(
            ({"arrived_at_s": [0, value], "input_tokens": [5, 5]}, f"arrived_at_s must have finite numbers only, {got}")
            for value, got in (
                (float("inf"), "got inf"),
                (float("nan"), "got nan"),
                ("x", "got 'x'"),
                (None, "got None"),
            )
        ),
    ],
)
def test_a_wrong_table_of_requests_is_refused(table, message):
    with pytest.raises(ScenarioError) as refused:
        blis.RequestWorkload.of_table(table)
    assert str(refused.value) == message


def test_labels_of_a_table_may_be_missing_or_numbers():
    table = {**COLUMNS, "id": [7, 8], "tenant": ["a", None], "slo_class": [float("nan"), 1.0]}
    requests = blis.RequestWorkload.of_table(table).requests
    assert [(request.id, request.tenant, request.slo_class) for request in requests] == [("7", "a", ""), ("8", "", "1")]


@pytest.mark.parametrize("change", [{"id": 5}, {"tenant": None}])
def test_ids_and_labels_of_requests_must_be_text(change):
    request = blis.Request(**{"id": "a", "arrived_at": 0, "input_tokens": 1, "output_tokens": 1, **change})
    with pytest.raises(ScenarioError, match="must have text as id and labels"):
        blis.Scenario(**SMALL, workload=[request])


def test_a_trace_in_memory_cannot_be_written(trace, tmp_path):
    scenario = blis.Scenario(**SMALL, workload=blis.TraceWorkload(**options(trace)).load())
    with pytest.raises(ScenarioError, match=r"workload\.trace cannot be written: a Trace is no plain data"):
        scenario.write(tmp_path / "scenario.yaml")


def test_a_workload_of_requests_has_no_rate():
    scenario = blis.Scenario(**SMALL, workload=[blis.Request("r", 0, input_tokens=1, output_tokens=1)])
    with pytest.raises(ScenarioError, match="rate does not apply to a RequestWorkload"):
        scenario.workload.with_rate(5)


def by_hand(**options):
    requests = [
        blis.Request(
            "a",
            0,
            input_tokens=40,
            output_tokens=3,
            content=(Span("shared", 0, 20), Span("other", 3, 20)),
            output_stream="answer",
            slo_class="ü,'\"",
            slo_targets=blis.SLOTargets(ttft="1s"),
            priority=-1,
            streaming=True,
        ),
        blis.Request("b", 5, input_tokens=1, output_tokens=1, tenant="1e5"),
    ]
    return blis.Scenario(**SMALL, workload=blis.RequestWorkload(requests, **options))


def test_a_scenario_file_holds_requests():
    scenario = by_hand(max_in_flight=1)
    assert parse_scenario(scenario.to_yaml()) == scenario


REQUEST = "{id: a, arrived_at: 0, input_tokens: 1, output_tokens: 1"


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ("5", "workload.requests must be a list of requests, got 5 (line 4)"),
        ("[5]", "workload.requests[0] must be a request, got 5 (line 4)"),
        (f"[{REQUEST}}}, {REQUEST}}}]", "workload.requests must have different ids (line 4)"),
        ("[{id: a, arrived_at: 0, input_tokens: 1}]", "workload.requests[0].output_tokens is required (line 4)"),
        (
            "[{id: 5, arrived_at: 0, input_tokens: 1, output_tokens: 1}]",
            "workload.requests[0].id must be text, got 5 (line 4)",
        ),
        (
            f"[{REQUEST}, contnt: 1}}]",
            "workload.requests[0].contnt is not a setting (line 4); did you mean content?",
        ),
        (
            f"[{REQUEST}, content: 5}}]",
            "workload.requests[0].content must be a list of [name of the stream, first token, tokens], got 5 (line 4)",
        ),
        (
            f"[{REQUEST}, slo_targets: {{ttf: 3}}}}]",
            "workload.requests[0].slo_targets.ttf is not a setting (line 4); did you mean ttft?",
        ),
    ],
)
def test_a_wrong_request_of_a_file_is_named(requests, message):
    with pytest.raises(ScenarioError) as refused:
        parse_scenario(f"model: qwen/qwen3-14b\nhardware: H100\nworkload:\n  requests: {requests}\n")
    assert str(refused.value) == message


def test_a_label_that_no_request_has_is_named_with_those_there_are(trace):
    with pytest.raises(ScenarioError, match="slo_class of the metric is unknown, got 'batch'; known: default, ü"):
        by_hand().run().metric("completed{slo_class=batch}")
    with pytest.raises(ScenarioError, match=r"slo\.batch is no SLO class of the requests; known: default, ü"):
        by_hand().with_(slo={"batch": {"ttft": "1s"}}).run().metric("attainment")
    with pytest.raises(ScenarioError, match="tenant of the metric is unknown, got 'a'"):
        blis.Scenario(**SMALL, workload=options(trace)).run().metric("completed{tenant=a}")


def test_a_label_of_requests_after_the_horizon_is_known():
    requests = [blis.Request(f"r{at}", at, 10, 5, tenant=f"t{at}") for at in (0, 500_000)]
    result = blis.Scenario(**SMALL, workload=requests, horizon=1000).run()
    assert result.metric("completed{tenant=t500000}") == 0


def test_the_labels_of_a_trace_without_its_file_are_not_needed(trace, tmp_path):
    blis.Scenario(**SMALL, workload=options(trace)).run().save(tmp_path / "run.blis")
    trace.unlink()
    loaded = blis.load_result(tmp_path / "run.blis")
    with pytest.raises(ScenarioError, match="tenant of the metric is unknown, got 'a'"):
        loaded.metric("completed{tenant=a}")


def test_sessions_of_agents_have_slo_targets():
    agents = blis.AgentSessions(mean_turns=3, prompt=100, message=20, output=5, tool_time="10ms")
    workload = blis.SessionWorkload(sessions=agents, num_sessions=2, slo_class="batch")
    scenario = blis.Scenario(**SMALL, workload=workload, slo={"batch": {"e2e": "10s"}})
    assert scenario.run().metric("attainment{slo_class=batch}") == 1
    with pytest.raises(ScenarioError, match=r"slo\.critical is no SLO class of the requests; known: batch"):
        scenario.with_(slo={"critical": {"e2e": "10s"}}).run()
