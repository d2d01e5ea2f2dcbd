"""Evaluation of whole runs."""

import pytest

from blis_simpy.results.evaluation import by_model
from blis_simpy.results.fitness import Fitness


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


def test_result_shows_what_the_cluster_recorded(logged):
    assert logged.anomalies["rejected_requests_admission"] == logged.evaluation.metrics.rejected == 1
    assert logged.rejected == ["refused"]
    assert logged.evaluation.decisions is logged.decisions
    assert logged.evaluation.decision_summary == logged.decisions.summary()
    assert logged.decisions.summary()["rejected"] == 1
    assert logged.evaluation.wall_clock_s > 0


def test_classes_are_sorted_and_an_empty_one_is_default(serve):
    """The request of class z still decodes at the horizon of 250."""
    served = serve((10, 90, 0, {"slo_class": "z"}), (10, 1, 0), (10, 1, 0), horizon=250)
    classes = served.result.slo_classes
    assert list(classes) == ["default", "z"]
    assert (classes["default"]["ttft"].count, classes["default"]["e2e"].count) == (2, 2)
    assert (classes["z"]["ttft"].count, classes["z"]["e2e"].count) == (1, 0)
