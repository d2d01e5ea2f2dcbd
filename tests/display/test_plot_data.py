"""Arrays behind the pictures, on runs that can be checked by hand."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.display import plot_data
from blis_simpy.results.percentiles import Percentiles


def whole(*values):
    return np.array(values, dtype=np.int64)


def test_latencies_of_all_requests_are_those_of_the_summary(three):
    for metric in ("ttft", "itl", "e2e"):
        (latency,) = plot_data.latencies(three, metric).values()
        assert latency.mean_ms == three.summary[f"{metric}_mean_ms"]


def test_latencies_by_class_are_those_of_its_requests(three):
    """TTFT: 110 and 2105 - 2000 without a class, 240 - 50 of class batch."""
    found = plot_data.latencies(three, "ttft", by="slo_class")
    assert {name: latency.values.tolist() for name, latency in found.items()} == {"default": [105, 110], "batch": [190]}


def test_gaps_by_class_count_each_gap(three):
    """request_0 waits 130 and 120 µs for its tokens, request_1 120, and request_2 has one token only."""
    found = plot_data.latencies(three, "itl", by="slo_class")
    assert found["default"].count == 2
    assert found["batch"].values.tolist() == [120]


def test_small_groups_are_put_together(serve):
    """Twelve clients, two of which send twice: these two, the first five others, and the rest in one."""
    rows = [(10, 1, 1000 * i, {"client": f"{i % 12:02}"}) for i in range(14)]
    found = plot_data.latencies(serve(*rows).result, "ttft", by="client")
    assert list(found) == ["00", "01", "02", "03", "04", "05", "06", "5 others"]
    assert [latency.count for latency in found.values()] == [2, 2, 1, 1, 1, 1, 1, 5]


def test_no_latency_where_nothing_completed(unserved, nothing):
    for result in (unserved, nothing):
        assert plot_data.latencies(result, "ttft") == {}
        assert plot_data.latencies(result, "e2e", by="replica") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "tfft"}, "metric is unknown, got 'tfft'; known: ttft, itl, e2e, scheduling_delay"),
        (
            {"metric": "ttft", "by": "colour"},
            "by is unknown, got 'colour'; known: replica, slo_class, tenant, model, client, session, prefix_group",
        ),
    ],
)
def test_unknown_names_are_refused(three, options, message):
    with pytest.raises(blis.ScenarioError) as caught:
        plot_data.latencies(three, **options)
    assert str(caught.value) == message


def test_ecdf_has_a_point_for_each_distinct_value():
    values, shares = plot_data.ecdf(Percentiles.of(whole(2000, 1000, 2000, 4000)))
    assert values.tolist() == [1.0, 2.0, 4.0]
    assert shares.tolist() == [0.25, 0.75, 1.0]


def test_ecdf_counts_weights():
    values, shares = plot_data.ecdf(Percentiles.of(whole(1000, 3000), whole(3, 1)))
    assert (values.tolist(), shares.tolist()) == ([1.0, 3.0], [0.75, 1.0])


def test_ecdf_of_many_values_keeps_the_ends_and_stays_true():
    """Of 1..100,000 µs, the share of the values up to v µs is v / 100,000 at every point that is kept."""
    values, shares = plot_data.ecdf(Percentiles.of(np.arange(1, 100_001)))
    assert len(values) <= 2000
    assert (values[0], values[-1], shares[-1]) == (0.001, 100.0, 1.0)
    assert np.allclose(shares, values / 100, rtol=0, atol=1e-12)


def test_histogram_counts_shares_in_common_bins():
    """0..10 ms in two bins; the last one holds its upper bound."""
    groups = {"a": Percentiles.of(whole(0, 4000, 6000, 10000)), "b": Percentiles.of(whole(9000), whole(7))}
    edges, shares = plot_data.histogram(groups, bins=2)
    assert edges.tolist() == [0.0, 5.0, 10.0]
    assert {name: share.tolist() for name, share in shares.items()} == {"a": [0.5, 0.5], "b": [0.0, 1.0]}


def test_histogram_of_equal_values_has_them_in_the_middle():
    edges, shares = plot_data.histogram({"": Percentiles.of(whole(1000, 1000))}, bins=5)
    assert np.allclose(edges, [0.9, 0.94, 0.98, 1.02, 1.06, 1.1])
    assert shares[""].tolist() == [0, 0, 1, 0, 0]


def test_few_steps_are_cut_at_their_bounds():
    """Steps from 0 to 10 and from 10 to 30, a pause, and one from 50 to 60."""
    starts, durations, values = whole(0, 10, 50), whole(10, 20, 10), whole(3, 7, 5)
    edges, exact = plot_data.time_edges(starts, durations)
    assert exact
    assert edges.tolist() == [0, 10, 30, 50, 60]
    assert np.array_equal(plot_data.peaks(starts, durations, values, edges), [3, 7, np.nan, 5], equal_nan=True)


def test_parts_longer_than_steps_keep_the_largest_value():
    starts, durations, values = whole(0, 10, 50), whole(10, 20, 10), whole(3, 7, 5)
    edges, exact = plot_data.time_edges(starts, durations, most=2)
    assert not exact
    assert edges.tolist() == [0, 30, 60]
    assert plot_data.peaks(starts, durations, values, edges).tolist() == [7, 5]


def test_a_step_counts_in_every_part_that_it_reaches_into():
    found = plot_data.peaks(whole(0), whole(60), whole(4), np.array([-30.0, 0.0, 20.0, 40.0, 60.0, 80.0]))
    assert np.array_equal(found, [np.nan, 4, 4, 4, np.nan], equal_nan=True)


def test_no_peak_is_lost_in_a_long_run():
    """One hundred thousand steps of 7 µs, of which one has a queue."""
    starts = np.arange(100_000) * 7
    values = np.where(starts == 7 * 61_803, 99, 0)
    edges, exact = plot_data.time_edges(starts, np.full(100_000, 7))
    found = plot_data.peaks(starts, np.full(100_000, 7), values, edges)
    assert not exact
    assert len(found) == 1000
    assert np.flatnonzero(found).tolist() == [618]
    assert found.max() == 99


def test_without_steps_there_are_no_parts():
    assert len(plot_data.time_edges(whole(), whole())[0]) == 0


def test_throughput_counts_arrivals_completions_and_tokens_in_their_time(three):
    """The run ends at 2105: three parts of 701.667 µs.

    In the first arrive two requests and both end (360), with 3 + 2 tokens; the third has one request of one token.
    """
    rates = plot_data.throughput(three, bins=3)
    seconds = 2105e-6 / 3
    assert np.allclose(rates.edges, [0, 2105 / 3, 2 * 2105 / 3, 2105])
    assert np.allclose(rates.arrived * seconds, [2, 0, 1])
    assert np.allclose(rates.completed * seconds, [2, 0, 1])
    assert np.allclose(rates.generated * seconds, [5, 0, 1])


def test_generated_tokens_add_up_to_the_total_where_nothing_is_lost(cluster):
    rates = plot_data.throughput(cluster, bins=7)
    seconds = cluster.aggregate.ended_at / 7 / 1e6
    assert rates.generated.sum() * seconds == pytest.approx(cluster.summary["total_output_tokens"])


def test_routing_over_time_counts_what_each_replica_was_sent(cluster):
    """By turns, one every 1000 µs up to 3000: in two parts of 1500 µs, one each."""
    table = plot_data.routed_over_time(cluster, bins=2)
    assert table.rows == ["0", "1"]
    assert table.edges.tolist() == [0, 1500, 3000]
    assert table.counts.tolist() == [[1, 1], [1, 1]]


def test_routing_by_label_counts_what_each_replica_was_sent(cluster):
    """Tenant a sends the requests 0, 2 and 3, and <b> the request 1; odd ones go to replica 1."""
    table = plot_data.routed_by_label(cluster, "tenant")
    assert table.rows == ["<b>", "a"]
    assert table.counts.tolist() == [[0, 1], [2, 1]]
    assert table.edges is None


def test_requests_without_a_label_and_those_labelled_default_are_one_group(serve):
    result = serve((10, 1, 0), (10, 1, 200, {"slo_class": "default"}), (10, 1, 400, {"slo_class": "z"})).result
    found = plot_data.latencies(result, "ttft", by="slo_class")
    assert {name: latency.count for name, latency in found.items()} == {"default": 2, "z": 1}
    routed = plot_data.routed_by_label(result, "slo_class")
    assert dict(zip(routed.rows, routed.counts.tolist(), strict=True)) == {"default": [2], "z": [1]}
