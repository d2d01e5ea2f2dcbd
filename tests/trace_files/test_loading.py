"""Traces from the files that people have; the samples are made up, in the layouts of their programs."""

import gzip
import json
import logging
import os
import shutil
import threading
from pathlib import Path

import attrs
import numpy as np
import pytest
from trace_text import HEADER, row, table

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import PluginError, ScenarioError, WorkloadTraceError
from blis_simpy.trace_files.load_trace import Excerpt, load_trace, recognised
from blis_simpy.trace_files.trace_builder import build_trace

SAMPLES = Path(__file__).parents[1] / "data" / "traces"
KNOWN = (
    "aiperf, azure, bailian, burstgpt, genai-perf, guidellm, inference-perf-requests, mooncake, otel, sessions, "
    "sglang-benchmark, sharegpt, table, trace-v2, vllm-benchmark, weka"
)
FORMATS = {
    "azure-2023.csv": "azure",
    "azure-2024.csv": "azure",
    "burstgpt-v1.csv": "burstgpt",
    "burstgpt-v2.csv": "burstgpt",
    "mooncake.jsonl": "mooncake",
    "sharegpt.json": "sharegpt",
    "vllm-benchmark.json": "vllm-benchmark",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Samples by their short names."""
    for sample in SAMPLES.iterdir():
        shutil.copy(sample, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def column(trace, name):
    values = trace.columns[name]
    return values if isinstance(values, list) else values.tolist()


def lengths(trace):
    return list(
        zip(*(column(trace, name) for name in ("arrival_time_us", "input_tokens", "output_tokens")), strict=True)
    )


def lines_of_error(*words, error=WorkloadTraceError, **options):
    with pytest.raises(error) as caught:
        load_trace(*words, **options)
    return str(caught.value).splitlines()


def edited(name, old, new, into=None):
    """Write a sample with something changed."""
    text = Path(name).read_text()
    assert old in text
    Path(into or name).write_text(text.replace(old, new))
    return into or name


def test_all_samples_are_shown_for_what_they_are():
    assert {name: recognised(name) for name in FORMATS} == FORMATS


def test_compressed_file_and_byte_order_mark_are_recognised():
    Path("a.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + Path("azure-2024.csv").read_bytes()))
    assert lengths(load_trace("a.gz")) == lengths(load_trace("azure-2024.csv"))


def test_trace_of_our_own_layout_is_recognised():
    Path("t.csv").write_text(table(row()))
    assert recognised("t.csv") == "trace-v2"


def test_unknown_file_is_told_what_there_is():
    assert lines_of_error("table.csv") == [
        (
            f"table.csv: is of no known format; name one of: {KNOWN}; for a table with columns of other names that is "
            "'table', with columns"
        )
    ]
    assert lines_of_error("absent") == ["absent: cannot be read: No such file or directory"]


def test_unknown_format_and_option_are_told_what_there_is():
    assert lines_of_error("azure-2023.csv", format="azur", error=PluginError)[0].startswith(
        "trace_format is unknown, got 'azur'; did you mean 'azure'?"
    )
    assert lines_of_error("mooncake.jsonl", blocksize=4, error=ScenarioError) == [
        (
            "blocksize is not an option of this format; did you mean 'block_size'? known: rate, arrivals, seed, "
            "block_size, context, tokenizer"
        )
    ]
    assert lines_of_error("mooncake.jsonl", block_size=0, error=ScenarioError) == ["block_size must be >= 1, got 0"]


def test_format_of_a_user_is_a_plug_in():
    @attrs.frozen(kw_only=True)
    class Words:
        """One request a word."""

        @classmethod
        def recognises(cls, name, start):
            return start.startswith(b"words:")

        def read(self, path, max_rows):
            words = Path(path).read_text().split()[1:][:max_rows]
            return build_trace(
                path, arrivals=range(len(words)), input_tokens=list(map(len, words)), output_tokens=[1] * len(words)
            )

    Path("w.txt").write_text("words: one three")
    with registry.added("trace_format", "words", Words):
        assert lengths(load_trace("w.txt")) == [(0, 3, 1), (1, 5, 1)]
        assert lengths(load_trace("w.txt", limit=1)) == [(0, 3, 1)]


def test_first_arrival_is_at_tick_0_and_rows_are_sorted():
    heading, *rows = Path("azure-2024.csv").read_text().splitlines()
    Path("a.csv").write_text("\n".join([heading, *reversed(rows)]))
    trace = load_trace("a.csv")
    assert lengths(trace) == [(0, 2162, 5), (7405, 2399, 6), (990070, 76, 15)]
    assert column(trace, "request_id") == [0, 1, 2]
    assert column(trace, "send_time_us") == column(trace, "arrival_time_us")


def test_window_and_scale_count_from_the_first_arrival():
    """Arrivals at 0, 52,000, 98,189 and 1,120,040."""
    assert [arrival for arrival, *_ in lengths(load_trace("azure-2023.csv"))] == [0, 52_000, 98_189, 1_120_040]
    assert [arrival for arrival, *_ in lengths(load_trace("azure-2023.csv", start="52ms", end="1s"))] == [0, 46_189]
    assert [arrival for arrival, *_ in lengths(load_trace("azure-2023.csv", scale=0.5))] == [0, 26_000, 49_094, 560_020]
    assert len(load_trace("azure-2023.csv", limit=2)) == 2
    assert lines_of_error("azure-2023.csv", start="2s") == ["azure-2023.csv: has no requests from start to end"]
    assert lines_of_error("azure-2023.csv", scale=0, error=ScenarioError) == ["scale must be > 0, got 0"]


def test_rows_of_our_own_layout_keep_their_ticks_and_names():
    Path("t.csv").write_text(table(row(request_id=7, arrival_time_us=500), row(request_id=3, arrival_time_us=400)))
    trace = load_trace("t.csv")
    assert column(trace, "arrival_time_us") == [500, 400]
    assert column(trace, "request_id") == [7, 3]


def test_what_happened_later_moves_with_the_arrival():
    """From 1000 to 0; patience, slip and latencies stay what they were, and 0 stays nothing."""
    fields = {"arrival_time_us": 1000, "send_time_us": 1005, "first_chunk_time_us": 1100, "deadline_us": 3000}
    Path("t.csv").write_text(table(row(**fields), row(request_id=1, arrival_time_us=2000)))
    trace = load_trace("t.csv", scale=2.0)
    names = ("arrival_time_us", "send_time_us", "first_chunk_time_us", "last_chunk_time_us", "deadline_us")
    assert [column(trace, name) for name in names] == [[0, 2000], [5, 0], [100, 0], [0, 0], [2000, 0]]


def test_header_is_found_beside_or_given_or_absent():
    Path("t.csv").write_text(table(row()))
    assert load_trace("t.csv").header.mode == ""
    Path("t.yaml").write_text(HEADER)
    assert load_trace("t.csv").header.mode == "generated"
    Path("other.yaml").write_text(HEADER.replace("generated", "real"))
    assert load_trace("t.csv", header="other.yaml").header.mode == "real"
    Path("t.csv.gz").write_bytes(gzip.compress(Path("t.csv").read_bytes()))
    assert load_trace("t.csv.gz").header.mode == "generated"


def test_excerpt_is_equal_by_value():
    assert Excerpt(start="1s") == Excerpt(start=1_000_000)


def test_azure_moments_are_cut_to_microseconds():
    assert lengths(load_trace("azure-2023.csv")) == [
        (0, 4808, 10),
        (52_000, 3180, 8),
        (98_189, 110, 27),
        (1_120_040, 7433, 14),
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "2023-11-16 18:17:04.0319600",
            "noon",
            "TIMESTAMP must be a date and time like 2023-11-16 18:17:03.979, got 'noon' (line 3)",
        ),
        ("3180", "-1", "ContextTokens must be a whole number >= 0, got '-1' (line 3)"),
        (",27", "", "GeneratedTokens is missing: a row must have at least 3 fields, got 2 (line 4)"),
        (
            "ContextTokens",
            "Context",
            "ContextTokens is missing among the columns (line 1); there are: TIMESTAMP, Context, GeneratedTokens",
        ),
        ("110,27", '1"10,27', "ContextTokens must have double quotes only around whole fields (line 4)"),
    ],
)
def test_azure_mistakes_are_named_with_their_place(old, new, expected):
    edited("azure-2023.csv", old, new)
    assert lines_of_error("azure-2023.csv", format="azure") == [f"azure-2023.csv: {expected}"]


def test_requests_without_prompt_and_output_are_left_out(caplog):
    edited("azure-2023.csv", "110,27", "0,0")
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        assert len(load_trace("azure-2023.csv")) == 3
    assert caplog.messages == ["azure-2023.csv: 1 of 4 requests are left out: no prompt and no output"]


def test_file_without_requests_is_one_line():
    Path("a.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    assert lines_of_error("a.csv") == ["a.csv: is an empty trace: it has no requests"]


def test_burstgpt_leaves_failed_requests_out(caplog):
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        trace = load_trace("burstgpt-v1.csv")
    assert lengths(trace) == [(0, 470, 20), (113_000_000, 410, 280)]
    assert column(trace, "client_id") == ["ChatGPT", "GPT-4"]
    assert column(trace, "tenant_id") == ["Conversation log", "API log"]
    assert column(trace, "model") == ["", ""]
    assert caplog.messages == ["burstgpt-v1.csv: 1 of 3 requests are left out: failed"]


def test_burstgpt_sessions_have_rounds():
    trace = load_trace("burstgpt-v2.csv")
    assert column(trace, "arrival_time_us") == [0, 51_500_000, 82_000_000, 83_000_000]
    assert column(trace, "session_id") == ["8d0c2f9e", "17b6aa10", "8d0c2f9e", ""]
    assert column(trace, "round_index") == [0, 0, 1, 0]


def test_burstgpt_mistakes_are_named_with_their_place():
    edited("burstgpt-v2.csv", "19440192.0", "late")
    edited("burstgpt-v2.csv", "1400,90", "1400,9.5")
    with pytest.raises(WorkloadTraceError) as caught:
        load_trace("burstgpt-v2.csv")
    assert str(caught.value).splitlines() == [
        "burstgpt-v2.csv: Timestamp must be a number [s], got 'late' (line 4)",
        "burstgpt-v2.csv: Response tokens must be a whole number >= 0, got '9.5' (line 4)",
    ]
    assert [problem.column for problem in caught.value.problems] == [1, 6]


def scenario(**options):
    """A step takes 1000 µs, and 1 more for each prompt token that is not in the cache."""
    return blis.Scenario(
        model="my/model",
        horizon="1h",
        kv=blis.KVSettings(blocks=10_000),
        latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(1000, 1, 0)),
        **options,
    )


def test_mooncake_hashes_are_the_contents_of_prompts():
    trace = load_trace("mooncake.jsonl")
    assert trace.contents[0] == (Span("hash:0", 0, 512), Span("hash:1", 0, 512), Span("hash:2", 0, 100))
    assert trace.contents[5] is None
    assert column(trace, "arrival_time_us")[5] == 15_000_250


def test_replica_finds_in_its_cache_what_hashes_say_is_there():
    """Prompts have 1124 tokens, hashes stand for 512, blocks of the replica for 16.

    Request 1 shares 1024 tokens with request 0. Request 2 shares all, of which 70 blocks are full and may be found, so
    1120 tokens. Request 3 begins with another block, so that those after it are others too. Request 4 shares 512.
    """
    result = blis.replay(scenario(), load_trace("mooncake.jsonl"))
    assert [1124 + 1000 - ttft for ttft in result.requests["ttft_us"].tolist()] == [0, 1024, 1120, 0, 512, 0]


def test_written_trace_keeps_the_hashes():
    trace = load_trace("mooncake.jsonl")
    blis.write_trace(trace, "t.yaml", "t.csv")
    again = load_trace("t.csv")
    assert again.contents == trace.contents
    first, second = (blis.replay(scenario(), one).requests["ttft_us"].tolist() for one in (trace, again))
    assert first == second


def test_mooncake_blocks_may_have_another_size():
    Path("m.jsonl").write_text('{"timestamp": 3, "input_length": 20, "output_length": 1, "hash_ids": [7, 8]}\n\n')
    assert load_trace("m.jsonl", block_size=16).contents == [(Span("hash:7", 0, 16), Span("hash:8", 0, 4))]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "[0, 1, 3]",
            "[0, 1, 3, 4]",
            "hash_ids must not be more than the 3 blocks of 512 tokens of the prompt, got [0, 1, 3, 4] (line 2)",
        ),
        ("[0, 1, 3]", '"0"', "hash_ids must be a list of whole numbers, got '0' (line 2)"),
        ("[0, 1, 3]}", "[0, 1, 3]", "is not valid JSON: Expecting ',' delimiter at column 84 (line 2)"),
        ('"timestamp": 3000, ', "", "timestamp is missing (line 2)"),
        ('"timestamp": 3000', '"timestamp": "now"', "timestamp must be a number [ms], got 'now' (line 2)"),
    ],
)
def test_mooncake_mistakes_are_named_with_their_place(old, new, expected):
    edited("mooncake.jsonl", old, new)
    assert lines_of_error("mooncake.jsonl") == [f"mooncake.jsonl: {expected}"]


def test_mistakes_of_several_records_are_told_together():
    Path("m.jsonl").write_text('{"timestamp": 0, "input_length": -1}\n[]\n{"timestamp": 1, "input_length": 1}\n' * 5)
    lines = lines_of_error("m.jsonl")
    assert lines[:3] == [
        "m.jsonl: input_length must be a whole number >= 0, got -1 (line 1)",
        "m.jsonl: must be an object, got [] (line 2)",
        "m.jsonl: output_length is missing (line 3)",
    ]
    assert len(lines) == 10


def words(text):
    return text.split()


def test_sharegpt_answers_are_rounds_whose_prompt_is_what_was_said():
    """Words: system 5; first conversation 4, 8, 3, 2; second conversation 3, 3."""
    trace = load_trace("sharegpt.json", rate=1, arrivals="constant", think_time="20s", tokenizer=words)
    assert lengths(trace) == [(0, 9, 8), (1_000_000, 8, 3), (20_000_000, 20, 2)]
    assert column(trace, "session_id") == ["first_0", "second_0", "first_0"]
    assert column(trace, "round_index") == [0, 0, 1]
    system, question, answer, further = trace.contents[2]
    assert [span.tokens for span in trace.contents[2]] == [5, 4, 8, 3]
    assert trace.contents[0] == (system, question)
    assert trace.contents[1][0] == system
    assert trace.output_streams == [answer.stream, None, None]
    assert further not in trace.contents[1]


def test_sharegpt_lengths_are_estimated_from_bytes():
    """20 and 15 bytes: 5 and 4 tokens; the answer has 36 bytes."""
    trace = load_trace("sharegpt.json", rate="60/min", arrivals="constant")
    assert lengths(trace)[0] == (0, 9, 9)


def test_replica_finds_in_its_cache_what_was_said_before():
    """A hundred tokens a word: rounds of 900 and 2000 tokens, of which the second begins with 900 + 800 known ones.

    The answer's last token is never in the cache, so of 1700 tokens 106 blocks of 16 are: 1696. The other
    conversation shares the 500 tokens that the system says, 31 blocks.
    """
    trace = load_trace(
        "sharegpt.json", rate=0.1, arrivals="constant", think_time="20s", tokenizer=lambda text: 100 * len(words(text))
    )
    result = blis.replay(scenario(), trace)
    found = result.requests["input_tokens"] + 1000 - result.requests["ttft_us"]
    assert found.tolist() == [0, 496, 1696]


def test_sharegpt_conversations_begin_at_random_but_reproducibly():
    first, again, other = (load_trace("sharegpt.json", rate=1, seed=seed) for seed in (1, 1, 2))
    assert lengths(first) == lengths(again) != lengths(other)


def test_sharegpt_limit_is_of_conversations():
    assert column(load_trace("sharegpt.json", rate=1, limit=1), "session_id") == ["first_0", "first_0"]


def test_sharegpt_needs_a_rate():
    assert lines_of_error("sharegpt.json", error=ScenarioError) == ["rate must be given: conversations have no times"]
    assert lines_of_error("sharegpt.json", rate=0, error=ScenarioError) == ["rate must be > 0, got 0"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            '"from": "gpt", "value": "a beginning"',
            '"from": "nobody", "value": "a"',
            "[0].conversations[4].from must be one of",
        ),
        ('"value": "count to three"', '"value": 3', "[1].conversations[1].value must be text, got 3"),
        ('"value": "thanks"', '"text": "thanks"', "[0].conversations[5].value is missing"),
        ('"thanks"}', '"thanks"', "is not valid JSON: Expecting ',' delimiter at column 5 (line 11)"),
    ],
)
def test_sharegpt_mistakes_are_named_with_their_place(old, new, expected):
    edited("sharegpt.json", old, new)
    (line,) = lines_of_error("sharegpt.json", rate=1)
    assert line.startswith(f"sharegpt.json: {expected}")


def test_wrong_tokenizer_is_named_with_the_text():
    (line, *_) = lines_of_error("sharegpt.json", rate=1, tokenizer=lambda text: None)
    rule = "must be converted to tokens or their number by the tokenizer, not None"
    assert line == f"sharegpt.json: [0].conversations[0].value {rule}"


def test_vllm_benchmark_becomes_a_recording(caplog):
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        trace = load_trace("vllm-benchmark.json")
    assert lengths(trace) == [(0, 300, 3), (500_000, 512, 2)]
    assert column(trace, "first_chunk_time_us") == [50_000, 562_500]
    assert column(trace, "last_chunk_time_us") == [70_500, 582_500]
    assert column(trace, "num_chunks") == [3, 2]
    assert (trace.header.mode, trace.header.server.type, trace.header.server.model) == (
        "real",
        "vllm",
        "qwen/qwen3-14b",
    )
    assert caplog.messages == ["vllm-benchmark.json: 1 of 3 requests are left out: failed"]


def without(*keys):
    figures = json.loads(Path("vllm-benchmark.json").read_text())
    Path("v.json").write_text(json.dumps({key: value for key, value in figures.items() if key not in keys}))
    return "v.json"


def test_vllm_benchmark_without_times_arrives_at_its_own_rate(caplog):
    """Two a second, so 0.5 s apart."""
    file = without("start_times")
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        assert column(load_trace(file), "arrival_time_us") == [0, 500_000]
    assert caplog.messages[0] == (
        "v.json: has no start_times; arrivals follow the plan of the benchmark: at equal gaps, 2 per second"
    )
    assert column(load_trace(file, rate=4), "arrival_time_us") == [0, 250_000]
    assert lines_of_error(without("start_times", "request_rate"), error=ScenarioError) == [
        "rate must be given: the file has neither start_times nor a request_rate"
    ]


def test_vllm_benchmark_without_latencies_is_a_load():
    trace = load_trace(without("ttfts", "itls", "errors"))
    assert column(trace, "first_chunk_time_us") == [0, 0]


def test_vllm_benchmark_needs_figures_of_requests():
    assert lines_of_error(without("input_lens")) == [
        "v.json: input_lens is missing: run the benchmark with --save-result --save-detailed"
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[3, 2, 0]", "[3, 2]", "output_lens must have 3 items, not 2"),
        ("[3, 2, 0]", "[3, 2.5, 0]", "output_lens[1] must be a whole number >= 0, got 2.5"),
        ("[0.02]", '["fast"]', "itls[1] must be a number [s], got ['fast']"),
        ("81235.25", "NaN", "start_times[2] must be a number [s], got nan"),
    ],
)
def test_vllm_mistakes_are_named_with_their_place(old, new, expected):
    edited("vllm-benchmark.json", old, new)
    assert lines_of_error("vllm-benchmark.json") == [f"vllm-benchmark.json: {expected}"]


COLUMNS = {"arrival": "ts", "input_tokens": "prompt", "output_tokens": "completion"}


def test_table_has_the_columns_that_it_is_told():
    columns = {**COLUMNS, "tenant_id": "user", "session_id": "conversation"}
    trace = load_trace("table.csv", format="table", columns=columns)
    assert lengths(trace) == [(0, 100, 10), (500_000, 200, 20), (750_000, 120, 5)]
    assert column(trace, "tenant_id") == ["u1", "u2", "u1"]
    assert column(trace, "session_id") == ["c1", "", "c1"]
    assert column(trace, "round_index") == [0, 0, 1]


def test_table_with_our_names_is_recognised():
    text = (
        Path("table.csv")
        .read_text()
        .replace("ts,prompt,completion,user", "arrival,input_tokens,output_tokens,client_id")
    )
    Path("t.csv").write_text(text)
    assert column(load_trace("t.csv"), "client_id") == ["u1", "u2", "u1"]


@pytest.mark.parametrize(("unit", "ticks"), [("s", 500_000), ("ms", 500), ("us", 1)])
def test_table_has_a_unit_of_time(unit, ticks):
    """From 12.5 to 13, which are 12 and 13 whole microseconds, as halves go to the even number."""
    trace = load_trace("table.csv", format="table", columns=COLUMNS, time_unit=unit)
    assert column(trace, "arrival_time_us")[1] == ticks


def test_table_may_have_dates():
    Path("t.csv").write_text(
        "arrival,input_tokens,output_tokens\n2025-03-01T12:00:00Z,1,1\n2025-03-01T13:00:00+00:30,2,1\n"
    )
    assert column(load_trace("t.csv", time_unit="iso"), "arrival_time_us") == [0, 1_800_000_000]


@pytest.mark.parametrize("kind", ["float", "integer", "date"])
def test_parquet_is_a_table_too(kind):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    arrivals = {
        "float": pa.array([12.5, 13.0, 13.25]),
        "integer": pa.array([12_500, 13_000, 13_250]),
        "date": pa.array([12_500_000, 13_000_000, 13_250_000], pa.timestamp("us", tz="UTC")),
    }[kind]
    unit = {"float": "s", "integer": "ms", "date": "iso"}[kind]
    columns = {"ts": arrivals, "prompt": [100, 200, 120], "completion": [10.0, 20.0, 5.0], "user": ["u1", None, "u1"]}
    parquet.write_table(pa.table(columns), "t.parquet")
    options = {"columns": {**COLUMNS, "client_id": "user"}, "time_unit": unit}
    trace = load_trace("t.parquet", **options)
    assert lengths(trace) == [(0, 100, 10), (500_000, 200, 20), (750_000, 120, 5)]
    assert column(trace, "client_id") == ["u1", "", "u1"]
    assert len(load_trace("t.parquet", limit=2, **options)) == 2


def test_parquet_mistakes_are_named_with_their_place():
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        pa.table({"arrival": [0.0, 1.0], "input_tokens": [1, None], "output_tokens": [1.5, 2.0]}), "t.parquet"
    )
    assert lines_of_error("t.parquet") == ["t.parquet: input_tokens[1] must not be null, got None"]
    parquet.write_table(pa.table({"arrival": [0.0], "input_tokens": [1]}), "t.parquet")
    assert lines_of_error("t.parquet") == [
        "t.parquet: output_tokens is missing among the columns; there are: arrival, input_tokens"
    ]
    Path("t.parquet").write_bytes(b"PAR1 and no more")
    (line,) = lines_of_error("t.parquet")
    assert line.startswith("t.parquet: cannot be read as Parquet: ")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"arrivals": "ts"}, "columns.arrivals is no column of a trace; did you mean 'arrival'?"),
        ({"arrival": "input_tokens"}, "columns.input_tokens must be another column than arrival, got 'input_tokens'"),
        ({"arrival": "a", "model": "a"}, "columns.model must be another column than arrival, got 'a'"),
        ({"arrival": 3}, "columns.arrival must be the name of a column of the file, got 3"),
        ("arrival", "columns.arrival must be the name of a column of the file, got ''"),
        (["ts"], "columns must be a mapping of our names to those of the file, got "),
    ],
)
def test_wrong_columns_are_one_line(columns, expected):
    (line,) = lines_of_error("table.csv", format="table", columns=columns, error=ScenarioError)
    assert line.startswith(expected)


def test_table_mistakes_are_named_with_their_place():
    edited("table.csv", "13.25,120", "13.25,many")
    assert lines_of_error("table.csv", format="table", columns=COLUMNS) == [
        "table.csv: prompt must be a whole number >= 0, got 'many' (line 4)"
    ]


def test_column_of_a_figure_is_no_label_too():
    """The file calls its arrivals ``model``."""
    Path("t.csv").write_text("model,input_tokens,output_tokens\n1,2,3\n")
    assert load_trace("t.csv", format="table", columns={"arrival": "model"}).columns["model"] == [""]


def test_parquet_columns_have_names_of_their_own():
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = ["arrival", "input_tokens", "output_tokens", "arrival"]
    parquet.write_table(pa.table([[1.0], [2], [3], [4.0]], names=names), "t.parquet")
    assert lines_of_error("t.parquet") == ["t.parquet: arrival must be the name of one column only"]


def test_limit_may_be_larger_than_any_file():
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"arrival": [1.0], "input_tokens": [2], "output_tokens": [3]}), "t.parquet")
    assert len(load_trace("t.parquet", limit=2**62 - 1)) == 1


def test_what_makes_requests_arrive_too_late_is_refused():
    late = "makes requests arrive after more than 30,000 years, got"
    assert lines_of_error("azure-2023.csv", scale=1e18, error=ScenarioError) == [f"scale {late} 1e+18"]
    assert lines_of_error("sharegpt.json", rate=1e-300, error=ScenarioError) == [f"rate {late} 1e-300"]
    options = {"rate": 1, "arrivals": "constant", "think_time": 2**62 - 1}
    assert lines_of_error("sharegpt.json", **options, error=ScenarioError) == [f"think_time {late} {2**62 - 1}"]


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_of_thousands_of_digits_are_mistakes(digits):
    Path("t.jsonl").write_text(f'{{"timestamp": {"9" * digits}, "input_length": 1, "output_length": 1}}\n')
    (line,) = lines_of_error("t.jsonl", format="mooncake")
    assert line.startswith("t.jsonl: ")
    assert line.endswith("(line 1)")


def test_speaker_must_be_text():
    Path("t.json").write_text('[{"conversations": [{"from": ["gpt"], "value": "a"}]}]')
    (line,) = lines_of_error("t.json", rate=1)
    assert line.startswith("t.json: [0].conversations[0].from must be one of ")


def test_line_ends_of_old_macs_are_told():
    Path("t.csv").write_bytes(Path("azure-2023.csv").read_bytes().replace(b"\n", b"\r"))
    assert lines_of_error("t.csv", format="azure") == ["t.csv: must end lines with LF or CRLF, not CR (line 1)"]
    assert lines_of_error("t.csv") == ["t.csv: must end lines with LF or CRLF, not CR (line 1)"]


@pytest.fixture
def piped():
    """Hand a file over through a pipe."""
    writers = []

    def piped(name):
        os.mkfifo("pipe")
        writers.append(threading.Thread(target=lambda: Path("pipe").write_bytes(Path(name).read_bytes())))
        writers[0].start()
        return "pipe"

    yield piped
    for writer in writers:
        writer.join()


@pytest.mark.parametrize(
    ("name", "options"),
    [("azure-2023.csv", {"format": "azure"}), ("table.csv", {"format": "table", "columns": COLUMNS})],
)
def test_a_pipe_is_read_where_the_format_is_named(piped, name, options):
    assert lengths(load_trace(piped(name), **options)) == lengths(load_trace(name, **options))


def test_a_pipe_cannot_show_its_format():
    os.mkfifo("pipe")
    assert lines_of_error("pipe") == ["pipe: can be read only once: name its format"]


def test_gaps_of_large_clocks_are_exact():
    """Seconds since 1970 with microseconds do not fit a float."""
    Path("t.csv").write_text("arrival,input_tokens,output_tokens\n1700000000.000001,1,1\n1700000000.000004,1,1\n")
    assert np.diff(load_trace("t.csv").columns["arrival_time_us"]).tolist() == [3]
