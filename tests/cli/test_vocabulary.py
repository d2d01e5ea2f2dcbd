"""The commands that simulate a scenario have the same flags, and each flag has an effect or is refused."""

import json

import pytest

from blis_simpy.cli.main import main
from blis_simpy.cli.scenario_flags import with_flags
from blis_simpy.load_files import load_scenario, shipped_scenarios

FAST = """
model: m
latency: {backend: blackbox, alpha: [0, 0, 0], beta: [1000, 1, 1]}
kv: {blocks: 10000}
engine: {max_model_len: 0}
"""
SPEC = """
workload:
  aggregate_rate: 10
  num_requests: 30
  clients:
    - {rate_fraction: 1, arrival: constant, input_distribution: 10, output_distribution: 2}
"""
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:17:{second:02}.0,{100 + second},{1 + second}\n" for second in range(6)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.yaml").write_text(f"{FAST}workload: {{rate: 10, num_requests: 20, prompt: 40, output: 2}}\n")
    (tmp_path / "spec.yaml").write_text(FAST + SPEC)
    (tmp_path / "bare.yaml").write_text(FAST)
    (tmp_path / "azure.csv").write_text(TRACE)
    return tmp_path


@pytest.fixture
def requests(folder):
    """Run and return the table of the requests."""

    def run(*words):
        assert main([*words, "--report", "none", "--requests-output", "requests.json"]) == 0
        return json.loads((folder / "requests.json").read_text())

    return run


def problems(capsys, *words):
    assert main(list(words)) == 2
    return capsys.readouterr().err.splitlines()


def test_concurrency_makes_closed_loop_users(requests):
    rows = requests("run", "fast.yaml", "--concurrency", "4", "--num-requests", "8", "--think-time", "10ms")
    assert [row["session"] for row in rows] == [f"user-{number}" for number in range(4)] * 2
    assert rows[4]["arrived_at_us"] == rows[0]["e2e_us"] + 10_000
    assert {row["input_tokens"] for row in rows} == {40}


def test_an_infinite_rate_sends_all_at_once(requests):
    assert {row["arrived_at_us"] for row in requests("run", "fast.yaml", "--rate", "inf")} == {0}


@pytest.mark.parametrize("command", ["run", "replay"])
def test_slo_sets_targets_by_class(folder, capsys, command):
    words = [command, "fast.yaml", "--slo", "default:ttft=1us,e2e=1h", "--slo", "default:tpot=1h", "--report", "json"]
    if command == "replay":
        words += ["--trace-data", "azure.csv", "--trace-format", "azure"]
    assert main(words) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert (metrics["attainment"], metrics["attainment_ttft"], metrics["attainment_tpot"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ttft", "--slo must be [CLASS:]TARGET=DURATION,..., got 'ttft'"),
        ("tft=1ms", "--slo slo.*.tft is not a setting; did you mean ttft?"),
        ("ttft=fast", "--slo slo.*.ttft must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got 'fast'"),
        ("chat:ttft=1s", "--slo.chat is no SLO class of the requests; known: default"),
    ],
)
def test_a_wrong_target_is_named(folder, capsys, text, line):
    assert problems(capsys, "run", "fast.yaml", "--slo", text) == [line]


def test_the_slo_of_a_capacity_is_of_metrics_and_of_targets(folder, capsys):
    words = ["capacity", "fast.yaml", "--slo", "e2e=1h", "--slo", "attainment>=0.99", "--low", "5", "--high", "10"]
    assert main([*words, "--replications", "2", "--executor", "serial"]) == 0
    assert "largest workload.rate that meets attainment >= 0.99" in " ".join(capsys.readouterr().out.split())


def test_counts_may_be_written_with_an_exponent(requests):
    assert len(requests("run", "fast.yaml", "--num-requests", "1.2e1")) == 12


@pytest.mark.parametrize("name", shipped_scenarios())
def test_rate_changes_the_traffic_of_each_scenario(name):
    scenario = load_scenario(name)
    faster = with_flags(scenario, {"workload.rate": 2 * scenario.workload.mean_rate()})
    before, after = (given.with_(horizon=None).preview() for given in (scenario, faster))
    assert _rate(after) > 1.4 * _rate(before)


def _rate(preview):
    return len(preview.arrived_at) / preview.arrived_at[-1]


def test_a_cap_on_requests_in_flight_is_a_flag(requests):
    rows = requests("run", "fast.yaml", "--rate", "inf", "--max-in-flight", "1")
    assert rows[1]["arrived_at_us"] == rows[0]["e2e_us"]
    assert rows[1]["due_at_us"] == 0


@pytest.mark.parametrize("words", [("spec.yaml",), ("--model", "qwen/qwen3-14b", "--workload-spec", "w.yaml")])
def test_rate_and_number_of_requests_change_a_specification(folder, requests, words):
    lines = SPEC.splitlines()[2:]
    (folder / "w.yaml").write_text("version: '2'\n" + "\n".join(line[2:] for line in lines) + "\n")
    rows = requests("run", *words, "--rate", "20", "--num-requests", "3")
    assert [row["arrived_at_us"] for row in rows] == [50_000, 100_000, 150_000]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("spec.yaml", "--prompt-tokens", "9"), ["--prompt-tokens does not apply to a WorkloadSpec"]),
        (("spec.yaml", "--concurrency", "9"), ["--concurrency does not apply to a WorkloadSpec"]),
        (
            ("fast.yaml", "--concurrency", "4", "--rate", "3"),
            ["--rate does not apply to closed-loop users, got 3; the number of users sets the load"],
        ),
        (("fast.yaml", "--limit", "3"), ["--limit needs a trace: give --trace-data"]),
        (("fast.yaml", "--trace-format", "azure"), ["--trace-format needs --trace-data"]),
        (
            ("fast.yaml", "--trace-data", "azure.csv", "--concurrency", "4"),
            ["--concurrency must not be given beside --trace-data"],
        ),
        (("fast.yaml", "--set", "engine.max_num_seq=3"), ["--set engine.max_num_seq is not a setting; did you mean "]),
    ],
)
@pytest.mark.parametrize("command", ["run", "capacity", "sweep"])
def test_a_flag_that_does_not_apply_is_refused(folder, capsys, command, words, lines):
    found = problems(capsys, command, *words)
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def test_a_trace_is_a_workload_of_a_run(requests):
    words = ("run", "fast.yaml", "--trace-data", "azure.csv", "--trace-format", "azure", "--limit", "3")
    rows = requests(*words, "--rate", "2")
    assert [row["arrived_at_us"] for row in rows] == [0, 500_000, 1_000_000]


def test_replay_takes_set(requests):
    rows = requests("replay", "bare.yaml", "--trace-data", "azure.csv", "--set", "latency.beta=[2000, 0, 0]")
    assert rows[0]["e2e_us"] == 2000


@pytest.mark.parametrize(
    "words",
    [
        ("sweep", "fast.yaml", "--grid", "engine.max_num_seqs=4", "--rate", "20", "--replications", "1"),
        ("compare", "fast.yaml", "--variant", "two:replicas=2", "--rate", "20", "--replications", "2"),
        ("sweep", "spec.yaml", "--grid", "engine.max_num_seqs=4", "--rate", "20", "--num-requests", "20"),
        ("sweep", "--model", "qwen/qwen3-14b", "--rate", "20", "--num-requests", "20", "--grid", "replicas=1"),
    ],
)
def test_experiments_take_the_flags_of_a_run(folder, words):
    words = [*words, "--executor", "serial", "--report", "none", "--metrics", "requests", "--runs", "runs.json"]
    assert main(words) == 0
    rows = json.loads((folder / "runs.json").read_text())
    assert {row["requests"] for row in rows} == {20}
    assert all(row["duration_s"] < 20 for row in rows)


def test_routers_are_compared_on_a_trace(folder):
    words = ["compare", "fast.yaml", "--variant", "two:replicas=2", "--trace-data", "azure.csv", "--trace-format"]
    words += ["azure", "--replications", "2", "--executor", "serial", "--report", "none", "--runs", "runs.json"]
    assert main(words) == 0
    assert {row["requests"] for row in json.loads((folder / "runs.json").read_text())} == {6}


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("scenarios", "quickstart "),
        ("models", "qwen/qwen3-14b "),
        ("gpus", "H100 "),
        ("metrics", "ttft_STATISTIC_ms "),
        ("policies", "routing round-robin "),
        ("policies", "batching continuous "),
    ],
)
def test_list_names_what_there_is(capsys, kind, line):
    assert main(["list", kind]) == 0
    assert any(shown.strip().lower().startswith(line.lower()) for shown in capsys.readouterr().out.splitlines())


def test_list_of_an_unknown_kind_names_the_kinds(capsys):
    (line,) = problems(capsys, "list", "scenario")
    assert line.startswith("kind is unknown, got 'scenario'; did you mean 'scenarios'?")
    assert problems(capsys, "list") == ["kind is required: one of scenarios, models, gpus, metrics, policies"]


def test_version_is_a_command_and_a_flag(capsys):
    assert main(["version"]) == main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


@pytest.mark.parametrize("command", ["run", "replay", "compare", "sweep", "capacity"])
def test_the_help_of_a_command_ends_with_examples(capsys, command):
    assert main([command, "--help"]) == 0
    examples = capsys.readouterr().out.partition("\nexamples:\n")[2].splitlines()
    assert examples
    assert all(line.startswith(f"  blis {command} ") for line in examples)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script(capsys, shell):
    assert main(["completion", shell]) == 0
    assert "complete -o default -F _blis blis" in capsys.readouterr().out
