"""Recorded outcomes of the reference, a few of each feature, and rows of its latency kernels; all must match."""

import json
from pathlib import Path

import pytest
from adapter import (
    construct_backend,
    hf_config,
    kernel_decode_run,
    kernel_step,
    kv_capacity,
    replay_case,
)
from recorded import compare, load_case

DATA = Path(__file__).parent / "data"
KERNELS = json.loads((DATA / "kernels.json").read_text())
CONFIGS = {config["id"]: config for config in KERNELS["configs"]}
pytestmark = pytest.mark.parity


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json.gz")), ids=lambda path: path.name.removesuffix(".json.gz"))
def test_recorded_simulation_is_reproduced(path):
    case = load_case(path)
    assert compare(case, replay_case(case)) == []


def test_comparison_notices_a_figure_that_is_off_by_one():
    case = load_case(min(DATA.glob("deadlines*.json.gz")))
    got = replay_case(case)
    got["results"][0]["ttft_us"] += 1
    got["cluster"] = {**got["cluster"], "total_output_tokens": 0}
    assert len(compare(case, got)) == 2


@pytest.mark.parametrize("row", KERNELS["steps"], ids=lambda row: row["case"])
def test_recorded_step_is_reproduced(row):
    for backend, step_time in row["step_time"].items():
        got = kernel_step(CONFIGS[row["config"]], backend, row["batch"])
        assert got["step_time"] == step_time
        for name in ("queueing_time", "output_token_processing_time", "post_decode_overhead"):
            if backend in row[name]:
                assert got[name] == row[name][backend]


@pytest.mark.parametrize("row", KERNELS["decode_runs"], ids=lambda row: row["case"])
def test_recorded_run_of_decodes_is_reproduced(row):
    for backend, times in row["step_times"].items():
        expected = times * row["k"] if len(times) == 1 else times
        assert kernel_decode_run(CONFIGS[row["config"]], backend, row["context"], row["k"]) == expected


@pytest.mark.parametrize("row", KERNELS["kv_capacity"], ids=lambda row: f"{row['config']}-{row['gpu']}-tp{row['tp']}")
def test_recorded_capacity_is_reproduced(row):
    assert kv_capacity(row) == (row["error"] or int(row["total_kv_blocks"]))


@pytest.mark.parametrize("row", KERNELS["hf_configs"], ids=lambda row: row["id"])
def test_recorded_reading_of_a_configuration_is_reproduced(row):
    got = hf_config(row)
    assert {key: got.get(key) for key in row if key not in ("id", "config", "config_text", "model")} == {
        key: value for key, value in row.items() if key not in ("id", "config", "config_text", "model")
    }


@pytest.mark.parametrize("row", KERNELS["constructions"], ids=lambda row: row["id"])
def test_recorded_refusal_is_reproduced(row):
    assert construct_backend(row) == row["result"]
