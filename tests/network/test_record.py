"""Transfers and loads of links in the result of a run."""

import pytest

import blis_simpy as blis
from blis_simpy.errors import SimulationError

GB = 10**9


def transfers(simulation):
    """4 GB at 0 and 1 GB at 80 ms share 25 GB/s and end at 200 and 160 ms; one of 1 GB is cancelled half-way at 1 s."""
    network = simulation.network
    network.send(0, 1, 4 * GB, kind="kv", request="request_0")
    yield simulation.env.timeout(80_000)
    yield network.send(0, 1, GB)
    yield simulation.env.timeout(1_000_000 - simulation.env.now)
    flow = network.send(1, 0, GB)
    yield simulation.env.timeout(20_000)
    flow.cancel()


SCENARIO = blis.Scenario(
    model="qwen/qwen3-14b",
    tp=1,
    replicas=2,
    network={"nic_bandwidth": "25 GB/s"},
    workload=blis.Workload(rate=10, num_requests=20),
    processes=[transfers],
)


@pytest.fixture(scope="module")
def result():
    return blis.Simulation(SCENARIO, check="full").run()


def test_transfers_are_rows(result):
    assert list(result.transfers.rows()) == [
        {
            "source": source,
            "destination": destination,
            "kind": kind,
            "request": request,
            "bytes": size,
            "bytes_left": left,
            "started_at_us": start,
            "ended_at_us": end,
            "state": state,
        }
        for source, destination, kind, request, size, left, start, end, state in [
            ("replica-0", "replica-1", "kv", "request_0", 4 * GB, 0, 0, 200_000, "delivered"),
            ("replica-0", "replica-1", "", "", GB, 0, 80_000, 160_000, "delivered"),
            ("replica-1", "replica-0", "", "", GB, GB // 2, 1_000_000, 1_020_000, "cancelled"),
        ]
    ]


def test_links_have_bytes_and_loads(result):
    links = {row["link"]: row for row in result.links.rows()}
    assert list(links) == ["replica-0 nic out", "replica-1 nic in", "replica-1 nic out", "replica-0 nic in"]
    assert (links["replica-0 nic out"]["bytes"], links["replica-0 nic out"]["busy_us"]) == (5 * GB, 200_000)
    assert (links["replica-1 nic out"]["bytes"], links["replica-1 nic out"]["peak_load"]) == (GB // 2, 1.0)
    assert links["replica-1 nic in"]["mean_load"] == pytest.approx(200_000 / result.record.observed_at)
    first = [row for row in result.link_loads.rows() if row["link"] == "replica-0 nic out"]
    assert [(row["at_us"], row["load"]) for row in first] == [(0, 1.0), (200_000, 0.0)]


def test_a_transfer_in_flight_has_no_end():
    run = blis.Simulation(SCENARIO)
    last = run.run(until=100_000).transfers[1]
    # 2 GB were left at 80 ms; both get 12.5 GB/s for 20 ms.
    assert (last["ended_at_us"], last["state"], last["bytes_left"]) == (None, "sending", GB - GB // 4)


def test_saved_result_has_its_transfers(result, tmp_path):
    result.save(tmp_path / "run.blis")
    loaded = blis.load_result(tmp_path / "run.blis")
    assert loaded.transfers == result.transfers
    assert loaded.links == result.links
    assert loaded.link_loads == result.link_loads
    assert loaded.transfers[0]["ended_at_us"] == 200_000


def test_a_run_without_transfers_has_empty_tables():
    result = SCENARIO.with_(processes=[], network=None).run()
    assert [table.num_rows for table in (result.transfers, result.links, result.link_loads)] == [0, 0, 0]


def overload(link):
    link.capacity //= 2


def lose_bytes(link):
    link.bytes_carried -= GB


@pytest.mark.parametrize(
    ("breach", "rule"),
    [
        (overload, r"the load of link replica-0 nic out is above its bandwidth"),
        (lose_bytes, r"link replica-0 nic out has carried \d+ bytes, but \d+ have arrived"),
    ],
)
def test_breaches_are_named(breach, rule):
    simulation = blis.Simulation(SCENARIO, check="full")

    def process(env):
        yield env.timeout(50_000)
        link = simulation.network.links["replica-0 nic out"]
        check = simulation.network.on_share
        # Between the computation of the shares and their check.
        simulation.network.on_share = lambda groups: (breach(link), check(groups))

    simulation.process(process(simulation.env))
    with pytest.raises(SimulationError, match=f"invariant is broken: {rule}"):
        simulation.run()
