"""Failures of a third-party server, llm-katan, and of no server at all. It speaks chat only."""

import socket

import pytest
from llama_server import free_port
from scripted import by_id

import blis_simpy as blis
from blis_simpy.cli.main import main


def observe(url, workload, **settings):
    return blis.observe(workload, url=url, model="echo", **{"api_format": "chat", "api_key": "key", **settings})


def messages(recording):
    return [message.partition(": {")[0] for message in recording.failures]


def test_a_chat_with_the_mock(katan, spec):
    url = katan()
    for streaming in ("always", "never"):
        recording = observe(url, spec(3, prompt=2), streaming=streaming)
        assert recording.statuses == {"ok": 3}
        assert by_id(recording, "server_input_tokens") == [2] * 3
        assert recording.finish_reasons == {"stop": 3}


def test_a_missing_key_is_told(katan, spec):
    recording = observe(katan(), spec(2), api_key="")
    assert recording.statuses == {"error": 2}
    assert messages(recording) == ["HTTP 401"]
    assert "missing Authorization header" in repr(recording)


def test_what_the_server_does_not_have_is_told(katan, spec):
    recording = observe(katan(), spec(1), api_format="completions")
    assert messages(recording) == ["HTTP 404"]


@pytest.mark.parametrize(
    ("flags", "statuses", "message"),
    [
        (("--error-rate", "1"), ["error"] * 4, "HTTP 500"),
        (("--rate-limit-after", "2"), ["ok", "ok", "error", "error"], "HTTP 429"),
        (("--timeout-after", "2"), ["ok", "ok", "error", "error"], "HTTP 504"),
    ],
)
def test_failures_of_the_server_are_recorded(katan, spec, flags, statuses, message):
    recording = observe(katan(*flags), spec(4), max_concurrency=1)
    assert by_id(recording, "status") == statuses
    assert messages(recording) == [message]


def test_the_server_never_sees_more_than_allowed(katan, spec):
    """It refuses a third request while two are under way; 8 arrive at once, each takes 50 ms."""
    url = katan("--max-inflight", "2", "--latency-ms", "50")
    assert observe(url, spec(8, rate=10_000), max_concurrency=2).statuses == {"ok": 8}
    more = observe(url, spec(8, rate=10_000), max_concurrency=8)
    assert more.statuses["error"] > 0
    assert messages(more) == ["HTTP 503"]


def test_a_slow_server_runs_into_the_time_out(katan, spec):
    recording = observe(katan("--latency-ms", "5000"), spec(2), timeout="200ms")
    assert recording.statuses == {"timeout": 2}
    assert by_id(recording, "output_tokens") == [5, 5]


def test_the_first_token_of_a_slow_stream_is_late(katan, spec):
    """It waits for 0.3 s before the first chunk, and for 5 ms between chunks."""
    recording = observe(katan("--ttft-ms", "300", "--itl-ms", "5"), spec(2))
    assert recording.ttft_us.min() >= 300_000
    assert (recording.e2e_us - recording.ttft_us).min() >= 50_000


def test_an_unreachable_server_is_one_line(spec):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(blis.ScenarioError) as caught:
        observe(url, spec(2))
    assert str(caught.value) == f"url cannot be reached: Connection refused, got '{url}'"


def test_an_unknown_host_is_one_line(spec):
    with pytest.raises(blis.ScenarioError, match=r"url cannot be reached: .+, got 'http://nowhere.invalid:1'"):
        observe("http://nowhere.invalid:1", spec(2))


def test_a_server_that_never_responds_is_one_line(spec):
    """The system accepts the connection; no process reads from it."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(blis.ScenarioError, match=r"url cannot be reached: no response within 0\.2s"):
            observe(url, spec(2), timeout="200ms")


def test_a_server_that_goes_away_at_once_leaves_no_recording(spec):
    """It answers whether it is there, then no connection any more."""
    import asyncio

    async def run():
        async def once(reader, writer):
            server.close()
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(once, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(blis.ScenarioError, match="url cannot be reached: HTTP error: Connection refused"):
            await blis.observe_async(spec(3, rate=20), url=url, model="m")

    asyncio.run(run())


def test_the_program_says_so_in_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{free_port()}"
    words = ["--server-url", url, "--model", "m", "--trace-header", "h.yaml", "--trace-data", "d.csv"]
    assert main(["observe", *words, "--rate", "5", "--num-requests", "2"]) == 2
    assert capsys.readouterr() == ("", f"--server-url cannot be reached: Connection refused, got '{url}'\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"url": "localhost:8000"}, "url must begin with http:// or https://, got 'localhost:8000'"),
        ({"url": "http:///"}, "url must begin with http:// or https://, got 'http:///'"),
        ({"url": "http://u:secret@h/?key=1"}, "url must not have a query or a fragment, got 'http://h/?key=1'"),
        ({"url": "u:secret@h"}, "url must begin with http:// or https://, got 'h'"),
        ({"model": ""}, "model must not be empty"),
        ({"api_key": "two words"}, "api_key must be printable ASCII without blanks"),
        ({"extra_body": {"stream": False}}, "extra_body.stream is set by the client itself"),
        ({"max_concurrency": 0}, "max_concurrency must be > 0, got 0"),
        ({"timeout": "soon"}, "timeout must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got 'soon'"),
    ],
)
def test_settings_are_checked(settings, line):
    with pytest.raises(blis.ScenarioError) as caught:
        blis.ObserveSettings(**{"url": "http://localhost", "model": "m", **settings})
    assert str(caught.value) == line


def test_a_password_in_the_address_is_not_shown(spec):
    url = f"127.0.0.1:{free_port()}"
    with pytest.raises(blis.ScenarioError) as caught:
        observe(f"http://user:secret@{url}", spec(2))
    assert str(caught.value) == f"url cannot be reached: Connection refused, got 'http://{url}'"
