"""Where the reference is wrong about what it models: our figure, and in the docstring what it gave instead.

Steps take 100 + prompt tokens + 10 x decode tokens (µs), a block holds 16 tokens, unless said otherwise.
"""

import logging

import numpy as np

from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.kv_capacity import reference_kv_blocks
from blis_simpy.results.blis_report import metrics_rows
from blis_simpy.workload.arrivals import ConstantArrivals


def test_k1_replica_is_busy_until_its_step_ends(serve):
    """Reference: a batch that ended left the replica idle at once; r1 overlapped it: TTFT 200, E2E 310."""
    assert serve((100, 1, 1), (100, 2, 50)).column("e2e_us") == [200, 461]


def test_k2_one_chain_of_steps_after_a_timeout_empties_the_batch(serve):
    """r1 starts when the step under way ends, 220: TTFT 330 - 140, then 30 steps of 110.

    Reference: a second chain started at 140, both ran, and all was over at 1900.
    """
    served = serve((10, 200, 0, {"deadline": 130}), (10, 31, 140))
    assert served.column("e2e_us")[1] == 190 + 30 * 110
    assert served.result.summary["vllm_estimated_duration_s"] == 0.00363


def test_k2_replica_does_not_stall_when_all_who_wait_time_out(serve):
    """Reference: r2 and r3 were never served (1 completed, 2 still queued at the horizon)."""
    served = serve(
        (10, 1, 0), (10, 5, 0, {"deadline": 5}), (10, 5, 200), (10, 5, 5000), max_num_seqs=1, horizon=2_000_000
    )
    assert served.column("outcome") == ["completed", "timed_out", "completed", "completed"]
    assert served.column("e2e_us")[2:] == [550, 550]


def test_k3_deadline_of_a_finished_request_does_not_prolong_the_run(serve):
    """Reference: 1 s for 420 µs of work."""
    assert serve((100, 3, 0, {"deadline": 1_000_000})).result.summary["vllm_estimated_duration_s"] == 0.00042


def test_k4_lost_work_of_a_preempted_request_counts_once(serve):
    """It ends at 8580 and says so. Reference: 12404, for an end at 8564."""
    served = serve((32, 40, 0), (32, 40, 0), blocks=8)
    assert served.column("e2e_us") == served.column("finished_at_us") == [4840, 8580]
    assert served.column("itl_count") == [39, 39]


def test_k4_ttft_on_record_stays_until_the_new_prefill(serve):
    """r1 is evicted at 4004 and not back by the horizon; its first token at 164 still counts in the TTFT figures."""
    served = serve((32, 40, 0), (32, 40, 0), blocks=8, horizon=4100)
    assert served.column("ttft_us") == [164, 164]
    assert served.column("outcome") == ["running", "queued"]


def test_k5_output_tokens_are_those_of_completed_requests(serve):
    """4 + 1 + 3. Reference: 5, as first tokens did not count; and tokens of requests that were cut off did."""
    served = serve((20, 4, 0), (40, 1, 50), (10, 3, 60), (10, 90, 70, {"deadline": 2000}))
    assert served.result.summary["total_output_tokens"] == 8
    assert served.column("outcome")[3] == "timed_out"


class Census:
    """Latency model that reports who it was shown."""

    seen: list[tuple[int, int]]

    def __init__(self, inputs):
        self.seen = Census.seen = []

    def step_time(self, batch):
        self.seen.append((batch.size, batch.num_decodes))
        return 100

    def queueing_time(self, input_tokens):
        return 0

    def output_token_processing_time(self):
        return 0

    def post_decode_overhead(self):
        return 0


def test_k6_only_those_with_a_token_take_time(serve):
    """Budget 1, two empty prompts: both join at once for nothing, then take turns of being left out.

    Reference: step_time was shown both in each step.
    """
    serve((0, 3, 0), (0, 3, 0), max_num_batched_tokens=1, backend=Census)
    assert Census.seen == [(0, 0), (1, 1), (1, 1), (1, 1), (1, 1)]


def test_k7_first_token_is_set_once(serve):
    """Both have their first token in the first step, at 100; r1 decodes when r0 is done.

    Reference: r1's was moved on with every step in which it got no token.
    """
    assert serve((0, 3, 0), (0, 3, 0), max_num_batched_tokens=1).column("ttft_us") == [100, 100]


def test_k8_mean_gap_of_a_capped_request_counts_all_gaps(serve):
    """11 gaps of 110. Reference: 121, as the sum was divided by 10."""
    served = serve((20, 50, 0, {"max_output_tokens": 0}), max_model_len=32)
    assert served.column("itl_mean_us") == [110]
    assert next(metrics_rows(served.result.requests))["itl_ms"] == 0.11


def test_k9_failed_decode_loses_no_block(serve):
    """Reference: the four blocks of r0 were lost for good at its failed allocation, at 4004."""
    served = serve((32, 40, 0), (32, 40, 0), blocks=8)
    assert served.replica.kv_blocks.level == served.replica._kv.free_list_length() == 8
    assert served.result.steps["used_blocks"].max() <= 8


def test_k9_failed_admission_changes_nothing(serve):
    """c fails at 1190 and 1300: its cached blocks stay where they are. Reference: they moved to the tail each time."""
    shared = {"prefix": ("a", 64)}
    rows = ((64, 1, 0, shared), (90, 3, 1000), (80, 2, 1001, shared))
    blocked = serve(*rows, blocks=10, horizon=1310)
    assert [(part.position, part.length) for part in blocked.replica._kv._free if part.line] == [(0, 4)]
    assert blocked.hits == 0


def test_k10_request_that_can_never_fit_is_dropped_on_entry(serve):
    """32 + 40 tokens take 5 blocks of 4. Reference: it evicted itself for ever."""
    served = serve((32, 40, 0), blocks=4)
    assert served.column("outcome") == ["dropped"]
    assert served.result.summary["dropped_unservable"] == 1
    assert served.steps("start_us") == []


def test_k10_request_without_a_budget_is_dropped_when_it_outgrows_memory(serve):
    """64 tokens are stored after the prefill, 132, and 32 decodes of 110. Reference: it evicted itself for ever."""
    served = serve((32, 40, 0, {"max_output_tokens": 0}), (16, 1, 9000), blocks=4)
    assert served.column("outcome") == ["dropped", "completed"]
    assert served.column("finished_at_us")[0] == 132 + 32 * 110
    assert served.replica.kv_blocks.level == 4


def test_k10_request_that_outgrows_memory_is_told_of(serve, caplog):
    with caplog.at_level(logging.WARNING, logger="blis_simpy"):
        serve((32, 40, 0, {"max_output_tokens": 0}), blocks=4)
    assert "request_0" in caplog.text


def test_k10_request_that_outgrows_its_budget_and_memory_does_not_hang(serve):
    """A budget of 10 that is not kept, as the output has 40 tokens: 42 fit 4 blocks, 72 do not."""
    served = serve((32, 40, 0, {"max_output_tokens": 10}), blocks=4, horizon=100_000)
    assert served.column("outcome") == ["dropped"]


def test_k11_wholly_cached_prompt_computes_its_last_token(serve):
    """One block of two is found and one computed: a step of 116. Reference: a first token for free, at 100."""
    same = {"prefix": ("same", 32)}
    served = serve((32, 1, 0, same), (32, 1, 1000, same))
    assert served.column("ttft_us") == [132, 116]
    assert served.hits == 1


def test_k11_batch_never_exceeds_the_token_budget(serve):
    """Reference: cached prompts joined beyond it, as they took none of it."""
    same = {"prefix": ("same", 32)}
    served = serve(*[(32, 4, 1000 * bool(index), same) for index in range(8)], max_num_batched_tokens=32)
    assert max(decode + prefill for decode, prefill in served.steps("decode_tokens", "prefill_tokens")) <= 32


def test_k12_capacity_divides_the_free_memory_by_the_gpus():
    """Reference: with two GPUs about twice as many blocks as fit, as each holds only half of a block's bytes."""
    spec = Catalog.load().model("qwen/qwen3-14b")
    one, two = (reference_kv_blocks(spec, 80.0, tp) for tp in (1, 2))
    block_bytes = spec.num_layers * 2 * spec.kv_heads * (spec.head_dim or 128) * 2 * 16 / 2
    assert one < two
    assert two * block_bytes < 0.9 * 80 * 2**30


def test_k13_equal_arrivals_keep_the_order_of_the_workload(serve):
    """Reference: random. Ids sort otherwise, so this is no order by id."""
    served = serve((10, 1, 5, {"id": "b"}), (10, 1, 5, {"id": "a"}), (10, 1, 0, {"id": "c"}))
    assert [row["requestID"] for row in metrics_rows(served.result.requests)] == ["c", "b", "a"]


def test_k14_newer_copy_of_an_evicted_block_stays_findable(serve):
    """Four blocks. x and y both compute the same one-block prompt, as its last token is never taken from the cache.

    u takes the two blocks freed first, x's copy among them. z finds y's copy. Reference: 0 hits.
    """
    same = {"prefix": ("same", 16)}
    served = serve((16, 1, 0, same), (16, 1, 1000, same), (31, 1, 2000), (32, 0, 3000, same), blocks=4)
    assert served.hits == 1


def test_k18_constant_arrivals_are_rounded_to_the_nearest_tick():
    """Reference: 99999 µs at 10 requests a second."""
    gaps = ConstantArrivals().inter_arrival_times(np.random.default_rng(0), 10.0, 3)
    assert gaps.tolist() == [100_000] * 3
