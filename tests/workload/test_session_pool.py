"""Sessions of calls: worked by hand, with steps of 1 s, so that a call with n outputs takes n s (profile ``blis``)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blis_simpy as blis
from blis_simpy import AgentSessions, Call, CallGraph, SessionWorkload, Span
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError

S = blis.SECOND


def call(seconds, *after, wait=0, new=1, **options):
    return Call(input_tokens=new, output_tokens=seconds, after=after, wait_us=wait * S, **options)


def graph(*calls, name="s", **options):
    return CallGraph(name=name, calls=calls, **options)


def run(*graphs, blocks=10_000, engine=None, horizon=None, **options):
    scenario = blis.Scenario(
        model="my/model",
        engine={"profile": "blis", **(engine or {})},
        kv={"blocks": blocks, "block_size": 1},
        latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(S, 0, 0)),
        workload=SessionWorkload(sessions=list(graphs), **options),
        horizon=horizon,
    )
    return scenario.run()


def column(result, name):
    return result.requests[name].tolist()


def starts(result):
    return {row[0]: row[1] // S for row in zip(column(result, "id"), column(result, "arrived_at_us"), strict=True)}


FAN_OUT = (call(2, new=10), call(3, 0), call(5, 0), call(1, 1, 2, wait=1, context="join"))
"""A (2 s), then B (3 s) and C (5 s) in parallel, then D (1 s) after a wait of 1 s."""


def test_session_takes_as_long_as_its_critical_path():
    """A, C and D: 2 + 5 + 1 + 1 = 9 s."""
    result = run(graph(*FAN_OUT))
    assert starts(result) == {"s_call_0": 0, "s_call_1": 2, "s_call_2": 2, "s_call_3": 8}
    row = {name: values.tolist()[0] for name, values in result.sessions.items()}
    assert (row["duration_us"], row["service_us"], row["pause_us"]) == (9 * S, 8 * S, 1 * S)
    phases = [row[f"path_{phase}_us"] for phase in ("queue", "prefill", "decode", "wait")]
    assert (row["path_requests"], phases) == (3, [0, 3 * S, 5 * S, 1 * S])


def test_calls_in_flight_are_those_that_wait_for_no_other():
    """Two slots are enough for the fan-out; with one, C starts after B."""
    assert run(graph(*FAN_OUT), engine={"max_num_seqs": 2}).sessions["duration_us"].tolist() == [9 * S]
    result = run(graph(*FAN_OUT), engine={"max_num_seqs": 1})
    assert result.sessions["duration_us"].tolist() == [2 * S + 3 * S + 5 * S + 1 * S + 1 * S]
    assert result.sessions["path_queue_us"].tolist() == [3 * S]


def test_prompt_repeats_what_its_context_says():
    """Prefix 20: fresh 20 + 3; append 23 + 2 + 4; join 29 + 2 + 5 + 1; compact 20 + 7 + 2."""
    calls = (
        call(2, new=3),
        call(2, 0, new=4),
        call(5, 0, new=6, context="fresh"),
        call(1, 1, 2, new=1, context="join"),
        call(1, 3, new=2, context="compact", summary_tokens=7),
    )
    result = run(graph(*calls, prefix=(Span("tools", 0, 20),)))
    assert column(result, "input_tokens") == [23, 29, 26, 37, 29]
    # The profile finds prompts again, not outputs; after a compaction, the shared prefix only.
    assert column(result, "cached_tokens") == [0, 23, 20, 29, 20]


def test_outputs_are_found_again_where_the_engine_keeps_them():
    """Prompts of 23, 23 + 9 + 4 and 36 + 6 + 1; the last output of a request is never computed."""
    result = run(graph(call(9, new=23), call(6, 0, new=4), call(1, 1)), engine={"profile": "vllm"})
    assert column(result, "input_tokens") == [23, 36, 43]
    assert column(result, "cached_tokens") == [0, 31, 41]


def test_recorded_prompts_are_repeated_as_they_are():
    first = call(1, new=8, prompt_tokens=8, content=(Span("a", 0, 6),))
    second = call(1, 0, new=3, prompt_tokens=9, content=(Span("a", 0, 6), Span("b", 0, 2)))
    assert column(run(graph(first, second)), "input_tokens") == [8, 9]
    assert column(run(graph(first, second)), "cached_tokens") == [0, 6]


def test_a_repeated_session_finds_only_the_prefix_of_its_copy():
    """With a prefix of 4 of 10 prompt tokens, recorded or not."""
    prefix = (Span("tools", 0, 4),)
    plain = graph(call(1, new=6), prefix=prefix)
    recorded = graph(call(1, new=6, prompt_tokens=10, content=(Span("tools", 0, 4), Span("a", 0, 6))), prefix=prefix)
    for one in (plain, recorded):
        result = run(one, num_sessions=3, concurrent=1)
        assert column(result, "session") == ["s", "s#1", "s#2"]
        assert column(result, "cached_tokens") == [0, 4, 4]


def test_pool_starts_a_session_when_one_ends():
    result = run(*(graph(call(n), name=name) for name, n in zip("abcd", (3, 1, 1, 2), strict=True)), concurrent=2)
    assert starts(result) == {"a_call_0": 0, "b_call_0": 0, "c_call_0": 1, "d_call_0": 2}


@pytest.mark.parametrize(
    ("replay", "at", "inputs"),
    [("closed", [0, 3], [5, 8]), ("open", [0, 7], [5, 8]), ("fixed-accumulate", [0, 7], [5, 5 + 2 + 8])],
)
def test_replay_decides_when_calls_start_and_what_they_repeat(replay, at, inputs):
    """The second call was recorded 7 s after the first one, which takes 2 s, with a prompt of its own of 8 tokens."""
    one = graph(
        call(2, new=5, started_us=0), call(1, 0, new=8, wait=1, context="fresh", started_us=7 * S), started_us=50
    )
    result = run(one, replay=replay)
    assert [tick // S for tick in column(result, "arrived_at_us")] == at
    assert column(result, "input_tokens") == inputs


def test_recorded_starts_of_sessions_are_kept_without_a_limit():
    graphs = [graph(call(1), name=name, started_us=at * S) for name, at in (("a", 5), ("b", 9))]
    assert starts(run(*graphs)) == {"a_call_0": 0, "b_call_0": 4}
    assert starts(run(*graphs, concurrent=2)) == {"a_call_0": 0, "b_call_0": 0}


def test_closed_replay_reproduces_the_recorded_starts_if_services_are_equal():
    begin, calls = [], []
    for number, one in enumerate(FAN_OUT):
        begin.append([0, 2, 2, 8][number])
        calls.append(call(one.output_tokens, *one.after, wait=one.wait_us // S, started_us=begin[-1] * S))
    assert starts(run(graph(*calls))) == starts(run(graph(*calls), replay="open"))


def test_a_failed_call_cancels_those_that_wait_for_it():
    """The second call has its third output in a step at 3 s, after its deadline at 2.5 s."""
    calls = (call(1), call(3, 0), call(1, 1), call(1, 0))
    result = run(graph(*calls), timeout=int(1.5 * S))
    assert column(result, "outcome") == ["completed", "timed_out", "completed"]
    assert column(result, "round_index") == [0, 1, 3]


def test_a_failed_call_is_repeated_as_often_as_allowed():
    result = run(graph(call(3), call(1, 0)), timeout=int(1.5 * S), retries=2, backoff=S)
    assert column(result, "id") == ["s_call_0", "s_call_0_retry_1", "s_call_0_retry_2"]
    assert column(result, "arrived_at_us") == [0, int(2.5 * S), 5 * S]


@pytest.mark.parametrize(("follow", "prompt"), [("recorded", 10 + 30 + 1), ("simulated", 10 + 22 + 1)])
def test_a_cut_output_is_repeated_in_its_recorded_length_unless_simulated_ones_are_followed(follow, prompt):
    """A context of 32 tokens cuts the output of 30 after a prompt of 10."""
    engine = {"max_model_len": 32, "over_length": "clip"}
    assert column(run(graph(call(30, new=10), call(1, 0)), engine=engine, follow=follow), "input_tokens") == [
        10,
        prompt,
    ]


def test_chain_equals_a_multi_turn_conversation():
    """Three rounds of 10 new tokens and 4 outputs with a think time of 2 s, as a session of a client."""
    calls = (call(4, new=10), call(4, 0, new=10, wait=2), call(4, 1, new=10, wait=2))
    turns = blis.MultiTurn(max_rounds=3, think_time_us=2 * S, single_session=True, context_growth="accumulate")
    client = blis.Client(
        rate_fraction=1,
        arrival="constant",
        input_distribution=10,
        output_distribution=4,
        reasoning=blis.Reasoning(multi_turn=turns),
    )
    conversation = blis.Scenario(
        model="my/model",
        engine={"profile": "blis"},
        kv={"blocks": 10_000, "block_size": 1},
        latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(S, 0, 0)),
        workload=blis.WorkloadSpec(clients=[client], aggregate_rate=1, num_requests=3),
    ).run()
    session = run(graph(*calls))
    for name in ("input_tokens", "cached_tokens", "e2e_us"):
        assert column(session, name) == column(conversation, name)


def test_agents_are_the_same_for_a_seed_whatever_is_served_first():
    agents = AgentSessions(
        mean_turns=5, prefix_tokens=100, prompt=200, message=50, output=20, tool_time=S, sub_agents=2,
        sub_agent_share=0.5,
    )  # fmt: skip
    first, again = (agents.graphs(20, RandomStreams(3)) for _ in range(2))
    assert first == again
    assert any(one.context == "join" and len(one.after) == 3 for g in first for one in g.calls)
    assert agents.graphs(3, RandomStreams(3)) == first[:3]


def test_context_beyond_the_limit_is_compacted():
    """Each turn adds 150: from the third prompt on, beyond 350, a quarter of the 450 before it and 100 new tokens."""
    agents = AgentSessions(mean_turns=50, prompt=100, message=100, output=50, context_limit=350)
    calls = next(g.calls for g in agents.graphs(20, RandomStreams(1)) if len(g.calls) > 3)
    assert [one.context for one in calls[:4]] == ["append", "append", "compact", "append"]
    assert calls[2].summary_tokens == (250 + 50) // 4


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"calls": ()}, "calls must have at least one call"),
        ({"calls": (call(1, 0),)}, "calls[0].after must be calls that come before it, got [0]"),
        ({"calls": (call(1), call(1, 0, 0))}, "calls[1].after must not repeat a call, got [0, 0]"),
        ({"calls": (call(-1),)}, "calls[0].output_tokens must be a whole number >= 0, got -1"),
        ({"calls": (call(1, context="x"),)}, "calls[0].context must be one of append, join, fresh, compact, got 'x'"),
    ],
)
def test_a_wrong_graph_is_refused(change, line):
    with pytest.raises(ScenarioError) as error:
        CallGraph(**{"name": "s", **change})
    assert str(error.value) == line


def test_sessions_without_recorded_starts_are_replayed_closed_only():
    with pytest.raises(ScenarioError, match="replay must be closed: the sessions have no recorded starts, got 'open'"):
        run(graph(call(1)), replay="open")


@st.composite
def graphs(draw):
    calls = []
    for position in range(draw(st.integers(1, 7))):
        parents = draw(st.sets(st.integers(0, position - 1), max_size=3)) if position else ()
        calls.append(call(draw(st.integers(1, 5)), *sorted(parents), wait=draw(st.integers(0, 3))))
    return graph(*calls)


@given(graphs())
def test_calls_start_after_those_before_them_and_a_session_ends_with_its_longest_chain(one):
    """Without contention, as computed from the graph alone."""
    result = run(one)
    ends = []
    for position, item in enumerate(one.calls):
        start = max((ends[parent] for parent in item.after), default=0) + item.wait_us
        assert starts(result)[f"s_call_{position}"] * S == start
        ends.append(start + item.output_tokens * S)
    first = min(column(result, "arrived_at_us"))
    row = {name: values.tolist()[0] for name, values in result.sessions.items()}
    assert row["duration_us"] == max(ends) - first
    assert row["path_prefill_us"] + row["path_decode_us"] + row["path_wait_us"] == row["duration_us"]
    assert row["path_wait_us"] >= 0


def test_saved_result_keeps_the_critical_path(tmp_path):
    result = run(graph(*FAN_OUT))
    result.save(tmp_path / "r.zip")
    again = blis.load_result(tmp_path / "r.zip")
    assert {name: values.tolist() for name, values in again.sessions.items()} == {
        name: values.tolist() for name, values in result.sessions.items()
    }
