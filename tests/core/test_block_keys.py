"""Keys of blocks: equal content after equal content, however it is cut into spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.core.block_keys import BlockHasher
from blis_simpy.core.token_spans import ContinuedSpans, Span
from blis_simpy.native import is_compiled


def keys_of(hasher: BlockHasher, *spans: Span) -> list[int]:
    return list(hasher.keys(spans))


def test_equal_beginnings_have_equal_keys_and_nothing_else_does():
    hasher = BlockHasher(4)
    whole = keys_of(hasher, Span("a", 0, 12))
    assert len(set(whole)) == 3
    assert keys_of(hasher, Span("a", 0, 8), Span("b", 0, 4))[:2] == whole[:2]
    assert not set(keys_of(hasher, Span("b", 0, 4), Span("a", 4, 8))) & set(whole)


def test_where_a_stream_is_cut_does_not_matter():
    hasher = BlockHasher(4)
    assert keys_of(hasher, Span("a", 0, 3), Span("a", 3, 6)) == keys_of(hasher, Span("a", 0, 9))
    assert keys_of(hasher, Span("a", 0, 4), Span("a", 5, 4))[1:] != keys_of(hasher, Span("a", 0, 8))[1:]


def test_only_full_blocks_of_the_prompt_are_shared():
    hasher = BlockHasher(4)
    content = (Span("a", 0, 10),)
    assert not hasher.shared(None, 100)
    assert list(hasher.shared(content, 100)) == keys_of(hasher, *content)
    assert len(hasher.shared(content, 100)) == 2
    assert list(hasher.shared(content, 7)) == keys_of(hasher, *content)[:1]


def test_fresh_keys_equal_no_other():
    hasher = BlockHasher(4)
    before = keys_of(hasher, Span("a", 0, 8))
    fresh = [*hasher.fresh(2), *hasher.fresh(1)]
    after = keys_of(hasher, Span("b", 0, 4))
    assert len({*before, *fresh, *after}) == 6


spans = st.builds(Span, st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 9))
contents = st.lists(spans, max_size=5).map(tuple)


@given(st.lists(contents, min_size=1, max_size=8), st.integers(1, 4))
def test_two_blocks_have_one_key_if_and_only_if_all_tokens_up_to_their_ends_are_equal(contents, block_size):
    hasher = BlockHasher(block_size)
    of_key, of_tokens = {}, {}
    for content in contents:
        tokens = [(span.stream, span.start + offset) for span in content for offset in range(span.tokens)]
        keys = list(hasher.keys(content))
        assert len(keys) == len(tokens) // block_size
        for end, key in enumerate(keys, start=1):
            block = tuple(tokens[: end * block_size])
            assert of_key.setdefault(key, block) == block
            assert of_tokens.setdefault(block, key) == key


@given(st.lists(contents, min_size=1, max_size=6), st.lists(contents, max_size=3), st.integers(1, 4))
def test_a_content_that_goes_on_has_the_keys_of_the_same_spans_made_at_once(rounds, others, block_size):
    hasher = BlockHasher(block_size)
    for other in others:
        hasher.keys(other)
    content = rounds[0]
    for added in rounds[1:]:
        hasher.keys(content)
        content = ContinuedSpans.of(content, *added)
        assert content == tuple(content)
        assert list(hasher.keys(content)) == list(hasher.keys(tuple(content)))
        assert hasher.num_tokens(content) == sum(span.tokens for span in content)


@given(contents, spans, st.integers(1, 4))
def test_spans_behind_a_content_have_the_keys_of_one_content(content, span, block_size):
    hasher = BlockHasher(block_size)
    assert list(hasher.keys(content, span)) == list(hasher.keys((*content, span)))


def test_a_conversation_is_one_line():
    """Each round adds a question and an answer; 30 rounds have one run of keys."""
    hasher = BlockHasher(16)
    content = (Span("system", 0, 100),)
    for number in range(30):
        content = ContinuedSpans.of(content, Span(f"q{number}", 0, 50), Span(f"a{number}", 0, 33))
        assert hasher.keys(content).runs == [(1, len(hasher.keys(content)))]


@pytest.mark.skipif(is_compiled(), reason="counts calls of a method, which compiled code does not look up")
def test_a_round_hashes_only_what_it_adds(monkeypatch):
    hashed = []
    hasher = BlockHasher(16)
    advance = hasher._advance
    monkeypatch.setattr(hasher, "_advance", lambda walk, span: (hashed.append(span), advance(walk, span)))
    content = (Span("system", 0, 100), Span("first", 0, 9))
    for number in range(200):
        content = ContinuedSpans.of(content, Span(f"q{number}", 0, 50), Span(f"a{number}", 0, 33))
        hasher.keys(content)
        hasher.shared(content, 10_000_000)
    assert len(hashed) == 2 + 2 * 200


def test_keys_of_the_first_blocks():
    hasher = BlockHasher(1)
    hasher.keys((Span("a", 0, 5),))
    keys = hasher.keys((Span("a", 0, 3), Span("b", 0, 4)))
    assert keys.runs == [(1, 3), (2, 4)]
    assert [keys.first(blocks).runs for blocks in (0, 2, 3, 5, 9)] == [
        [], [(1, 2)], [(1, 3)], [(1, 3), (2, 2)], [(1, 3), (2, 4)]
    ]  # fmt: skip
    assert list(keys.first(5)) == list(keys)[:5]
