"""A look at a workload; the figures can be checked by hand."""

import numpy as np
import pytest
from workloads import client, spec, turns

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.preview import ClientShare, Preview

UNIFORM = {"process": "poisson"}


def preview(*clients, **others):
    return spec(*clients, **others).preview()


def test_rate_over_time_counts_the_requests_of_equal_parts():
    """A request each 0.5 s up to 3 s: 1, 2 and 3 of them in a second each, as the end belongs to the last part."""
    found = preview(client(), aggregate_rate=2.0, num_requests=6)
    edges, rates = found.rate_over_time(3)
    assert (edges.tolist(), rates.tolist()) == ([0, 1e6, 2e6, 3e6], [1.0, 2.0, 3.0])
    assert (found.num_requests, found.duration_us) == (6, 3_000_000)


@pytest.mark.parametrize(
    ("lengths", "bins", "edges", "counts"),
    [
        ([3, 3, 4, 12], 5, [3, 5, 7, 9, 11, 13], [3, 0, 0, 0, 1]),
        ([7, 7], 10, [7, 8], [2]),
        ([1, 2, 3], 2, [1, 3, 5], [2, 1]),
        ([], 4, [0, 1], [0]),
    ],
)
def test_histogram_has_parts_of_equal_whole_width(lengths, bins, edges, counts):
    tokens = np.array(lengths, dtype=np.int64)
    found = Preview(arrived_at=tokens, input_tokens=tokens, output_tokens=tokens, clients=["a"] * len(lengths))
    assert [column.tolist() for column in found.histogram("input_tokens", bins)] == [edges, counts]


def test_histogram_counts_every_request_once():
    distribution = {"type": "exponential", "params": {"mean": 300}}
    found = preview(client(prompt=distribution), num_requests=500)
    for bins in (1, 2, 7, 10, 1000):
        edges, counts = found.histogram("input_tokens", bins)
        assert counts.sum() == 500
        assert len(counts) == len(edges) - 1 <= bins
        assert edges[0] == found.input_tokens.min()


def test_shares_are_by_client_and_the_largest_comes_first():
    found = preview(client("a", prompt=5), client("b", prompt=9, rate_fraction=3.0), aggregate_rate=4.0, num_requests=8)
    assert found.client_shares() == [ClientShare("b", 6, 0.75, 9.0, 5.0), ClientShare("a", 2, 0.25, 5.0, 5.0)]


def test_members_of_a_cohort_are_one_share():
    members = {**client("crowd"), "population": 4}
    found = spec(client("one"), cohorts=[members], aggregate_rate=8.0, num_requests=8).preview()
    assert {share.client: share.num_requests for share in found.client_shares()} == {"one": 4, "crowd": 4}


def test_further_rounds_of_sessions_are_announced_not_drawn():
    found = preview(client(reasoning=turns(3, 1000)), num_requests=6)
    assert (found.num_requests, found.num_sessions, found.max_further_rounds) == (2, 2, 4)


def test_the_seed_decides_and_is_that_of_the_specification_unless_given():
    traffic = spec(client(arrival=UNIFORM), seed=7, num_requests=20)
    own = traffic.preview().arrived_at.tolist()
    assert own == traffic.preview(seed=7).arrived_at.tolist() != traffic.preview(seed=8).arrived_at.tolist()


def test_preview_is_what_a_simulation_of_the_same_seed_sends():
    workload = blis.Workload(rate=3, num_requests=10)
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=workload, seed=5)
    sent = blis.Simulation(scenario).requests
    found = workload.preview(seed=5)
    assert found.arrived_at.tolist() == [request.arrived_at for request in sent]
    assert found.input_tokens.tolist() == [request.input_tokens for request in sent]


@pytest.mark.parametrize("seed", [None, 9])
def test_preview_of_a_scenario_is_the_traffic_of_its_run(seed):
    """Seed, horizon and defaults file are those of the scenario, although the specification has a seed."""
    workload = spec(client("a", arrival=UNIFORM), client("b", arrival=UNIFORM), seed=7, aggregate_rate=9.0)
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=workload, horizon="5s")
    sent = blis.Simulation(scenario, seed=seed).requests
    found = scenario.preview(seed=seed)
    assert found.arrived_at.tolist() == [request.arrived_at for request in sent]
    assert found.clients == [request.client for request in sent]
    assert found.arrived_at.tolist() != workload.preview(horizon=5_000_000).arrived_at.tolist()


def test_preview_of_a_scenario_needs_a_workload():
    with pytest.raises(ScenarioError, match=r"^workload must be given$"):
        blis.Scenario(model="any/model").preview()


def test_preset_is_filled_in():
    assert blis.Workload(preset="chatbot", num_requests=50).preview().input_tokens.max() <= 800


def test_what_has_no_end_cannot_be_looked_at():
    with pytest.raises(ScenarioError, match="num_requests must be > 0 unless a horizon is set"):
        preview(client())
    assert spec(client()).preview(horizon=2_500_000).num_requests == 2


def test_repr_says_the_main_figures():
    found = preview(client("a"), client(""), aggregate_rate=2.0, num_requests=3)
    assert repr(found) == (
        "Preview of 3 requests in 2s: 1.50 requests/s\n"
        "  input tokens: mean 10.0, median 10, p99 10, max 10\n"
        "  output tokens: mean 5.0, median 5, p99 5, max 5\n"
        "  a 66.7%, (no id) 33.3%"
    )
    conversations = preview(client(reasoning=turns(3, 1000)), num_requests=6)
    assert "\n  2 sessions with up to 4 further rounds\n" in repr(conversations)
    assert repr(spec(client()).preview(horizon=1)) == "Preview of 0 requests"
    many = preview(*(client(str(i)) for i in range(10)), aggregate_rate=10.0, num_requests=10)
    assert repr(many).endswith("7 10.0% and 2 others")


def test_requests_that_arrive_at_once_have_no_rate():
    preview = blis.Workload(rate=float("inf"), num_requests=10, prompt=1, output=1).preview()
    assert str(preview).splitlines()[0] == "Preview of 10 requests in 0us"
