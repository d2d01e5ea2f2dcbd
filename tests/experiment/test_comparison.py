import math

import numpy as np
import pytest
from scipy import stats

import blis_simpy as blis
from blis_simpy.errors import ScenarioError


@pytest.fixture
def found(small):
    """One replica against two, eight replications."""
    return blis.compare({"one": small, "two": small.with_(replicas=2)}, 8, executor="serial")


def test_all_scenarios_of_a_replication_are_sent_the_same_requests(small):
    one, two = (
        [scenario.run(seed=seed).requests for seed in blis.replicate(small, 3, executor="serial").seeds]
        for scenario in (small, small.with_(replicas=2, router="least-loaded", admission="reject-all"))
    )
    for first, second in zip(one, two, strict=True):
        for column in ("arrived_at_us", "input_tokens", "output_tokens"):
            assert first[column].tolist() == second[column].tolist()
    assert one[0]["arrived_at_us"].tolist() != one[1]["arrived_at_us"].tolist()


def test_common_random_numbers_are_checked(small, found):
    assert found.same_traffic
    with pytest.warns(UserWarning, match="the scenarios did not receive the same requests"):
        other = blis.compare({"slow": small, "fast": small.with_(**{"workload.rate": 21})}, 2, executor="serial")
    assert not other.same_traffic
    assert "the scenarios did not receive the same requests" in repr(other)


def test_later_rounds_of_conversations_may_differ(small):
    """When a closed loop sends its next request depends on the answer; that is no other traffic."""
    chat = blis.Client(
        id="chat",
        rate_fraction=1,
        arrival=blis.Arrival("poisson"),
        input_distribution=blis.LengthDistribution("constant", {"value": 100}),
        output_distribution=blis.LengthDistribution("constant", {"value": 20}),
        reasoning=blis.Reasoning(
            reason_ratio_distribution=blis.LengthDistribution("constant", {"value": 0}),
            multi_turn=blis.MultiTurn(max_rounds=3, think_time_us=1000),
        ),
        closed_loop=True,
    )
    scenario = small.with_(workload=blis.WorkloadSpec(clients=[chat], aggregate_rate=20, num_requests=10))
    slow = scenario.with_(**{"latency.beta": (9000.0, 1.0, 100.0)})
    last = [s.run(seed=1).requests["arrived_at_us"].max() for s in (scenario, slow)]
    assert last[0] != last[1]
    assert blis.compare({"fast": scenario, "slow": slow}, 2, executor="serial").same_traffic


def test_pairs_make_differences_certain_early(found):
    verdict = found.verdict("e2e_mean_ms")
    assert verdict.finding == "lower"
    assert verdict.correlation > 0.8
    one, two = (found.values(name, "e2e_mean_ms") for name in ("one", "two"))
    expected = (one.var(ddof=1) + two.var(ddof=1)) / (two - one).var(ddof=1)
    assert verdict.variance_reduction == pytest.approx(expected)
    assert expected > 3


def test_figures_are_those_of_the_pairs(found):
    one, two = (found.values(name, "e2e_mean_ms") for name in ("one", "two"))
    verdict = found.verdict("e2e_mean_ms")
    assert verdict.means == (one.mean(), two.mean())
    assert verdict.difference.estimate == pytest.approx(two.mean() - one.mean())
    assert verdict.ratio.estimate == pytest.approx(two.mean() / one.mean())
    assert found.difference("e2e_mean_ms") == verdict.difference
    assert found.ratio("e2e_mean_ms", confidence=0.5).half_width < verdict.ratio.half_width
    expected = stats.ttest_1samp(two - 0.99 * one, 0, alternative="less").pvalue
    assert found.test("e2e_mean_ms", by=0.01, alternative="lower").p_value == pytest.approx(expected)


def test_a_metric_that_nobody_asked_for_is_there(found):
    assert "ttft_p50_ms" not in found.metrics
    assert found.verdict("ttft_p50_ms").finding == "lower"


def test_runs_have_one_row_each(found):
    runs = found.runs
    assert runs["scenario"].tolist() == ["one"] * 8 + ["two"] * 8
    assert runs["seed"][:8].tolist() == runs["seed"][8:].tolist()
    assert found.to_pandas(runs=True).groupby("scenario")["e2e_mean_ms"].mean()["two"] == pytest.approx(
        found.verdict("e2e_mean_ms").means[1]
    )


def test_rows_have_one_verdict_each(found):
    assert [(row["metric"], row["finding"]) for row in found.rows] == [(v.metric, v.finding) for v in found.verdicts]
    assert found.to_pandas()["p_value"].tolist() == [verdict.p_value for verdict in found.verdicts]


def test_what_the_evidence_does_not_decide_is_said_plainly(made_up):
    """Differences 1, -1, 2, -1, 1: mean 0.4, standard deviation 1.342."""
    found = made_up({"a": {"m": [100, 101, 102, 103, 104]}, "b": {"m": [101, 100, 104, 102, 105]}})
    verdict = found.verdict("m")
    assert verdict.finding == "not decided"
    assert str(verdict) == (
        "m of b against a is not decided: +0.392 % [-1.24, 2.03], 95 %, 5 replications; "
        "about 217 replications would probably decide"
    )
    assert "not decided: about 217 replications would probably decide" in repr(found)


def test_what_is_decided_is_said_with_its_figures(made_up):
    found = made_up({"rr": {"ttft_p99_ms": [100, 110, 120, 130]}, "prefix": {"ttft_p99_ms": [79, 89, 95, 105]}})
    assert str(found.verdict("ttft_p99_ms")) == (
        "ttft_p99_ms of prefix is lower than that of rr: -20 % [-21.8, -18.5], 95 %, 4 replications"
    )


def test_runs_that_are_all_alike_are_the_same_and_need_no_more(made_up):
    found = made_up({"a": {"m": [1, 2, 3]}, "b": {"m": [1, 2, 3]}})
    verdict = found.verdict("m")
    assert (verdict.finding, verdict.needed, verdict.p_value) == ("the same", None, 1)
    assert str(verdict) == "m of b is the same as that of a in all 3 replications"


def test_a_metric_that_some_runs_lack_decides_nothing(made_up):
    found = made_up({"a": {"m": [1, 2, math.nan]}, "b": {"m": [5, 6, 7]}})
    assert str(found.verdict("m")).endswith("some runs have no value")


def test_verdicts_are_adjusted_for_their_number(made_up):
    rng = np.random.default_rng(1)
    base = rng.normal(100, 5, 10)
    columns = {f"m{i}": base + rng.normal(0.7, 1, 10) for i in range(3)}
    values = {"a": dict.fromkeys(columns, base), "b": columns}
    raw, holm, bonferroni = (made_up(values, correction=c) for c in (None, "holm", "bonferroni"))
    plain = sorted(verdict.p_value for verdict in raw.verdicts)
    assert sorted(verdict.p_value for verdict in holm.verdicts) == pytest.approx(
        [3 * plain[0], max(3 * plain[0], 2 * plain[1]), max(3 * plain[0], 2 * plain[1], plain[2])]
    )
    assert sorted(verdict.p_value for verdict in bonferroni.verdicts) == pytest.approx([3 * p for p in plain])


def test_false_alarms_are_as_rare_as_stated(made_up):
    """Two candidates, three metrics, nothing different: in 200 comparisons, at most 19 (three deviations above 10)."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(200):
        common = rng.normal(100, 5, 10)
        values = {name: {m: common + rng.normal(0, 1, 10) for m in ("x", "y", "z")} for name in "abc"}
        alarms += any(verdict.finding != "not decided" for verdict in made_up(values).verdicts)
    assert alarms <= 19


def test_equivalence(made_up):
    rng = np.random.default_rng(3)
    base = rng.normal(100, 5, 20)
    found = made_up({"a": {"m": base}, "b": {"m": base + rng.normal(0.2, 0.5, 20)}})
    assert found.equivalence("m", by=0.01).holds()
    assert not found.equivalence("m", by=0.001).holds()


def test_the_best_of_several(made_up):
    values = {name: {"requests_per_s": [mean - 0.1, mean, mean + 0.1]} for name, mean in (("a", 5), ("b", 7), ("c", 6))}
    found = made_up(values)
    best = found.best("requests_per_s", indifference=0.5)
    assert (best.best, best.decided) == ("b", True)
    assert list(best.means) == ["b", "c", "a"]
    assert found.best("requests_per_s", indifference=0.5, maximise=False).best == "a"


def test_candidates_are_named_where_there_are_several(made_up):
    found = made_up({name: {"m": [1, 2]} for name in "abc"})
    assert found.candidates == ("b", "c")
    with pytest.raises(ScenarioError, match="candidate must be given: one of b, c"):
        found.verdict("m")
    with pytest.raises(ScenarioError, match="candidate is unknown, got 'a'; known: b, c"):
        found.verdict("m", "a")
    with pytest.raises(ScenarioError, match="scenario is unknown, got 'd'; known: a, b, c"):
        found.values("d", "m")


def test_it_shows_verdicts_in_a_terminal_and_in_a_notebook(found):
    lines = repr(found).splitlines()
    assert lines[0] == "8 paired replications, baseline one, 95 %, p by Holm"
    assert lines[1].split() == ["metric", "candidate", "one", "mean", "change", "p", "finding", "variance", "ratio"]
    assert len(lines) == 3 + 4
    html = found._repr_html_()
    assert "<table" in html
    assert "e2e_mean_ms of two is lower than that of one" in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenarios": ["one"]}, "scenarios must be at least two, got ['one']"),
        ({"baseline": "on"}, "baseline is unknown, got 'on'; did you mean 'one'? known: one, two"),
        ({"replications": 1}, "replications must be an integer >= 2, got 1"),
        ({"correction": "sidak"}, "correction must be one of 'holm', 'bonferroni', None, got 'sidak'"),
    ],
)
def test_mistakes_are_named_before_anything_is_run(small, options, message):
    names = options.pop("scenarios", ["one", "two"])
    with pytest.raises(ScenarioError) as raised:
        blis.compare(dict.fromkeys(names, small), **options)
    assert str(raised.value) == message
