# ruff: noqa: E501 - the tables hold whole lines as users read them
"""Inputs of public fault reports, where they are at hand (BLIS_FAULTS, or beside the checkout), with the right values."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import blis_simpy as blis
from blis_simpy.cli.main import main
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.trace_files.load_trace import load_trace
from blis_simpy.workload.load_workload import load_workload
from blis_simpy.workload.spec.servegen import ServegenData
from blis_simpy.workload.workload_spec import WorkloadSpec

FAULTS = Path(os.environ.get("BLIS_FAULTS") or Path(__file__).parents[3] / "shared" / "faults")
pytestmark = pytest.mark.skipif(not FAULTS.is_dir(), reason="the inputs are not here")

DEPLOYMENT = ["--model", "qwen/qwen3-14b", "--hardware", "H100", "--tp", "1", "--latency-model", "roofline"]
MAPPED = {"columns": "arrival=ts,input_tokens=p,output_tokens=c"}
MS, SECOND = 1000, 1_000_000

TRACES = {
    "t04-burst-vllm.json": ({}, [(0, 200, 100)], 20),
    "t05-sessions.jsonl": ({}, [(0, 1200, 5), (1500 * MS, 900, 7)], 2),
    "t06-table.jsonl": ({}, [(0, 10, 5), (1 * MS, 20, 6)], 2),
    "t07-sglang-two-runs.jsonl": ({}, [(0, 100, 3), (200 * MS, 200, 2), (2 * SECOND, 100, 3)], 4),
    "t08-vllm-no-start-times.json": ({}, [(0, 100, 3), (500 * MS, 200, 2)], 2),
    "t09-three-columns.csv": ({"format": "table", **MAPPED}, [(0, 5, 2), (SECOND, 6, 3)], 2),
    "t11-float-counts.csv": ({}, [(0, 100, 10)], 1),
    "t12-spaces.csv": ({}, [(0, 100, 10)], 1),
    "t13-aiperf-export.jsonl": ({}, [(0, 550, 193)], 1),
}


def requests(trace):
    names = ("arrival_time_us", "input_tokens", "output_tokens")
    return list(zip(*(trace.columns[name].tolist() for name in names), strict=True))


@pytest.mark.parametrize("name", TRACES)
def test_trace_is_read_right(name):
    options, first, number = TRACES[name]
    found = requests(load_trace(FAULTS / name, **options))
    assert found[: len(first)] == first
    assert len(found) == number


def outcome(capsys, *words):
    status = main([*words, *DEPLOYMENT, "--report", "summary"])
    captured = capsys.readouterr()
    # The roofline of this model is too fast, which is reported too.
    warnings = [line for line in captured.err.splitlines(keepends=True) if "latency model" not in line]
    return status, captured.out, "".join(warnings)


def of(folder):
    return [
        "replay",
        "--trace-header",
        str(FAULTS / folder / "trace.yaml"),
        "--trace-data",
        str(FAULTS / folder / "trace.csv"),
    ]


def test_recording_by_the_wall_clock_completes(capsys):
    status, out, err = outcome(capsys, *of("t01-v3-epoch"))
    assert (status, err) == (0, "")
    assert "2 of 2 requests completed" in out


def test_a_burst_is_served_to_the_end_and_only_the_profile_of_the_reference_cuts_it_with_a_warning(capsys):
    status, out, err = outcome(capsys, *of("t02-no-horizon"))
    assert (status, err) == (0, "")
    assert "2 of 2 requests completed" in out
    status, _, err = outcome(capsys, *of("t02-no-horizon"), "--engine-profile", "blis")
    assert status == 0
    assert "cut 2 of 2 requests" in err
    status, out, err = outcome(capsys, "replay", "--trace-data", str(FAULTS / "t04-burst-vllm.json"))
    assert (status, err) == (0, "")
    assert "20 of 20 requests completed" in out


def test_arrival_beyond_the_clock_is_one_line(capsys):
    status, out, err = outcome(capsys, *of("t03-overflow"))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "arrival_time_us" in err
    assert "9223372036854775807" in err


def test_replay_has_the_rate_that_its_messages_name(capsys):
    status, out, _ = outcome(
        capsys, "replay", "--trace-data", str(FAULTS / "t08-vllm-no-start-times.json"), "--rate", "1"
    )
    assert status == 0
    assert "2 of 2 requests completed" in out


def test_nothing_is_reported_lost_that_was_not_there(capsys, tmp_path):
    file = str(FAULTS / "t09-three-columns.csv")
    words = ["convert", "table", "--path", file, "--columns", MAPPED["columns"], "--output", str(tmp_path / "t")]
    assert main(words) == 0
    assert capsys.readouterr().err == ""


def test_folder_with_an_empty_window_is_read():
    (client,) = ServegenData(path=str(FAULTS / "s01-empty-window")).clients()
    assert client.input_distribution == blis.Empirical((100, 200), (0.5, 0.5))


def test_multimodal_folder_is_read():
    """100 text tokens and one image of 500."""
    spec = WorkloadSpec(servegen_data=ServegenData(path=str(FAULTS / "s03-multimodal")), num_requests=5)
    assert {request.input_tokens for request in spec.generate(RandomStreams(1)).requests} == {600}


def test_load_of_a_folder_is_its_own():
    """Ten windows of 600 s: once 10.1/s, once again, and 0.2/s in the eight others: 2.18/s on average, 20/s never."""
    spec = WorkloadSpec(servegen_data=ServegenData(path=str(FAULTS / "s04-sum-of-peaks")))
    arrivals = [request.arrived_at for request in spec.generate(RandomStreams(1), horizon=6000 * SECOND).requests]
    windows = [sum(600 * SECOND * n <= tick < 600 * SECOND * (n + 1) for tick in arrivals) / 600 for n in range(10)]
    assert windows[:2] == pytest.approx([10.1, 10.1], rel=0.05)
    assert windows[2:] == pytest.approx([0.2] * 8, abs=0.1)
    assert len(arrivals) / 6000 == pytest.approx(2.18, rel=0.04)


def test_configuration_of_inference_perf_is_a_workload():
    """2/s for 30 s; prompts of 100 shared and 50 own tokens."""
    spec = load_workload(FAULTS / "s05-inference-perf.yml")
    assert spec.with_clients_listed().aggregate_rate == 2
    found = spec.generate(RandomStreams(1), horizon=30 * SECOND).requests
    assert {(request.input_tokens, request.output_tokens) for request in found} == {(150, 20)}
    assert len({request.prefix_group for request in found}) == 2


def test_large_burstgpt_file_is_read(tmp_path):
    """2 % of the rows have no answer."""
    with (tmp_path / "burst.csv").open("w") as file:
        subprocess.run([sys.executable, FAULTS / "m01-gen_burst.py", "2000"], stdout=file, check=True)
    trace = blis.load_trace(tmp_path / "burst.csv")
    assert 1900 < len(trace) < 2000
