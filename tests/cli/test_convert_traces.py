"""``blis convert`` of traces."""

import shutil
from pathlib import Path

import pytest

import blis_simpy as blis
from blis_simpy.cli.main import main

SAMPLES = Path(__file__).parents[1] / "data" / "traces"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for sample in SAMPLES.iterdir():
        shutil.copy(sample, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outcome(capsys, *words):
    status = main(["convert", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


@pytest.mark.parametrize(
    ("words", "num_requests", "warnings"),
    [
        ("azure --path azure-2023.csv", 4, []),
        ("azure --path azure-2024.csv --limit 2", 2, []),
        (
            "burstgpt --path burstgpt-v1.csv",
            2,
            ["1 of 3 requests are left out: failed"],
        ),
        ("burstgpt --path burstgpt-v2.csv", 4, ["not kept: elapsed times"]),
        ("mooncake --path mooncake.jsonl", 6, ["not kept: {shared}"]),
        ("sharegpt --path sharegpt.json --rate 30/min --think-time 2s", 3, ["not kept: the texts, {shared}"]),
        (
            "vllm-benchmark --path vllm-benchmark.json",
            2,
            ["1 of 3 requests are left out: failed", "not kept: the single gaps between tokens"],
        ),
        (
            "table --path table.csv --columns arrival=ts,input_tokens=prompt,output_tokens=completion",
            3,
            ["not kept: columns user, conversation"],
        ),
    ],
)
def test_formats_become_traces(capsys, words, num_requests, warnings):
    file = words.split()[2]
    shared = "common prefixes of prompts, for programs that ignore the column content_spans"
    assert outcome(capsys, *words.split(), "--output", "t") == (
        0,
        f"{num_requests} requests in t.yaml and t.csv\n",
        [f"warning: {file}: {warning.format(shared=shared)}" for warning in warnings],
    )
    trace = blis.load_trace("t.csv")
    assert len(trace) == num_requests
    assert trace.columns["arrival_time_us"][0] == 0


def test_conversion_is_what_loading_gives(capsys):
    words = ["--path", "azure-2023.csv", "--output", "t", "--start", "50ms", "--end=10s", "--scale", "0.5"]
    assert outcome(capsys, "azure", *words)[0] == 0
    expected = blis.load_trace("azure-2023.csv", start="50ms", end="10s", scale=0.5)
    assert blis.load_trace("t.csv").columns["arrival_time_us"].tolist() == expected.columns["arrival_time_us"].tolist()


def test_our_own_layout_can_be_cut(capsys):
    outcome(capsys, "azure", "--path", "azure-2023.csv", "--output", "t")
    assert outcome(capsys, "trace-v2", "--path", "t.csv", "--header", "t.yaml", "--limit", "3", "--output", "cut") == (
        0,
        "3 requests in cut.yaml and cut.csv\n",
        [],
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("azure", ["--path is required", "--output is required"]),
        ("azure --path azure-2023.csv", ["--output is required"]),
        ("azure --path absent --output t", ["absent: cannot be read: No such file or directory"]),
        (
            "azure --path azure-2023.csv --output ./azure-2023",
            ["--output must be another file than --path, got './azure-2023.csv'"],
        ),
        (
            "table --path table.csv --output t --columns model=",
            ["--columns.model must be the name of a column of the file, got ''"],
        ),
        ("azure --path azure-2023.csv --output no/t", ["no/t.yaml: cannot be written: there is no directory no"]),
        ("azure --path azure-2023.csv --output t --scale -1", ["--scale must be > 0, got -1"]),
        (
            "azure --path azure-2023.csv --output t --start soon",
            ["--start must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got 'soon'"],
        ),
        ("azure --path azure-2023.csv --output t --block-size=3", ["--block-size is not a flag"]),
        ("sharegpt --path sharegpt.json --output t", ["--rate must be given: conversations have no times"]),
        (
            "mooncake --path azure-2023.csv --output t",
            ["azure-2023.csv: is not valid JSON: Expecting value at column 1 (line 1)"],
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(capsys, folder, words, expected):
    before = sorted(folder.iterdir())
    assert outcome(capsys, *words.split()) == (2, "", expected)
    assert sorted(folder.iterdir()) == before


def test_help_lists_sources_and_flags(capsys):
    status, out, _ = outcome(capsys, "--help")
    assert status == 0
    assert "  azure                    Azure LLM inference traces of 2023 and 2024 (CSV).\n" in out
    status, out, _ = outcome(capsys, "sharegpt", "--help")
    assert status == 0
    assert "--think-time" in out
    assert "--scale" in out
