"""``blis compare``, and what it shares with the other commands of experiments."""

import csv
import json
import socket

import pytest

import blis_simpy
from blis_simpy.experiment.store import Store

SERIAL = ("--executor", "serial")
ALONE = ("--replications", "3", "--metrics", "ttft_p99_ms,e2e_mean_ms", *SERIAL)


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_are_compared_with_the_first_one(blis, folder):
    status, out, lines = blis("compare", "fast.yaml", "slow.yaml", *ALONE, "--results", "found.csv")
    assert (status, lines) == (0, [])
    title, heading, _, ttft, e2e = out.splitlines()
    assert title == "3 paired replications, baseline fast, 95 %, p by Holm"
    assert heading.split()[:4] == ["metric", "candidate", "fast", "mean"]
    assert ttft.split()[:4] == ["ttft_p99_ms", "slow", "5.100", "10.10"]
    assert e2e.split()[:4] == ["e2e_mean_ms", "slow", "102", "202"]
    found = rows(folder / "found.csv")
    assert [row["metric"] for row in found] == ["ttft_p99_ms", "e2e_mean_ms"]
    assert {(row["candidate"], row["baseline"], row["replications"], row["finding"]) for row in found} == {
        ("slow", "fast", "3", "higher")
    }
    assert [float(row["difference"]) for row in found] == pytest.approx([5, 100])
    assert [float(row["ratio_low"]) for row in found] == pytest.approx([10.1 / 5.1, 202 / 102])


def test_variants_are_one_scenario_with_settings_changed(blis):
    variants = ("--variant", "slow:latency.beta=[10000, 1, 100]", "--variant", "two:replicas=2")
    status, out, lines = blis("compare", "fast.yaml", *variants, "--variant", "two:seed=7", *ALONE)
    assert (status, lines) == (0, [])
    assert [line.split()[:4] for line in out.splitlines()[3:5]] == [
        ["ttft_p99_ms", "slow", "5.100", "10.10"],
        ["ttft_p99_ms", "two", "5.100", "5.100"],
    ]
    assert "the same" in out.splitlines()[4]


def test_settings_change_all_scenarios_and_the_baseline_can_be_chosen(blis):
    words = (
        "--set",
        "latency.beta=[20000, 1, 100]",
        "--baseline",
        "slow",
        "--correction",
        "none",
        "--confidence",
        "0.9",
    )
    status, out, _ = blis("compare", "fast.yaml", "slow.yaml", *words, *ALONE)
    assert status == 0
    assert out.splitlines()[0] == "3 paired replications, baseline slow, 90 %"
    assert out.splitlines()[3].split()[:4] == ["ttft_p99_ms", "fast", "20.10", "20.10"]


def test_figures_are_those_of_python(blis, folder):
    status, out, _ = blis(
        "compare",
        "busy.yaml",
        "--variant",
        "two:replicas=2",
        "--replications",
        "4",
        "--seed",
        "9",
        "--runs",
        "runs.json",
        *SERIAL,
    )
    busy = blis_simpy.load_scenario("busy.yaml")
    expected = blis_simpy.compare({"busy": busy, "two": busy.with_(replicas=2)}, 4, seed=9, executor="serial")
    assert (status, out) == (0, f"{expected.table().text()}\n")
    runs = json.loads((folder / "runs.json").read_text())
    assert [(row["scenario"], row["seed"]) for row in runs] == list(
        zip(expected.runs["scenario"].tolist(), expected.runs["seed"].tolist(), strict=True)
    )
    assert [row["ttft_p99_ms"] for row in runs] == expected.runs["ttft_p99_ms"].tolist()


def test_files_of_the_same_stem_are_named_by_their_paths(blis, folder):
    (folder / "other").mkdir()
    (folder / "other" / "fast.yaml").write_text((folder / "slow.yaml").read_text())
    status, out, _ = blis("compare", "fast.yaml", "other/fast.yaml", *ALONE)
    assert status == 0
    assert out.splitlines()[3].split()[:4] == ["ttft_p99_ms", "other/fast.yaml", "5.100", "10.10"]


def test_other_traffic_is_warned_of_in_one_line(blis):
    status, _, lines = blis("compare", "busy.yaml", "--variant", "more:workload.rate=30/s", *ALONE)
    assert status == 0
    assert lines == [
        "warning: the scenarios did not receive the same requests: differences are also due to the traffic"
    ]


def test_nothing_is_printed_where_that_is_asked_for(blis):
    assert blis("compare", "fast.yaml", "slow.yaml", *ALONE, "--report", "none") == (0, "", [])


def test_a_report_is_written_and_the_same_again(blis, folder):
    pytest.importorskip("matplotlib")
    words = ("compare", "fast.yaml", "slow.yaml", *ALONE, "--report", "none", "--html")
    assert blis(*words, "a.html") == (0, "", [])
    assert blis(*words, "b.html", "--workers", "1") == (0, "", [])
    page = (folder / "a.html").read_bytes()
    assert page == (folder / "b.html").read_bytes()
    assert b"<h1>slow compared with fast</h1>" in page


def test_a_warm_up_counts_in_no_metric(blis):
    metrics = ("--replications", "2", "--metrics", "completed", *SERIAL)
    _, out, _ = blis("compare", "fast.yaml", "slow.yaml", "--warm-up", "2.5s", *metrics)
    # Arrivals at about 1, 2, 3, 4 and 5 s, or a second earlier: two of five before 2.5 s, or three.
    assert out.splitlines()[3].split()[2] in ("2", "3")


def test_a_store_keeps_the_runs(blis, folder):
    words = ("compare", "fast.yaml", "slow.yaml", *ALONE, "--store", "kept")
    first = blis(*words)
    assert first[0] == 0
    assert len(Store("kept")) == 6
    assert blis(*words) == first
    assert len(Store("kept")) == 6


def test_work_is_done_on_a_dask_cluster(blis):
    distributed = pytest.importorskip("distributed")
    here = blis("compare", "fast.yaml", "slow.yaml", *ALONE)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50, protocol="tcp://"
    ) as cluster:
        address = cluster.scheduler_address
        there = blis("compare", "fast.yaml", "slow.yaml", *ALONE[:4], "--executor", "dask", "--cluster", address)
    assert there == here


KNOWN = "known: fcfs, priority, priority-fcfs, reverse-priority, sjf"

MISTAKES = [
    ((), ["scenario needs another one to compare with; give two scenarios, or one scenario and a --variant"]),
    (
        ("fast.yaml",),
        ["scenario needs another one to compare with; give two scenarios, or one scenario and a --variant"],
    ),
    (("fast.yaml", "fast.yaml"), ["scenario is given twice, got 'fast.yaml'"]),
    (
        ("fast.yaml", "no.yaml", "neither.yaml"),
        [f"{name}.yaml: cannot be read: No such file or directory" for name in ("no", "neither")],
    ),
    (("fast.yaml", "--variant", "x"), ["--variant must be NAME:SETTING=VALUE, got 'x'"]),
    (("fast.yaml", "--variant", "x:"), ["--variant must be NAME:SETTING=VALUE, got 'x:'"]),
    (("fast.yaml", "--variant", "x:=1"), ["--variant x: must be SETTING=VALUE, got '=1'"]),
    (
        ("fast.yaml", "slow.yaml", "--variant", "x:tp=2"),
        ["--variant needs a single scenario to start from, got ['fast.yaml', 'slow.yaml']"],
    ),
    (
        ("fast.yaml", "--variant", "a:engine.scheduler=sfj", "--variant", "fast:tp=2", "--variant", "b:tpp=2"),
        [
            f"--variant a: engine.scheduler is unknown, got 'sfj'; did you mean 'sjf'? {KNOWN}",
            "--variant must not have the name of the scenario, got 'fast'",
            "--variant b: tpp is not a setting; did you mean tp?",
        ],
    ),
    (("fast.yaml", "slow.yaml", "--set", "tpp=2"), ["--set tpp is not a setting; did you mean tp?"]),
    (("fast.yaml", "slow.yaml", "--set", "tp"), ["--set must be SETTING=VALUE, got 'tp'"]),
    (
        ("fast.yaml", "slow.yaml", "--set", "workload.rate=20/x"),
        ["--set workload.rate must be a rate such as 20/s, 600/min or a number per second, got '20/x'"],
    ),
    (("fast.yaml", "slow.yaml", "--baseline", "x"), ["--baseline is unknown, got 'x'; known: fast, slow"]),
    (("fast.yaml", "slow.yaml", "--replications", "1"), ["--replications must be an integer >= 2, got 1"]),
    (("fast.yaml", "slow.yaml", "--replications", "x"), ["--replications must be an integer >= 2, got 'x'"]),
    (("fast.yaml", "slow.yaml", "--confidence", "95"), ["--confidence must be > 0 and < 1, got 95"]),
    (
        ("fast.yaml", "slow.yaml", "--correction", "x"),
        ["--correction is unknown, got 'x'; known: holm, bonferroni, none"],
    ),
    (("fast.yaml", "slow.yaml", "--seed", "-1"), ["--seed must be >= 0, got -1"]),
    (("fast.yaml", "slow.yaml", "--workers", "0"), ["--workers must be an integer >= 1, got 0"]),
    (("fast.yaml", "slow.yaml", "--warm-up", "-1s"), ["--warm-up must be >= 0, got '-1s'"]),
    (("fast.yaml", "slow.yaml", "--executor", "dask"), ["--cluster is required with --executor dask"]),
    (("fast.yaml", "slow.yaml", "--cluster", "x"), ["--cluster needs --executor dask or ray"]),
    (("fast.yaml", "slow.yaml", "--store", "fast.yaml"), ["--store must be a folder, got 'fast.yaml'"]),
    (
        ("fast.yaml", "slow.yaml", "--results", "x.txt", "--runs", "no/x.csv"),
        [
            "--results must end in one of .csv, .json, .parquet, .csv.gz, .json.gz, got 'x.txt'",
            "no/x.csv: cannot be written: there is no directory no",
        ],
    ),
    (
        ("fast.yaml", "slow.yaml", "--report", "blis"),
        ["--report is unknown, got 'blis'; known: summary, none"],
    ),
]


@pytest.mark.parametrize(("words", "lines"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_one_line_and_nothing_is_simulated(blis, words, lines):
    assert blis("compare", *words) == (2, "", lines)


def test_an_unknown_metric_is_named(blis):
    status, out, lines = blis("compare", "fast.yaml", "slow.yaml", "--metrics", "ttft_p99")
    assert (status, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("--metrics is unknown, got 'ttft_p99'; did you mean 'ttft_p99_ms'?")


def test_a_missing_library_is_named_before_anything_is_simulated(blis, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    status, out, lines = blis("compare", "fast.yaml", "slow.yaml", "--html", "x.html")
    assert (status, out) == (2, "")
    assert lines == ["an HTML report needs matplotlib; pip install blis-simpy[plot]"]


def test_a_cluster_that_is_not_there_is_named(blis, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed.Client, "__init__", refuse)
    status, out, lines = blis(
        "compare", "fast.yaml", "slow.yaml", "--executor", "dask", "--cluster", "tcp://127.0.0.1:1"
    )
    assert (status, out) == (2, "")
    assert lines == ["--cluster cannot be reached: timed out, got 'tcp://127.0.0.1:1'"]


def test_a_ray_that_is_not_there_is_named(blis):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # bound, but nobody listens
        status, out, lines = blis("compare", "fast.yaml", "slow.yaml", "--executor", "ray", "--cluster", address)
    assert (status, out) == (2, "")
    assert len(lines) == 1
    assert lines[0].startswith("--cluster cannot be reached: ")


def refuse(*args, **kwargs):
    raise OSError("timed out")
