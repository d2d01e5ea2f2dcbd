# ruff: noqa: E501 - the tables hold whole lines as users read them
"""Files in the layouts of other programs, each with the requests that it describes."""

import gzip
import json
import logging
from pathlib import Path

import attrs
import pytest

from blis_simpy.core.token_spans import Span
from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.trace_files.load_trace import load_trace, recognised

MS = 1000
SECOND = 1_000_000
TWO = [(0, 10, 5), (SECOND, 20, 6)]
"""Arrival, prompt and output of two requests that many of the files describe."""


@attrs.frozen
class File:
    """A file, how to read it, and what is in it."""

    format: str
    content: str | bytes
    requests: list
    options: dict = attrs.field(factory=dict)
    sessions: list | None = None
    warnings: tuple = ()
    not_kept: tuple = ()


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values)


def azure(*rows, heading="TIMESTAMP,ContextTokens,GeneratedTokens"):
    return "\n".join((heading, *rows, ""))


AZURE_ROWS = ("2023-11-16 18:17:05.0,10,5", "2023-11-16 18:17:06.0,20,6")
USUAL = "arrival,input_tokens,output_tokens\n"
MAPPED = {"columns": "arrival=ts,input_tokens=p,output_tokens=c"}

TABLES = {
    # containers and spellings
    "comma": File("table", USUAL + "0,10,5\n1,20,6\n", TWO),
    "tab": File("table", "arrival\tinput_tokens\toutput_tokens\n0\t10\t5\n1\t20\t6\n", TWO),
    "semicolon": File("table", "arrival;input_tokens;output_tokens\n0;10;5\n1;20;6\n", TWO),
    "decimal comma": File(
        "table", "arrival;input_tokens;output_tokens\n0,0;10;5\n0,5;20,0;6\n", [(0, 10, 5), (500_000, 20, 6)]
    ),
    "vertical bar": File("table", "arrival|input_tokens|output_tokens\n0|10|5\n1|20|6\n", TWO),
    "UTF-16": File("table", (USUAL + "0,10,5\r\n1,20,6\r\n").encode("utf-16"), TWO),
    "UTF-16, big end first": File("table", b"\xfe\xff" + (USUAL + "0,10,5\n1,20,6\n").encode("utf-16-be"), TWO),
    "gzipped UTF-16": File("table", gzip.compress((USUAL + "0,10,5\n1,20,6\n").encode("utf-16")), TWO),
    "byte order mark": File("table", b"\xef\xbb\xbf" + (USUAL + "0,10,5\n1,20,6\n").encode(), TWO),
    "CRLF, gzip": File("table", gzip.compress((USUAL + "0,10,5\n1,20,6\n").replace("\n", "\r\n").encode()), TWO),
    "blank lines": File("table", f"\n\n{USUAL}\n0,10,5\n\n1,20,6\n\n", TWO),
    "empty rows of a spreadsheet": File("table", USUAL + "0,10,5\n,,\n1,20,6\n , ,\n", TWO),
    "no last line end": File("table", USUAL + "0,10,5\n1,20,6", TWO),
    "header in capitals": File("table", "ARRIVAL,Input_Tokens,OUTPUT_TOKENS\n0,10,5\n1,20,6\n", TWO),
    "spaces after commas": File("table", "arrival, input_tokens, output_tokens\n0, 10, 5\n1, 20, 6\n", TWO),
    "quotes after spaces": File("table", 'arrival, "input_tokens", "output_tokens"\n"0", "10", "5"\n1, "20", 6\n', TWO),
    "quoted numbers": File("table", '"arrival","input_tokens","output_tokens"\n"0","10","5"\n"1","20","6"\n', TWO),
    "float counts": File("table", USUAL + "0.0,10.0,5.0\n1.0,20.0,6.00\n", TWO),
    "counts with exponent": File("table", USUAL + "0,1e1,5\n1,2.0E+1,6\n", TWO),
    "unordered and negative arrivals": File("table", USUAL + "0,20,6\n-1,10,5\n", TWO),
    # names and units
    "vidur": File("table", "arrived_at,num_prefill_tokens,num_decode_tokens\n3.5,10,5\n4.5,20,6\n", TWO),
    "lengths of vidur": File(
        "table",
        "num_prefill_tokens,num_decode_tokens,pd_ratio\n10,5,2\n20,6,3.3\n",
        TWO,
        {"rate": "1/s"},
        not_kept=("columns pd_ratio",),
    ),
    "all at once": File("table", "prompt_tokens,completion_tokens\n10,5\n20,6\n", [(0, 10, 5), (0, 20, 6)], {"rate": "inf"}),
    "a rate in place of arrivals": File("table", USUAL + "7,10,5\n70,20,6\n", TWO, {"rate": 1}, not_kept=("columns arrival",)),
    "unit in the name": File("table", "arrival_time_ms,isl,osl\n5,10,5\n1005,20,6\n", TWO),
    "unit in brackets": File("table", "Arrival time [us],ISL,OSL\n0,10,5\n1000000,20,6\n", TWO),
    "unit as an option": File("table", "time,isl,osl\n0,10,5\n1000000000,20,6\n", TWO, {"time_unit": "ns"}),
    "seconds since 1970": File("table", "timestamp,isl,osl\n1700000000.5,10,5\n1700000001.5,20,6\n", TWO),
    "milliseconds since 1970": File("table", "timestamp,isl,osl\n1700000000500,10,5\n1700000001500,20,6\n", TWO),
    "nanoseconds since 1970": File(
        "table", "timestamp,isl,osl\n1700000000500000000,10,5\n1700000001500000000,20,6\n", TWO
    ),
    "dates": File("table", "timestamp,isl,osl\n2024-05-12T00:00:01Z,10,5\n2024-05-12T02:00:02+02:00,20,6\n", TWO),
    "dates without a zone": File("table", "timestamp,isl,osl\n2024-05-12 00:00:01,10,5\n2024-05-12 00:00:02.000,20,6\n", TWO),
    "three columns of other names": File("table", "ts,p,c\n1,10,5\n2,20,6\n", TWO, MAPPED),
    "other columns": File("table", "ts,p,c,x,y\n1,10,5,,\n2,20,6,a,b\n", TWO, MAPPED, not_kept=("columns x, y",)),
    "mapped columns in another case": File("table", " TS ,P,C\n1,10,5\n2,20,6\n", TWO, MAPPED),
    "labels": File(
        "table",
        USUAL.strip() + ",session_id\n0,10,5,a\n1,20,6,\n2,3,4,a\n3,3,4,null\n4,3,4,NaN\n",
        [*TWO, (2 * SECOND, 3, 4), (3 * SECOND, 3, 4), (4 * SECOND, 3, 4)],
        sessions=["a", "", "a", "", ""],
    ),
    # JSON
    "JSON lines": File(
        "table",
        lines(
            {"arrival_time_ns": 1 * 10**6, "input_toks": 10, "output_toks": 5},
            {"arrival_time_ns": 1001 * 10**6, "input_toks": 20, "output_toks": 6},
        ),
        TWO,
    ),
    "JSON lines with text, floats and null": File(
        "table",
        lines(
            {"arrival": "0", "input_tokens": "10", "output_tokens": 5.0, "session_id": None},
            {"arrival": 1.0, "input_tokens": 20.0, "output_tokens": "6"},
        ),
        TWO,
        sessions=["", ""],
    ),
    "JSON lines, blank lines, CRLF, byte order mark": File(
        "table",
        b"\xef\xbb\xbf\r\n" + lines({"arrival": 0, "isl": 10, "osl": 5}, {"arrival": 1, "isl": 20, "osl": 6}).replace("\n", "\r\n\r\n").encode(),
        TWO,
    ),
    "nested JSON": File(
        "table",
        lines(
            {"at": {"start": 0}, "usage": {"prompt_tokens": 10, "completion_tokens": 5}, "id": 1},
            {"at": {"start": 1000}, "usage": {"prompt_tokens": 20, "completion_tokens": 6}, "id": 2},
        ),
        TWO,
        {"columns": {"arrival": "at.start"}, "time_unit": "ms"},
        not_kept=("columns id",),
    ),
    "JSON list": File(
        "table", json.dumps([{"arrival": 0, "isl": 10, "osl": 5}, {"arrival": 1, "isl": 20, "osl": 6}], indent=1), TWO
    ),
    # formats that are tables
    "Azure": File("azure", azure(*AZURE_ROWS), TWO),
    "Azure with float counts": File("azure", azure("2023-11-16 18:17:05.0,10.0,5.0", "2023-11-16 18:17:06.0,20.0,6.0"), TWO),
    "Azure with spaces": File(
        "azure", azure(*(row.replace(",", ", ") for row in AZURE_ROWS), heading="TIMESTAMP, ContextTokens, GeneratedTokens"), TWO
    ),
    "Azure as TSV": File("azure", azure(*AZURE_ROWS).replace(",", "\t"), TWO),
    "Azure with an index": File(
        "azure", azure(*(f"{n},{row}" for n, row in enumerate(AZURE_ROWS)), heading=",TIMESTAMP,ContextTokens,GeneratedTokens"), TWO
    ),
    "Azure as JSON lines": File(
        "azure",
        lines(
            {"TIMESTAMP": "2024-05-10 00:00:00.5+00:00", "ContextTokens": 10, "GeneratedTokens": 5},
            {"TIMESTAMP": "2024-05-10 00:00:01.5+00:00", "ContextTokens": 20, "GeneratedTokens": 6},
        ),
        TWO,
    ),
    "BurstGPT with floats": File(
        "burstgpt",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5.0,GPT-4,10.0,5.0,15.0,API log\n6.0,GPT-4,20.0,6.0,26.0,API log\n7,GPT-4,9,0,9,API log\n",
        TWO,
        warnings=("1 of 3 requests are left out: failed",),
    ),
    "empty prompt": File("table", USUAL + "0,0,5\n1,20,6\n", [(0, 1, 5), (SECOND, 20, 6)], warnings=("1 empty prompts count as one token each",)),
}  # fmt: skip


def row(arrival, prompt, output, **others):
    return {"timestamp": arrival, "input_length": prompt, "output_length": output, **others}


CONVERSATION = [("user", "12345678"), ("assistant", "1234"), ("user", "1234"), ("assistant", "12345678")]
"""At four bytes a token: 2, 1, 1, 2; so prompts of 2 and 4 tokens, answers of 1 and 2."""
ROUNDS = [(0, 2, 1), (10 * SECOND, 4, 2)]
AT_ONCE = {"rate": "inf"}
MESSAGES = [{"role": role, "content": text} for role, text in CONVERSATION]
SHAREGPT = [{"from": {"user": "human", "assistant": "gpt"}[role], "value": text} for role, text in CONVERSATION]
TEXTS = ("the texts",)

TRACES = {
    "Mooncake without hashes": File("mooncake", lines(row(0, 10, 5), row(1000.0, 20, 6)), TWO),
    "Mooncake with text for numbers": File("mooncake", lines(row("0", "10", 5.0), row(1000, 20.0, "6")), TWO),
    "Mooncake at a rate": File(
        "mooncake", lines({"input_length": 10, "output_length": 5}, {"input_length": 20, "output_length": 6}), TWO, {"rate": 1}
    ),
    "Mooncake with blocks of 16": File(
        "mooncake",
        lines(row(0, 20, 5, hash_ids=[1, 2]), row(1000, 33, 6, hash_ids=[1, 3, 4])),
        [(0, 20, 5), (SECOND, 33, 6)],
        warnings=("the numbers of hashes fit 16 tokens per hash, not 512",),
    ),
    "sessions with delays": File(
        "mooncake",
        lines(
            row(0.0, 1200, 5, session_id="s1", hash_ids=[0, 1, 2]),
            {"session_id": "s1", "delay": 1500.0, "input_length": 900, "output_length": 7, "hash_ids": [3, 4]},
        ),
        [(0, 1200, 5), (1500 * MS, 900, 7)],
        sessions=["s1", "s1"],
        not_kept=("delays after responses, which become delays after arrivals",),
    ),
    "sessions that accumulate": File(
        "mooncake",
        lines(
            row(0, 10, 5, session_id="s1"),
            {"session_id": "s1", "delay": 1000, "input_length": 20, "output_length": 6},
        ),
        [(0, 10, 5), (SECOND, 35, 6)],
        {"context": "accumulate"},
        sessions=["s1", "s1"],
        not_kept=("delays after responses, which become delays after arrivals",),
    ),
    "sessions of text": File(
        "mooncake",
        lines(
            {"session_id": 7, "text_input": "12345678", "output_length": 5},
            {"session_id": 7, "text_input": "123456789", "output_length": 6, "delay": 250},
        ),
        [(0, 2, 5), (250 * MS, 3, 6)],
        AT_ONCE,
        sessions=["7", "7"],
        not_kept=("delays after responses, which become delays after arrivals",),
    ),
    "messages with times": File(
        "mooncake",
        lines({"timestamp": 0, "messages": MESSAGES[:1], "output_length": 5}, {"timestamp": 1000, "messages": MESSAGES[:3], "output_length": 6}),
        [(0, 2, 5), (SECOND, 4, 6)],
    ),
    "Bailian": File(
        "bailian",
        lines(
            row(61.5, 20, 5, chat_id=159, parent_chat_id=-1, type="text", turn=1, hash_ids=[1, 2]),
            row(62.5, 40, 6, chat_id=160, parent_chat_id=159, type="text", turn=2, hash_ids=[1, 2, 3]),
        ),
        [(0, 20, 5), (SECOND, 40, 6)],
        sessions=["159", "159"],
    ),
    "ShareGPT": File("sharegpt", json.dumps([{"id": "x", "conversations": SHAREGPT}]), ROUNDS, AT_ONCE, ["x", "x"], not_kept=TEXTS),
    "ShareGPT as JSON lines": File(
        "sharegpt", lines({"id": "x", "conversations": SHAREGPT}), ROUNDS, AT_ONCE, ["x", "x"], not_kept=TEXTS
    ),
    "messages with role and content": File("sharegpt", lines({"messages": MESSAGES}), ROUNDS, AT_ONCE, ["0", "0"], not_kept=TEXTS),
    "conversation with role and content": File(
        "sharegpt", json.dumps([{"conversation_id": 5, "conversation": MESSAGES}]), ROUNDS, AT_ONCE, ["5", "5"], not_kept=TEXTS
    ),
    "messages in parts": File(
        "sharegpt",
        lines(
            {
                "messages": [
                    {"role": "User", "content": [{"type": "text", "text": "1234"}, {"type": "image_url"}, {"type": "text", "text": "5678"}]},
                    {"role": "assistant", "content": None, "tool_calls": []},
                    {"role": "tool", "content": "1234"},
                    {"role": "assistant", "content": "1234"},
                ]
            }
        ),
        [(0, 3, 1)],
        AT_ONCE,
        not_kept=TEXTS,
    ),
}  # fmt: skip


def benchmark(**others):
    """Two requests of a benchmark, with latencies of 100 + 50 + 70 and 200 + 100 ms."""
    return {
        "backend": "openai",
        "model_id": "acme/m",
        "num_prompts": 2,
        "request_rate": 1.0,
        "duration": 2.0,
        "completed": 2,
        "total_input_tokens": 30,
        "input_lens": [10, 20],
        "output_lens": [3, 2],
        "ttfts": [0.1, 0.2],
        "itls": [[0.05, 0.07], [0.1]],
        "errors": ["", ""],
        **others,
    }


def without(values, *keys):
    return {key: value for key, value in values.items() if key not in keys}


SGLANG = without({"dataset_name": "random", **benchmark(backend="sglang")}, "model_id", "num_prompts")
SHORT = [(0, 10, 3), (SECOND, 20, 2)]
GAPS = ("the single gaps between tokens",)
EVENLY = "has no start_times; arrivals follow the plan of the benchmark: at equal gaps, 1 per second"
METRICS = {
    "input_sequence_length": {"value": 10, "unit": "tokens"},
    "output_sequence_length": {"value": 3, "unit": "tokens"},
    "time_to_first_token": {"value": 100.0, "unit": "ms"},
    "inter_chunk_latency": {"value": [50.0, 70.0], "unit": "ms"},
    "request_latency": {"value": 220.0, "unit": "ms"},
}
T0 = 1_700_000_000


def aiperf(second, metrics=METRICS, error=None, **others):
    metadata = {"request_start_ns": (T0 + second) * 10**9, "benchmark_phase": "profiling", **others}
    return {"metadata": metadata, "metrics": metrics, "error": error}


def guidellm(second, **others):
    timings = {
        "request_start": T0 + second,
        "first_token_iteration": T0 + second + 0.1,
        "last_token_iteration": T0 + second + 0.22,
    }
    return {
        "request_id": "r",
        "info": {"timings": {**timings, "token_iterations": 3}},
        "input_metrics": {"text_tokens": 10},
        "output_metrics": {"text_tokens": 3},
        "prompt_tokens": 10,
        "output_tokens": 3,
        **others,
    }  # fmt: skip


def old_guidellm(second, **others):
    times = {"start_time": T0 + second, "first_token_time": T0 + second + 0.1, "last_token_time": T0 + second + 0.22}
    return {"prompt_tokens": 10, "output_tokens": 3, "prompt": "a", "output": "b", **times, **others}


def report(*requests, incomplete=(), errored=()):
    return {"requests": {"successful": list(requests), "incomplete": list(incomplete), "errored": list(errored)}}


def genai_perf(second, *events, payload=None):
    """Responses 100 ms after the start and every 60 ms then."""
    start = (T0 + second) * 10**9
    return {
        "timestamp": start,
        "request_inputs": {"payload": json.dumps(payload or {"messages": MESSAGES[:1], "max_tokens": 9})},
        "response_timestamps": [start + 100_000_000 + 60_000_000 * number for number in range(len(events))],
        "response_outputs": [{"response": event} for event in events],
    }


def event(text, **others):
    return "data: " + json.dumps({"choices": [{"delta": {"content": text}}], **others}) + "\n\n"


def experiments(*requests):
    return json.dumps({"service_kind": "openai", "experiments": [{"experiment": {}, "requests": list(requests)}]})


USAGE = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3}}
OLD_INFO = {"input_tokens": 10, "output_tokens": 3, "output_token_times": [5.1, 5.15, 5.22]}
INFO = {
    "request_metrics": {"text": {"input_tokens": 10}},
    "input_tokens": 10,
    "response_metrics": {"output_tokens": 3, "output_token_times": [6.1, 6.15, 6.22]},
}

RESULTS = {
    "vllm with start_times": File("vllm-benchmark", json.dumps(benchmark(start_times=[50.5, 51.5])), SHORT, not_kept=GAPS),
    "vllm over many lines": File("vllm-benchmark", json.dumps(benchmark(start_times=[50.5, 51.5]), indent=1), SHORT, not_kept=GAPS),
    "vllm without start_times": File("vllm-benchmark", json.dumps(benchmark()), SHORT, warnings=(EVENLY,), not_kept=GAPS),
    "vllm at a given rate": File("vllm-benchmark", json.dumps(benchmark()), [(0, 10, 3), (250 * MS, 20, 2)], {"rate": 4}, not_kept=GAPS),
    "vllm, all at once": File(
        "vllm-benchmark",
        json.dumps(benchmark(request_rate="inf")),
        [(0, 10, 3), (0, 20, 2)],
        warnings=("has no start_times; arrivals follow the plan of the benchmark: all at once",),
        not_kept=GAPS,
    ),
    "vllm, one at a time": File(
        "vllm-benchmark",
        json.dumps(benchmark(request_rate="inf", max_concurrency=1)),
        [(0, 10, 3), (220 * MS, 20, 2)],
        warnings=("has no start_times; arrivals follow the plan of the benchmark: all at once, at most 1 at a time",),
        not_kept=GAPS,
    ),
    "vllm with a failed request": File(
        "vllm-benchmark",
        json.dumps(benchmark(start_times=[1.0, 2.0], output_lens=[3, 0], itls=[[0.05, 0.07], []], errors=["", "down"])),
        SHORT[:1],
        warnings=("1 of 2 requests are left out: failed",),
        not_kept=GAPS,
    ),
    "vllm, two appended runs": File(
        "vllm-benchmark",
        lines(benchmark(start_times=[50.5, 51.5]), benchmark(start_times=[8.0, 9.0])),
        [*SHORT, (2 * SECOND, 10, 3), (3 * SECOND, 20, 2)],
        warnings=("has 2 runs, replayed one after another; run=1 selects the first",),
        not_kept=GAPS,
    ),
    "vllm, the second run": File(
        "vllm-benchmark",
        lines(benchmark(start_times=[50.5, 52.5]), benchmark(start_times=[8.0, 9.0])),
        SHORT,
        {"run": 2},
        not_kept=GAPS,
    ),
    "SGLang": File("sglang-benchmark", lines(SGLANG), SHORT, warnings=(EVENLY,), not_kept=GAPS),
    "SGLang, two runs": File(
        "sglang-benchmark",
        lines(SGLANG, SGLANG),
        [*SHORT, (2 * SECOND, 10, 3), (3 * SECOND, 20, 2)],
        warnings=("has 2 runs, replayed one after another; run=1 selects the first", EVENLY),
        not_kept=GAPS,
    ),
    "SGLang with Infinity": File(
        "sglang-benchmark",
        lines({**SGLANG, "request_rate": float("inf")}),
        [(0, 10, 3), (0, 20, 2)],
        warnings=("has no start_times; arrivals follow the plan of the benchmark: all at once",),
        not_kept=GAPS,
    ),
    "aiperf": File("aiperf", lines(aiperf(0), aiperf(1)), [(0, 10, 3), (SECOND, 10, 3)]),
    "aiperf with a failure and a warm-up": File(
        "aiperf",
        lines(
            aiperf(0, benchmark_phase="warmup"),
            aiperf(1),
            aiperf(2, {"error_isl": {"value": 5, "unit": "tokens"}}, {"code": 499}),
            aiperf(3, None, {"code": 500, "message": "x"}, was_cancelled=True),
        ),
        [(0, 10, 3)],
        warnings=("1 of 4 requests are left out: other phases", "2 of 3 requests are left out: failed"),
    ),
    "aiperf of older releases": File(
        "aiperf",
        lines({"metadata": {"timestamp_ns": T0}, "metrics": {**without(METRICS, "time_to_first_token"), "ttft": METRICS["time_to_first_token"]}}),
        [(0, 10, 3)],
    ),
    "GuideLLM": File("guidellm", json.dumps({"metadata": {}, "benchmarks": [report(guidellm(0), guidellm(1))]}), [(0, 10, 3), (SECOND, 10, 3)]),
    "GuideLLM of older releases, two benchmarks": File(
        "guidellm",
        json.dumps({"benchmarks": [report(old_guidellm(0), incomplete=[old_guidellm(0.5, output_tokens=None)]), report(old_guidellm(9))]}),
        [(0, 10, 3), (9 * SECOND, 10, 3)],
        warnings=("1 of 3 requests are left out: failed",),
        not_kept=TEXTS,
    ),
    "GuideLLM, the second benchmark": File(
        "guidellm", json.dumps({"benchmarks": [report(guidellm(0)), report(guidellm(9))]}), [(0, 10, 3)], {"run": 2}
    ),
    "GuideLLM as YAML": File(
        "guidellm",
        "metadata: {guidellm_version: 0.5.0}\nbenchmarks:\n- requests:\n    successful:\n"
        "    - {request_start_time: 1.0, prompt_tokens: 10, output_tokens: 3}\n    incomplete: []\n    errored: []\n",
        [(0, 10, 3)],
    ),
    "GenAI-Perf with usage": File(
        "genai-perf",
        experiments(genai_perf(0, event(""), event("a"), event("b"), event("c"), "data: " + json.dumps(USAGE), "data: [DONE]\n\n")),
        [(0, 11, 3)],
        not_kept=TEXTS,
    ),
    "GenAI-Perf without usage": File(
        "genai-perf",
        experiments(genai_perf(0, event("a"), event("b")), genai_perf(1, event("abcd" * 3))),
        [(0, 2, 2), (SECOND, 2, 3)],
        warnings=(
            ("2 of 2 requests have no token counts; estimated as one token per four bytes of the prompt and one per "
            "response"),
        ),
        not_kept=TEXTS,
    ),
    "GenAI-Perf with a tokenizer": File(
        "genai-perf", experiments(genai_perf(0, event("a"), event("b"))), [(0, 8, 2)], {"tokenizer": list}, not_kept=TEXTS
    ),
    "inference-perf": File(
        "inference-perf-requests",
        json.dumps(
            [
                {"start_time": 6.0, "end_time": 6.3, "info": INFO, "error": None},
                {"start_time": 5.0, "end_time": 5.3, "request": "{}", "info": OLD_INFO, "error": None},
                {"start_time": 7.0, "end_time": 7.3, "info": None, "error": {"error_type": "x"}},
            ],
            indent=1,
        ),
        [(0, 10, 3), (SECOND, 10, 3)],
        warnings=("1 of 3 requests are left out: failed",),
        not_kept=TEXTS,
    ),
}  # fmt: skip

ALL = TABLES | TRACES | RESULTS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def column(trace, name):
    values = trace.columns[name]
    return values if isinstance(values, list) else values.tolist()


def requests(trace):
    names = ("arrival_time_us", "input_tokens", "output_tokens")
    return list(zip(*(column(trace, name) for name in names), strict=True))


def write(content):
    Path("f").write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("name", ALL)
def test_file_has_the_requests_that_it_describes(name, caplog):
    file = ALL[name]
    write(file.content)
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        trace = load_trace("f", format=file.format, **file.options)
    assert requests(trace) == file.requests
    assert caplog.messages == [f"f: {warning}" for warning in file.warnings]
    assert trace.not_kept == file.not_kept
    if file.sessions is not None:
        assert column(trace, "session_id") == file.sessions
    assert column(trace, "request_id") == list(range(len(file.requests)))


@pytest.mark.parametrize("name", [name for name, file in ALL.items() if "columns" not in file.options])
def test_file_shows_its_format(name):
    write(ALL[name].content)
    assert recognised("f") == ALL[name].format


@pytest.mark.parametrize(
    "name", ["vllm with start_times", "SGLang", "aiperf", "GuideLLM", "GuideLLM of older releases, two benchmarks", "inference-perf"]
)  # fmt: skip
def test_latencies_of_a_measurement_are_kept(name):
    """TTFT 100 ms, last token 220 ms after the start."""
    write(ALL[name].content)
    trace = load_trace("f", **ALL[name].options)
    arrival, first, last, chunks = (
        column(trace, key)[0] for key in ("arrival_time_us", "first_chunk_time_us", "last_chunk_time_us", "num_chunks")
    )
    assert (first - arrival, last - arrival) == (100 * MS, 220 * MS)
    assert chunks == (0 if "older" in name else 3)


def test_first_token_of_a_profile_is_the_first_response_with_text():
    write(RESULTS["GenAI-Perf with usage"].content)
    trace = load_trace("f")
    times = [column(trace, key) for key in ("first_chunk_time_us", "last_chunk_time_us", "num_chunks")]
    assert times == [[160 * MS], [280 * MS], [3]]


def test_contents_of_sessions_that_accumulate():
    write(TRACES["sessions that accumulate"].content)
    first, second = load_trace("f", context="accumulate").contents
    assert sum(span.tokens for span in first) == 10
    assert second[: len(first)] == first
    assert second[len(first)] == Span("answer:0", 0, 5)


def test_equal_texts_are_equal_tokens():
    write(TRACES["messages with times"].content)
    first, second = load_trace("f").contents
    assert second[0] == first[0]


MISTAKES = {
    "count": ("table", USUAL + "0,10,5\n1,many,6\n", {}, "input_tokens must be a whole number >= 0, got 'many' (line 3)"),
    "fraction": ("table", USUAL + "0,10,5.5\n", {}, "output_tokens must be a whole number >= 0, got '5.5' (line 2)"),
    "negative count": ("table", USUAL + "0,-1,5\n", {}, "input_tokens must be a whole number >= 0, got '-1' (line 2)"),
    "null count": ("table", USUAL + "0,null,5\n", {}, "input_tokens must be a whole number >= 0, got 'null' (line 2)"),
    "empty count in JSON": (
        "table",
        lines({"arrival": 0, "isl": 1, "osl": 1}, {"arrival": 0, "isl": None, "osl": 1}),
        {},
        "isl must be a whole number >= 0, got None (line 2)",
    ),
    "no object": ("table", lines({"arrival": 0, "isl": 1, "osl": 1}, [1]), {}, "must be an object, got [1] (line 2)"),
    "arrival": ("table", USUAL + "0,1,5\nsoon,2,3\n", {}, "arrival must be a number [s], got 'soon' (line 3)"),
    "date": (
        "table",
        USUAL + "2024-05-12,1,5\n13:00,2,3\n",
        {},
        "arrival must be a date and time like 2023-11-16 18:17:03.979, got '13:00' (line 3)",
    ),
    "two columns of one name": (
        "table", "arrival,input_tokens,input_tokens,output_tokens\n", {}, "input_tokens must be the name of one column only (line 1)"
    ),
    "two usual names": (
        "table",
        "ts,time,isl,osl\n1,1,1,1\n",
        {},
        "arrival matches several columns: ts, time (line 1); choose one, such as columns arrival=ts",
    ),
    "missing column": (
        "table",
        "arrival, isl, completion\n1,1,1\n",
        {},
        "output_tokens is missing among the columns (line 1); there are: arrival, isl, completion",
    ),
    "short row": (
        "table",
        USUAL + "0,1,5\n1,2\n",
        {},
        "output_tokens is missing: a row must have at least 3 fields, got 2 (line 3)",
    ),
    "UTF-16 cut short": ("table", (USUAL + "0,1,5\n").encode("utf-16")[:-1], {}, "must be UTF-16 text, as its byte order mark says"),
    "timestamp of one row": ("mooncake", lines(row(0, 1, 1), without(row(0, 1, 1), "timestamp")), {}, "timestamp is missing (line 2)"),
    "length of a session": ("mooncake", lines({"session_id": "a", "timestamp": 0, "output_length": 1}), {}, "input_length is missing (line 1)"),
    "metric": (
        "aiperf", lines(aiperf(0), aiperf(1, without(METRICS, "input_sequence_length"))), {}, "metrics.input_sequence_length is missing (line 2)"
    ),
    "figure of a report": (
        "guidellm",
        json.dumps({"benchmarks": [report(guidellm(0), without(guidellm(1), "prompt_tokens", "input_metrics"))]}),
        {},
        "benchmarks[0].requests.successful[1].prompt_tokens is missing",
    ),
    "report without requests": (
        "guidellm",
        json.dumps({"benchmarks": [{}]}),
        {},
        "benchmarks[0].requests must be an object of lists; run GuideLLM so that its report has the requests",
    ),
    "responses without times": (
        "genai-perf",
        experiments({**genai_perf(0, event("a")), "response_timestamps": []}),
        {},
        "experiments[0].requests[0].response_outputs must have 0 items, not 1",
    ),
    "summary of a benchmark": (
        "vllm-benchmark",
        json.dumps(without(benchmark(), "input_lens")),
        {},
        "input_lens is missing: run the benchmark with --save-result --save-detailed",
    ),
    "summary of SGLang": ("sglang-benchmark", lines(without(SGLANG, "input_lens")), {}, "input_lens is missing: run the benchmark with --output-details"),
    "per-request report": (
        "inference-perf-requests",
        json.dumps([{"start_time": 1, "end_time": 2, "info": without(OLD_INFO, "output_tokens")}]),
        {},
        "[0].info.output_tokens is missing",
    ),
    "message": ("sharegpt", lines({"messages": MESSAGES}, {"messages": [{"role": "user"}]}), AT_ONCE, "messages[0].value is missing (line 2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_named_with_its_place(name):
    format_name, content, options, expected = MISTAKES[name]
    write(content)
    with pytest.raises(WorkloadTraceError) as caught:
        load_trace("f", format=format_name, **options)
    assert str(caught.value) == f"f: {expected}"


@pytest.mark.parametrize(
    ("format_name", "content", "options", "expected"),
    [
        ("table", "p,c\n1,1\n", {"columns": "input_tokens=p,output_tokens=c"}, "rate must be given: the file has no column of arrivals; there are: p, c; if one has the arrivals, set columns to arrival=NAME"),
        ("mooncake", lines({"input_length": 1, "output_length": 1}), {}, "rate must be given: the file has no timestamps"),
        ("sharegpt", lines({"messages": MESSAGES}), {}, "rate must be given: conversations have no times"),
        ("vllm-benchmark", json.dumps(benchmark()), {"run": 2}, "run must be at most 1, the runs of the file, got 2"),
        ("guidellm", json.dumps({"benchmarks": []}), {"run": 1}, "run must be at most 0, the benchmarks of the file, got 1"),
        ("table", USUAL, {"rate": float("nan")}, "rate must be a finite number, got nan"),
    ],
)  # fmt: skip
def test_wrong_option_is_named(format_name, content, options, expected):
    write(content)
    with pytest.raises(ScenarioError) as caught:
        load_trace("f", format=format_name, **options)
    assert str(caught.value) == expected


def test_format_shows_though_the_first_line_is_long():
    hashes = list(range(2000))
    write(lines(row(0, 32_000, 1, chat_id=1, parent_chat_id=-1, hash_ids=hashes)))
    assert recognised("f") == "bailian"
    write(lines(row(0, 512 * 2000, 1, hash_ids=hashes)))
    assert recognised("f") == "mooncake"


def test_instant_beyond_all_clocks_is_named_as_that():
    write(USUAL + "1e300,1,1\n")
    with pytest.raises(WorkloadTraceError, match=r"arrival must be within some 30,000 years, got '1e300' \(line 2\)"):
        load_trace("f")


def test_moments_may_end_with_z_and_ten_millionths():
    write(azure("2023-11-16T18:17:05.0000000Z,10,5", "2023-11-16T19:17:06.0000009+01:00,20,6"))
    assert requests(load_trace("f")) == TWO
