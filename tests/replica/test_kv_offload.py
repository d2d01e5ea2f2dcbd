"""Host memory behind the GPU's KV blocks.

Steps take 100 + prompt tokens + 10 x decode tokens (µs), a block holds 16 tokens, unless said otherwise.
"""

import pytest

from blis_simpy.errors import ScenarioError


def host(cpu_blocks, **options):
    return {"type": "two-tier", "cpu_blocks": cpu_blocks, **options}


def counted(served):
    kv = served.replica._kv
    return kv.hits, kv.misses, kv.cpu_misses, kv.offloaded, kv.cpu_evictions


# r0 and r2 share 48 tokens in three full blocks, k0 to k2; r1 fills the memory between them.
LOAD = [(64, 2, 0, {"prefix": ("g", 50)}), (100, 20, 1000), (64, 2, 1300, {"prefix": ("g", 50)})]


def test_reloading_for_a_prompt_that_does_not_fit_evicts_what_it_brought_back(serve):
    """Ten GPU blocks and a host that keeps all: r2 waits for r1, and each step pays for reloads that help nobody.

    r1 takes 7 blocks at 1000; k2, k1, k0 are free in this order. r2 needs 4 blocks and finds 3, all of them free: 1 + 3
    of 3. It fails in 11 steps of 110 (1310 to 2410) without a reload: k3, the fourth, is its own and on no host.

    At 2520 r1 opens an eighth block and so drops k2. With two free blocks for a prefix of three, each reload now drops
    a part of it: k2 takes the place of k1 (1 block, 1001 µs), k1 that of k0 (1), k0 and k2 those of k2 and k1 (2),
    k1 and k2 those of k2 and k0 (2), k0 and k1 (2), k2 that of k1 (1), k1 that of k0 (1).

    r1: 200 + 12 x 110 + 4 x 1111 + 3 x 2112 = 12300. r2 starts at 13300, when k0 is gone again, without a hit:
    TTFT 13300 + 164 - 1300. Misses: 5 + 8 + 5 blocks; mirrored: the 4 full blocks of r0, 7 of r1, and k3 of r2.
    """
    served = serve(*LOAD, blocks=10, store=host(20, base_latency=1000))
    assert served.column("e2e_us") == [274, 12300, 12274]
    assert served.column("ttft_us") == [164, 200, 12164]
    durations = [duration for _, duration in served.steps("start_us", "duration_us")][15:22]
    assert durations == [1111, 1111, 2112, 2112, 2112, 1111, 1111]
    # A queued request keeps nothing of what a failed attempt claimed: eight are r1's.
    assert served.steps("used_blocks")[15:22] == [(8,)] * 7
    assert counted(served) == (0, 18, 11, 12, 0)
    assert served.replica.hit_rate == served.replica.kv_store.thrashing_rate == 0.0


def test_host_too_small_for_the_batch_thrashes_and_costs_no_time(serve):
    """Nine GPU blocks, five in the host: r1's six full blocks push out all others and each other, in every step.

    Nothing is ever reloaded, so the times are those of one tier: r2 starts at 3290 after r1's 19 decode steps of 110,
    with k0 found: TTFT 3290 + 148 - 1300. It failed in 18 steps, which count in the hit rate: 1 / (1 + 17 + 18).

    Stored: 4 blocks of r0; all 6 of r1 in each of 12 steps, 7 in each of the 8 from 2410 on, when its 112th token is
    there; 4 of r2 at 3290, which are touched at 3438: 4 + 12 x 6 + 8 x 7 + 4. All but the first five evict one.
    """
    served = serve(*LOAD, blocks=9, store=host(5, base_latency=1000))
    alone = serve(*LOAD, blocks=9)
    assert served.column("e2e_us") == alone.column("e2e_us") == [274, 2290, 2248]
    assert counted(served) == (1, 17, 18, 136, 131)
    assert (alone.hits, alone.misses) == (1, 17)
    assert served.replica.hit_rate == 1 / 36
    assert served.replica.kv_store.thrashing_rate == 131 / 136


@pytest.mark.parametrize("options", [{}, {"bandwidth": 0.3}, {"bandwidth": 4e-3, "base_latency": 7}])
def test_reloading_a_block_takes_the_base_time_and_the_inverse_of_the_bandwidth_rounded_up(serve, options):
    """As above, 10 reloads: 1 µs each at 100 blocks/µs, 4 µs at 0.3, and 250 + 7 at 0.004. r1 has 19 steps of 110."""
    per_block = {0: 1, 1: 4, 2: 257}[len(options)]
    served = serve(*LOAD, blocks=10, store=host(20, **options))
    assert served.column("e2e_us")[1] == 200 + 19 * 110 + 10 * per_block


def test_host_of_a_roomy_gpu_changes_no_figure_but_its_own(serve):
    """Twelve GPU blocks are enough: r2 finds three and needs one. 4 + 7 + 1 full blocks come to the host to stay."""
    served, alone = serve(*LOAD, blocks=12, store=host(20)), serve(*LOAD, blocks=12)
    for name in ("ttft_us", "e2e_us", "finished_at_us"):
        assert served.column(name) == alone.column(name)
    assert served.result.metric("prefix_hit_rate") == alone.result.metric("prefix_hit_rate") == 48 / 228
    assert counted(served) == (3, 15, 0, 12, 0)
    assert (alone.hits, alone.misses) == (3, 15)


def test_failed_final_token_allocation_counts_as_a_host_miss(serve):
    """Two blocks of 16 for a prompt of 16 and 17 output tokens: the last has no place, and nothing can be reloaded."""
    served = serve((16, 17, 0, {"max_output_tokens": 16}), blocks=2, store=host(20))
    assert served.result.summary["kv_allocation_failures"] == 1
    assert counted(served) == (0, 2, 1, 2, 0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"cpu_blocks": 0}, "kv.cpu_blocks must be >= 1 for the two-tier store, got 0"),
        ({"bandwidth": 0}, "kv.transfer_bandwidth must be finite and >= 1e-12, got 0"),
        ({"bandwidth": 1e-310}, "kv.transfer_bandwidth must be finite and >= 1e-12, got 1e-310"),
        ({"bandwidth": float("inf")}, "kv.transfer_bandwidth must be finite and >= 1e-12, got inf"),
        ({"bandwidth": float("nan")}, "kv.transfer_bandwidth must be finite and >= 1e-12, got nan"),
        ({"base_latency": -1}, "kv.transfer_base_latency must be >= 0, got -1"),
    ],
)
def test_bad_options_are_refused(prepare, options, line):
    with pytest.raises(ScenarioError) as caught:
        prepare(store=host(**{"cpu_blocks": 10, **options}))
    assert str(caught.value) == line
