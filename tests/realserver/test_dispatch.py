"""When requests are sent: order, places, sessions, warm-up, and how late they may be."""

import asyncio
import json

import pytest
from scripted import USAGE, Script, by_id, column, event, events

import blis_simpy as blis
from blis_simpy.workload.spec.client import ActivityWindows


def answers(seconds=0.0, usage=USAGE):
    async def answer(writer, body):
        await asyncio.sleep(seconds)
        writer.write(events(event("one two"), event(reason="stop", usage=usage), b"data: [DONE]"))

    return answer


def test_requests_are_sent_in_the_order_of_their_arrival_and_never_early(observed, spec, client):
    clients = [client("a", prompt=3), client("b", prompt=4, rate_fraction=2)]
    recording, script = observed(answers(), spec(20, rate=200, clients=clients))
    arrivals = by_id(recording, "arrival_time_us")
    assert arrivals == sorted(arrivals)
    assert by_id(recording, "request_id") == list(range(20))
    late = [
        sent - recording.started_at - arrival
        for sent, arrival in zip(by_id(recording, "send_time_us"), arrivals, strict=True)
    ]
    assert min(late) >= 0
    lengths = sorted(len(body["prompt"].split()) for body in script.bodies)
    assert lengths == sorted(by_id(recording, "input_tokens"))


def test_a_slow_server_does_not_delay_what_is_sent(observed, spec):
    """Open loop: 10 requests in 0.1 s to a server that needs 1 s for each; all are sent before the first answer."""
    recording, script = observed(answers(seconds=1.0), spec(10, rate=100))
    assert script.open_most == 10
    assert max(by_id(recording, "send_time_us")) < min(by_id(recording, "first_chunk_time_us"))
    assert recording.schedule_slip.num_held_back == 0


def test_no_more_are_under_way_than_allowed_and_the_rest_is_held_back(observed, spec):
    """12 requests within 12 ms, three at a time, 0.1 s each: the last three wait for at least 0.3 s."""
    recording, script = observed(answers(seconds=0.1), spec(12, rate=1000), max_concurrency=3)
    assert script.open_most == 3
    slip = recording.schedule_slip
    assert slip.num_held_back == 9
    assert slip.max_us > 280_000
    assert slip.mean_us <= slip.p99_us <= slip.max_us
    assert by_id(recording, "arrival_time_us") == [1000 * number for number in range(1, 13)]
    assert "the concurrency limit held 9 requests back" in repr(recording)


def test_delays_do_not_add_up(observed, spec):
    """Held back by a pause of the first answers, later requests are on time again."""

    async def answer(writer, body):
        await asyncio.sleep(0.6 if len(script) < 2 else 0)
        script.append(body)
        await answers()(writer, body)

    script = []
    recording, _ = observed(answer, spec(10, rate=5), max_concurrency=1)
    late = [
        sent - recording.started_at - arrival
        for sent, arrival in zip(*(by_id(recording, name) for name in ("send_time_us", "arrival_time_us")), strict=True)
    ]
    assert max(late) > 200_000
    assert min(late[-3:]) < max(late) / 2


def test_warm_up_is_sent_but_not_recorded(observed, spec):
    recording, script = observed(answers(), spec(5), warmup_requests=2)
    assert len(script.bodies) == 5
    assert by_id(recording, "request_id") == [2, 3, 4]
    assert recording.trace.header.warm_up_requests == 2


def turns(rounds, think_time_us=0, growth="accumulate", **others):
    return {
        "reasoning": blis.Reasoning(
            multi_turn=blis.MultiTurn(
                max_rounds=rounds, think_time_us=think_time_us, context_growth=growth, single_session=True
            )
        ),
        **others,
    }


def test_a_session_waits_for_answers_thinks_and_says_again_what_was_said(observed, spec):
    """Three rounds of 10 new tokens and answers of 5: prompts of 10, 25 and 40 tokens, 50 ms to think."""
    recording, script = observed(answers(), spec(1, **turns(3, think_time_us=50_000)))
    assert by_id(recording, "round_index") == [0, 1, 2]
    assert by_id(recording, "input_tokens") == [10, 25, 40]
    first, second, third = (body["prompt"] for body in script.bodies)
    assert second.startswith(f"{first}one two ")
    assert third.startswith(f"{second}one two ")
    ended, arrived = by_id(recording, "last_chunk_time_us"), by_id(recording, "arrival_time_us")
    for number in (1, 2):
        assert arrived[number] >= ended[number - 1] - recording.started_at + 50_000
    assert len(set(by_id(recording, "session_id"))) == 1


def test_a_chat_is_a_list_of_messages(observed, spec):
    chat = {"choices": [{"delta": {"content": "fine"}, "finish_reason": "stop"}], "usage": USAGE}

    async def answer(writer, body):
        writer.write(events(b"data: " + json.dumps(chat).encode(), b"data: [DONE]"))

    _, script = observed(answer, spec(1, **turns(2)), api_format="chat")
    roles = [[message["role"] for message in body["messages"]] for body in script.bodies]
    assert roles == [["user"], ["user", "assistant", "user"]]
    assert script.bodies[1]["messages"][:2] == [*script.bodies[0]["messages"], {"role": "assistant", "content": "fine"}]


def test_the_trace_says_what_the_rounds_share(observed, spec):
    """Replayed, the second prompt begins with the first one and its answer, as it did on the server."""
    recording, _ = observed(answers(), spec(1, **turns(2, prefix_group="g", prefix_length=4)))
    first, second = sorted(recording.trace.requests(), key=lambda request: request.round_index)
    assert (first.input_tokens, second.input_tokens) == (14, 29)
    assert first.content == (blis.Span("prefix:g", 0, 4), blis.Span("session:a-0:input:0", 0, 10))
    assert second.content[:2] == first.content
    assert second.content[2] == blis.Span(first.output_stream, 0, 5)


def test_a_prefix_is_said_in_every_prompt_of_its_group(observed, spec):
    recording, script = observed(answers(), spec(3, prompt=6, prefix_group="g", prefix_length=4))
    prompts = [body["prompt"] for body in script.bodies]
    assert len(set(prompts)) == 1
    assert len(prompts[0].split()) == 10
    assert prompts[0].endswith(" hello hello hello hello hello hello ")
    assert by_id(recording, "prefix_group") == [""] * 3
    assert {request.content for request in recording.trace.requests()} == {(blis.Span("prefix:g", 0, 4),)}


def test_a_failure_ends_the_session(observed, spec):
    async def answer(writer, body):
        writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    recording, script = observed(answer, spec(1, **turns(3)))
    assert len(script.bodies) == 1
    assert column(recording, "status") == ["error"]


def test_stopping_gives_up_what_is_under_way_and_keeps_what_was_measured(spec):
    """At the third of a hundred requests the run is stopped; its answer would take a minute."""

    async def run():
        stop = asyncio.Event()

        async def answer(writer, body):
            if len(script.bodies) >= 3:
                stop.set()
                await asyncio.sleep(60)
            await answers()(writer, body)

        async with Script(answer).running() as script:
            workload = spec(100, rate=20)
            return await blis.observe_async(workload, url=script.url, model="m", max_concurrency=1, stop=stop)

    recording = asyncio.run(run())
    assert not recording.is_complete
    assert by_id(recording, "status")[:2] == ["ok", "ok"]
    assert by_id(recording, "error_message")[2] == "HTTP error: cancelled, because the run was interrupted"
    assert 3 <= len(recording.trace) < 100
    assert ", interrupted" in repr(recording)


def test_stopping_before_the_server_has_answered_at_all_sends_nothing(spec):
    """The server takes ten seconds to say that it is there."""

    async def run():
        stop = asyncio.Event()

        async def deaf(reader, writer):
            stop.set()
            await reader.read()  # until the client goes away
            writer.close()

        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await asyncio.wait_for(blis.observe_async(spec(3), url=url, model="m", stop=stop), 5)

    recording = asyncio.run(run())
    assert (len(recording.trace), recording.is_complete) == (0, False)


def test_progress_counts_further_rounds_when_they_are_known(observed, spec):
    seen = []
    observed(answers(), spec(1, **turns(2)), progress=lambda done, known: seen.append((done, known)))
    assert [done for done, _ in seen] == [1, 2]
    assert seen[-1] == (2, 2)


def test_an_error_of_a_callback_ends_the_run(observed, spec):
    def refuse(done, known):
        raise RuntimeError("seen enough")

    with pytest.raises(RuntimeError, match="seen enough"):
        observed(answers(), spec(1000, rate=10), progress=refuse)


def test_nothing_to_send_gives_an_empty_trace(spec, client, caplog):
    recording = blis.observe(
        spec(5, clients=[client(lifecycle=ActivityWindows(windows=()))]),
        url="http://127.0.0.1:9",
        model="m",
        horizon=1000,
    )
    assert len(recording.trace) == 0
    assert "0 requests" in repr(recording)
    assert caplog.messages[-1] == "the workload has no requests: nothing is sent"
