"""Flags of the cluster's policies, end to end."""

from __future__ import annotations

import pytest

from blis_simpy.cli.main import main

FEW = ["run", "--model", "qwen/qwen3-14b", "--num-requests", "4", "--num-instances", "2"]
BUNDLE = """
admission: {policy: reject-all}
routing: {policy: weighted, scorers: [{name: load-balance, weight: 1}]}
scheduler: sjf
"""


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.yaml").write_text(BUNDLE)
    return ["--policy-config", "b.yaml"]


def printed(capsys, *words):
    status = main([*words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_bundle_takes_effect(capsys, bundle):
    status, out, err = printed(capsys, *FEW, *bundle)
    assert (status, err) == (0, "")
    assert "Rejected Requests (Admission): 4\n" in out


def test_a_flag_wins_over_a_bundle_even_with_its_default(capsys, bundle):
    status, out, _ = printed(capsys, *FEW, *bundle, "--admission-policy", "always-admit")
    assert status == 0
    assert '"completed_requests": 4' in out


def test_a_bundle_wins_over_a_scenario_file(capsys, bundle, tmp_path):
    (tmp_path / "x.yaml").write_text("model: qwen/qwen3-14b\nadmission: always-admit\nworkload: {num_requests: 3}\n")
    _, out, _ = printed(capsys, "run", "x.yaml", *bundle)
    assert "Rejected Requests (Admission): 3\n" in out


def test_show_config_shows_what_a_bundle_sets(capsys, bundle):
    _, out, _ = printed(capsys, *FEW, *bundle, "--show-config")
    lines = {" ".join(line.split()) for line in out.splitlines()}
    assert {"policy: reject-all # flag", "scorers: [[load-balance, 1.0]] # flag", "scheduler: sjf # flag"} <= lines


def test_the_score_and_the_summary_of_decisions_are_printed(capsys):
    asked = ["--fitness-weights", "throughput:1", "--summarize-trace", "--trace-level", "decisions"]
    status, out, err = printed(capsys, *FEW, *asked)
    assert (status, err) == (0, "")
    assert "=== Fitness Evaluation ===" in out
    assert "=== Trace Summary ===" in out


def test_texts_that_mean_not_given_are_not_given(capsys):
    empty = ["--admission-policy", "", "--routing-policy", "", "--trace-level", "", "--policy-config", ""]
    plain = printed(capsys, *FEW)
    assert printed(capsys, *FEW, *empty, "--fitness-weights", "", "--routing-scorers", "") == plain


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (
            ["--routing-scorers", "garbage"],
            "--routing-scorers has no effect: the routing policy 'round-robin' has no option scorers",
        ),
        (
            ["--token-bucket-capacity", "2"],
            "--token-bucket-capacity has no effect: the admission policy 'always-admit' has no option capacity",
        ),
        (
            ["--counterfactual-k", "2"],
            (
                "router.decision_alternatives (--counterfactual-k) has no effect: it needs router.decision_log "
                "(--trace-level decisions)"
            ),
        ),
        (["--summarize-trace"], "--summarize-trace has no effect without --trace-level decisions"),
        (
            ["--trace-level", "decisions", "--summarize-trace", "--report", "summary"],
            "--summarize-trace has no effect with --report summary",
        ),
        (
            ["--fitness-weights", "throughput:1", "--report", "json"],
            "--fitness-weights has no effect with --report json",
        ),
    ],
)
def test_a_flag_without_effect_is_warned_of_once(capsys, words, warning):
    status, _, err = printed(capsys, *FEW, *words)
    assert (status, err) == (0, f"warning: {warning}\n")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--admission-latency", "-1"], "--admission-latency must be >= 0, got -1"),
        (["--routing-latency", "x"], "--routing-latency must be a duration such as"),
        (["--snapshot-refresh-interval", "-5"], "--snapshot-refresh-interval must be >= 0, got -5"),
        (["--counterfactual-k", "-1"], "--counterfactual-k must be >= 0, got -1"),
        (["--trace-level", "all"], "--trace-level is unknown, got 'all'; known: none, decisions"),
        (["--admission-policy", "all"], "--admission-policy is unknown, got 'all'; known: always-admit, reject-all"),
        (["--routing-policy", "Weighted"], "--routing-policy is unknown, got 'Weighted'; did you mean 'weighted'?"),
        (
            ["--admission-policy", "token-bucket", "--token-bucket-capacity", "0"],
            "--token-bucket-capacity must be > 0, got 0",
        ),
        (
            ["--routing-policy", "weighted", "--routing-scorers", "queue-depth:1,load:1"],
            "--routing-scorers[1] is unknown, got 'load'; known: kv-utilization",
        ),
        (["--fitness-weights", "speed:1"], "--fitness-weights must name fitness metrics, got 'speed'"),
        (["--policy-config", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, words, lines):
    status, out, err = printed(capsys, *FEW, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(lines)


def test_a_wrong_weight_is_laid_to_its_flag_also_beside_a_scenario_file(capsys):
    _, _, err = printed(capsys, "run", "quickstart", "--fitness-weights", "speed:1")
    assert err.startswith("--fitness-weights must name fitness metrics, got 'speed'")
