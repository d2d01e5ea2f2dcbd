"""Prefill and decode on different replicas, and migrations: tokens, memory and failures, by hand."""

from random import Random

import numpy as np
import pytest
from small_clusters import at

import blis_simpy as blis
from blis_simpy.cluster.settings import ReplicaGroup
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import ScenarioError, SimulationError
from blis_simpy.export.perfetto import perfetto_events
from blis_simpy.units import MS


class FixedSteps:
    """A prefill takes 100 ms, however long the prompt; any other step takes 5 ms."""

    def step_time(self, batch):
        return 100 * MS if sum(member.new_tokens for member in batch.prefills) > 1 else 5 * MS

    def queueing_time(self, input_tokens):
        return 0

    def output_token_processing_time(self):
        return 0

    def post_decode_overhead(self):
        return 0


PAIR = (ReplicaGroup(role="prefill"), ReplicaGroup(role="decode"))
KV_BYTES = 131_072
LINE = {"nic_bandwidth": "25GB/s"}


def scenario(**settings):
    """Llama 3.1 8B with 131,072 bytes of KV cache a token on a prefill and a decode replica."""
    return blis.Scenario(
        **{
            "model": "meta-llama/llama-3.1-8b-instruct",
            "hardware": "H100",
            "tp": 1,
            "latency": blis.LatencySettings(backend=FixedSteps()),
            "engine": blis.EngineSettings(max_num_batched_tokens=100_000),
            "groups": PAIR,
            "network": LINE,
            **settings,
        }
    )


def prepare(*requests, **settings):
    served = requests or (Request("a", 0, 2048, 3),)
    return blis.Simulation(scenario(**settings), requests=served, check="full")


def tokens(result, request_id="a"):
    """Time of each token of a request since its arrival, ms."""
    row = int(np.flatnonzero(result.requests["id"] == request_id)[0])
    replica = result.record.replicas[int(result.requests["replica"][row])]
    rows, times = replica.token_times(result.requests, np.array([row]))
    assert set(rows.tolist()) == {row}
    return (times / MS).tolist()


def test_a_pulled_request_by_hand():
    """The worked example: 2,048 tokens of 131,072 bytes at 25 GB/s take 10.738 ms, rounded up, after a latency."""
    simulation = prepare(network={**LINE, "nic_latency": "500us"})
    result = simulation.run()
    (row,) = result.requests.rows()
    assert row["kv_bytes"] == 268_435_456
    assert (row["prefilled_at_us"], row["kv_reserved_at_us"], row["kv_received_at_us"]) == (100_000, 100_000, 111_238)
    assert tokens(result) == [116.238, 121.238, 126.238]
    assert (row["ttft_us"], row["itl_sum_us"], row["e2e_us"]) == (116_238, 10_000, 126_238)
    assert (row["prefill_replica"], row["replica"], row["kv_wait_us"], row["kv_transfer_us"]) == (0, 1, 0, 11_238)


def test_prompts_computed_in_one_step_are_sent_and_decoded_together():
    """They share the line: 2 * 10.737 ms. Then both are in one step, which has two prompt tokens: 100 ms."""
    simulation = prepare(Request("a", 0, 2048, 2), Request("b", 0, 2048, 2))
    result = simulation.run()
    assert result.requests["kv_reserved_at_us"].tolist() == [100_000, 100_000]
    assert tokens(result, "a") == tokens(result, "b") == [221.475, 226.475]


@pytest.mark.parametrize(("bandwidth", "exposed_us"), [("25GB/s", 336), ("2GB/s", 37_343)])
def test_a_layered_transfer_hides_behind_the_prefill(bandwidth, exposed_us):
    """Of the transfer time T alone, max(T/L, T - P (L - 1) / L) is left after a prefill of P: 0.336 ms of 10.737 ms.

    At 2 GB/s, T is 134.218 ms, of which 134.218 - 100 * 31 / 32 = 37.343 ms are left.
    """
    simulation = prepare(network={"nic_bandwidth": bandwidth}, disaggregation={"transfer": "layered"})
    result = simulation.run()
    assert result.requests["kv_received_at_us"][0] - 100_000 == exposed_us
    assert tokens(result)[0] == (105_000 + exposed_us) / MS


def test_layers_that_find_no_room_are_sent_together_after_the_prefill():
    """150 blocks at the decode replica hold one prompt of 128: the second has no blocks during its prefill."""
    kv = blis.KVSettings(blocks=150, bytes_per_token=KV_BYTES)
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", kv=kv)]
    requests = Request("a", 0, 2048, 40), Request("b", 0, 2048, 3)
    result = prepare(*requests, groups=groups, disaggregation={"transfer": "layered", "num_layers": 32}).run()
    assert result.transfers["bytes"].tolist() == [260_046_848, 8_388_608, 268_435_456]
    assert result.requests["kv_transfer_us"][1] == 10_738


def test_layers_leave_during_the_first_step_of_a_prompt_in_chunks():
    """1,024 of 2,048 tokens a step of 100 ms: the first layer of the first chunk is computed after 100 / 32 ms."""
    engine = blis.EngineSettings(max_num_batched_tokens=1024)
    result = prepare(engine=engine, disaggregation={"transfer": "layered"}).run()
    assert result.requests["prefilled_at_us"][0] == 200_000
    assert result.transfers["started_at_us"].tolist() == [3_125, 200_000]


def test_with_the_first_token_of_the_prefill_replica_the_transfer_delays_the_second():
    result = prepare(disaggregation={"first_token": "prefill"}).run()
    assert tokens(result) == [100.0, 115.738, 120.738]
    assert result.requests["itl_sum_us"][0] == 20_738
    assert result.where().longest_gap.values.tolist() == [15_738]


def test_a_request_of_one_token_ends_with_the_first_token_of_the_prefill_replica():
    result = prepare(Request("a", 0, 2048, 1), disaggregation={"first_token": "prefill"}).run()
    assert result.requests["outcome"].tolist() == ["completed"]
    assert result.requests["e2e_us"].tolist() == [100_000]
    assert result.requests["kv_bytes"].tolist() == [0]


def test_the_kv_cache_of_70_billion_parameters_crosses_400_gigabit_in_27_ms():
    """80 layers, 8 KV heads: 327,680 bytes a token, 1.342 GB at 4,096 tokens, 26.84 ms at 50 GB/s."""
    groups = [
        ReplicaGroup(role=role, model="meta-llama/llama-3.3-70b-instruct", tp=4) for role in ("prefill", "decode")
    ]
    result = prepare(
        Request("a", 0, 4096, 3), groups=groups, network={"nic_bandwidth": "50GB/s", "nic_per": "node"}
    ).run()
    (row,) = result.requests.rows()
    assert (row["kv_bytes"], row["kv_transfer_us"]) == (1_342_177_280, 26_844)


def test_with_infinite_bandwidth_the_decode_replica_equals_one_with_cached_prompts():
    """Prompts of whole blocks and one token: both compute the last token only.

    Blocks that are reserved at the formation of a step arrive just after it, so the cached prompts of the comparison
    arrive a microsecond after it.
    """
    rng = np.random.default_rng(5)
    lengths = [(16 * int(blocks) + 1, int(output)) for blocks, output in rng.integers(2, 60, size=(40, 2))]
    latency = blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(3000.0, 20.3, 11.9))

    def content(i, length):
        return (Span(f"prompt {i}", 0, length),)

    def requests(times):
        return [
            Request(f"request_{i}", at, length, output, content=content(i, length))
            for i, (at, (length, output)) in enumerate(zip(times, lengths, strict=True))
        ]

    simulation = blis.Simulation(
        scenario(latency=latency, network={"nic_bandwidth": "inf"}),
        requests=requests([20_000 * i for i in range(40)]),
        check="full",
    )
    disaggregated = simulation.run()
    received = disaggregated.requests["kv_received_at_us"]
    # The same prompts twice on one replica: the second time, they are in its cache and arrive as the blocks did.
    warm = [Request(f"warm_{i}", 0, n, 1, content=content(i, n)) for i, (n, _) in enumerate(lengths)]
    waits = disaggregated.requests["decode_scheduled_at_us"] > received
    later = requests((received + 10_000_000 + waits).tolist())
    cached = blis.Simulation(scenario(latency=latency, groups=()), requests=[*warm, *later]).run()
    again = cached.requests.take(slice(40, 80))
    assert (again["cached_tokens"] == again["input_tokens"] - 1).all()
    assert 0 < waits.sum() < 40
    first = disaggregated.requests["arrived_at_us"] + disaggregated.requests["ttft_us"] + 10_000_000
    assert first.tolist() == (again["arrived_at_us"] + again["ttft_us"]).tolist()
    assert disaggregated.requests["itl_sum_us"].tolist() == again["itl_sum_us"].tolist()
    decode = disaggregated.steps["replica"] == 1
    start = disaggregated.steps["start_us"][decode] + 10_000_000
    of_cached = cached.steps["start_us"] >= start[0]
    assert start.tolist() == cached.steps["start_us"][of_cached].tolist()


def test_only_blocks_that_the_decode_replica_has_not_are_sent():
    """Of the second prompt, 1,024 tokens are in the cache of the decode replica: half the bytes."""
    shared = (Span("system prompt", 0, 1024),)
    simulation = prepare(Request("a", 0, 2048, 3, content=shared), Request("b", 1_000_000, 2048, 3, content=shared))
    result = simulation.run()
    assert result.requests["kv_bytes"].tolist() == [268_435_456, 134_217_728]
    assert result.requests["cached_tokens"].tolist() == [0, 1024]
    assert result.legs["cached_tokens"].tolist() == [0, 0, 1024, 1024]


def test_blocks_are_held_on_both_sides_until_the_last_byte():
    """128 blocks of 16 tokens: on the source until 110.738 ms, on the destination from 100 ms on."""
    simulation = prepare()
    used = simulation.sample(
        "1ms", source=lambda s: s.replicas[0].used_blocks, target=lambda s: s.replicas[1].used_blocks
    )
    simulation.run()
    table = {int(row["at_us"]) // 1000: (row["source"], row["target"]) for row in used.table().rows()}
    assert table[50] == (128, 0)
    assert table[101] == table[110] == (128, 128)
    # With asynchronous scheduling, the step for the second token has taken a block for the prompt and one token.
    assert table[111] == table[115] == (0, 129)


def test_blocks_that_are_on_the_way_are_not_in_the_prefix_cache():
    """They arrive at 110.738 ms. Of 2,048 tokens, a request would find all but the block of the last one."""
    shared = (Span("same", 0, 2048),)
    simulation = prepare(Request("a", 0, 2048, 3, content=shared))
    decode = simulation.replicas[1]
    found = []
    for tick in (105_000, 112_000):
        at(simulation, tick, lambda: found.append(decode.cached_tokens(simulation.requests[0])))
    simulation.run()
    assert found[0] == 0
    assert found[1] == 2032


def test_a_decode_replica_without_room_leaves_the_blocks_with_the_source():
    """150 blocks at the decode replica hold one prompt of 128: the second waits with the source for the first."""
    kv = blis.KVSettings(blocks=150, bytes_per_token=KV_BYTES)
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", kv=kv)]
    result = prepare(Request("a", 0, 2048, 3), Request("b", 0, 2048, 3), groups=groups).run()
    first, second = result.requests.rows()
    # An engine that could not form a step pauses for 1 ms before the next attempt.
    assert second["kv_reserved_at_us"] == first["finished_at_us"] + 1000
    assert second["kv_wait_us"] == first["finished_at_us"] + 1000 - 100_000
    assert result.legs["kv_released_at_us"].tolist()[3] == second["kv_received_at_us"]


class OtherReplica:
    """Prompts are computed on replica 1 and 0 in turn."""

    def __init__(self):
        self.count = 0

    def route(self, request, state):
        self.count += 1
        return self.count % 2


class Crosswise:
    """Requests decode on replica 0 and 1 in turn."""

    def __init__(self):
        self.count = 0

    def route(self, request, state):
        self.count += 1
        return (self.count - 1) % 2


@pytest.mark.parametrize("transfer", ["pull", "layered"])
def test_two_replicas_that_hold_blocks_for_each_other_do_not_wait_for_ever(transfer):
    """Each has 150 blocks, of which 128 are held for the other one: the older request starts over on one replica.

    It computes its prompt from 100 to 200 ms, while the other one, whose destination is free again, reads its blocks.
    """
    kv = blis.KVSettings(blocks=150, bytes_per_token=KV_BYTES)
    requests = Request("a", 0, 2048, 3), Request("b", 0, 2048, 3)
    simulation = prepare(
        *requests,
        groups=[ReplicaGroup(replicas=2, kv=kv), ReplicaGroup(role="decode", replicas=1, kv=kv)],
        router=Crosswise(),
        disaggregation={"transfer": transfer, "num_layers": 32, "prefill_policy": OtherReplica()},
    )
    result = simulation.run()
    assert result.requests["outcome"].tolist() == ["completed", "completed"]
    assert len(result.restarts) == 1
    assert result.requests["finished_at_us"].max() < 400_000


def test_replicas_that_reserve_blocks_for_prompts_of_each_other_do_not_wait_for_ever():
    """200 blocks have room for 64 of the first chunk and 128 reserved ones, not for the second chunk."""
    kv = blis.KVSettings(blocks=200, bytes_per_token=KV_BYTES)
    simulation = prepare(
        Request("a", 0, 2048, 3),
        Request("b", 0, 2048, 3),
        engine=blis.EngineSettings(max_num_batched_tokens=1024),
        groups=[ReplicaGroup(replicas=2, kv=kv), ReplicaGroup(role="decode", replicas=1, kv=kv)],
        router=Crosswise(),
        disaggregation={"transfer": "layered", "num_layers": 32, "prefill_policy": OtherReplica()},
    )
    result = simulation.run()
    assert result.requests["outcome"].tolist() == ["completed", "completed"]
    assert result.requests["finished_at_us"].max() < 800_000


class Anywhere:
    """A random replica."""

    def __init__(self, seed):
        self.random = Random(seed)

    def route(self, request, state):
        return self.random.choice([snapshot.replica for snapshot in state.snapshots])


# With these seeds, cycles close after the end of a transfer from a blocked replica, or remain after one request has
# started over.
@pytest.mark.parametrize("seed", [785, 806, 845, 1170, 1235, 1246, 1265, 1281])
def test_replicas_short_of_memory_never_wait_for_the_end_of_a_lease(seed):
    """A lease lasts 480 s; the load takes less than 20."""
    random = Random(seed)
    num_both = random.randint(2, 4)
    kv = blis.KVSettings(blocks=random.choice([150, 200, 300]), bytes_per_token=KV_BYTES)
    groups = [ReplicaGroup(replicas=num_both, kv=kv)]
    if random.random() < 0.5:
        groups.append(ReplicaGroup(role="prefill", replicas=1, kv=kv))
    groups.append(ReplicaGroup(role="decode", replicas=1, kv=kv))
    served = [
        Request(f"r{i}", random.randint(0, 300_000), random.randint(100, 2300), random.randint(1, 60))
        for i in range(random.randint(4, 25))
    ]
    simulation = prepare(
        *served,
        latency=blis.LatencySettings(backend="blackbox", alpha=(0, 0, 0), beta=(5000.0, 20.0, 10.0)),
        engine=blis.EngineSettings(
            max_num_batched_tokens=random.choice([512, 1024, 8192]), max_num_seqs=random.choice([4, 64])
        ),
        groups=groups,
        router=Anywhere(seed),
        network={
            "nic_bandwidth": random.choice(["1GB/s", "10GB/s", "25GB/s"]),
            "nic_latency": random.choice(["0us", "50us"]),
        },
        disaggregation={
            "transfer": random.choice(["pull", "layered"]),
            "num_layers": 32,
            "prefill_policy": Anywhere(seed + 1),
            "dispatch_delay": random.choice([0, 2000]),
        },
    )
    result = simulation.run()
    assert set(result.requests["outcome"].tolist()) <= {"completed", "dropped"}
    assert result.restarts
    assert result.requests["finished_at_us"].max() < 20_000_000
    assert all(replica.used_blocks == 0 for replica in simulation.replicas)


def test_explain_shows_the_phases_of_both_replicas():
    result = prepare(network={**LINE, "nic_latency": "500us"}, disaggregation={"dispatch_delay": "2ms"}).run()
    phases = {name: us for name, us in result.explain("a").phases.items() if us}
    assert phases == {
        "prefill": 100_000,
        "reserve": 2_000,
        "transfer": 11_238,
        "recompute": 5_000,
        "decode": 10_000,
    }
    assert result.explain("a").total_us == result.requests["e2e_us"][0]


def test_if_the_source_fails_the_prompt_is_computed_again():
    """At 105 ms the blocks are on the way; the other prefill replica computes the prompt from 105 to 205 ms."""
    groups = [ReplicaGroup(role="prefill", replicas=2), ReplicaGroup(role="decode")]
    simulation = prepare(groups=groups, disaggregation={"prefill_policy": "round-robin"})
    at(simulation, 105_000, simulation.cluster.fail, 0)
    result = simulation.run()
    assert tokens(result)[0] == 220.738
    assert result.restarts == ["a"]
    assert result.legs["outcome"].tolist() == ["handed_over", "withdrawn", "handed_over", "completed"]
    assert result.transfers["state"].tolist() == ["cancelled", "delivered"]


def test_if_the_destination_fails_another_one_reads_the_held_blocks():
    """At 105 ms the destination fails; the other one begins to read the 10.738 ms at once."""
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", replicas=2)]
    simulation = prepare(groups=groups)
    at(simulation, 105_000, simulation.cluster.fail, 1)
    result = simulation.run()
    assert result.requests["kv_received_at_us"].tolist() == [115_738]
    assert (result.requests["replica"].tolist(), result.restarts) == ([2], [])
    assert result.legs["outcome"].tolist() == ["handed_over", "withdrawn", "completed"]


def test_if_the_destination_fails_during_the_prefill_another_one_is_chosen():
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", replicas=2)]
    simulation = prepare(groups=groups)
    at(simulation, 50_000, simulation.cluster.fail, 1)
    result = simulation.run()
    assert tokens(result)[0] == 115.738
    assert result.requests["replica"].tolist() == [2]


def test_a_lease_that_ends_frees_the_source_and_the_request_starts_over_on_one_replica():
    """The lease ends 4 ms after the prefill; the decode replica computes the prompt itself, from 104 to 204 ms."""
    simulation = prepare(disaggregation={"hold_timeout": "4ms"})
    result = simulation.run()
    assert tokens(result) == [204.0, 209.0, 214.0]
    assert result.restarts == ["a"]
    assert [leg.phase.name for leg in simulation.requests[0].legs] == ["PREFILL", "DECODE", "BOTH"]


def test_a_lease_may_end_while_a_request_is_on_the_way_to_another_destination():
    """The lease lasts from 100 to 108 ms; the second destination, chosen at 106 ms, would get the request at 109 ms."""
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", replicas=2)]
    simulation = prepare(groups=groups, disaggregation={"dispatch_delay": "3ms", "hold_timeout": "8ms"})
    at(simulation, 106_000, simulation.cluster.drain, 1, "redirect")
    result = simulation.run()
    assert result.restarts == ["a"]
    assert tokens(result) == [208.0, 213.0, 218.0]
    assert [leg.replica for leg in simulation.requests[0].legs] == [0, 1, 2]


@pytest.mark.parametrize("loss", ["fail", "redirect"])
def test_a_layered_transfer_that_loses_its_destination_during_the_prefill_gets_another_one_after_it(loss):
    """The prompt is computed from 0 to 100 ms; then all layers are sent, as in a pull."""
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", replicas=2)]
    simulation = prepare(groups=groups, disaggregation={"transfer": "layered"})
    lose(simulation, 50_000, loss)
    result = simulation.run()
    assert tokens(result)[0] == 115.738
    assert result.requests["replica"].tolist() == [2]


@pytest.mark.parametrize("loss", ["fail", "redirect"])
def test_a_layered_transfer_that_loses_its_only_destination_is_rejected_after_the_prefill(loss):
    simulation = prepare(disaggregation={"transfer": "layered"})
    lose(simulation, 50_000, loss)
    result = simulation.run()
    assert (result.requests["outcome"].tolist(), result.requests["finished_at_us"].tolist()) == (
        ["rejected"],
        [100_000],
    )
    assert [replica.used_blocks for replica in simulation.replicas] == [0, 0]


def lose(simulation, tick, loss):
    """Let replica 1 fail, or be drained with its requests redirected."""
    if loss == "fail":
        at(simulation, tick, simulation.cluster.fail, 1)
    else:
        at(simulation, tick, simulation.cluster.drain, 1, loss)


def test_a_timeout_during_the_transfer_frees_both_sides():
    simulation = prepare(Request("a", 0, 2048, 3, deadline=105_000), Request("b", 300_000, 2048, 3))
    seen = []
    at(simulation, 105_001, lambda: seen.extend(replica.used_blocks for replica in simulation.replicas))
    result = simulation.run()
    assert result.requests["outcome"].tolist() == ["timed_out", "completed"]
    assert seen == [0, 0]
    assert result.transfers["state"].tolist() == ["cancelled", "delivered"]


@pytest.mark.parametrize("policy", ["wait", "redirect", "immediate"])
def test_a_drained_source_keeps_its_blocks_until_they_are_read(policy):
    simulation = prepare()
    at(simulation, 105_000, simulation.cluster.drain, 0, policy)
    states = []
    for tick in (106_000, 111_000):
        at(simulation, tick, lambda: states.append(str(simulation.cluster.state(0))))
    result = simulation.run()
    assert states == ["draining", "terminated"]
    assert tokens(result)[0] == 115.738


@pytest.mark.parametrize(("policy", "replica"), [("wait", 1), ("redirect", 2)])
def test_a_drained_destination_serves_or_returns_requests_that_load_their_blocks(policy, replica):
    groups = [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", replicas=2)]
    simulation = prepare(groups=groups)
    at(simulation, 105_000, simulation.cluster.drain, 1, policy)
    result = simulation.run()
    assert result.requests["replica"].tolist() == [replica]
    assert result.requests["outcome"].tolist() == ["completed"]


def test_a_migrated_request_keeps_its_tokens():
    """At 112 ms the steps up to 120 ms are formed. Then it leaves with 2,052 tokens: 129 blocks, 10.822 ms.

    So its sixth token comes 15.822 ms after its fifth.
    """
    simulation = prepare(Request("a", 0, 2048, 7), groups=(), replicas=2)
    moved = []

    def move():
        yield simulation.env.timeout(112_000)
        moved.append((yield simulation.cluster.migrate(simulation.requests[0], 1)))

    simulation.process(move())
    result = simulation.run()
    assert moved == [True]
    assert tokens(result) == [100.0, 105.0, 110.0, 115.0, 120.0, 135.822, 140.822]
    assert result.requests["itl_sum_us"].tolist() == [40_822]
    assert (result.requests["replica"].tolist(), result.requests["num_migrations"].tolist()) == ([1], [1])
    assert result.aggregate.itl.mean_ms == pytest.approx(40.822 / 6)
    assert result.where().longest_gap.values.tolist() == [15_822]


def test_a_request_that_ends_first_is_not_migrated():
    simulation = prepare(Request("a", 0, 2048, 3), groups=(), replicas=2)
    moved = []

    def move():
        yield simulation.env.timeout(102_000)
        moved.append((yield simulation.cluster.migrate(simulation.requests[0], 1)))

    simulation.process(move())
    result = simulation.run()
    assert moved == [False]
    assert result.requests["outcome"].tolist() == ["completed"]


def test_a_drain_with_migration_ends_as_soon_as_the_blocks_have_left():
    """Decoding requests move; the waiting one is routed again, and the replica terminates long before their end."""
    simulation = prepare(*(Request(name, 0, 2048, 200) for name in "ab"), groups=(), replicas=2, router="least-loaded")
    at(simulation, 200_000, simulation.cluster.drain, 0, "migrate")
    ended = []
    at(simulation, 230_000, lambda: ended.append(str(simulation.cluster.state(0))))
    result = simulation.run()
    assert ended == ["terminated"]
    assert result.requests["outcome"].tolist() == ["completed", "completed"]
    assert result.requests["replica"].tolist() == [1, 1]
    assert result.requests["num_migrations"].sum() == 1


def test_migrations_that_cannot_be():
    simulation = prepare(Request("a", 0, 2048, 50), Request("b", 130_000, 100, 5), groups=(), replicas=2)
    cluster = simulation.cluster
    simulation.run(until="120ms")
    a, b = simulation.requests
    with pytest.raises(SimulationError, match="must be migrated to another replica than its own"):
        cluster.migrate(a, a.replica)
    with pytest.raises(SimulationError, match="replica must be an index below 2"):
        cluster.migrate(a, 7)
    with pytest.raises(SimulationError, match="request b must decode to be migrated"):
        cluster.migrate(b, 0)
    cluster.fail(1)
    with pytest.raises(SimulationError, match="must be routable"):
        cluster.migrate(a, 1)


@pytest.mark.parametrize("engine", [{"profile": "blis"}, {"resume": "restart"}])
def test_replicas_that_cannot_hand_over_are_refused(engine):
    settings = blis.EngineSettings(**engine)
    simulation = prepare(Request("a", 0, 2048, 50), groups=(), replicas=2, engine=settings)
    simulation.run(until="120ms")
    with pytest.raises(
        SimulationError, match="must have the engine profile vllm, and a KV store that can receive blocks"
    ):
        simulation.cluster.migrate(simulation.requests[0], 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": [ReplicaGroup(role="prefill")]}, r"groups\[0\].role needs a group of the role decode or both"),
        ({"groups": [ReplicaGroup(role="decode")]}, r"groups\[0\].role needs a group of the role prefill or both"),
        (
            {"groups": [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", model="qwen/qwen3-8b")]},
            r"groups\[0\].role needs a group of the role decode or both with the model .* serve qwen/qwen3-8b",
        ),
        (
            {
                "groups": [
                    ReplicaGroup(role="prefill", tp=2),
                    ReplicaGroup(role="decode", tp=3, kv=blis.KVSettings(blocks=9)),
                ]
            },
            "tp",
        ),
        (
            {"groups": [ReplicaGroup(role="prefill"), ReplicaGroup(role="decode", kv=blis.KVSettings(block_size=32))]},
            r"groups\[0\].kv.block_size must be that of groups\[1\] \(32\)",
        ),
        ({"engine": blis.EngineSettings(profile="blis")}, r"groups\[0\].engine.step_effects must be end"),
        (
            {
                "kv": blis.KVSettings(store="two-tier", cpu_blocks=5, blocks=200),
                "engine": blis.EngineSettings(resume="restart"),
            },
            r"groups\[0\].kv.store cannot exchange KV blocks",
        ),
        ({"disaggregation": {"decider": "perhaps"}}, "decider is unknown, got 'perhaps'"),
    ],
)
def test_what_cannot_be_disaggregated_is_an_error(settings, message):
    with pytest.raises(ScenarioError, match=message):
        prepare(**settings)


def test_outcomes_add_up_in_a_pause_during_a_transfer():
    simulation = prepare(disaggregation={"dispatch_delay": "2ms"})
    for pause, outcome in (("50ms", "running"), ("101ms", "queued"), ("105ms", "queued"), ("114ms", "running")):
        result = simulation.run(until=pause)
        assert result.requests["outcome"].tolist() == [outcome]
    assert simulation.run().requests["outcome"].tolist() == ["completed"]
    assert simulation.requests[0].outcome is RequestOutcome.COMPLETED


def test_the_timeline_for_perfetto_has_both_legs_and_the_transfer():
    simulation = prepare()
    result = simulation.run()
    events = [
        event
        for event in perfetto_events(
            result.requests, result.steps, transfers=result.transfers, link_loads=result.link_loads, legs=result.legs
        )
        if event["ph"] in "Xb"
    ]
    replica = {100_000: 0, 200_000: 1}
    stays = [
        (replica[event["pid"]], event["name"], event["ts"], event["ts"] + event["dur"])
        for event in events
        if event["ph"] == "X" and event["name"] in ("prefill", "decode") and event["tid"] != event["pid"]
    ]
    assert stays == [(0, "prefill", 0, 100_000), (1, "decode", 110_738, 125_738)]
    spans = {event["name"]: (event["pid"], event["ts"]) for event in events if event["ph"] == "b"}
    assert spans["holding KV blocks"] == (100_000, 100_000)
    assert spans["loading KV blocks"] == (200_000, 100_000)


def test_a_saved_result_has_legs_and_gaps(tmp_path):
    result = prepare(disaggregation={"first_token": "prefill"}).run()
    result.save(tmp_path / "run.zip")
    read = blis.load_result(tmp_path / "run.zip")
    assert [list(column) for column in read.legs.values()] == [list(column) for column in result.legs.values()]
    assert read.requests["kv_bytes"].tolist() == [268_435_456]
    assert tokens(read) == tokens(result)
