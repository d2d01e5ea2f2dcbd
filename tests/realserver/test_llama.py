"""The whole client against a real server, llama.cpp: what it counts is what we count."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from llama_server import MODEL, metrics, settled_metrics
from scripted import by_id, column

import blis_simpy as blis
from blis_simpy.trace_files.trace_v2 import read_trace

BLIS = Path(sys.executable).parent / "blis"


def observe(url, workload, **settings):
    return blis.observe(workload, url=url, model=MODEL, **settings)


@pytest.mark.parametrize("api_format", ["completions", "chat"])
@pytest.mark.parametrize("streaming", ["always", "never"])
def test_tokens_are_counted_as_the_server_counts_them(llama_url, spec, api_format, streaming):
    """The blank at the end of a prompt is a token of its own; a chat adds nothing, as the template is empty."""
    recording = observe(llama_url, spec(6, prompt=12, output=7), api_format=api_format, streaming=streaming)
    assert recording.statuses == {"ok": 6}, recording.failures
    assert recording.finish_reasons == {"length": 6}
    assert column(recording, "input_tokens") == [12] * 6
    assert column(recording, "server_input_tokens") == [13] * 6
    assert column(recording, "output_tokens") == [7] * 6
    assert column(recording, "streaming") == [streaming == "always"] * 6
    chunks = set(column(recording, "num_chunks"))
    assert chunks == {1} if streaming == "never" else min(chunks) >= 7
    assert (recording.ttft_us > 0).all()
    assert (recording.e2e_us >= recording.ttft_us).all()


def test_lengths_follow_the_workload(llama_url):
    workload = blis.Workload(
        rate=100, num_requests=20, prompt=blis.Gaussian(40, 10, 5, 80), output=blis.Gaussian(6, 3, 1, 12)
    )
    recording = observe(llama_url, workload, seed=3)
    requests = sorted(recording.trace.requests(), key=lambda request: request.arrived_at)
    planned = workload.preview(seed=3)
    assert [request.arrived_at for request in requests] == planned.arrived_at.tolist()
    assert [request.input_tokens for request in requests] == planned.input_tokens.tolist()
    assert [request.output_tokens for request in requests] == planned.output_tokens.tolist()
    assert by_id(recording, "server_input_tokens") == [tokens + 1 for tokens in planned.input_tokens.tolist()]


def test_the_server_computes_what_we_sent(llama_url, spec):
    """Its counters grow by 5 answers of 4 tokens; of distinct prompts it has hardly anything in its cache."""
    before = settled_metrics(llama_url)
    observe(llama_url, spec(5, prompt=50, output=4), distinct_prompts=True, max_concurrency=1)
    after = settled_metrics(llama_url)
    assert after["tokens_predicted_total"] - before["tokens_predicted_total"] == 20
    assert after["prompt_tokens_total"] - before["prompt_tokens_total"] > 5 * 45


def conversation(client, rounds):
    multi_turn = blis.MultiTurn(
        max_rounds=rounds, think_time_us=10_000, context_growth="accumulate", single_session=True
    )
    return client("talker", prompt=100, output=20, reasoning=blis.Reasoning(multi_turn=multi_turn))


@pytest.mark.parametrize("api_format", ["completions", "chat"])
def test_further_rounds_hit_the_cache_of_the_server(llama_url, spec, client, api_format):
    """Of the prompts of 100, 220 and 340 tokens it need not compute again what came before: at most 120 + 240."""
    before = settled_metrics(llama_url)
    recording = observe(llama_url, spec(1, clients=[conversation(client, 3)]), api_format=api_format)
    after = settled_metrics(llama_url)
    assert by_id(recording, "input_tokens") == [100, 220, 340]
    sent = sum(column(recording, "server_input_tokens"))
    assert abs(sent - 660) < 10
    computed = after["prompt_tokens_total"] - before["prompt_tokens_total"]
    assert sent - computed > 300


def test_a_shared_prefix_hits_the_cache_of_the_server(llama_url, spec):
    """One after the other, the second and third of three prompts begin with 200 tokens that it has."""
    before = settled_metrics(llama_url)
    workload = spec(3, prompt=10, output=1, prefix_group="system", prefix_length=200)
    recording = observe(llama_url, workload, max_concurrency=1)
    computed = settled_metrics(llama_url)["prompt_tokens_total"] - before["prompt_tokens_total"]
    assert column(recording, "input_tokens") == [210] * 3
    assert sum(column(recording, "server_input_tokens")) - computed >= 400


def test_a_prompt_beyond_the_context_is_refused_by_the_server(llama_url, spec):
    recording = observe(llama_url, spec(1, prompt=9000))
    assert recording.statuses == {"error": 1}
    assert column(recording, "error_message")[0].startswith('HTTP 400: {"error":{"code":400')


def test_it_works_in_a_running_loop_as_in_a_notebook(llama_url, spec):
    import asyncio

    async def cell():
        return observe(llama_url, spec(2))

    assert asyncio.run(cell()).statuses == {"ok": 2}


def test_what_is_written_is_read_again(llama_url, spec, client, tmp_path):
    workload = spec(4, clients=[client("a", slo_class="batch"), conversation(client, 2)])
    recording = observe(llama_url, workload, workload_file="w.yaml", rtt_ms=0.5, server_type="llama.cpp")
    recording.write(tmp_path / "h.yaml", tmp_path / "d.csv")
    trace = read_trace(tmp_path / "h.yaml", tmp_path / "d.csv")
    header = trace.header
    assert (header.time_unit, header.mode, header.workload_spec) == ("us", "real", "w.yaml")
    assert (header.server.type, header.server.model) == ("llama.cpp", MODEL)
    assert header.network.measured_rtt_ms == 0.5
    for name, values in recording.trace.columns.items():
        assert list(trace.columns[name]) == list(values)
    assert [request.content for request in trace.requests()] == [
        request.content for request in recording.trace.requests()
    ]


def flags(url, *others):
    files = ["--trace-header", "h.yaml", "--trace-data", "d.csv"]
    return [BLIS, "observe", "--server-url", url, "--model", MODEL, *files, "--prompt-tokens", "60", *others]


def test_the_program_writes_a_trace_and_prints_a_summary(llama_url, tmp_path):
    command = flags(llama_url, "--rate", "50", "--num-requests", "5", "--warmup-requests", "1")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"tiny at {llama_url}\n4 requests in ")
    assert "TTFT, sent to first token" in done.stdout
    assert "schedule slip (ms): mean " in done.stdout
    assert read_trace(tmp_path / "h.yaml", tmp_path / "d.csv").columns["status"] == ["ok"] * 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_program_writes_what_it_has(llama_url, tmp_path, number):
    """Of a thousand requests at 20 per second it is stopped when the server has begun with the first ones."""
    before = metrics(llama_url)["tokens_predicted_total"]
    command = flags(llama_url, "--rate", "20", "--num-requests", "1000", "--output-tokens", "60")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while metrics(llama_url)["tokens_predicted_total"] < before + 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"tiny at {llama_url}, interrupted\n")
    statuses = read_trace(tmp_path / "h.yaml", tmp_path / "d.csv").columns["status"]
    assert 0 < statuses.count("ok") <= len(statuses) < 1000


def test_a_terminal_shows_a_progress_bar(llama_url, tmp_path):
    ours, theirs = pty.openpty()
    command = flags(llama_url, "--rate", "50", "--num-requests", "20", "--output-tokens", "5")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert b"requests" in shown
    assert b"20/20" in shown
