"""Steps worked out by hand: a step takes 100 + prompt tokens + 10 x decode tokens, a block holds 16 tokens."""

import pytest


def test_requests_join_leave_and_have_their_latencies(serve):
    """Entry takes 5 + in/2, each token 2 more to process.

    r0 enters at 15: step of 20 tokens, 120, ends 135, TTFT 137. r2 enters at 70, r1 at 75: step at 135 of 1 decode and
    50 prompt tokens, 160, ends 295: TTFT 297 - 60 = 237 and 297 - 50 = 247. Then two steps of two decodes, 120 each.
    E2E: r0 137 + 162 + 122 + 122 = 543, r1 247, r2 237 + 122 + 122 = 481. Output 4 + 1 + 3.
    """
    served = serve((20, 4, 0), (40, 1, 50), (10, 3, 60), alpha=(5.0, 0.5, 2.0))
    assert served.steps("start_us", "duration_us", "decode_tokens", "prefill_tokens", "batch_size") == [
        (15, 120, 0, 20, 1),
        (135, 160, 1, 50, 3),
        (295, 120, 2, 0, 2),
        (415, 120, 2, 0, 2),
    ]
    assert served.column("ttft_us") == [137, 247, 237]
    assert served.column("e2e_us") == [543, 247, 481]
    assert served.column("scheduling_delay_us") == [15, 85, 75]
    summary = served.result.summary
    assert (summary["total_input_tokens"], summary["total_output_tokens"]) == (70, 8)
    assert summary["vllm_estimated_duration_s"] == 0.000535
    assert summary["e2e_mean_ms"] == pytest.approx(0.4236666666666667)
    assert summary["e2e_p99_ms"] == pytest.approx(0.54176)
    assert summary["ttft_p95_ms"] == pytest.approx(0.246)
    assert (summary["itl_mean_ms"], summary["itl_p90_ms"]) == (pytest.approx(0.13), pytest.approx(0.146))
    assert summary["scheduling_delay_p99_ms"] == pytest.approx(0.0848)
    assert summary["responses_per_sec"] == pytest.approx(3 / 0.000535)
    assert summary["tokens_per_sec"] == pytest.approx(8 / 0.000535)


def test_arrival_inside_a_step_waits_for_its_end(serve):
    """r0 runs 1..201; r1, here at 50, starts at 201: TTFT 401 - 50 = 351, one decode of 110: E2E 461, end at 511."""
    served = serve((100, 1, 1), (100, 2, 50))
    assert served.column("ttft_us") == [200, 351]
    assert served.column("e2e_us") == [200, 461]
    assert served.result.summary["vllm_estimated_duration_s"] == 0.000511


def test_arrival_at_the_end_of_a_step_is_in_the_next(serve):
    assert serve((100, 1, 1), (100, 1, 201)).steps("start_us", "batch_size") == [(1, 1), (201, 1)]


def test_last_step_counts_beyond_the_horizon_with_its_start_only(serve):
    """The step of 110 starts at 20 and ends at 130, beyond the horizon: completed, but the run lasted 20."""
    served = serve((10, 1, 20), horizon=100)
    assert served.column("e2e_us") == [110]
    assert served.result.summary["vllm_estimated_duration_s"] == 0.00002
    at_once = serve((10, 1, 0), horizon=100).result.summary
    assert (at_once["completed_requests"], at_once["vllm_estimated_duration_s"]) == (1, 0.0)
    assert (at_once["responses_per_sec"], at_once["tokens_per_sec"]) == (0.0, 0.0)


def test_step_at_the_horizon_is_carried_out_and_one_after_it_is_not(serve):
    """Prefill ends at 110, decode steps start at 110, 220, 330, ..."""
    assert [start for (start,) in serve((10, 50, 0), horizon=330).steps("start_us")] == [0, 110, 220, 330]
    assert [start for (start,) in serve((10, 50, 0), horizon=329).steps("start_us")] == [0, 110, 220]


@pytest.mark.parametrize("macro_steps", [True, False])
def test_a_planned_step_at_the_horizon_is_carried_out(serve, macro_steps):
    served = serve((10, 50, 0), horizon=660, macro_steps=macro_steps)
    assert [start for (start,) in served.steps("start_us")] == [0, 110, 220, 330, 440, 550, 660]


def test_preempted_request_starts_over_and_finds_its_own_prompt(serve):
    """Eight blocks, two requests of 32 + 40 tokens.

    Step 0 takes 164; decode steps of 120 follow at 164, 284, ... The 33rd, at 4004, finds r0 in need of a fifth block:
    r1 is evicted, and the step takes 110. At 4114 r1 comes back: of its own prompt one block is found (the last token
    is always computed), so 16 tokens, and r0 decodes: 126, ends 4240, which is r1's TTFT. r0 has had 34 of its 39
    decodes; five steps of 120 end at 4840. r1 has had five of its own; 34 of 110 end at 8580.
    Blocks: r0 2 + 3, r1 2 + 2 and, the second time, 1 found + 1 + 3: 1 hit, 13 misses.
    """
    served = serve((32, 40, 0), (32, 40, 0), blocks=8)
    assert served.result.preemptions == [("request_1", 4004)]
    assert served.column("ttft_us") == [164, 4240]
    assert served.column("e2e_us") == [4840, 8580]
    assert served.column("num_preemptions") == [0, 1]
    assert (served.hits, served.misses) == (1, 13)
    assert served.result.summary["total_output_tokens"] == 80
    assert served.replica.kv_blocks.level == 8


def test_deadline_inside_the_last_step_comes_too_late(serve):
    """The last step starts at 110 and ends at 220; the request has completed when the deadline comes at 150."""
    served = serve((10, 2, 0, {"deadline": 150}))
    assert (served.column("outcome"), served.column("e2e_us")) == (["completed"], [220])


def test_deadline_inside_an_earlier_step_ends_a_request(serve):
    """Timed out at 150; the step under way was planned to end at 220, and so does the run. No token counts."""
    served = serve((10, 20, 0, {"deadline": 150}))
    assert (served.column("outcome"), served.column("ttft_us")) == (["timed_out"], [110])
    assert served.column("finished_at_us") == [150]
    assert served.result.summary["vllm_estimated_duration_s"] == 0.00022
    assert served.result.summary["total_output_tokens"] == 0


def test_deadline_at_the_end_of_a_step_lets_the_next_one_start_first(serve):
    """At 110 the last step starts before the timeout of the same tick has its turn."""
    assert serve((10, 2, 0, {"deadline": 110})).column("outcome") == ["completed"]
    assert serve((10, 2, 0, {"deadline": 109})).column("outcome") == ["timed_out"]


def test_deadline_that_has_passed_on_entry_never_waits(serve):
    """Entry takes 100; the request still counts as injected with its prompt."""
    served = serve((10, 2, 0, {"deadline": 100}), alpha=(100.0, 0.0, 0.0))
    assert served.column("outcome") == ["timed_out"]
    assert served.result.summary["total_input_tokens"] == 10
    assert served.steps("start_us") == []


@pytest.mark.parametrize(
    ("lengths", "ttft", "e2e", "generated", "gap"),
    [((20, 50), 120, 120 + 11 * 110, 12, 110), ((31, 5), 131, 131, 1, 0)],
)
def test_maximum_length_ends_a_request_one_token_short_of_it(serve, lengths, ttft, e2e, generated, gap):
    """At 32 tokens, 31 are stored: after a prompt of 20, eleven decode tokens follow the first; after 31, none."""
    served = serve((*lengths, 0, {"max_output_tokens": 0}), max_model_len=32)
    assert served.column("length_capped") == [True]
    assert (served.column("ttft_us"), served.column("e2e_us")) == ([ttft], [e2e])
    assert (served.column("generated_tokens"), served.column("itl_mean_us")) == ([generated], [gap])


def test_token_budget_of_one_serves_prompts_token_by_token(serve):
    """Blocks of 2, budget 1, and one prompt of 2 tokens three times. Its only full block is not looked up.

    r0: two steps of 101, TTFT 202. r1, at 1000: likewise, then two decodes of 110: E2E 422. While it runs nobody else
    gets a token, so r2 starts at 1422: TTFT 422 + 202 = 624, E2E 844.
    """
    same = {"prefix": ("same", 2)}
    served = serve((2, 1, 0, same), (2, 3, 1000, same), (2, 3, 1000, same), block_size=2, max_num_batched_tokens=1)
    assert served.column("ttft_us") == [202, 202, 624]
    assert served.column("e2e_us") == [202, 422, 844]
    assert (served.hits, served.misses) == (0, 8)


class WithOverheads:
    """Step time by the usual line, 3 µs to process a token, 7 µs once a request."""

    def __init__(self, inputs):
        del inputs

    def step_time(self, batch):
        return 100 + sum(member.new_tokens for member in batch.prefills) + 10 * batch.num_decodes

    def queueing_time(self, input_tokens):
        return 0

    def output_token_processing_time(self):
        return 3

    def post_decode_overhead(self):
        return 7


@pytest.mark.parametrize(("output", "e2e", "generated"), [(0, 113, 0), (1, 113 + 7, 1), (2, 113 + 113 + 7, 2)])
def test_overheads_are_added_to_the_latencies_of_a_request(serve, output, e2e, generated):
    """TTFT 110 + 3. No output: nothing more. One token: 7 more. Two: a gap of 110 + 3 as well."""
    served = serve((10, output, 0), backend=WithOverheads)
    assert (served.column("ttft_us"), served.column("e2e_us")) == ([113], [e2e])
    assert served.column("generated_tokens") == [generated]
    assert served.column("finished_at_us") == [110 + 110 * (output == 2)]


def test_blocked_head_of_queue_does_not_starve_decodes(serve):
    """r0 holds all but one block; r1 does not fit until r0 is done, and r2, which would fit, waits behind it."""
    served = serve((64, 16, 0), (32, 1, 10), (1, 1, 20), blocks=6)
    assert served.column("scheduled_at_us") == [0, 164 + 15 * 110, 164 + 15 * 110]
    assert served.column("e2e_us")[0] == 164 + 15 * 110


def test_requests_that_end_in_one_step_free_their_blocks_in_the_order_of_the_batch(serve):
    """r0, with a prompt of three chunks, and r1, with three tokens, end in the third step and fill all 9 blocks.

    r2 takes the 5 that were freed first, those of r0, so that r3 still finds both blocks of r1.
    """
    served = serve(
        (96, 1, 0, {"prefix": ("a", 96)}),
        (32, 3, 0, {"prefix": ("b", 32)}),
        (80, 1, 10_000),
        (33, 1, 20_000, {"prefix": ("b", 32)}),
        blocks=9,
        block_size=16,
        long_prefill_token_threshold=32,
    )
    assert len(set(served.column("finished_at_us")[:2])) == 1
    assert served.column("cached_tokens") == [0, 0, 0, 32]
