"""Latencies and routed requests by label, on runs that can be checked by hand."""

import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.results.by_label import latencies, routed_by_label, routed_over_time, several, subsets
from blis_simpy.results.metrics import latency_families


def test_latencies_of_all_requests_are_those_of_the_summary(three):
    for metric in ("ttft", "itl", "e2e"):
        (latency,) = latencies(three, metric).values()
        assert latency.mean_ms == three.summary[f"{metric}_mean_ms"]


def test_latencies_by_class_are_those_of_its_requests(three):
    """TTFT: 110 and 2105 - 2000 without a class, 240 - 50 of class batch."""
    found = latencies(three, "ttft", by="slo_class")
    assert {name: latency.values.tolist() for name, latency in found.items()} == {"default": [105, 110], "batch": [190]}


def test_gaps_by_class_count_each_gap(three):
    """request_0 waits 130 and 120 µs for its tokens, request_1 120, and request_2 has one token only."""
    found = latencies(three, "itl", by="slo_class")
    assert found["default"].count == 2
    assert found["batch"].values.tolist() == [120]


def test_small_groups_are_put_together(serve):
    """Twelve clients, two of which send twice: these two, the first five others, and the rest in one."""
    rows = [(10, 1, 1000 * i, {"client": f"{i % 12:02}"}) for i in range(14)]
    found = latencies(serve(*rows).result, "ttft", by="client")
    assert list(found) == ["00", "01", "02", "03", "04", "05", "06", "5 others"]
    assert [latency.count for latency in found.values()] == [2, 2, 1, 1, 1, 1, 1, 5]


def test_no_latency_where_nothing_completed(unserved, nothing):
    for result in (unserved, nothing):
        assert latencies(result, "ttft") == {}
        assert latencies(result, "e2e", by="replica") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metric": "tfft"},
            (
                "metric is unknown, got 'tfft'; did you mean 'ttft'? "
                f"known: {', '.join(family.name for family in latency_families())}"
            ),
        ),
        (
            {"metric": "ttft", "by": "colour"},
            (
                "by is unknown, got 'colour'; known: replica, prefill_replica, slo_class, tenant, model, client, "
                "session, prefix_group"
            ),
        ),
    ],
)
def test_unknown_names_are_refused(three, options, message):
    with pytest.raises(blis.ScenarioError) as caught:
        latencies(three, **options)
    assert str(caught.value) == message


def test_routing_over_time_counts_what_each_replica_was_sent(cluster):
    """By turns, one every 1000 µs up to 3000: in two parts of 1500 µs, one each."""
    table = routed_over_time(cluster, bins=2)
    assert table.rows == ["0", "1"]
    assert table.edges.tolist() == [0, 1500, 3000]
    assert table.counts.tolist() == [[1, 1], [1, 1]]


def test_routing_by_label_counts_what_each_replica_was_sent(cluster):
    """Tenant a sends the requests 0, 2 and 3, and <b> the request 1; odd ones go to replica 1."""
    table = routed_by_label(cluster, "tenant")
    assert table.rows == ["<b>", "a"]
    assert table.counts.tolist() == [[0, 1], [2, 1]]
    assert table.edges is None


def test_requests_without_a_label_and_those_labelled_default_are_one_group(serve):
    result = serve((10, 1, 0), (10, 1, 200, {"slo_class": "default"}), (10, 1, 400, {"slo_class": "z"})).result
    found = latencies(result, "ttft", by="slo_class")
    assert {name: latency.count for name, latency in found.items()} == {"default": 2, "z": 1}
    routed = routed_by_label(result, "slo_class")
    assert dict(zip(routed.rows, routed.counts.tolist(), strict=True)) == {"default": [2], "z": [1]}


@pytest.fixture(scope="module")
def divided():
    """Two prefill and two decode replicas."""
    scenario = blis.load_scenario("prefill-decode")
    return scenario.with_(
        **{"workload.num_requests": 20, "groups[0].replicas": 2, "groups[1].replicas": 2, "slo": {}}
    ).run()


def test_requests_belong_to_their_decode_replica_and_have_a_prefill_replica_beside(divided):
    assert several(divided) == ["replica", "prefill_replica"]
    assert list(subsets(divided, "replica")) == ["replica 2", "replica 3"]
    by_prefill = subsets(divided, "prefill_replica")
    assert list(by_prefill) == ["replica 0", "replica 1"]
    for index, group in enumerate(by_prefill.values()):
        assert group.requests["id"].tolist() == [
            row["id"] for row in divided.requests.rows() if row["prefill_replica"] == index
        ]
        name = f"ttft_mean_ms{{prefill_replica={index}}}"
        assert divided.metric(name) == group.metric("ttft_mean_ms") > 0


def test_the_label_of_prefill_replicas_needs_some(cluster):
    with pytest.raises(ScenarioError, match="by needs a run with prefill replicas, got 'prefill_replica'"):
        latencies(cluster, "ttft", "prefill_replica")
    with pytest.raises(ScenarioError, match="prefill_replica is not a column"):
        cluster.metric("ttft_mean_ms{prefill_replica=0}")
