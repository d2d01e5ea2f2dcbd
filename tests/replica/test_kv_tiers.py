"""KV tiers: loads, writes, eviction and sharing, in small simulations with their arithmetic.

A step takes 1,000 us and 20 us for each prefill token, a decode token costs nothing. A block holds 16 tokens of 1,000
bytes, and tiers transfer 1,000 bytes/us: a block takes 16 us, a computation of its tokens 320 us.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.deployment import resolve
from blis_simpy.errors import ScenarioError

QWEN3_8B = 147_456
"""Bytes per token: 36 layers, keys and values, 8 heads of 128 numbers of 2 bytes."""


def tier(name="host", **changes):
    return {"name": name, "read_bandwidth": "1 GB/s", "write_bandwidth": "1 GB/s", **changes}


def scenario(*tiers, blocks=64, beta=(1000, 20, 0), engine=None, replicas=1, **kv):
    engine = {"max_num_seqs": 8, "max_num_batched_tokens": 8192, "async_scheduling": False, **(engine or {})}
    return blis.Scenario(
        model="qwen/qwen3-8b",
        hardware="H100",
        tp=1,
        replicas=replicas,
        engine=engine,
        kv={"blocks": blocks, "bytes_per_token": 1000, "tiers": tiers, "prefix_caching": True, **kv},
        latency={"backend": "blackbox", "alpha": (0, 0, 0), "beta": beta},
    )


def request(number, at, stream, tokens, outputs=1, **options):
    return Request(
        f"request_{number}",
        at,
        input_tokens=tokens,
        output_tokens=outputs,
        content=((stream, 0, tokens),),
        **options,
    )


def requests(*rows):
    """Requests of (arrival, stream, tokens), one second apart if only (stream, tokens) is given."""
    rows = [row if isinstance(row[0], int) else (number * 1_000_000, *row) for number, row in enumerate(rows)]
    return [request(number, *row) for number, row in enumerate(rows)]


def run(settings, served, **options):
    simulation = blis.Simulation(settings, requests=served, check="full", **options)
    simulation.run()
    return simulation


def cached(simulation):
    return simulation.result().requests["cached_tokens"].tolist()


def transfers(simulation, kind):
    """Request, start and end of the transfers of a kind."""
    rows = simulation.result().transfers.rows()
    return [(row["request"], row["started_at_us"], row["ended_at_us"]) for row in rows if row["kind"] == kind]


def test_blocks_that_the_gpu_has_evicted_are_loaded():
    """Prompts of 256, 800 and 800 tokens fill 16 + 50 + 50 of 64 blocks; the first one again loads 15 blocks in 240 us.

    Its last block is computed: 1,000 + 16 * 20 us.
    """
    simulation = run(scenario(tier()), requests(("a", 256), ("b", 800), ("c", 800), ("a", 256)))
    assert cached(simulation) == [0, 0, 0, 240]
    assert transfers(simulation, "kv load") == [("request_3", 3_000_000, 3_000_240)]
    assert simulation.result().requests["ttft_us"].tolist() == [6120, 17_000, 17_000, 240 + 1320]


def test_blocks_are_written_when_they_have_been_computed():
    simulation = run(scenario(tier(latency=10)), requests(("a", 256), ("b", 10)))
    assert transfers(simulation, "kv write") == [("request_0", 6120, 6120 + 10 + 256)]


def test_of_a_prompt_in_chunks_each_step_writes_its_full_blocks():
    """Steps of 40 tokens compute 2, 3 and 1 more full blocks."""
    settings = scenario(tier(), engine={"max_num_batched_tokens": 40, "max_num_seqs": 2})
    simulation = run(settings, requests(("a", 100)))
    table = simulation.result().transfers
    assert (table["bytes"] // 16_000).tolist() == [2, 3, 1]


def test_size_of_the_kv_cache_is_that_of_the_model():
    scenario = blis.Scenario(model="qwen/qwen3-8b", hardware="H100", tp=1)
    assert resolve(scenario).kv_bytes_per_token() == QWEN3_8B


def test_qwen3_8b_loads_over_64_gb_per_second_and_computes_again_over_5():
    """2,048 tokens of 147,456 bytes take 4.72 ms over 64 GB/s, and 45.4 ms to compute at 22.7 ms per 1,024."""
    served = [("a", 2064), ("b", 2064), ("a", 2064)]
    for bandwidth, loaded in (("64 GB/s", 2048), ("5 GB/s", 0)):
        settings = scenario(
            tier(read_bandwidth=bandwidth), blocks=129, beta=(0, 22_700 / 1024, 0), bytes_per_token=QWEN3_8B
        )
        simulation = run(settings, requests(*served))
        assert cached(simulation)[2] == loaded
        if loaded:
            ((_, start, end),) = transfers(simulation, "kv load")
            assert end - start == 4719


@pytest.mark.parametrize(("bandwidth", "loaded"), [(6.64e9, 0), (6.66e9, 1024)])
def test_break_even_is_at_the_bandwidth_of_the_computation(bandwidth, loaded):
    """147,456 * 1,024 bytes in 22.70 ms are 6.65 GB/s."""
    settings = scenario(tier(read_bandwidth=bandwidth), blocks=65, beta=(0, 22_700 / 1024, 0), bytes_per_token=QWEN3_8B)
    simulation = run(settings, requests(("a", 1040), ("b", 1040), ("a", 1040)))
    assert cached(simulation)[2] == loaded


def test_load_if_always_loads_although_a_computation_is_faster():
    settings = scenario(tier(read_bandwidth="1 MB/s"), load_if="always")
    assert cached(run(settings, requests(("a", 256), ("b", 1024), ("a", 256))))[2] == 240


def test_bandwidth_near_zero_never_loads():
    settings = scenario(tier(read_bandwidth=1))
    assert cached(run(settings, requests(("a", 256), ("b", 1024), ("a", 256))))[2] == 0


def test_two_loads_at_once_share_the_bandwidth():
    """Two loads of 1 GB at once over 10 GB/s take 0.2 s each."""
    settings = scenario(
        tier(read_bandwidth="10 GB/s", write_bandwidth=math.inf), blocks=200, bytes_per_token=1e6, load_if="always"
    )
    served = requests(("a", 1008), ("b", 1008), ("c", 3000))
    served += [request(3, 5_000_000, "a", 1008), request(4, 5_000_000, "b", 1008)]
    # 992 tokens are loaded, 62 of 63 blocks.
    assert transfers(run(settings, served), "kv load") == [
        ("request_3", 5_000_000, 5_198_400),
        ("request_4", 5_000_000, 5_198_400),
    ]


def test_requests_that_load_are_passed_by_others():
    """The first request of the tick loads for 800 us; the second one is computed meanwhile."""
    served = requests(("a", 816), ("b", 1000))
    served += [request(2, 5_000_000, "a", 816), request(3, 5_000_000, "c", 100)]
    table = run(scenario(tier()), served).result().requests
    assert table["scheduled_at_us"][3] == 5_000_000
    # Its blocks arrive during the step of 3,000 us, and it joins the next one.
    assert table["scheduled_at_us"][2] == 5_003_000


def test_a_second_request_waits_for_blocks_that_are_loaded_already():
    served = requests(("a", 816), ("b", 2048))
    served += [request(number, 5_000_000, "a", 816) for number in (2, 3)]
    simulation = run(scenario(tier(), blocks=128), served)
    assert [name for name, _, _ in transfers(simulation, "kv load")] == ["request_2"]
    assert cached(simulation)[2:] == [800, 800]
    assert simulation.result().requests["scheduled_at_us"][2:].tolist() == [5_000_800] * 2


def test_requests_have_columns_of_what_they_loaded():
    """Of two requests for the same 50 blocks, the first loads them in 800 us and the second waits as long for it.

    Then both compute their last 16 tokens: 1,000 + 32 * 20 us.
    """
    served = requests(("a", 816), ("b", 2048))
    served += [request(number, 5_000_000, "a", 816) for number in (2, 3)]
    result = run(scenario(tier(), blocks=128), served).result()
    assert result.requests["kv_load_started_at_us"].tolist() == [-1, -1, 5_000_000, 5_000_000]
    assert result.requests["kv_load_us"].tolist() == [0, 0, 800, 800]
    assert result.requests["kv_loaded_tokens"].tolist() == [0, 0, 800, 0]
    assert result.explain("request_2").phases == {
        "admission": 0,
        "routing": 0,
        "queue": 0,
        "load": 800,
        "preempted": 0,
        "prefill": 1640,
        "decode": 0,
    }
    assert result.explain("request_0").phases["load"] == 0
    assert "waiting for KV blocks from a tier" in repr(result.explain("request_2"))


def test_a_request_that_times_out_during_its_load_has_waited_until_then():
    served = requests(("a", 816), ("b", 1000))
    served += [request(2, 5_000_000, "a", 816, deadline=5_000_300)]
    table = run(scenario(tier()), served).result().requests
    assert (table["kv_load_us"][2], table["kv_loaded_tokens"][2]) == (300, 0)


def test_at_most_max_loading_requests_load_at_a_time():
    served = requests(("a", 160), ("b", 160), ("c", 1280))
    served += [request(number, 5_000_000, "ab"[number - 3], 160) for number in (3, 4)]
    simulation = run(scenario(tier(), max_loading=1, blocks=80), served)
    assert transfers(simulation, "kv load") == [
        ("request_3", 5_000_000, 5_000_144),
        ("request_4", 5_000_144, 5_000_288),
    ]


def test_a_tier_that_is_full_evicts_the_least_recently_used_chunk():
    """The 16 blocks of b evict 12 of a, the last ones first. The GPU keeps 1 of a, so 3 are loaded."""
    simulation = run(scenario(tier(blocks=20), blocks=17), requests(("a", 256), ("b", 256), ("a", 256)))
    (row,) = simulation.result().kv_tiers.rows()
    assert (row["chunks"], row["capacity"], row["read"], row["chunk_bytes"]) == (20, 20, 3, 16_000)
    assert cached(simulation)[2] == 64


def test_blocks_evicted_from_the_gpu_are_written_then():
    """The GPU has 64 blocks: b evicts 16 + 50 - 64 = 2 blocks of a, its last ones."""
    simulation = run(scenario(tier(write_on="eviction")), requests(("a", 256), ("b", 800)))
    ((_, start, _),) = transfers(simulation, "kv write")
    assert start == 1_000_000
    assert simulation.result().transfers["bytes"].tolist() == [2 * 16_000]


def test_blocks_may_be_written_at_the_end_of_a_request():
    settings = scenario(tier(write_on="end"))
    simulation = run(settings, [request(0, 0, "a", 250, outputs=23)])
    # 250 + 22 tokens are stored at the end: 17 full blocks.
    assert simulation.result().transfers["bytes"].tolist() == [17 * 16_000]
    assert simulation.result().transfers["started_at_us"][0] == 6000 + 22_000


def test_output_blocks_are_written_at_the_end():
    simulation = run(scenario(tier()), [request(0, 0, "a", 250, outputs=23)])
    assert (simulation.result().transfers["bytes"] // 16_000).tolist() == [15, 2]


def test_a_block_is_written_when_enough_requests_have_asked_for_it():
    simulation = run(scenario(tier(write_after=2)), requests(("a", 256), ("b", 256), ("a", 272)))
    assert [(name, start) for name, start, _ in transfers(simulation, "kv write")] == [("request_2", 2_001_320)]


def test_an_exclusive_tier_gives_its_chunks_away():
    simulation = run(scenario(tier(exclusive=True)), requests(("a", 256), ("b", 1024), ("a", 256)))
    (host,) = simulation.kv_tiers
    assert cached(simulation)[2] == 240
    # 64 blocks of b, and the last block of a, which was computed again.
    assert host.num_chunks == 65


def test_the_second_tier_takes_what_the_first_one_evicts():
    """The host has 20 blocks: b evicts 12 of a, c all others of both; all of them go to the drive."""
    drive = tier("nvme", write_on="eviction", read_bandwidth="0.5 GB/s")
    simulation = run(
        scenario(tier(blocks=20), drive), requests(("a", 256), ("b", 256), ("c", 320), ("d", 800), ("a", 256))
    )
    assert cached(simulation)[4] == 240
    loads = [row for row in simulation.result().transfers.rows() if row["kind"] == "kv load"]
    assert [(row["source"], row["ended_at_us"] - row["started_at_us"]) for row in loads] == [("replica-0/nvme", 480)]


def test_prefetch_copies_blocks_to_the_first_tier_on_the_way_to_the_queue():
    """The drive sends 16 blocks in 512 us. After the queueing delay of 600 us, the host sends 15 of them in 240."""
    drive = tier("nvme", write_on="eviction", read_bandwidth="0.5 GB/s")
    settings = scenario(tier(blocks=20), drive, prefetch=True).with_(**{"latency.alpha": (600, 0, 0)})
    served = requests(("a", 256), ("b", 256), ("c", 320), ("d", 800), ("a", 256))
    simulation = run(settings, served)
    assert transfers(simulation, "kv prefetch") == [("", 4_000_000, 4_000_512)]
    assert transfers(simulation, "kv load") == [("request_4", 4_000_600, 4_000_840)]


@pytest.mark.parametrize(("session", "prefetched"), [("s", [("", 3_506_120, 3_506_632)]), ("", [])])
def test_blocks_of_a_session_are_prefetched_for_its_expected_return(session, prefetched):
    """The first request ends at 6.12 ms; 3.5 s later, its 16 blocks are in the drive only: 512 us."""
    drive = tier("nvme", write_on="eviction", read_bandwidth="0.5 GB/s")
    settings = scenario(tier(blocks=20), drive, prefetch_after="3.5s")
    served = requests(("a", 256), ("b", 256), ("c", 320), ("d", 800), ("a", 256))
    for one in (served[0], served[-1]):
        one.session = session
    simulation = run(settings, served)
    assert transfers(simulation, "kv prefetch") == prefetched
    if session:
        assert transfers(simulation, "kv load") == [("request_4", 4_000_000, 4_000_240)]


def test_a_load_waits_for_a_prefetch_of_its_blocks():
    drive = tier("nvme", write_on="eviction", read_bandwidth="0.5 GB/s")
    served = requests(("a", 256), ("b", 256), ("c", 320), ("d", 800), ("a", 256))
    simulation = run(scenario(tier(blocks=20), drive, prefetch=True), served)
    assert transfers(simulation, "kv load") == [("request_4", 4_000_512, 4_000_752)]


def test_a_load_waits_for_a_prefetch_behind_the_blocks_that_the_first_tier_has():
    """The host keeps the first 4 blocks of a, and gets the other 12 from the drive in 384 us."""
    drive = tier("nvme", write_on="eviction", read_bandwidth="0.5 GB/s")
    settings = scenario(tier(blocks=20), drive, prefetch=True, blocks=17)
    simulation = run(settings, requests(("a", 256), ("b", 256), ("c", 4), ("a", 256)))
    assert transfers(simulation, "kv prefetch") == [("", 3_000_000, 3_000_384)]
    assert transfers(simulation, "kv load") == [("request_3", 3_000_384, 3_000_624)]


def test_nothing_is_prefetched_if_a_computation_is_faster():
    drive = tier("nvme", write_on="eviction", read_bandwidth="1 MB/s")
    settings = scenario(tier(blocks=20), drive, prefetch=True, blocks=17)
    simulation = run(settings, requests(("a", 256), ("b", 256), ("c", 4), ("a", 256)))
    assert transfers(simulation, "kv prefetch") == []


def test_chunks_of_several_blocks_are_moved_whole():
    """Chunks of 4 blocks: of 18 full blocks, 16 are written; 15 of the 17 that may be cached are loaded."""
    simulation = run(scenario(tier(), chunk=4), requests(("a", 256), ("b", 1024), ("a", 256)))
    assert simulation.result().transfers["bytes"].tolist()[0] == 16 * 16_000
    assert cached(simulation)[2] == 240
    simulation = run(scenario(tier(), chunk=4), requests(("a", 290), ("b", 1024), ("a", 290)))
    assert cached(simulation)[2] == 256


def test_replicas_share_the_store_of_a_cluster():
    """Round-robin sends the prompt to the other replica, which loads 15 blocks over 25 GB/s and the store."""
    settings = scenario(tier("store", shared_by="cluster"), replicas=2).with_(network={})
    simulation = run(settings, requests(("a", 256), ("a", 256)))
    assert cached(simulation) == [0, 240]
    path = [row["link"] for row in simulation.result().links.rows()]
    assert path == ["store read", "store write", "replica-0 nic out", "replica-1 nic in"]


def test_a_write_is_visible_to_others_after_its_end():
    settings = scenario(tier("store", shared_by="cluster", write_bandwidth="0.01 GB/s"), replicas=2)
    simulation = run(settings, requests((0, "a", 256), (10_000, "a", 256)))
    assert cached(simulation) == [0, 0]


def test_replicas_of_a_node_share_its_memory():
    pool = {"name": "p", "gpu_type": "H100", "gpus_per_node": 2, "initial_nodes": 2}
    settings = scenario(tier(shared_by="node"), replicas=4).with_(node_pools=[pool])
    simulation = run(settings, requests(*[("a", 256)] * 4))
    assert cached(simulation) == [0, 240, 0, 240]
    assert [tier.endpoint for tier in simulation.kv_tiers] == ["p-0/host", "p-1/host"]


def test_a_replica_that_fails_loses_its_own_memory():
    served = requests(("a", 256), ("a", 256))
    simulation = blis.Simulation(scenario(tier()), requests=served, check="full")

    def fail(env):
        yield env.timeout(500_000)
        simulation.cluster.fail(0)
        simulation.cluster.restore(0)

    simulation.process(fail(simulation.env))
    simulation.run()
    assert cached(simulation) == [0, 0]


@pytest.mark.parametrize("at", [5_000_100, 5_000_500])
def test_a_request_that_times_out_ends_its_load(at):
    """At 100 us it loads, at 500 us it waits for the end of a step with its blocks."""
    served = requests(("a", 256), ("b", 1024))
    served += [request(2, 5_000_000, "a", 256, deadline=at), request(3, 5_000_000, "c", 200)]
    simulation = run(scenario(tier()), served)
    table = simulation.result()
    assert table.requests["outcome"].tolist()[2] == "timed_out"
    (load,) = [row for row in table.transfers.rows() if row["kind"] == "kv load"]
    assert load["state"] == ("cancelled" if at == 5_000_100 else "delivered")


def test_hit_rate_of_an_infinite_host_is_that_of_an_infinite_gpu():
    streams = [("abcabdaeb"[number], 320) for number in range(9)]
    endless = tier(read_bandwidth=math.inf, write_bandwidth=math.inf)
    small = run(scenario(endless, blocks=24), requests(*streams))
    large = run(scenario(blocks=4096), requests(*streams))
    assert cached(small) == cached(large)


def test_settings_of_tiers_are_checked():
    with pytest.raises(ScenarioError, match=r"kv\.tiers\[1\]\.name must be unique"):
        scenario(tier(), tier())
    with pytest.raises(ScenarioError, match=r"kv\.chunk must be 1 if the first tier is written on eviction"):
        scenario(tier(write_on="eviction"), chunk=2)
    with pytest.raises(ScenarioError, match=r"blocks must be left out where a capacity is given"):
        scenario(tier(blocks=5, capacity="1 GB"))
    with pytest.raises(ScenarioError, match=r"kv\.tiers\[0\]\.capacity must hold a chunk of 2 KV blocks, 32000 bytes"):
        blis.Simulation(scenario(tier(capacity="20 kB"), chunk=2), requests=[])
    with pytest.raises(ScenarioError, match=r"kv\.store must be block-pool with kv\.tiers"):
        blis.Simulation(scenario(tier(), engine={"profile": "blis", "async_scheduling": None}), requests=[])


PROMPTS = st.lists(
    st.tuples(
        st.integers(0, 60_000),
        st.sampled_from("abcd"),
        st.integers(1, 500),
        st.integers(1, 40),
        st.sampled_from([0, 0, 0, 3_000, 20_000]),
    ),
    min_size=1,
    max_size=14,
)
TIERS = st.lists(
    st.fixed_dictionaries(
        {
            "read_bandwidth": st.sampled_from([1e7, 1e8, 1e9, math.inf]),
            "write_bandwidth": st.sampled_from([1e7, 1e9]),
            "latency": st.sampled_from([0, 7]),
            "blocks": st.sampled_from([6, 20, 200]),
            "shared_by": st.sampled_from(["replica", "cluster"]),
            "eviction": st.sampled_from(["lru", "lfu", "fifo"]),
            "write_on": st.sampled_from(["computation", "end", "eviction"]),
            "write_after": st.sampled_from([1, 2]),
            "exclusive": st.booleans(),
        }
    ),
    min_size=1,
    max_size=2,
)


@given(
    PROMPTS,
    TIERS,
    st.sampled_from([1, 2]),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([40, 64]),
)
@settings(deadline=None)
def test_random_scenarios_keep_the_invariants_and_do_not_depend_on_macro_steps(
    prompts, tiers, chunk, max_loading, prefetch, is_async, blocks
):
    tiers = [tier(f"tier {number}", **options) for number, options in enumerate(tiers)]
    if tiers[0]["write_on"] == "eviction":
        chunk = 1
    results = []
    for macro_steps in (True, False):
        engine = {
            "macro_steps": macro_steps,
            "async_scheduling": is_async,
            "max_num_seqs": 3,
            "max_num_batched_tokens": 100,
        }
        settings = scenario(
            *tiers,
            engine=engine,
            blocks=blocks,
            chunk=chunk,
            max_loading=max_loading,
            prefetch=prefetch,
            replicas=2,
            beta=(300, 5, 1),
        )
        served = [
            request(number, at, stream, tokens, outputs, deadline=at + patience if patience else 0)
            for number, (at, stream, tokens, outputs, patience) in enumerate(sorted(prompts))
        ]
        results.append(run(settings, served).result())
    single, macro = results
    assert single.requests == macro.requests
    assert single.transfers == macro.transfers
    assert single.kv_tiers == macro.kv_tiers
