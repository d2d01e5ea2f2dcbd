"""Sessions of calls from files: which call waits for which, and what its prompt repeats."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blis_simpy as blis
from blis_simpy import Call, CallGraph, Span
from blis_simpy.errors import WorkloadTraceError
from blis_simpy.trace_files.importers.weka import first_fit, shortened_gaps

TRACES = Path(__file__).parents[1] / "data" / "traces"
MS, SECOND = 1000, 1_000_000


def written(path, *values):
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values))
    return path


def calls(graph, *names):
    return [tuple(getattr(call, name) for name in names) for call in graph.calls]


def weka(tmp_path, *requests, **fields):
    values = {"id": "a", "block_size": 64, "requests": list(requests), **fields}
    return blis.load_trace(written(tmp_path / "w.jsonl", values)).sessions[0]


def plain(t, tokens, out=1, api=0, **fields):
    return {"t": t, "type": "n", "in": tokens, "out": out, "api_time": api, **fields}


def test_weka_prompt_that_is_shorter_than_the_context_is_a_compaction(tmp_path):
    """1,000, 1,300 and 600 tokens after outputs of 100 and 200: 200 new ones, then 600 < 1,300 + 200."""
    graph = weka(tmp_path, plain(0, 1000, 100), plain(1, 1300, 200), plain(2, 600, 50))
    assert calls(graph, "context", "input_tokens", "after") == [
        ("fresh", 1000, ()),
        ("append", 200, (0,)),
        ("compact", 0, (1,)),
    ]
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=blis.SessionWorkload(sessions=[graph]))
    assert scenario.run().requests["input_tokens"].tolist() == [1000, 1300, 600]


def test_weka_wait_is_recorded_or_the_time_from_the_end_of_the_request_before(tmp_path):
    graph = weka(tmp_path, plain(0, 1, api=2), plain(5, 9, api=3), plain(6, 20), plain(9, 30, think_time=0.25))
    assert [call.wait_us for call in graph.calls] == [0, 3 * SECOND, 0, 250 * MS]


def test_weka_hashes_are_the_content_of_prompts(tmp_path):
    """150 tokens in blocks of 64; the second prompt shares the first block."""
    graph = weka(tmp_path, plain(0, 150, hash_ids=[7, 8, 9]), plain(1, 100, hash_ids=[7, 5]))
    assert [call.content for call in graph.calls] == [
        (Span("a:hash:7", 0, 64), Span("a:hash:8", 0, 64), Span("a:hash:9", 0, 22)),
        (Span("a:hash:7", 0, 64), Span("a:hash:5", 0, 36)),
    ]


def test_weka_sub_agent_has_parallel_streams_that_the_main_agent_waits_for(tmp_path):
    """Requests (0, 5), (1, 2), (3, 1), (6, 1) from 10 s on: streams of 1st and 4th, and of 2nd and 3rd."""
    inner = [plain(t, 20, api=api) for t, api in ((0, 5), (1, 2), (3, 1), (6, 1))]
    entry = {"t": 10, "type": "subagent", "agent_id": "x", "duration_ms": 7000, "requests": inner}
    graph = weka(tmp_path, plain(0, 10, api=9), entry, plain(18, 50))
    assert calls(graph, "started_us", "after", "context") == [
        (0, (), "fresh"),
        (10 * SECOND, (0,), "fresh"),
        (11 * SECOND, (0,), "fresh"),
        (13 * SECOND, (2,), "compact"),
        (16 * SECOND, (1,), "compact"),
        (18 * SECOND, (0, 4, 3), "append"),
    ]
    assert graph.calls[5].wait_us == 1 * SECOND


@pytest.mark.parametrize(("t", "started"), [(2, 12), (11, 11)])
def test_weka_time_of_a_sub_agent_counts_from_its_entry_if_it_is_smaller(tmp_path, t, started):
    entry = {"t": 10, "type": "subagent", "requests": [plain(t, 20)]}
    assert weka(tmp_path, plain(0, 10), entry).calls[1].started_us == started * SECOND


def test_weka_idle_time_may_be_capped(tmp_path):
    path = written(tmp_path / "w.jsonl", {"id": "a", "block_size": 1, "requests": [plain(t, 9) for t in (0, 100, 105)]})
    (graph,) = blis.load_trace(path, idle_cap="10s").sessions
    assert [call.started_us for call in graph.calls] == [0, 10 * SECOND, 15 * SECOND]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=20).map(sorted))
def test_streams_have_all_requests_and_none_overlap(requests):
    streams = first_fit(requests)
    assert sorted(place for stream in streams for place in stream) == list(range(len(requests)))
    for stream in streams:
        for before, place in pairwise(stream):
            assert sum(requests[before]) <= requests[place][0]


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 20))
def test_shortened_gaps_keep_the_order_and_gaps_below_the_cap(starts, cap):
    found = sorted(shortened_gaps(starts, cap))
    gaps = [late - early for early, late in pairwise(sorted(starts))]
    assert [late - early for early, late in pairwise(found)] == [min(gap, cap) for gap in gaps]


def test_otel_call_waits_for_the_one_whose_output_it_repeats():
    """The tool between them is no call; the call with an error is left out."""
    trace = blis.load_trace(TRACES / "otel.json")
    first, second = trace.sessions
    assert calls(first, "started_us", "after", "context", "input_tokens", "wait_us") == [
        (0, (), "fresh", 100, 0),
        (3500 * MS, (0,), "append", 30, 1500 * MS),
    ]
    assert (second.name, second.started_us) == ("t2", SECOND)
    assert len(blis.load_trace(TRACES / "otel.json", errors=True)) == 4


def span(start, end, tokens, *answers, output=""):
    messages = [{"role": "assistant", "content": answer} for answer in answers]
    attributes = {
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.input.messages": messages,
        "gen_ai.output.messages": [{"role": "assistant", "content": output}],
    }
    times = {"start_time": start * 10**9, "end_time": end * 10**9}
    return {"name": "chat", "trace_id": "t", **times, "attributes": attributes}


def test_otel_edges_that_follow_from_others_are_left_out(tmp_path):
    """The third call repeats both earlier outputs, the fourth none: it waits for the call that ended last before it."""
    path = written(
        tmp_path / "o.jsonl",
        span(0, 1, 10, output="a"),
        span(1, 2, 20, "a", output="b"),
        span(3, 4, 30, "a", "b", output="c"),
        span(5, 6, 7),
    )
    (graph,) = blis.load_trace(path).sessions
    assert [call.after for call in graph.calls] == [(), (0,), (1,), (2,)]
    assert [call.context for call in graph.calls] == ["fresh", "append", "append", "fresh"]


def test_mooncake_delays_count_from_the_end_of_the_round_before_in_a_closed_replay(tmp_path):
    path = written(
        tmp_path / "m.jsonl",
        {"session_id": "a", "timestamp": 0, "input_length": 100, "output_length": 5, "hash_ids": [0]},
        {"session_id": "b", "timestamp": 500, "input_length": 100, "output_length": 5, "hash_ids": [0]},
        {"session_id": "a", "delay": 1500, "tool_wait_ms": 500, "input_length": 90, "output_length": 7},
        {"session_id": "c", "wait_for": ["a", "b"], "delay": 10, "input_length": 80, "output_length": 1},
    )
    trace = blis.load_trace(path)
    (graph,) = trace.sessions
    assert calls(graph, "after", "wait_us", "prompt_tokens") == [
        ((), 0, 100),
        ((), 0, 100),
        ((0,), 2000 * MS, 90),
        ((2, 1), 10 * MS, 80),
    ]
    assert graph.calls[0].content == graph.calls[1].content == (Span("hash:0", 0, 100),)


def test_mooncake_row_may_not_wait_for_a_later_one(tmp_path):
    row = {"session_id": "a", "timestamp": 0, "wait_for": "b", "input_length": 1, "output_length": 1}
    with pytest.raises(WorkloadTraceError, match=r"wait_for must be a session with an earlier row, got 'b' \(line 1\)"):
        blis.load_trace(written(tmp_path / "m.jsonl", row))


NAMES = st.text("abc:#é ", min_size=1, max_size=4)


@st.composite
def graphs(draw, name):
    made = []
    has_starts = draw(st.booleans())
    for position in range(draw(st.integers(1, 5))):
        parents = draw(st.sets(st.integers(0, position - 1), max_size=3)) if position else ()
        tokens = draw(st.integers(1, 50))
        content = draw(st.sampled_from([(), (Span("x y", 2, 1),)]))
        made.append(
            Call(
                input_tokens=tokens,
                output_tokens=draw(st.integers(1, 50)),
                after=tuple(sorted(parents)),
                wait_us=draw(st.integers(0, 10**7)),
                context=draw(st.sampled_from(["append", "join", "fresh", "compact"])),
                summary_tokens=draw(st.integers(0, 9)),
                prompt_tokens=draw(st.integers(1, 9)) if content else None,
                content=content,
                started_us=draw(st.integers(0, 10**7)) if has_starts else None,
                client=draw(NAMES | st.just("")),
            )
        )
    prefix = draw(st.sampled_from([(), (Span("tools", 0, 7),)]))
    return CallGraph(name=name, calls=tuple(made), prefix=prefix, started_us=draw(st.integers(0, 10**9)))


@given(st.lists(NAMES, min_size=1, max_size=3, unique=True).flatmap(lambda names: st.tuples(*map(graphs, names))))
def test_written_sessions_are_read_as_they_were(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("sessions") / "s.jsonl"
    blis.write_sessions(path, made)
    assert blis.load_trace(path, format="sessions").sessions == made


@pytest.mark.parametrize("name", ["sessions.jsonl", "weka.jsonl", "otel.json"])
@pytest.mark.parametrize("replay", ["closed", "open", "fixed-accumulate"])
def test_every_sample_can_be_simulated(name, replay):
    trace = blis.load_trace(TRACES / name)
    workload = {"sessions": str(TRACES / name), "replay": replay}
    result = blis.Scenario(model="qwen/qwen3-14b", workload=workload).run()
    assert result.summary["completed_requests"] == len(trace)
    if replay == "open":
        assert sorted(result.requests["arrived_at_us"].tolist()) == trace.columns["arrival_time_us"].tolist()
    if replay != "fixed-accumulate":
        assert sorted(result.requests["input_tokens"].tolist()) == sorted(trace.columns["input_tokens"].tolist())


@pytest.mark.parametrize(
    ("calls", "rule"),
    [
        ([{"input": 2**62, "output": 1}], f"calls[0].input_tokens must be <= 2147483647, got {2**62} (line 1)"),
        (
            [{"input": 1, "output": 1, "wait_ms": 9e14, "after": [str(n - 1)] if n else []} for n in range(6)],
            "session must start its calls before 2**62 us, got 'a'",
        ),
    ],
)
def test_figures_beyond_64_bits_are_named(tmp_path, calls, rule):
    path = written(tmp_path / "sessions.jsonl", {"session": "a", "calls": calls})
    with pytest.raises(WorkloadTraceError) as caught:
        blis.load_trace(path)
    assert str(caught.value) == f"{path}: {rule}"
