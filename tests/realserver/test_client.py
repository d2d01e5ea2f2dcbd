"""Bodies of requests, and outcomes of good, bad and missing responses."""

import asyncio
import contextlib
import json
import re
import shutil
import ssl
import subprocess

import pytest
from scripted import USAGE, by_id, column, event, events, plain

import blis_simpy as blis
from blis_simpy.errors import ScenarioError

LONG_AGO = 1_700_000_000_000_000


def replies(data):
    async def answer(writer, body):
        writer.write(data)

    return answer


def only(recording, *names):
    values = [column(recording, name) for name in names]
    assert all(len(value) == 1 for value in values)
    return [value[0] for value in values]


GOOD = replies(events(event("hi"), event(reason="stop"), event(usage=USAGE), b"data: [DONE]"))
GOOD_WHOLE = replies(plain({"choices": [{"text": "hi", "finish_reason": "stop"}], "usage": USAGE}))


def test_the_body_of_a_streamed_completion(observed, spec):
    _, script = observed(GOOD, spec(1, prompt=3, output=7))
    assert script.paths == ["/v1/completions"]
    [body] = script.raw_bodies
    assert body == (
        b'{"max_tokens":7,"model":"m","prompt":"hello hello hello ",'
        b'"stream":true,"stream_options":{"include_usage":true}}'
    )
    assert script.headers[0]["content-type"] == "application/json"
    assert "authorization" not in script.headers[0]


def test_the_body_of_a_chat_without_limit_in_one_piece(observed, spec):
    settings = {"api_format": "chat", "streaming": "never", "unconstrained_output": True, "api_key": "secret"}
    _, script = observed(GOOD_WHOLE, spec(1, prompt=2), **settings)
    assert script.paths == ["/v1/chat/completions"]
    assert script.bodies == [{"model": "m", "messages": [{"role": "user", "content": "hello hello "}], "stream": False}]
    assert script.headers[0]["authorization"] == "bearer secret"


@pytest.mark.parametrize(
    ("settings", "output", "max_tokens"),
    [({}, 0, 2048), ({}, 9, 9), ({"unconstrained_output": True}, 9, 2147483647), ({"api_format": "chat"}, 9, 9)],
)
def test_the_limit_of_the_output(observed, settings, output, max_tokens):
    workload = blis.Workload(rate=100, num_requests=1, prompt=3, output=blis.Gaussian(output, 0, output, output))
    _, script = observed(GOOD, workload, **settings)
    assert script.bodies[0]["max_tokens"] == max_tokens


def test_further_keys_of_the_body(observed, spec):
    _, script = observed(GOOD, spec(1), extra_body={"ignore_eos": True, "temperature": 0})
    assert script.bodies[0]["ignore_eos"] is True
    assert script.bodies[0]["temperature"] == 0


def test_clients_have_models_and_streams_of_their_own(observed, spec, client):
    clients = [client("a", model="other", streaming=True), client("b")]

    async def answer(writer, body):
        await (GOOD if body["stream"] else GOOD_WHOLE)(writer, body)

    recording, script = observed(answer, spec(2, clients=clients), streaming="by-client")
    asked = [(body["model"], body["stream"]) for body in script.bodies]
    assert sorted(asked) == [("m", False), ("other", True)]
    recorded = zip(*(column(recording, name) for name in ("client_id", "model", "streaming")), strict=True)
    assert sorted(recorded) == [("a", "other", True), ("b", "", False)]


@pytest.mark.parametrize("url", ["/", "/v1", "/v1/"])
def test_the_end_of_the_address_does_not_matter(spec, url):
    assert blis.ObserveSettings(url=f"http://host:1{url}", model="m").base_url == "http://host:1"


def test_a_stream_is_recorded(observed, spec):
    recording, _ = observed(GOOD, spec(1, prompt=10))
    fields = ("status", "error_message", "finish_reason", "num_chunks", "input_tokens", "output_tokens")
    assert only(recording, *fields, "server_input_tokens") == ["ok", "", "stop", 1, 10, 5, 11]
    sent, first, last = only(recording, "send_time_us", "first_chunk_time_us", "last_chunk_time_us")
    assert LONG_AGO < sent <= first <= last


def test_an_answer_in_one_piece_is_recorded(observed, spec):
    recording, _ = observed(GOOD_WHOLE, spec(1), streaming="never")
    fields = ("status", "finish_reason", "num_chunks", "output_tokens", "server_input_tokens", "streaming")
    assert only(recording, *fields) == ["ok", "stop", 1, 5, 11, False]
    sent, first, last = only(recording, "send_time_us", "first_chunk_time_us", "last_chunk_time_us")
    assert LONG_AGO < sent <= first <= last


def test_chunks_are_stamped_when_they_come(observed, spec):
    """The server pauses for 0.1 s between two tokens; a chunk that is no JSON, and the last one, have none."""

    async def answer(writer, body):
        writer.write(events(event("hi")))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"data: {no json\n\n: comment\n\ndata:" + event("ho")[5:] + b"\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(event(reason="stop", usage=USAGE) + b"\n\n")
        writer.write(b"data: [DONE]\n\n")

    recording, _ = observed(answer, spec(1))
    status, chunks, tokens, first, last = only(
        recording, "status", "num_chunks", "output_tokens", "first_chunk_time_us", "last_chunk_time_us"
    )
    assert (status, chunks, tokens) == ("ok", 2, 5)
    assert 90_000 < last - first < 190_000


def test_an_event_that_comes_in_pieces_is_one(observed, spec):
    async def answer(writer, body):
        data = events(event("\N{GREEK SMALL LETTER MU}"), event(reason="stop", usage=USAGE), b"data: [DONE]")
        for start in range(0, len(data), 7):
            writer.write(data[start : start + 7])
            await writer.drain()

    recording, _ = observed(answer, spec(1))
    assert only(recording, "status", "num_chunks", "output_tokens") == ["ok", 1, 5]


@pytest.mark.parametrize(
    ("settings", "tokens", "how"),
    [
        ({}, 2, "by chunks, or as one token per four bytes if not streamed"),
        ({"tokenizer": list}, 5, "by the tokenizer"),
    ],
)
def test_tokens_of_an_answer_without_usage_are_counted_with_a_warning(observed, spec, caplog, settings, tokens, how):
    answer = replies(events(event("hi "), event("ho", "stop"), b"data: [DONE]"))
    recording, _ = observed(answer, spec(2), **settings)
    assert column(recording, "output_tokens") == [tokens, tokens]
    assert caplog.messages == [f"2 responses have no usage: their tokens are counted {how}"]


def test_tokens_of_an_answer_in_one_piece_without_usage_are_estimated(observed, spec):
    answer = replies(plain({"choices": [{"text": "12345678", "finish_reason": "stop"}]}))
    recording, _ = observed(answer, spec(1), streaming="never")
    assert column(recording, "output_tokens") == [2]


def chat(delta, **others):
    return b"data: " + json.dumps({"choices": [{"delta": delta}], **others}).encode() + b"\n\n"


FIRST_TOKENS = {
    "text": {"content": "a"},
    "reasoning": {"reasoning_content": "a"},
    "reasoning of newer servers": {"reasoning": "a"},
    "a call of a tool": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]},
}
NO_TOKENS = {
    "a role": {"role": "assistant"},
    "a role and empty text": {"role": "assistant", "content": ""},
    "nothing": {"content": None},
    "an empty list of calls": {"tool_calls": []},
    "an empty object": {},
}


@pytest.mark.parametrize("first", FIRST_TOKENS)
@pytest.mark.parametrize("before", NO_TOKENS)
def test_time_to_first_token_ends_with_the_first_token(observed, spec, first, before):
    """A chunk without a token comes at once, the first token after 60 ms, usage 60 ms after the last one."""

    async def answer(writer, body):
        writer.write(events() + chat(NO_TOKENS[before]))
        await writer.drain()
        await asyncio.sleep(0.06)
        writer.write(chat(FIRST_TOKENS[first]) + chat({"content": "b"}))
        await writer.drain()
        await asyncio.sleep(0.06)
        writer.write(
            chat({}, usage=USAGE) + b'data: {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 2}}\n\n'
        )
        writer.write(b"data: [DONE]\n\n")

    recording, _ = observed(answer, spec(1), api_format="chat")
    assert only(recording, "num_chunks", "output_tokens", "status") == [2, 2, "ok"]
    assert recording.ttft_us[0] >= 60_000
    assert recording.e2e_us[0] - recording.ttft_us[0] < 50_000


def test_an_answer_without_tokens_has_no_latencies(observed, spec):
    recording, _ = observed(replies(events(event(reason="stop"), b"data: [DONE]")), spec(1))
    assert only(recording, "status", "num_chunks", "first_chunk_time_us", "last_chunk_time_us") == ["ok", 0, 0, 0]
    assert (len(recording.ttft_us), len(recording.e2e_us)) == (0, 0)


def test_a_recording_shows_itself_in_a_notebook(observed, spec):
    recording, _ = observed(GOOD, spec(2))
    html = recording._repr_html_()
    assert "<table" in html
    assert "2 ok" in html
    assert "E2E, sent to last token" in html


BROKEN = {
    "an error status": (plain(b"no such\nmodel \0", "404 Not Found"), "HTTP 404: no such model"),
    "a redirection": (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP 307: redirected to /there",
    ),
    "a success other than 200": (plain(b"", "201 Created"), "HTTP 201:"),
    "no answer": (b"", "HTTP error: the server closed the connection without a response"),
    "no HTTP": (b"garbage\r\n\r\n", "HTTP error: the response is not HTTP: b'garbage"),
    "a stream that just ends": (
        events(event("hi"), event("ho")),
        "the stream ended after 2 chunks, before the response",
    ),
    "no stream at all": (
        plain({"choices": []}),
        "the stream ended without any event, before the response was complete",
    ),
    "a stream that breaks off": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + event("hi") + b"\n\n",
        "HTTP error: the stream broke after 1 chunks: the connection was closed before the response was complete",
    ),
    "an error in the stream": (
        events(event("hi"), b'data: {"error": {"message": "out of memory"}}', b"data: [DONE]"),
        "error in the response: out of memory",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_goes_wrong_is_recorded_without_chunk_times(observed, spec, name):
    data, message = BROKEN[name]
    recording, _ = observed(replies(data), spec(1))
    status, found, first, last = only(recording, "status", "error_message", "first_chunk_time_us", "last_chunk_time_us")
    assert (status, first, last) == ("error", 0, 0)
    assert found.startswith(message)
    assert recording.statuses == {"error": 1}
    assert recording.failures == {found: 1}


@pytest.mark.parametrize("streaming", ["always", "never"])
def test_the_key_is_not_shown_even_if_the_server_does(observed, spec, tmp_path, streaming):
    async def answer(writer, body):
        told = {"error": {"message": "wrong: Bearer sk-12345 is not sk-12345"}}
        writer.write(events(b"data: " + json.dumps(told).encode()) if streaming == "always" else plain(told, "401 No"))

    recording, script = observed(answer, spec(1), streaming=streaming, api_key="sk-12345")
    assert script.headers[0]["authorization"] == "bearer sk-12345"
    [message] = recording.failures
    assert "wrong: Bearer *** is not ***" in message
    recording.write(tmp_path / "h.yaml", tmp_path / "d.csv")
    written = (tmp_path / "h.yaml").read_text() + (tmp_path / "d.csv").read_text() + repr(recording)
    assert "sk-12345" not in written


def test_what_keeps_a_connection_alive_is_no_chunk(observed, spec):
    """A comment and empty events come at once, the first token 0.1 s later."""

    async def answer(writer, body):
        writer.write(events(b": wait", b"data:", b"data: "))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(event("hi", "stop", usage=USAGE) + b"\n\ndata: [DONE]\n\n")

    recording, _ = observed(answer, spec(1))
    assert only(recording, "num_chunks", "status") == [1, "ok"]
    assert recording.ttft_us[0] >= 100_000


@pytest.mark.parametrize("data", [b"<html>", b"[1]", b"\xff"])
def test_an_answer_that_is_no_json_keeps_its_times(observed, spec, data):
    recording, _ = observed(replies(plain(data)), spec(1), streaming="never")
    status, message, first = only(recording, "status", "error_message", "first_chunk_time_us")
    assert status == "error"
    assert message.startswith("JSON parse error: ")
    assert first > LONG_AGO


def test_an_endless_answer_times_out(observed, spec):
    async def answer(writer, body):
        writer.write(events(event("hi")))
        while not writer.is_closing():
            writer.write(event("on") + b"\n\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    recording, _ = observed(answer, spec(1, output=40), timeout="300ms")
    fields = ("status", "error_message", "output_tokens", "last_chunk_time_us")
    assert only(recording, *fields) == ["timeout", "no complete response within 300ms", 40, 0]


def test_a_deadline_is_enforced(observed, spec):
    """Requests arrive 10 ms apart, each with 0.2 s of patience; one at a time, the first one blocks the second."""

    async def answer(writer, body):
        await asyncio.sleep(5)

    recording, _ = observed(answer, spec(2, timeout=200_000), max_concurrency=1)
    assert column(recording, "status") == ["timeout", "timeout"]
    assert column(recording, "deadline_us") == [210_000, 220_000]
    assert column(recording, "error_message")[0] == "no complete response by the deadline, 210ms after the start"


def test_what_is_too_late_is_not_sent(observed, spec):
    """The first answer takes until long after the deadline of the second request, which has less patience."""

    async def answer(writer, body):
        await asyncio.sleep(0.5)
        await GOOD(writer, body)

    clients = [
        blis.Client(
            id=name,
            rate_fraction=1,
            arrival=blis.Arrival("constant"),
            input_distribution=blis.LengthDistribution("constant", {"value": 1}),
            output_distribution=blis.LengthDistribution("constant", {"value": 1}),
            timeout=patience,
        )
        for name, patience in (("patient", 60_000_000), ("hasty", 100_000))
    ]
    recording, script = observed(answer, spec(2, clients=clients), max_concurrency=1)
    assert by_id(recording, "status") == ["ok", "timeout"]
    assert by_id(recording, "error_message")[1] == "the deadline passed before it could be sent"
    assert len(script.bodies) == 1


@pytest.mark.parametrize(("gone", "statuses"), [(1, {"ok": 3}), (None, {"error": 3})])
def test_a_kept_connection_that_the_server_has_closed_is_no_failure(spec, gone, statuses):
    """The first connection is closed when a request comes on it; the others are, or answer."""
    connections, serving = [], []

    async def serve(reader, writer):
        connections.append([])
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                connections[-1].append(head.split()[0])
                if head.startswith("get"):
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                await reader.readexactly(int(re.search("content-length: ([0-9]+)", head)[1]))
                if gone is None or len(connections) <= gone:
                    break
                data = event("hi", "stop", usage=USAGE) + b"\n\ndata: [DONE]\n\n"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
        writer.close()
        await writer.wait_closed()

    async def run():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            recording = await blis.observe_async(spec(3, rate=4), url=url, model="m", max_concurrency=1)
            await asyncio.gather(*serving)
            return recording

    assert asyncio.run(run()).statuses == statuses
    assert connections[0] == ["get", "post"]
    assert len(connections) == (2 if gone else 4)


def test_a_connection_is_used_again(spec):
    """Three requests to a server that keeps connections open; each answer ends after its last event."""
    heads = []
    serving = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        heads.append([])
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                heads[-1].append(head.split()[0])
                if head.startswith("get"):
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                await reader.readexactly(int(re.search("content-length: ([0-9]+)", head)[1]))
                data = event("hi", "stop", usage=USAGE) + b"\n\ndata: [DONE]\n\n"
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(data), data))
                await writer.drain()
                await asyncio.sleep(0.005)
                writer.write(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async def run():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            recording = await blis.observe_async(spec(3, rate=4), url=url, model="m", max_concurrency=1)
            await asyncio.gather(*serving)
            return recording

    assert asyncio.run(run()).statuses == {"ok": 3}
    assert heads == [["get", "post", "post", "post"]]


SPELLINGS = [
    "key sk-1/2+3 here",
    r"key sk-1\/2+3 here",
    "key sk-1%2F2%2b3 here",
    r"key sk-1\u002f2\u002B3 here",
    "key sk-\n1/2 +3 here",
    "key sk-1&#47;2&#x2B;3 here",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_key_is_not_recorded_in_any_spelling(observed, spec, tmp_path, spelling):
    answers = [
        replies(plain(spelling.encode(), "401 No")),
        replies(events(event("hi", spelling), b"data: [DONE]")),
        replies(events(b"data: " + json.dumps({"error": {"message": spelling}}).encode())),
    ]
    for answer in answers:
        recording, _ = observed(answer, spec(1), api_key="sk-1/2+3")
        recording.write(tmp_path / "h.yaml", tmp_path / "d.csv")
        written = (tmp_path / "d.csv").read_text()
        assert "***" in written
        assert re.search(r"1.{0,8}2.{0,8}3 here", written) is None


def test_the_key_comes_from_a_variable_or_a_file(observed, spec, tmp_path, monkeypatch):
    monkeypatch.setenv("SERVER_KEY", "from-env")
    (tmp_path / "key").write_text("from-file\n")
    for settings, key in (
        ({"api_key_env": "SERVER_KEY"}, "from-env"),
        ({"api_key_file": str(tmp_path / "key")}, "from-file"),
    ):
        _, script = observed(GOOD, spec(1), **settings)
        assert script.headers[0]["authorization"] == f"bearer {key}"
        assert key not in repr(blis.ObserveSettings(url="http://h", model="m", **settings))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"api_key_env": "NOT_SET"}, "api_key_env must be the name of a variable that is set, got 'NOT_SET'"),
        ({"api_key_file": "none"}, "api_key_file cannot be read: No such file or directory, got 'none'"),
        ({"api_key": "a", "api_key_env": "B"}, "api_key_env must not be given beside api_key"),
        ({"url": "http://127.0.0.1:99999"}, "url must have a port from 1 to 65535, got 'http://127.0.0.1:99999'"),
        ({"url": "http://127.0.0.1:0"}, "url must have a port from 1 to 65535, got 'http://127.0.0.1:0'"),
        ({"url": "http://127.0.0.1:many"}, "url must have a port from 1 to 65535, got 'http://127.0.0.1:many'"),
        ({"url": "http://:80"}, "url must have a host, got 'http://:80'"),
        ({"url": "http://[::1"}, "url must be an address: Invalid IPv6 URL, got 'http://[::1'"),
    ],
)
def test_wrong_settings_are_one_line(settings, line):
    with pytest.raises(ScenarioError) as caught:
        blis.ObserveSettings(**{"url": "http://h", "model": "m", **settings})
    assert str(caught.value) == line


def test_an_answer_may_be_cut_anywhere(observed, spec):
    """Chunks of the transfer with extensions and trailers, an interim answer, in pieces of three bytes."""
    data = event("hi") + b"\n\n" + event("ho", "stop", usage=USAGE) + b"\n\ndata: [DONE]\n\n"
    body = b"".join(b"%x;x=y\r\n%s\r\n" % (len(data[i : i + 30]), data[i : i + 30]) for i in range(0, len(data), 30))
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = head + body + b"0\r\nDigest: x\r\n\r\n"

    async def answer(writer, _):
        for start in range(0, len(whole), 3):
            writer.write(whole[start : start + 3])
            await writer.drain()
            await asyncio.sleep(0)

    recording, _ = observed(answer, spec(1))
    assert only(recording, "status", "num_chunks", "output_tokens") == ["ok", 2, 5]


def self_signed(folder):
    """Make a certificate and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    file = folder / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*words, "-keyout", folder / "key.pem", "-out", file], check=True, capture_output=True)
    file.write_text(file.read_text() + (folder / "key.pem").read_text())
    return file


def test_a_certificate_that_is_not_trusted_is_named(spec, tmp_path):
    """The server has a certificate that it signed itself."""
    certificate = self_signed(tmp_path)

    async def run():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            await blis.observe_async(spec(1), url=f"https://127.0.0.1:{port}", model="m")

    with pytest.raises(
        ScenarioError, match=r"^url cannot be reached: TLS: the certificate is not trusted: self.signed"
    ):
        asyncio.run(run())


def test_a_server_without_tls_is_named(spec):
    async def refuse(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run():
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await blis.observe_async(spec(1), url=f"https://127.0.0.1:{port}", model="m")

    with pytest.raises(ScenarioError, match=r"^url cannot be reached: TLS: wrong version number, got "):
        asyncio.run(run())
