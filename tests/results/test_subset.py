"""Figures of some requests of a run: a step takes 100 µs, 1 more a prompt token and 10 a decode token."""

import math

import numpy as np
import pandas as pd
import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError


@pytest.fixture
def result(serve):
    """One at a time: r0 from 0 to 220 (TTFT 110), r1 from 1000 to 1120 (TTFT 120), r2 times out in the queue.

    r1 has a single token. The run is over at 1120.
    """
    return serve(
        (10, 2, 0, {"tenant": "a", "slo_class": "chat"}),
        (20, 1, 1000, {"tenant": "b"}),
        (5, 1, 1000, {"tenant": "b", "deadline": 1050}),
        max_num_seqs=1,
    ).result


def test_whole_run_has_the_figures_of_the_summary(serve):
    rows = [(37 * i % 90 + 1, 13 * i % 40 + 1, 60 * i, {"deadline": 60 * i + 9000}) for i in range(40)]
    result = serve(*rows, blocks=20, max_num_batched_tokens=64).result
    summary = result.summary
    assert summary["preemption_count"] > 0
    for latency in ("ttft", "itl", "e2e"):
        for statistic in ("mean", "p90", "p95", "p99"):
            name = f"{latency}_{statistic}_ms"
            assert result.metric(name) == summary[name]
    assert result.metric("scheduling_delay_p99_ms") == summary["scheduling_delay_p99_ms"]
    assert result.metric("requests_per_s") == summary["responses_per_sec"]
    assert result.metric("output_tokens_per_s") == summary["tokens_per_sec"]
    assert result.metric("preemptions") == summary["preemption_count"]
    assert result.metric("timed_out") == summary["timed_out_requests"]
    assert {name: result.metric(name) for name in result.kv_rates} == result.kv_rates


def test_label_chooses_requests(result):
    chat = result.where(slo_class="chat")
    assert chat.requests["id"].tolist() == ["request_0"]
    assert (chat.metric("ttft_mean_ms"), chat.metric("itl_mean_ms"), chat.metric("e2e_p50_ms")) == (0.11, 0.11, 0.22)
    assert result.where(tenant=["a", "b"], outcome="completed").metric("requests") == 2
    assert result.where(tenant="b").where(outcome="timed_out").metric("completed") == 0


def test_window_counts_arrivals_and_rates_over_its_length(result):
    """From 1000 to the end at 1120: one request of one token completed in 120 µs."""
    late = result.where(start="1ms")
    assert late.duration_us == 120
    assert (late.metric("requests"), late.metric("completed"), late.metric("timed_out")) == (2, 1, 1)
    assert late.metric("requests_per_s") == late.metric("output_tokens_per_s") == 1 / 0.00012
    assert result.where(end=1000).metric("requests") == 1
    assert result.where(start=200, end=1000).duration_us == 800
    assert result.where(start=900).where(start=0).duration_us == 220  # a window of a window stays within it


def test_latencies_of_nobody_are_not_a_number(result):
    empty = result.where(tenant="c")
    assert all(math.isnan(empty.metric(f"{name}_p99_ms")) for name in ("ttft", "itl", "e2e", "scheduling_delay"))
    assert empty.metric("requests_per_s") == 0.0


def test_gaps_without_a_token_are_left_out_of_a_selection_too(serve):
    """With the token budget of one, r1 gets its decode token only when r0 is done."""
    result = serve((1, 6, 0), (1, 3, 0), max_num_batched_tokens=1).result
    everybody = result.aggregate.itl
    parts = [result.where(id=name).itl for name in ("request_0", "request_1")]
    assert sum(part.total for part in parts) == everybody.total
    assert sum(part.count for part in parts) == everybody.count == 5 + 2


def test_choice_by_a_column_that_is_not_there_is_an_error(result):
    with pytest.raises(blis.ScenarioError, match=r"tennant is not a column of the requests; did you mean 'tenant'\?"):
        result.where(tennant="a")
    with pytest.raises(blis.ScenarioError, match="start must be a duration"):
        result.where(start="early")


def test_outcome_may_be_its_name_or_itself(result):
    assert result.where(outcome=blis.RequestOutcome.COMPLETED).metric("requests") == 2
    with pytest.raises(blis.ScenarioError, match=r"outcome is unknown, got 'complete'; did you mean 'completed'\?"):
        result.where(outcome="complete")


def test_value_that_a_column_cannot_hold_is_an_error(result):
    with pytest.raises(blis.ScenarioError, match="replica must be a number, got 'instance_0'"):
        result.where(replica="instance_0")
    with pytest.raises(blis.ScenarioError, match="tenant must be text, got None"):
        result.where(tenant=["a", None])


def test_requests_without_a_class_are_those_of_the_class_default(result):
    """As in the tables of SLO classes and tenants."""
    assert sorted(result.slo_classes) == ["chat", "default"]
    assert result.where(slo_class="default").metric("requests") == 2
    assert result.where(slo_class=["chat", "default"]).metric("requests") == 3
    assert result.where(client="default").metric("requests") == 0


def test_window_takes_instants_from_the_table_but_no_floats(result):
    assert result.where(start=result.requests["arrived_at_us"][1]).metric("requests") == 2
    with pytest.raises(blis.ScenarioError, match=r"start must be a whole number of microseconds or text .*, got 5\.0"):
        result.where(start=5.0)


def test_nothing_to_choose_from_chooses_nothing(result):
    assert result.where(tenant=[]).metric("requests") == result.where(replica=[]).metric("requests") == 0


def test_window_beyond_the_end_has_those_who_arrived_after_the_last_activity(serve):
    """The replica is idle from 110; request_1 is refused at 500, for want of a model: nothing happens to a replica."""
    result = serve((10, 1, 0), (10, 1, 500, {"model": "other"})).result
    choice = result.where(start=200, end="1s")
    assert choice.requests["outcome"].tolist() == ["rejected"]
    assert choice.duration_us == 0
    assert result.where(end="1s").duration_us == 110


def test_a_mask_selects_requests_in_the_order_of_the_table(result):
    part = result.where(result.requests["e2e_us"] >= 0)
    assert part.requests["id"].tolist() == ["request_0", "request_1"]
    assert part.metric("ttft_mean_ms") == 0.115
    assert part.where(part.requests["input_tokens"] > 10, start=0).requests["id"].tolist() == ["request_1"]
    assert part.where([False, True], tenant="a").requests.num_rows == 0


def test_a_series_selects_requests_by_its_index_and_nothing_where_it_is_missing(serve):
    """The prompt of 70 tokens is beyond the horizon, so that its TTFT is missing."""
    result = serve((10, 1, 0), (30, 1, 5), (70, 1, 900), horizon=800).result
    frame = result.requests.to_pandas()
    part = result.where(frame.sort_values("input_tokens", ascending=False)["ttft_us"] >= 0)
    assert part.requests["input_tokens"].tolist() == frame["input_tokens"][frame["ttft_us"].notna()].tolist()


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (lambda n: np.ones(n + 1, dtype=bool), "an array of shape ({more},)"),
        (lambda n: np.ones((n, 1), dtype=bool), "an array of shape ({n}, 1)"),
        (lambda n: np.ones(n, dtype=int), "an array of int64"),
        (lambda n: "batch", "an array of <U5"),
        (lambda n: pd.Series([True] * n, index=range(1, n + 1)), "a Series of {n} with another index"),
    ],
)
def test_a_mask_that_is_not_one_boolean_per_request_is_an_error(result, mask, got):
    n = result.requests.num_rows
    with pytest.raises(ScenarioError) as raised:
        result.where(mask(n))
    rule = f"mask must be one boolean for each of the {n} requests, got {got.format(n=n, more=n + 1)!r}"
    assert str(raised.value).startswith(rule)
