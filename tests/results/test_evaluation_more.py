"""Evaluation of whole runs on one replica: a step takes 100 µs, 1 a prompt token and 10 a decode token."""

import pytest

import blis_simpy as blis
from blis_simpy.cluster.decision_log import DecisionLog
from blis_simpy.core.request import Request
from blis_simpy.errors import ScenarioError
from blis_simpy.results.blis_report import sections
from blis_simpy.results.evaluation import by_model
from blis_simpy.results.fitness import Fitness

QUIET = {"blocks": [], "anomaly": {}, "kv": {}, "slo": {}}


@pytest.fixture
def two_tenants(serve):
    """Two requests one after the other: TTFT 110 and 120, E2E 220 each (one gap of 110; one token), over at 1120."""
    return serve(
        (10, 2, 0, {"tenant": "a", "model": "any/model", "slo_class": "chat"}),
        (20, 1, 1000, {"tenant": "b"}),
    ).result


def test_models_are_those_that_requests_name(two_tenants):
    """One request and two tokens in 1120 µs."""
    models = two_tenants.evaluation.models
    assert list(models) == ["any/model"]
    group = models["any/model"]
    assert (group.completed, group.ttft.mean, group.e2e.mean) == (1, 110, 220)
    assert (group.requests_per_s, group.tokens_per_s) == (1 / 0.00112, 2 / 0.00112)


def test_without_named_models_there_are_none(serve):
    assert serve((10, 2, 0)).result.evaluation.models == {}


def test_model_rates_count_planned_tokens_of_completed_requests_only(serve):
    """Over at the horizon of 500: of r0 both tokens, of r1 a first token that counts in the TTFT only."""
    served = serve((10, 2, 0, {"model": "any/model"}), (10, 90, 0, {"model": "any/model"}), horizon=500)
    group = served.result.evaluation.models["any/model"]
    assert (group.ttft.count, group.e2e.count, group.completed) == (2, 1, 1)
    assert group.tokens_per_s == 2 * group.requests_per_s


def test_groups_of_a_run_without_duration_have_no_rate(serve):
    served = serve((10, 2, 0, {"model": "any/model"}))
    assert by_model(served.result.requests, 0)["any/model"].requests_per_s == 0.0


def test_tenants_without_a_name_are_the_default_one(serve):
    assert list(serve((10, 2, 0), (10, 2, 0, {"tenant": "z"})).result.evaluation.tenants) == ["default", "z"]


def test_fairness_is_that_of_output_tokens(two_tenants):
    """Two tokens to one: (2 + 1)² / (2 * (4 + 1)) = 0.9."""
    assert two_tenants.evaluation.tenant_fairness == pytest.approx(0.9, rel=1e-12)


def test_evaluation_holds_the_figures_of_the_whole_run(two_tenants):
    evaluation = two_tenants.evaluation
    assert evaluation.duration_us == 1120
    assert evaluation.metrics.requests_per_s == two_tenants.summary["responses_per_sec"]
    assert evaluation.metrics.ttft.mean == 115
    assert list(evaluation.slo_classes) == ["chat", "default"]
    assert (evaluation.fitness, evaluation.decisions, evaluation.decision_summary) == (None, None, None)


def test_counts_of_what_went_wrong_are_gathered(serve):
    """r1 can never fit, r2 gives up."""
    served = serve((10, 2, 0), (900, 2, 0), (10, 90, 0, {"deadline": 300}), blocks=20)
    metrics = served.result.evaluation.metrics
    assert (metrics.dropped, metrics.timed_out, metrics.length_capped, metrics.rejected) == (1, 1, 0, 0)


def test_score_comes_with_weights(two_tenants):
    scored = two_tenants.evaluation.with_fitness({"mean_ttft": 1})
    assert (
        scored.fitness
        == two_tenants.fitness("mean_ttft:1")
        == Fitness(1 / 1.115, {"mean_ttft": 1 / 1.115}, {"mean_ttft": 1.0})
    )
    assert two_tenants.evaluation.fitness is None


def test_promises_are_judged_by_class(two_tenants):
    assert two_tenants.slo_attainment({"chat": 200}) == 0.5
    assert two_tenants.goodput({"chat": 200}).requests_per_s == 1 / 0.00112


class RefuseThree:
    """Turns away whoever brings a prompt of three tokens."""

    def admit(self, request, state):
        return request.input_tokens != 3


@pytest.fixture
def logged(prepare):
    """The same run with a log of decisions and one request that is refused."""
    requests = [
        Request("a", 0, 10, 2, tenant="a", model="any/model", slo_class="chat"),
        Request("b", 1000, 20, 1, tenant="b"),
        Request("refused", 0, 3, 2),
    ]
    scenario = prepare().scenario.with_(admission=RefuseThree(), **{"router.decision_log": True})
    return blis.Simulation(scenario, requests=requests).run()


def test_result_shows_what_the_cluster_recorded(logged):
    assert logged.anomalies["rejected_requests_admission"] == logged.evaluation.metrics.rejected == 1
    assert logged.rejected == ["refused"]
    assert logged.evaluation.decisions is logged.decisions
    assert logged.evaluation.decision_summary == logged.decisions.summary()
    assert logged.decisions.summary()["rejected"] == 1
    assert logged.evaluation.wall_clock_s > 0


def titles(text):
    return [line.strip("= ") for line in text.splitlines() if line.startswith("===")]


def test_report_of_a_run_has_all_sections_in_order(logged):
    assert titles(logged.blis_report("run", fitness_weights="throughput:1", summarize_trace=True)) == [
        "Simulation Metrics",
        "Fitness Evaluation",
        "Anomaly Counters",
        "Per-SLO Metrics",
        "Per-Model Metrics",
        "Trace Summary",
    ]


def test_report_of_a_replay_has_neither_fitness_nor_models(logged):
    assert titles(logged.blis_report("replay", fitness_weights="nonsense", summarize_trace=True)) == [
        "Simulation Metrics",
        "Anomaly Counters",
        "Per-SLO Metrics",
        "Trace Summary",
    ]


def test_summary_of_decisions_is_printed_on_request_only(two_tenants, logged):
    assert "Trace Summary" not in logged.blis_report()
    assert "Trace Summary" not in two_tenants.blis_report(summarize_trace=True)


def test_wrong_weights_are_an_error_of_the_report(two_tenants):
    with pytest.raises(ScenarioError, match="must name fitness metrics, got 'speed'"):
        two_tenants.blis_report(fitness_weights="speed:1")


def test_fitness_section_has_six_decimals():
    fitness = Fitness(0.618252, {"mean_e2e": 0.0187590001, "throughput": 0.5}, {"mean_e2e": 1.0, "throughput": 1.0})
    assert sections(command="run", **QUIET, fitness=fitness).splitlines() == [
        "=== Fitness Evaluation ===",
        "Score: 0.618252",
        "  mean_e2e: 0.018759",
        "  throughput: 0.500000",
    ]


def test_model_section_shows_ticks_and_rates(two_tenants):
    """1 / 1120 µs = 892.857 requests/s, and twice as many tokens."""
    assert sections(command="run", **QUIET, models=two_tenants.evaluation.models).splitlines() == [
        "=== Per-Model Metrics ===",
        "  any/model:",
        "    TTFT: p50=110.00 p99=110.00 (n=1)",
        "    E2E:  p50=220.00 p99=220.00 (n=1)",
        "    Throughput: 892.86 req/s, 1785.71 tok/s",
    ]


def test_decision_section_lists_targets():
    summary = {
        "total_decisions": 3,
        "admitted": 2,
        "rejected": 1,
        "unique_targets": 2,
        "target_distribution": {"instance_0": 1, "instance_10": 1},
        "mean_regret": 0.8,
        "max_regret": 2.0,
    }
    assert sections(command="replay", **QUIET, decisions=summary).splitlines() == [
        "=== Trace Summary ===",
        "Total Decisions: 3",
        "  Admitted: 2",
        "  Rejected: 1",
        "Unique Targets: 2",
        "Target Distribution:",
        "  instance_0: 1",
        "  instance_10: 1",
        "Mean Regret: 0.800000",
        "Max Regret: 2.000000",
    ]


def test_decision_section_without_targets_has_no_heading_for_them():
    text = sections(command="run", **QUIET, decisions=DecisionLog().summary())
    assert "Target Distribution" not in text
    assert text.endswith("Unique Targets: 0\nMean Regret: 0.000000\nMax Regret: 0.000000\n")
