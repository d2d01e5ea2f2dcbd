"""All recorded kernels of the reference, where the corpus is at hand (BLIS_PARITY, or beside the checkout)."""

import csv
import importlib.util
import json
import os
from pathlib import Path

import adapter
import pytest
from adapter import (
    construct_backend,
    generate_trace,
    hf_config,
    kernel_decode_run,
    kernel_step,
    kv_capacity,
    replay_trained_physics,
)
from recorded import load_case

CORPUS = Path(os.environ.get("BLIS_PARITY") or Path(__file__).parents[3] / "shared" / "parity")
pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of recordings is not here"),
]
SETS = ("kernels", "kernels-trained-physics")


@pytest.fixture(autouse=True)
def corpus_figures(monkeypatch):
    """Model and GPU figures come from the corpus, too."""
    monkeypatch.setattr(adapter, "PARITY", CORPUS)


def lines(folder, name):
    return [json.loads(line) for line in (CORPUS / folder / name).read_text().splitlines()]


def report(capsys, title, count, differences):
    with capsys.disabled():
        print(f"\n  {title}: {count - len(differences)} of {count} match", end="")
    assert differences == []


@pytest.mark.parametrize("folder", SETS)
def test_steps(folder, capsys):
    configs = {config["id"]: config for config in lines(folder, "configs.jsonl")}
    differences, count = [], 0
    for row in lines(folder, "steps.jsonl"):
        for backend in row["step_time"]:
            got = kernel_step(configs[row["config"]], backend, row["batch"])
            want = {name: row[name][backend] for name in got if backend in row[name]}
            count += 1
            if want != {name: got[name] for name in want}:
                differences.append((row["case"], backend, want, got))
    report(capsys, f"{folder}/steps", count, differences)


@pytest.mark.parametrize("folder", SETS)
def test_decode_runs(folder, capsys):
    configs = {config["id"]: config for config in lines(folder, "configs.jsonl")}
    differences, count = [], 0
    for row in lines(folder, "decode_runs.jsonl"):
        for backend, times in row["step_times"].items():
            count += 1
            expected = times * row["k"] if len(times) == 1 else times
            if kernel_decode_run(configs[row["config"]], backend, row["context"], row["k"]) != expected:
                differences.append((row["case"], backend))
    report(capsys, f"{folder}/decode_runs", count, differences)


@pytest.mark.parametrize("folder", SETS)
def test_capacities(folder, capsys):
    models = {entry["model"]: entry for entry in lines("kernels", "kv_models.jsonl")} if folder == "kernels" else {}
    differences, count = [], 0
    with (CORPUS / folder / "kv_capacity.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            count += 1
            got = kv_capacity({**row, "kv_model": models[row["model"]]} if models else row)
            if got != (row["error"] or int(row["total_kv_blocks"])):
                differences.append((row, got))
    report(capsys, f"{folder}/kv_capacity", count, differences)


def test_configurations(capsys):
    rows, differences = lines("kernels", "hf_config_cases.jsonl"), []
    for row in rows:
        want = {key: value for key, value in row.items() if key not in ("id", "config", "config_text", "model")}
        got = hf_config(row)
        if want != {key: got.get(key) for key in want}:
            differences.append(
                (row["id"], {key: (value, got.get(key)) for key, value in want.items() if value != got.get(key)})
            )
    report(capsys, "kernels/hf_config_cases", len(rows), differences)


@pytest.mark.parametrize(("folder", "name"), [("kernels", "validation.jsonl"), (SETS[1], "construction.jsonl")])
def test_constructions(folder, name, capsys):
    rows = lines(folder, name)
    differences = []
    for row in rows:
        want = row["result"] if "result" in row else "rejected" if row["rejected"] else "ok"
        if (got := construct_backend(row)) != want:
            differences.append((row["id"], want, got))
    report(capsys, f"{folder}/{name.removesuffix('.jsonl')}", len(rows), differences)


def test_replays_of_the_newer_revision(capsys):
    differences, count = [], 0
    for path in sorted((CORPUS / "replay-trained-physics").glob("*.json.gz")):
        case = load_case(path)
        figures = ("request_id", "ttft_us", "e2e_us")
        got = {row["request_id"]: row for row in replay_trained_physics(case)}
        count += len(case["requests"])
        for row in case["requests"]:
            if got.get(row["request_id"]) != {name: row[name] for name in figures}:
                differences.append((case["config"]["model"], row, got.get(row["request_id"])))
    assert count > 1000
    report(capsys, "replay-trained-physics", count, differences)


WORKLOADS = CORPUS / "workloads"
NUM_SEEDS = 10


def workload_fixtures(ending):
    return sorted(WORKLOADS.glob("*" + ending)) if WORKLOADS.is_dir() else []


@pytest.fixture
def in_workloads(monkeypatch):
    """Paths inside the recorded workloads are relative to their folder."""
    monkeypatch.chdir(WORKLOADS)


def trace_of(fixture, seed):
    engine_flags = fixture["engine_flags"] if fixture["mode"] == "execute" else None
    return generate_trace(fixture["spec"], fixture.get("cli_flags", []), engine_flags, seed)


def as_text(rows):
    """Rows as they stand in a file, with the names of their sessions in order of appearance."""
    names = {"": ""}
    for row in rows:
        names.setdefault(row["session_id"], f"s{len(names) - 1}")
    return [
        {name: str(value) for name, value in {**row, "session_id": names[row["session_id"]]}.items()} for row in rows
    ]


@pytest.mark.parametrize("path", workload_fixtures(".exact.json"), ids=lambda path: path.name.split(".")[0])
@pytest.mark.parametrize("seed", [1, 987654321])
def test_workloads_without_chance_are_recorded_row_by_row(path, seed, in_workloads):
    with path.with_suffix(".csv").open(newline="") as file:
        recorded = list(csv.DictReader(file))
    assert as_text(trace_of(json.loads(path.read_text()), seed)) == as_text(recorded)


@pytest.mark.parametrize("path", workload_fixtures(".stats.json"), ids=lambda path: path.name.split(".")[0])
def test_workloads_of_chance_have_the_recorded_distributions(path, in_workloads):
    """Ten samples together, at the tolerance for so many, which is the narrowest; exact rules hold for each of them.

    The tolerance for one sample takes quantiles for normally distributed, which the 5 % quantile of a hundred weibull
    gaps is not: it fails about once in a thousand samples whose law is right.
    """
    fixture = json.loads(path.read_text())
    assert comparison()([trace_of(fixture, seed) for seed in range(1, NUM_SEEDS + 1)], fixture) == []


def comparison():
    """The corpus brings its own."""
    place = importlib.util.spec_from_file_location("wlstats", WORKLOADS / "wlstats.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module.compare
