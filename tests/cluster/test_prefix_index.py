"""The router's picture of who has which prefix, against one that hashes every token."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st
from policy_views import request

from blis_simpy.cluster.prefix_index import PrefixIndex
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span


class PerKey:
    """The specification to the letter: a list of tokens, a key for each block, one eviction at a time."""

    def __init__(self, block_size: int, capacity: int) -> None:
        self.block_size = block_size
        self.capacity = capacity
        self.seen: dict[int, OrderedDict[tuple[object, ...], None]] = {}

    def keys(self, request: Request) -> list[tuple[object, ...]]:
        tokens = [(s.stream, s.start + i) for s in request.content or () for i in range(s.tokens)]
        tokens = tokens[: request.input_tokens]
        tokens += [(("own", request.id), i) for i in range(request.input_tokens - len(tokens))]
        size = self.block_size
        return [tuple(tokens[: end * size]) for end in range(1, len(tokens) // size + 1)]

    def matched(self, request: Request) -> dict[int, int]:
        found: dict[int, int] = {}
        for replica, seen in self.seen.items():
            depth = 0
            for key in self.keys(request):
                if key not in seen:
                    break
                depth += 1
            if depth:
                found[replica] = depth
        return found

    def record(self, request: Request, replica: int) -> None:
        seen = self.seen.setdefault(replica, OrderedDict())
        for key in self.keys(request):
            if key in seen:
                seen.move_to_end(key)
                continue
            if len(seen) >= self.capacity:
                seen.popitem(last=False)
            seen[key] = None


@st.composite
def histories(draw):
    """Requests with shared beginnings, cut and continued anywhere, each with where it goes; some go twice."""
    spans = st.builds(Span, st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 9))
    requests = []
    for number in range(draw(st.integers(1, 14))):
        content = tuple(draw(st.lists(spans, max_size=3)))
        tokens = draw(st.integers(0, 24))
        requests.append(
            Request(id=f"r{number}", arrived_at=0, input_tokens=tokens, output_tokens=1, content=content or None)
        )
    return draw(st.lists(st.tuples(st.sampled_from(requests), st.integers(0, 3)), min_size=1, max_size=30))


@given(histories(), st.integers(1, 3), st.integers(1, 12))
def test_matches_are_those_of_a_set_of_keys_for_each_replica(history, block_size, capacity):
    index = PrefixIndex(block_size, capacity)
    plain = PerKey(block_size, capacity)
    for asked, replica in history:
        assert index.matched(asked) == plain.matched(asked)
        index.record(asked, replica)
        plain.record(asked, replica)
    for asked, _ in history:
        assert index.matched(asked) == plain.matched(asked)


def test_a_request_that_is_sent_again_finds_all_of_its_prompt():
    index = PrefixIndex(16)
    asked = request("r", 100, shared=48)
    index.record(asked, 2)
    assert index.matched(asked) == {2: 6}
    assert index.matched(request("other", 100, shared=48)) == {2: 3}


def test_a_prompt_beyond_the_capacity_drives_out_its_own_head():
    index = PrefixIndex(16, capacity=5)
    index.record(request("r", 96, shared=48), 0)
    assert index.matched(request("other", 96, shared=48)) == {}


def test_a_look_does_not_keep_a_prefix_from_being_forgotten():
    index = PrefixIndex(16, capacity=4)
    index.record(request("r", 32, shared=32), 0)
    index.record(request("s", 32), 0)
    assert index.matched(request("t", 32, shared=32)) == {0: 2}
    index.record(request("u", 16), 0)
    assert index.matched(request("t", 32, shared=32)) == {}


def test_what_is_kept_does_not_grow_with_the_length_of_a_prompt():
    index = PrefixIndex(1)
    index.record(request("r", 9_999, shared=2), 0)
    assert len(index._recency[0].items) == 3
    index.record(request("s", 10_000_000), 0)
    assert len(index._recency[0].items) == 1
    assert set(index._holders) == set()
