"""Flows over links, with the arithmetic of their shares."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.core.environment import Environment
from blis_simpy.errors import SimulationError
from blis_simpy.network.flow import FlowState
from blis_simpy.network.links import RATE_UNIT
from blis_simpy.network.network import Network

GB = 10**9


@pytest.fixture
def env():
    return Environment()


@pytest.fixture
def network(env):
    return Network(env)


def send_at(network, tick, *arguments, **options):
    """Send a flow at a tick, and return the list into which it goes."""
    flows = []

    def process():
        yield network.env.timeout(tick)
        flows.append(network.send(*arguments, **options))
        yield flows[0]

    network.env.process(process())
    return flows


def line(network, bandwidth, latency=0, **options):
    network.connect("a", "b", network.add_link("a-b", bandwidth, latency), **options)


def test_flow_alone_takes_latency_and_bytes_over_bandwidth_rounded_up(env, network):
    """8B model, 2,048 tokens of 131,072 bytes at 25 GB/s: 10,737.418 us after 500 us of latency."""
    line(network, 25e9, latency=500)
    flow = network.send("a", "b", 2048 * 131_072)
    assert network.time_alone("a", "b", flow.num_bytes) == 11_238
    env.run(flow)
    assert (flow.started_at, flow.ended_at, env.now) == (0, 11_238, 11_238)


def test_a_large_model_at_4096_tokens(network):
    """70B: 4,096 tokens of 327,680 bytes are 1.342 GB, 26.84 ms at 50 GB/s."""
    line(network, 50e9)
    assert network.time_alone("a", "b", 4096 * 327_680) == 26_844


def test_event_of_a_flow_has_the_flow_as_its_value(env, network):
    line(network, GB)
    flow = network.send("a", "b", GB, kind="kv", request="request_3")
    assert env.run(flow) is flow
    assert (flow.kind, flow.request, flow.state, flow.bytes_left) == ("kv", "request_3", FlowState.DELIVERED, 0)


def test_two_flows_share_a_link(env, network):
    """4 GB at 0 and 1 GB at 80 ms: 2 GB are left at 80 ms; both get 12.5 GB/s; 1 GB is left at 160 ms."""
    line(network, 25e9)
    first, second = network.send("a", "b", 4 * GB), send_at(network, 80_000, "a", "b", GB)
    env.run()
    assert (second[0].ended_at, first.ended_at) == (160_000, 200_000)


def test_two_equal_flows_at_once_take_twice_as_long(env, network):
    line(network, 10e9)
    flows = [network.send("a", "b", GB) for _ in range(2)]
    env.run()
    assert [flow.ended_at for flow in flows] == [200_000, 200_000]


def test_three_equal_flows_end_at_the_exact_tick_although_their_rates_are_rounded(env, network):
    line(network, 10e9)
    flows = [network.send("a", "b", GB) for _ in range(3)]
    env.run()
    assert [flow.ended_at for flow in flows] == [300_000] * 3


def crossing(network):
    """NICs of 10 bytes/us: f1 from a to c, f2 from a to d, f3 and f4 from b to d."""
    out = {name: network.add_link(f"{name} out", 10e6) for name in "ab"}
    into = {name: network.add_link(f"{name} in", 10e6) for name in "cd"}
    for source in "ab":
        for destination in "cd":
            network.connect(source, destination, out[source], into[destination])
    return [network.send(*ends, 10**7) for ends in ("ac", "ad", "bd", "bd")]


def test_shares_are_max_min_fair(env, network):
    """The NIC into d limits f2, f3 and f4 to 10/3; f1 gets what f2 leaves of the NIC of a: 20/3."""
    flows = crossing(network)
    env.run(until=300_000)
    sent = [(flow.num_bytes - flow.bytes_left) / 300_000 for flow in flows]
    assert sent == pytest.approx([6.667, 3.333, 3.333, 3.333], abs=1e-3)
    assert network.links["a out"].load == pytest.approx(10e6 * RATE_UNIT)
    assert network.links["b out"].load == pytest.approx(20e6 / 3 * RATE_UNIT)


def test_limit_of_a_flow_leaves_the_rest_of_a_link_to_others(env, network):
    """Limited to 2 of 10 bytes/us, the first flow leaves 8 to the second."""
    link = network.add_link("nic", 10e6)
    network.connect("a", "b", link, flow_limit=2e6)
    network.connect("a", "c", link)
    slow, fast = network.send("a", "b", 2_000), network.send("a", "c", 8_000)
    env.run()
    assert (slow.ended_at, fast.ended_at) == (1_000, 1_000)


def test_limited_flows_without_links_do_not_share(env, network):
    network.connect("a", "b", flow_limit=25e9)
    flows = [network.send("a", "b", 25_000 * 10) for _ in range(3)]
    env.run()
    assert [flow.ended_at for flow in flows] == [10, 10, 10]


@pytest.mark.parametrize("latency", [0, 7])
def test_infinite_bandwidth_costs_only_latency(env, network, latency):
    line(network, math.inf, latency)
    flow = network.send("a", "b", 10**15)
    assert network.expected_time("a", "b", 10**15) == latency
    env.run()
    assert flow.ended_at == latency
    assert network.links["a-b"].bytes_carried == 10**15


def test_no_bytes_take_only_latency(env, network):
    line(network, 1e6, 3)
    flow = network.send("a", "b", 0)
    env.run()
    assert flow.ended_at == 3


def test_cancelled_flow_frees_its_share_and_never_happens(env, network):
    """Cancelled at 100 us with 500 bytes sent, it leaves 10 bytes/us for the other 500 bytes of the second flow."""
    line(network, 10e6)
    log = []
    first, second = (network.send("a", "b", 1_000) for _ in range(2))
    first.callbacks.append(log.append)

    def cancel():
        yield env.timeout(100)
        first.cancel()
        first.cancel()

    env.process(cancel())
    env.run()
    assert (first.state, first.ended_at, first.bytes_left) == (FlowState.CANCELLED, 100, 500)
    assert (second.ended_at, log) == (150, [])
    assert network.links["a-b"].bytes_carried == 1_500


def test_an_extended_flow_takes_as_long_as_one_of_all_bytes(env, network):
    """Both have 5 GB/s until the second one has its 2 GB at 400 ms; then the first has 1 GB left, at 10 GB/s."""
    line(network, 10e9)
    first, second = network.send("a", "b", 2 * GB), network.send("a", "b", 2 * GB)
    env.run(until=50_000)
    first.extend(GB)
    env.run()
    assert (second.ended_at, first.ended_at, first.num_bytes) == (400_000, 500_000, 3 * GB)
    assert network.links["a-b"].bytes_carried == 5 * GB
    with pytest.raises(SimulationError, match="must not be over to be extended, got 'delivered'"):
        first.extend(1)


def test_the_only_flow_is_extended(env, network):
    line(network, GB, latency=100)
    flow = network.send("a", "b", GB)
    flow.extend(GB)
    env.run(until=500_000)
    flow.extend(GB)
    env.run()
    assert flow.ended_at == 3_000_100


def test_flow_cancelled_in_its_latency_sends_nothing(env, network):
    line(network, 10e6, 50)
    flow = network.send("a", "b", 1_000)
    env.run(until=20)
    flow.cancel()
    env.run()
    assert (flow.ended_at, flow.bytes_left, network.links["a-b"].load_changes) == (20, 1_000, [])


def test_cancelling_in_between_does_not_disturb_the_order_of_ends(env, network):
    line(network, 10e6)
    flows = [network.send("a", "b", size) for size in (300, 100, 200)]
    env.run(until=1)
    flows[1].cancel()
    env.run()
    # 10/3 bytes each in the first microsecond, 5 per microsecond up to 40.3, so to 41; then 96.7 at 10.
    assert [flow.ended_at for flow in flows] == [51, 1, 41]


def test_expected_time_counts_the_present_flows(env, network):
    line(network, 10e6, 5)
    network.send("a", "b", 10**6)
    env.run(until=6)
    assert network.expected_time("a", "b", 1_000) == 205
    assert network.time_alone("a", "b", 1_000) == 105


def test_load_of_a_link_is_recorded_when_it_changes(env, network):
    line(network, 10e6)
    network.send("a", "b", 1_000)
    send_at(network, 300, "a", "b", 500)
    env.run()
    assert network.links["a-b"].load_changes == [(0, 10e6), (100, 0.0), (300, 10e6), (350, 0.0)]


def test_changes_of_one_component_leave_the_events_of_others_alone(env, network):
    """Ten flows on separate links have one end each; those of another link do not reschedule them."""
    for n in range(10):
        network.connect(f"a{n}", "b", network.add_link(f"link {n}", 1e6))
        network.send(f"a{n}", "b", 10**6)
    line(network, 1e6)
    for tick in range(1, 101):
        send_at(network, tick * 10, "a", "b", 1)
    env.run(until=5_000)
    ends = [event for event in env._queue if event[0] == 10**6]
    assert len(ends) == 10


def test_a_component_whose_connections_have_ended_is_divided(env, network):
    """Twenty flows over two neighbouring links each connect all links; after them, two flows do not share a timer."""
    links = [network.add_link(f"link {n}", 1e6) for n in range(21)]
    for n in range(20):
        network.connect(f"a{n}", "b", links[n], links[n + 1])
        network.send(f"a{n}", "b", 100)
    for n in (0, 20):
        network.connect(f"c{n}", "b", links[n])
        network.send(f"c{n}", "b", 10**6)
    components = []
    network.on_share = components.append
    env.run(until=10_000)
    assert len(components[0]) == 22
    network.send("c0", "b", 10)
    env.run(until=20_000)
    assert [group.links for group in components[-1]] == [(links[0],)]


def test_endpoints_and_sizes_are_checked(network):
    line(network, 1e6)
    with pytest.raises(SimulationError, match=r"has no endpoint of this name, got 'c'"):
        network.send("a", "c", 5)
    with pytest.raises(SimulationError, match="has no path from b to a"):
        network.send("b", "a", 5)
    for size in (-1, 2.5, True):
        with pytest.raises(SimulationError, match="num_bytes must be a whole number >= 0"):
            network.send("a", "b", size)
    with pytest.raises(SimulationError, match="must have a name that no other has"):
        network.add_link("a-b", 5)
    with pytest.raises(SimulationError, match="bandwidth must be >= 1 byte/s"):
        network.add_link("slow", 0.5)
    with pytest.raises(SimulationError, match="latency must be >= 0"):
        network.add_link("early", 5, -1)


class Oracle:
    """The same network flow by flow, in exact fractions, from event to event."""

    def __init__(self, capacities, flows):
        self.capacities = capacities
        self.flows = flows

    def rates(self, active):
        rates, growing = {}, set(active)
        left = dict(enumerate(self.capacities))
        while growing:
            users = {link: [f for f in growing if link in self.flows[f][2]] for link in left}
            level = min(
                min((Fraction(left[link], len(using)) for link, using in users.items() if using), default=math.inf),
                min((self.flows[f][3] for f in growing if self.flows[f][3]), default=math.inf),
            )
            full = {f for f in growing if self.flows[f][3] == level}
            for link, using in users.items():
                if using and Fraction(left[link], len(using)) == level:
                    full.update(using)
            for f in full:
                rates[f] = level
                for link in self.flows[f][2]:
                    left[link] -= level
            growing -= full
        return rates

    def ends(self):
        now, left, ends = 0, {}, {}
        waiting = dict(enumerate(self.flows))
        while waiting or left:
            rates = self.rates(left)
            # Capacities are in bytes per second.
            due = [now + math.ceil((left[f] - Fraction(1, 1000)) * 1_000_000 / rates[f]) for f in left]
            due = [max(tick, now) for tick in due]
            # The end of a flow is the first tick with less than a thousandth of a byte left.
            due = [
                tick + 1 if left[f] - rates[f] * (tick - now) / 1_000_000 >= Fraction(1, 1000) else tick
                for tick, f in zip(due, left, strict=True)
            ]
            tick = min([*due, *(flow[0] for flow in waiting.values())])
            for f in left:
                left[f] -= rates[f] * (tick - now) / 1_000_000
            now = tick
            for f in [f for f in left if left[f] < Fraction(1, 1000)]:
                ends[f] = now
                del left[f]
            for f in [f for f in waiting if waiting[f][0] == now]:
                left[f] = Fraction(waiting.pop(f)[1])
        return [ends[f] for f in range(len(self.flows))]


CAPACITIES = st.lists(st.sampled_from([10**6, 3 * 10**6, 7 * 10**6, 10**9]), min_size=4, max_size=4)
FLOWS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 2_000),
        st.sets(st.integers(0, 3), min_size=1),
        st.sampled_from([None, None, 2 * 10**6]),
    ),
    min_size=1,
    max_size=9,
)


def simulated(capacities, flows, order):
    env = Environment()
    network = Network(env)
    links = [network.add_link(f"link {n}", bandwidth) for n, bandwidth in enumerate(capacities)]
    sent = {}
    for f in order:
        tick, size, over, limit = flows[f]
        network.connect(f"a{f}", "b", *(links[n] for n in sorted(over)), flow_limit=limit)
        sent[f] = send_at(network, tick, f"a{f}", "b", size)
    env.run()
    return network, [sent[f][0] for f in range(len(flows))]


@given(CAPACITIES, FLOWS, st.randoms(use_true_random=False))
def test_ends_are_those_of_an_exact_simulation_flow_by_flow(capacities, flows, random):
    order = random.sample(range(len(flows)), len(flows))
    network, sent = simulated(capacities, flows, order)
    assert [flow.ended_at for flow in sent] == Oracle(capacities, flows).ends()
    for number, capacity in enumerate(capacities):
        link = network.links[f"link {number}"]
        assert link.bytes_carried == sum(size for _, size, over, _ in flows if number in over)
        assert all(load <= capacity for _, load in link.load_changes)
        assert link.load == 0
