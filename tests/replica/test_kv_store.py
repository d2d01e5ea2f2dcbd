"""The prefix cache, worked out by hand: blocks of 16 tokens, steps of 100 + prompt tokens + 10 x decode tokens."""

import pytest

from blis_simpy.core.token_spans import Span
from blis_simpy.latency.blackbox import Blackbox

PREFIX = {"prefix": ("group", 50)}


def test_later_prompt_skips_the_blocks_it_shares(serve):
    """64 tokens, 50 shared. r0: 5 new blocks, step of 164. r1: 48 tokens found, 16 computed in 116; 3 hits."""
    served = serve((64, 2, 0, PREFIX), (64, 2, 1000, PREFIX))
    assert served.column("ttft_us") == [164, 116]
    assert (served.hits, served.misses) == (3, 7)
    assert served.result.kv_rates["cache_hit_rate"] == pytest.approx(0.3)
    assert served.replica.observe().used_blocks == 0


def test_prompt_admitted_in_the_same_step_hits_what_is_only_about_to_be_computed(serve):
    """One step of 64 + 16 tokens, 180, for both."""
    served = serve((64, 2, 0, PREFIX), (64, 2, 0, PREFIX))
    assert served.column("ttft_us") == [180, 180]
    assert (served.hits, served.misses) == (3, 7)


def test_prompts_in_tandem_duplicate_blocks_and_the_newest_is_found(serve):
    """Chunks of 32. Step 0: a computes 0..31, b finds them and computes 32..63: b has its first token at 164.

    Step 164: a computes 32..63 again, beside b's decode: 142, so a's TTFT is 306. c finds all four blocks and computes
    its last 4 tokens in 104. Hits 2 + 4, misses a 4 + 1, b 2 + 1, c 1.
    """
    same = {"prefix": ("same", 64)}
    served = serve((64, 2, 0, same), (64, 2, 0, same), (68, 1, 1000, same), blocks=40, long_prefill_token_threshold=32)
    assert served.column("ttft_us") == [306, 164, 104]
    assert (served.hits, served.misses) == (6, 9)


def test_cached_blocks_on_the_free_list_count_against_an_admission(serve):
    """Ten blocks. a leaves four cached ones free; b takes the six others. c finds the four, and needs one more.

    There is none until b ends at 1190 + 110 + 110 = 1410: a delay of 409. Then 16 tokens in 116.
    Hits 4; misses a 4 + 1 for its last token, b 6, c 1 + 1.
    """
    shared = {"prefix": ("a", 64)}
    served = serve((64, 1, 0, shared), (90, 3, 1000), (80, 2, 1001, shared), blocks=10)
    assert served.column("scheduling_delay_us") == [0, 0, 409]
    assert served.column("ttft_us")[2] == 409 + 116
    assert (served.hits, served.misses) == (4, 13)


def test_the_start_of_a_prompt_is_evicted_last(serve):
    """Seven blocks. a leaves two that never were in use, one without content, and its own four, deepest first.

    b takes five: those three and the two deepest. c finds the first two blocks of its prompt.
    """
    shared = {"prefix": ("a", 64)}
    served = serve((64, 1, 0, shared), (80, 0, 1000), (64, 0, 2000, shared), blocks=7)
    assert served.hits == 2


def test_answer_is_found_by_the_next_round_of_a_conversation(serve):
    """The first round stores 20 + 12 tokens in two full blocks; the second sends them back with 8 more."""
    prompt, answer = Span("prompt", 0, 20), Span("answer", 0, 12)
    served = serve(
        (20, 12, 0, {"content": (prompt,), "output_stream": "answer"}),
        (40, 1, 5000, {"content": (prompt, answer)}),
    )
    assert served.hits == 2
    assert served.column("ttft_us")[1] == 100 + 8


@pytest.mark.parametrize(("block_size", "hits"), [(1, 4), (2, 3)])
def test_in_the_reference_a_block_of_a_single_output_token_is_not_found(serve, block_size, hits):
    """The first round stores 4 + 3 tokens: four blocks of the prompt, or three of two tokens each."""
    prompt, answer = Span("prompt", 0, 4), Span("answer", 0, 3)
    served = serve(
        (4, 3, 0, {"content": (prompt,), "output_stream": "answer"}),
        (20, 1, 5000, {"content": (prompt, answer)}),
        block_size=block_size,
    )
    assert served.hits == hits


def test_in_the_reference_the_output_of_an_empty_prompt_is_not_found(serve):
    answer = Span("answer", 0, 40)
    served = serve((0, 40, 0, {"output_stream": "answer"}), (50, 1, 10_000, {"content": (answer,)}))
    assert served.column("outcome") == ["completed", "completed"]
    assert served.hits == 0


def test_content_after_different_starts_is_not_shared(serve):
    """Block 1 of both prompts holds the same tokens of one stream, after different first blocks."""
    shared = Span("shared", 0, 16)
    served = serve(
        (33, 1, 0, {"content": (Span("one", 0, 16), shared)}), (33, 1, 1000, {"content": (Span("two", 0, 16), shared)})
    )
    assert served.hits == 0


def test_adjacent_spans_of_one_stream_are_one(serve):
    served = serve(
        (33, 1, 0, {"content": (Span("s", 0, 32),)}),
        (33, 1, 1000, {"content": (Span("s", 0, 10), Span("s", 10, 22))}),
    )
    assert served.hits == 2


def test_latency_model_sees_the_cached_part_of_a_prompt_that_joins(serve):
    """64 tokens, 50 shared, chunks of 8: the second request joins behind 48 cached tokens, and then has computed 56.

    For a request that joins, `progress` counts none of them, as in the reference.
    """
    seen = []

    class Spy(Blackbox):
        def step_time(self, batch):
            seen.extend(batch.prefills)
            return super().step_time(batch)

    serve((64, 1, 0, PREFIX), (64, 1, 1000, PREFIX), backend=Spy, long_prefill_token_threshold=8)
    assert [(m.progress, m.new_tokens, m.cached_tokens) for m in seen[-2:]] == [(0, 8, 48), (56, 8, 0)]
    assert [(m.progress, m.cached_tokens) for m in seen[:2]] == [(0, 0), (8, 0)]
