"""Files for other programs: written beside the report, refused before anything is simulated."""

import csv
import gzip
import json

import pytest

from blis_simpy.cli.main import main
from blis_simpy.trace_files.trace_columns import COLUMNS

FEW = ["run", "--model", "qwen/qwen3-14b", "--num-requests", "3", "--report", "none"]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_writes_every_file_that_is_asked_for_and_nothing_else(tmp_path, capsys):
    names = {"requests": "r.csv", "steps": "s.json", "perfetto": "p.json.gz", "prometheus": "m.prom"}
    flags = [f"--{what}-output={tmp_path / name}" for what, name in names.items()]
    assert main([*FEW, *flags]) == 0
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names.values())
    assert [row["id"] for row in rows(tmp_path / "r.csv")] == ["request_0", "request_1", "request_2"]
    assert json.loads((tmp_path / "s.json").read_text())[0]["replica"] == 0
    timeline = json.loads(gzip.decompress((tmp_path / "p.json.gz").read_bytes()))
    assert timeline["traceEvents"][0]["args"] == {"name": "router"}
    assert 'vllm:request_success_total{engine="0",model_name="qwen/qwen3-14b",finished_reason="stop"} 3.0' in (
        (tmp_path / "m.prom").read_text().splitlines()
    )


def test_replay_writes_them_too(tmp_path):
    (tmp_path / "t.yaml").write_text("trace_version: 2\n")
    values = dict.fromkeys(COLUMNS, 0) | {"request_id": 7, "streaming": "true", "input_tokens": 10, "output_tokens": 2}
    values |= dict.fromkeys(("tenant_id", "slo_class", "session_id", "prefix_group", "model"), "")
    (tmp_path / "t.csv").write_text(f"{','.join(COLUMNS)}\n{','.join(str(values[name]) for name in COLUMNS)}\n")
    trace = ["--trace-header", str(tmp_path / "t.yaml"), "--trace-data", str(tmp_path / "t.csv")]
    output = tmp_path / "r.csv"
    assert main(["replay", *FEW[1:3], *FEW[5:], *trace, "--requests-output", str(output)]) == 0
    assert [row["id"] for row in rows(output)] == ["request_7"]


@pytest.mark.parametrize("flag", ["--requests-output", "--steps-output"])
def test_an_unknown_ending_is_refused_before_anything_is_written(flag, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*FEW, flag, "table.txt", "--results-path", "results.json"]) == 2
    endings = ".csv, .json, .parquet, .csv.gz, .json.gz"
    assert capsys.readouterr().err == f"{flag} must end in one of {endings}, got 'table.txt'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--requests-output", "--steps-output", "--perfetto-output", "--prometheus-output"])
def test_a_folder_that_is_not_there_is_refused_before_anything_is_written(flag, tmp_path, capsys):
    path = tmp_path / "no" / "out.json"
    assert main([*FEW, flag, str(path), "--results-path", str(tmp_path / "results.json")]) == 2
    assert capsys.readouterr().err == f"{path}: cannot be written: there is no directory {path.parent}\n"
    assert list(tmp_path.iterdir()) == []


def test_all_that_cannot_be_written_is_told_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [
        "--results-path",
        ".",
        "--trace-output",
        "no/t",
        "--requests-output",
        "r.txt",
        "--prometheus-output",
        "no/m",
    ]
    assert main([*FEW, *flags]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "no/t.yaml: cannot be written: there is no directory no",
        ".: cannot be written: it is a directory",
        "--requests-output must end in one of .csv, .json, .parquet, .csv.gz, .json.gz, got 'r.txt'",
        "no/m: cannot be written: there is no directory no",
    ]


def test_no_output_replaces_another_one_or_what_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("model: qwen/qwen3-14b\nworkload: {num_requests: 2}\n")
    flags = [
        "--trace-output",
        "s",
        "--requests-output",
        "./s.csv",
        "--steps-output",
        "x.json",
        "--results-path",
        "x.json",
    ]
    assert main(["run", "s.yaml", *flags]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--trace-output must be another file than the scenario, got 's.yaml'",
        "--requests-output must be another file than --trace-output, got './s.csv'",
        "--steps-output must be another file than --results-path, got 'x.json'",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]
    trace = ["--trace-header", "h.yaml", "--trace-data", "d.csv"]
    assert main(["replay", *FEW[1:3], *trace, "--results-path", "d.csv"]) == 2
    assert capsys.readouterr().err == "--results-path must be another file than --trace-data, got 'd.csv'\n"


def test_a_device_may_take_several_outputs(capsys):
    assert main([*FEW, "--results-path", "/dev/null", "--prometheus-output", "/dev/null"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_library_that_is_not_there_is_named_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = tmp_path / "r.parquet"
    assert main([*FEW, "--requests-output", str(path), "--results-path", str(tmp_path / "results.json")]) == 2
    assert capsys.readouterr().err == "parquet needs pyarrow; pip install blis-simpy[tables]\n"
    assert list(tmp_path.iterdir()) == []
