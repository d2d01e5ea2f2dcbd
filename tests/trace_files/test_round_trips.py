"""What is written in the layout of a format is read back, whatever the figures."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.trace_files.load_trace import KIND, load_trace, recognised

SAMPLES = Path(__file__).parents[1] / "data" / "traces"
SAMPLES_OF = {
    "aiperf.jsonl": "aiperf",
    "azure-2023.csv": "azure",
    "azure-2024.csv": "azure",
    "bailian.jsonl": "bailian",
    "burstgpt-v1.csv": "burstgpt",
    "burstgpt-v2.csv": "burstgpt",
    "genai-perf.json": "genai-perf",
    "guidellm.json": "guidellm",
    "inference-perf-requests.json": "inference-perf-requests",
    "mooncake.jsonl": "mooncake",
    "otel.json": "otel",
    "sessions.jsonl": "sessions",
    "sglang-benchmark.jsonl": "sglang-benchmark",
    "sharegpt.json": "sharegpt",
    "table.jsonl": "table",
    "trace-v2.csv": "trace-v2",
    "vllm-benchmark.json": "vllm-benchmark",
    "weka.jsonl": "weka",
}

ROWS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=20
).map(lambda rows: [(arrival - min(rows)[0], prompt, output) for arrival, prompt, output in sorted(rows)])
"""Arrival in ms, prompt, output; by arrival, the first one at 0."""


def table(heading, rows):
    text = io.StringIO()
    csv.writer(text).writerows([heading, *rows])
    return text.getvalue()


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def date(milliseconds):
    return str(np.datetime64("2024-05-10") + np.timedelta64(milliseconds, "ms")).replace("T", " ")


def latencies(rows):
    """A second to the first token, and a millisecond to each further one of five at most."""
    return {"ttfts": [1.0] * len(rows), "itls": [[0.001] * min(output - 1, 4) for *_, output in rows]}


def sglang(rows):
    figures = {
        "backend": "sglang",
        "dataset_name": "random",
        "request_rate": 1.0,
        "duration": 1.0,
        "total_input_tokens": 1,
        "input_lens": [prompt for _, prompt, _ in rows],
        "output_lens": [output for *_, output in rows],
        "start_times": [arrival / 1000 for arrival, *_ in rows],
        **latencies(rows),
    }
    return lines([figures])


def aiperf(arrival, prompt, output):
    return {
        "metadata": {"request_start_ns": 10**18 + arrival * 10**6, "benchmark_phase": "profiling"},
        "metrics": {"input_sequence_length": {"value": prompt}, "output_sequence_length": {"value": output}},
        "error": None,
    }


def guidellm(arrival, prompt, output):
    return {"request_start_time": arrival / 1000, "prompt_tokens": prompt, "output_tokens": output}


def genai_perf(arrival, prompt, output):
    usage = json.dumps({"usage": {"prompt_tokens": prompt, "completion_tokens": output}})
    return {
        "timestamp": arrival * 10**6,
        "request_inputs": {"payload": "{}"},
        "response_timestamps": [arrival * 10**6 + 1],
        "response_outputs": [{"response": f"data: {usage}"}],
    }


def inference_perf(arrival, prompt, output):
    info = {"input_tokens": prompt, "output_tokens": output}
    return {"start_time": arrival / 1000, "end_time": arrival / 1000 + 1, "info": info, "error": None}


def sharegpt(prompt, output):
    return {"messages": [{"role": "user", "content": "x" * prompt}, {"role": "assistant", "content": "y" * output}]}


def otel(number, arrival, prompt, output):
    start = 10**18 + arrival * 10**6
    attributes = {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": output}
    times = {"startTimeUnixNano": start, "endTimeUnixNano": start + 1}
    return {"name": "chat m", "traceId": f"t{number}", **times, "attributes": attributes}


def call(arrival, prompt, output):
    return {"input": prompt, "output": output, "context": "fresh", "start_ms": arrival}


def weka(rows):
    calls = [{"t": arrival / 1000, "in": prompt, "out": output} for arrival, prompt, output in rows]
    return lines([{"id": "a", "block_size": 64, "requests": calls}])


def length(arrival, prompt, output, **others):
    return {"timestamp": arrival, "input_length": prompt, "output_length": output, **others}


WRITERS = {
    "aiperf": lambda rows: lines(aiperf(*row) for row in rows),
    "azure": lambda rows: table(
        ["TIMESTAMP", "ContextTokens", "GeneratedTokens"], [(date(arrival), *tokens) for arrival, *tokens in rows]
    ),
    "bailian": lambda rows: lines(
        length(arrival / 1000, *tokens, chat_id=number, parent_chat_id=-1)
        for number, (arrival, *tokens) in enumerate(rows)
    ),
    "burstgpt": lambda rows: table(
        ["Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type"],
        [(arrival / 1000, "m", prompt, output, prompt + output, "x") for arrival, prompt, output in rows],
    ),
    "genai-perf": lambda rows: json.dumps({"experiments": [{"requests": [genai_perf(*row) for row in rows]}]}),
    "guidellm": lambda rows: json.dumps(
        {"benchmarks": [{"requests": {"successful": [guidellm(*row) for row in rows]}}]}
    ),
    "inference-perf-requests": lambda rows: json.dumps([inference_perf(*row) for row in rows]),
    "mooncake": lambda rows: lines(length(*row) for row in rows),
    "otel": lambda rows: lines(otel(number, *row) for number, row in enumerate(rows)),
    "sessions": lambda rows: lines([{"session": "a", "calls": [call(*row) for row in rows]}]),
    "sglang-benchmark": sglang,
    "table": lambda rows: table(["arrival_ms", "prompt_tokens", "completion_tokens"], rows),
    "vllm-benchmark": lambda rows: sglang(rows).replace('"dataset_name": "random", ', ""),
    "weka": weka,
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def requests(trace):
    names = ("arrival_time_us", "input_tokens", "output_tokens")
    return sorted(zip(*(trace.columns[name].tolist() for name in names), strict=True))


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_figures_that_are_written_are_read_back(name, rows):
    Path("f").write_text(WRITERS[name](rows))
    assert recognised("f") == name
    assert requests(load_trace("f")) == sorted((1000 * arrival, *tokens) for arrival, *tokens in rows)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1))
def test_conversations_that_are_written_are_read_back(lengths):
    Path("f").write_text(lines(sharegpt(*pair) for pair in lengths))
    trace = load_trace("f", rate="inf", tokenizer=len)
    assert requests(trace) == sorted((0, *pair) for pair in lengths)


@pytest.mark.parametrize("name", SAMPLES_OF)
def test_sample_is_recognised_and_survives_as_a_trace(name):
    shutil.copy(SAMPLES / name, ".")
    assert recognised(name) == SAMPLES_OF[name]
    trace = load_trace(name, **({"rate": 1} if name.startswith("sharegpt") else {}))
    blis.write_trace(trace, "t.yaml", "t.csv")
    again = load_trace("t.csv")
    assert requests(again) == requests(trace)
    assert again.contents == trace.contents


def test_each_format_has_a_sample():
    """Those of call graphs have theirs in test_session_traces."""
    assert set(SAMPLES_OF.values()) | {"otel", "sessions", "weka"} == set(registry.names(KIND))
