"""``blis sweep``."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import blis_simpy
from blis_simpy.experiment.store import Store

SERIAL = ("--executor", "serial")
PROGRAM = Path(sys.executable).parent / "blis"


def lines_of(out):
    return [line.split() for line in out.splitlines()[3:]]


def test_all_combinations_are_simulated_the_last_setting_changing_fastest(blis):
    grid = ("--grid", "latency.beta=[5000, 1, 100], [10000, 1, 100]", "--grid", "replicas=1,2")
    status, out, lines = blis("sweep", "fast.yaml", *grid, "--metrics", "ttft_p99_ms", *SERIAL)
    assert (status, lines) == (0, [])
    assert out.splitlines()[0] == "4 points"
    assert [line[-2:] for line in lines_of(out)] == [["1", "5.100"], ["2", "5.100"], ["1", "10.10"], ["2", "10.10"]]


def test_values_read_as_in_a_scenario_file(blis):
    grid = ("--grid", "workload.rate=60/min,2/s,0x1", "--grid", "router=round-robin,{policy: least-loaded}")
    status, out, _ = blis("sweep", "fast.yaml", *grid, "--metrics", "ttft_p99_ms", *SERIAL)
    assert status == 0
    assert [line[:2] for line in lines_of(out)] == [
        [rate, router] for rate in ("60/min", "2/s", "1") for router in ("round-robin", "least-loaded")
    ]


def test_figures_are_those_of_python(blis, folder):
    words = ("--grid", "workload.rate=5,20", "--replications", "3", "--seed", "5", "--results", "points.csv")
    status, out, _ = blis("sweep", "busy.yaml", *words, "--runs", "runs.csv", *SERIAL)
    expected = blis_simpy.sweep(
        blis_simpy.load_scenario("busy.yaml"), {"workload.rate": [5, 20]}, replications=3, seed=5, executor="serial"
    )
    assert (status, out) == (0, f"{expected.table().text()}\n")
    with (folder / "points.csv").open() as file:
        points = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert points == expected.rows
    with (folder / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert [int(row["point"]) for row in runs] == [0, 0, 0, 1, 1, 1]
    assert [int(row["seed"]) for row in runs] == expected.runs["seed"].tolist()


def test_two_tables_need_two_files(blis, folder):
    words = ("--grid", "replicas=1,2", "--results", "x.csv", "--runs", "./x.csv")
    line = "--runs must be another file than --results, got './x.csv'"
    assert blis("sweep", "fast.yaml", *words, *SERIAL) == (2, "", [line])
    assert not (folder / "x.csv").exists()


def test_a_single_run_has_no_interval(blis, folder):
    blis("sweep", "fast.yaml", "--grid", "replicas=1,2", "--results", "points.json", *SERIAL)
    points = json.loads((folder / "points.json").read_text())
    assert [point["ttft_p99_ms_mean"] for point in points] == [5.1, 5.1]
    assert {point["ttft_p99_ms_low"] for point in points} == {None}


@pytest.mark.parametrize("design", ["latin-hypercube", "sobol"])
def test_a_design_fills_the_space_between_bounds(blis, folder, design):
    axes = ("--range", "workload.rate=1.0:100:log", "--range", "replicas=1:3", "--grid", "engine.scheduler=fcfs,sjf")
    words = ("--design", design, "--samples", "4", "--results", "points.json", *SERIAL)
    status, _, _ = blis("sweep", "fast.yaml", *axes, *words)
    assert status == 0
    points = json.loads((folder / "points.json").read_text())
    # One in each quarter of the logarithmic range, of both schedulers alike.
    assert sorted(int(point["workload.rate"] >= bound) for point in points for bound in (10**0.5, 10, 10**1.5)) == (
        [0] * 6 + [1] * 6
    )
    assert sorted(point["engine.scheduler"] for point in points) == ["fcfs", "fcfs", "sjf", "sjf"]
    assert {point["replicas"] for point in points} <= {1, 2, 3}


def test_a_report_is_written(blis, folder):
    pytest.importorskip("matplotlib")
    words = ("--grid", "workload.rate=5,20,40", "--grid", "replicas=1,2", "--report", "none", "--html", "x.html")
    assert blis("sweep", "busy.yaml", *words, *SERIAL) == (0, "", [])
    page = (folder / "x.html").read_text(encoding="utf-8")
    assert "<h1>Sweep over workload.rate, replicas</h1>" in page
    assert page.count("<figure>") == 4


def test_an_interrupted_sweep_says_how_to_go_on_and_does(folder, blis):
    words = [
        "sweep",
        "busy.yaml",
        "--set",
        "workload.num_requests=4000",
        "--grid",
        "replicas=1,2,3,4",
        "--replications",
    ]
    words += ["10", "--store", "kept", *SERIAL, "--metrics", "completed"]
    # A shell starts its background jobs, hence tests among them, with SIGINT ignored.
    running = subprocess.Popen(
        [PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(Store("kept")) < 2 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    kept = len(Store("kept"))
    assert 2 <= kept < 40
    assert (running.returncode, out) == (130, "")
    assert err.splitlines() == [f"{kept} runs are kept in kept: repeat the command to resume", "interrupted"]
    before = {path: path.stat().st_mtime_ns for path in Path("kept").iterdir()}
    words[words.index("replicas=1,2,3,4")] = "replicas=1"
    words[words.index("10")] = "2"
    status, out, _ = blis(*words)
    assert (status, lines_of(out)) == (0, [["1", "4,000", "±", "0"]])
    assert {path: path.stat().st_mtime_ns for path in Path("kept").iterdir()} == before


def test_without_a_store_an_interrupted_sweep_says_what_would_have_kept_it(blis, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("blis_simpy.cli.sweep.sweep_scenario", interrupted)
    assert blis("sweep", "fast.yaml", "--grid", "replicas=1") == (
        130,
        "",
        ["no runs were kept; with --store FOLDER an interrupted experiment can be resumed", "interrupted"],
    )


MISTAKES = [
    ((), ["--model is required; or name a scenario: 'blis list scenarios' lists them"]),
    (("fast.yaml",), ["--grid is required"]),
    (("fast.yaml", "slow.yaml"), ["unexpected argument 'slow.yaml'"]),
    (("fast.yaml", "--grid", "replicas"), ["--grid must be SETTING=VALUE,VALUE,..., got 'replicas'"]),
    (("fast.yaml", "--grid", "replicas="), ["--grid replicas must have a value"]),
    (("fast.yaml", "--grid", "replicas=1", "--grid", "replicas=2"), ["--grid replicas is given twice"]),
    (
        ("fast.yaml", "--grid", "replicas=0,1", "--grid", "workload.rate=1,2,x", "--grid", "tpp=1"),
        [
            "--grid replicas must be >= 1, got 0",
            "--grid tpp is not a setting; did you mean tp?",
            "--grid workload.rate must be a rate such as 20/s, 600/min or a number per second, got 'x'",
        ],
    ),
    (
        ("fast.yaml", "--grid", "kv.blocks=[1"),
        [
            (
                "--grid kv.blocks is not valid YAML: while parsing a flow sequence, did not find expected ',' or ']', "
                "got '[[1]'"
            )
        ],
    ),
    (("fast.yaml", "--range", "replicas=1:3"), ["--range needs --design latin-hypercube or sobol"]),
    (
        ("fast.yaml", "--design", "sobol", "--range", "replicas=3:1", "--range", "tp=5", "--range", "seed=1:2:lin"),
        [
            "--range replicas: high must be > low (3), got 1",
            "--range tp must be LOW:HIGH or LOW:HIGH:log, got '5'",
            "--range seed must be LOW:HIGH or LOW:HIGH:log, got '1:2:lin'",
        ],
    ),
    (
        ("fast.yaml", "--design", "sobol", "--range", "replicas=0:1", "--samples", "4"),
        ["--range replicas must be >= 1, got 0"],
    ),
    (
        ("fast.yaml", "--design", "sobol", "--range", "replicas=1:3"),
        ["--samples must be given for the design 'sobol'"],
    ),
    (("fast.yaml", "--grid", "replicas=1", "--samples", "2"), ["--samples must be left out for a grid"]),
    (("fast.yaml", "--grid", "replicas=1", "--replications", "0"), ["--replications must be an integer >= 1, got 0"]),
    (
        ("fast.yaml", "--grid", "kv.blocks=5", "--set", "engine.max_model_len=1000", *SERIAL),
        [
            (
                "kv.blocks=5: engine.max_model_len needs 63 KV blocks of 16 tokens, but the KV cache has 5: "
                "KV cache too small for max model length, got 1000"
            )
        ],
    ),
]


@pytest.mark.parametrize(("words", "lines"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_one_line(blis, words, lines):
    assert blis("sweep", *words) == (2, "", lines)
