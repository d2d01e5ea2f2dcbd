"""``blis capacity``."""

import csv

import pytest

import blis_simpy

SERIAL = ("--executor", "serial")


def test_figures_are_those_of_python(blis, folder):
    words = ("--slo", "ttft_p99_ms=40", "--low", "5", "--high", "320", "--resolution", "0.2", "--replications", "3")
    status, out, lines = blis("capacity", "busy.yaml", *words, "--results", "probes.csv", "--runs", "runs.csv", *SERIAL)
    expected = blis_simpy.capacity(
        blis_simpy.load_scenario("busy.yaml"),
        {"ttft_p99_ms": 40},
        low=5,
        high=320,
        resolution=0.2,
        replications=3,
        executor="serial",
    )
    assert (status, out, lines) == (0, f"{expected.table().text()}\n", [])
    with (folder / "probes.csv").open() as file:
        probes = list(csv.DictReader(file))
    assert [(float(row["workload.rate"]), row["purpose"], row["outcome"]) for row in probes] == [
        (probe.value, probe.purpose, probe.outcome) for probe in expected.probes
    ]
    assert [float(row["ttft_p99_ms_high"]) for row in probes] == [p.bounds["ttft_p99_ms"][1] for p in expected.probes]
    assert [row["is_answer"] for row in probes] == ["false"] * (len(probes) - 1) + ["true"]
    with (folder / "runs.csv").open() as file:
        runs = [(float(row["workload.rate"]), int(row["seed"])) for row in csv.DictReader(file)]
    assert len(runs) == len(set(runs))
    assert set(runs) == {(probe.value, seed) for probe in expected.probes for seed in probe.replications.seeds}


def test_several_promises_in_either_direction(blis):
    """A request alone takes 5.1 ms to its first token: one replica will do, whatever comes of the second promise."""
    words = ("--slo", "ttft_p99_ms<=6", "--slo", "completed >= 5", "--vary", "replicas", "--high", "2")
    status, out, _ = blis("capacity", "fast.yaml", *words, "--replications", "2", *SERIAL)
    assert status == 0
    assert out.splitlines()[0].startswith(
        "smallest number of replicas that meets ttft_p99_ms <= 6 and completed >= 5 with 95 % confidence: 1"
    )


def test_a_promise_that_nothing_keeps_is_said_to_be_so(blis, folder):
    words = ("--slo", "ttft_p99_ms=5", "--vary", "replicas", "--high", "2", "--replications", "2")
    status, out, _ = blis("capacity", "fast.yaml", *words, "--results", "probes.csv", *SERIAL)
    assert status == 0
    assert out.splitlines()[0] == "replicas = 2 does not meet ttft_p99_ms <= 5"
    with (folder / "probes.csv").open() as file:
        assert [(row["outcome"], row["is_answer"]) for row in csv.DictReader(file)] == [("misses", "false")]


def test_a_report_is_written(blis, folder):
    pytest.importorskip("matplotlib")
    words = ("--slo", "ttft_p99_ms=40", "--low", "5", "--high", "80", "--resolution", "0.5", "--replications", "2")
    assert blis("capacity", "busy.yaml", *words, *SERIAL, "--report", "none", "--html", "x.html") == (0, "", [])
    assert "<h1>Capacity: workload.rate with ttft_p99_ms &lt;= 40</h1>" in (folder / "x.html").read_text()


MISTAKES = [
    ((), ["--model is required; or name a scenario: 'blis list scenarios' lists them"]),
    (("fast.yaml",), ["--slo is required"]),
    (("fast.yaml", "--slo", "ttft_p99_ms"), ["--slo must be METRIC=LIMIT, got 'ttft_p99_ms'"]),
    (
        ("fast.yaml", "--slo", "ttft_p99_ms=200", "--slo", "ttft_p99_ms<=300"),
        ["--slo ttft_p99_ms is given twice"],
    ),
    (
        ("fast.yaml", "--slo", "ttft_p99_ms=x"),
        ["--slo ttft_p99_ms must be a number, or text such as '<= 200', got 'x'"],
    ),
    (("fast.yaml", "--slo", "ttft_p99_ms=9", "--low", "5", "--high", "4"), ["--high must be > low (5), got 4"]),
    (("fast.yaml", "--slo", "ttft_p99_ms=9", "--low", "x"), ["--low must be a number > 0, got 'x'"]),
    (
        ("fast.yaml", "--slo", "ttft_p99_ms=9", "--vary", "replicas", "--low", "1.5"),
        ["--low must be an integer >= 1, got 1.5"],
    ),
    (
        ("fast.yaml", "--slo", "ttft_p99_ms=9", "--vary", "tp"),
        ["--vary is unknown, got 'tp'; known: workload.rate, workload.users, replicas"],
    ),
    (("fast.yaml", "--slo", "ttft_p99_ms=9", "--resolution", "2"), ["--resolution must be > 0 and < 1, got 2"]),
]


@pytest.mark.parametrize(("words", "lines"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_one_line(blis, words, lines):
    assert blis("capacity", *words) == (2, "", lines)


def test_an_unknown_metric_is_named(blis):
    status, out, lines = blis("capacity", "fast.yaml", "--slo", "ttft_p99=3")
    assert (status, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("--slo is unknown, got 'ttft_p99'; did you mean 'ttft_p99_ms'?")
