"""Keys of blocks: equal content after equal content, however it is cut into spans."""

from __future__ import annotations

from blis_simpy.core.token_spans import BlockHasher, Span


def test_equal_beginnings_have_equal_keys_and_nothing_else_does():
    keys = BlockHasher(4)
    whole = keys.chain((Span("a", 0, 12),))
    assert len(set(whole)) == 3
    assert keys.chain((Span("a", 0, 8), Span("b", 0, 4)))[:2] == whole[:2]
    assert not set(keys.chain((Span("b", 0, 4), Span("a", 4, 8)))) & set(whole)


def test_where_a_stream_is_cut_does_not_matter():
    keys = BlockHasher(4)
    assert keys.chain((Span("a", 0, 3), Span("a", 3, 6))) == keys.chain((Span("a", 0, 9),))
    assert keys.chain((Span("a", 0, 4), Span("a", 5, 4)))[1:] != keys.chain((Span("a", 0, 8),))[1:]


def test_only_full_blocks_of_the_prompt_are_shared():
    keys = BlockHasher(4)
    content = (Span("a", 0, 10),)
    assert keys.shared(None, 100) == []
    assert keys.shared(content, 100) == keys.chain(content)
    assert len(keys.shared(content, 100)) == 2
    assert keys.shared(content, 7) == keys.chain(content)[:1]


def test_fresh_keys_equal_no_other():
    keys = BlockHasher(4)
    before = keys.chain((Span("a", 0, 8),))
    fresh = [*keys.fresh(2), *keys.fresh(1)]
    after = keys.chain((Span("b", 0, 4),))
    assert len({*before, *fresh, *after}) == 6
