"""The whole loop on a real server: observe it, replay the recording, calibrate, read the report.

The commands are those of the documentation, with the address and the model of the server put in. How long a server on
this machine takes is not judged; everything that follows from the recording is.
"""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.cli.main import main

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "calibrate.md"
NUM_REQUESTS = 60


@pytest.fixture(scope="module")
def loop(llama_url, tmp_path_factory):
    """Folder in which the commands of the page have run."""
    folder = tmp_path_factory.mktemp("loop")
    block = re.search(
        r"^```text\n(\$ blis observe.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    commands = [shlex.split(line) for line in re.findall(r"^\$ blis (.*)$", block[1], re.MULTILINE)]
    assert [command[0] for command in commands] == ["observe", "replay", "calibrate"]
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    for command in commands:
        words = [{"http://localhost:8000": llama_url, "my/model": "tiny"}.get(word, word) for word in command]
        assert main(words) == 0, words
    patch.undo()
    return folder


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_every_request_is_recorded_simulated_and_compared(loop):
    assert report(loop)["trace_info"] == {
        "num_requests": NUM_REQUESTS,
        "warm_up_excluded": 0,
        "matched_pairs": NUM_REQUESTS,
        "token_mismatches": 0,
    }
    assert len(json.loads((loop / "sim.json").read_text())) == NUM_REQUESTS


def test_measured_percentiles_are_those_of_the_recording(loop):
    """Computed anew with numpy, from the columns of the file."""
    columns = blis.load_trace(loop / "rec.csv").columns
    for kind, until in (("ttft", "first_chunk_time_us"), ("e2e", "last_chunk_time_us")):
        latencies = columns[until] - columns["send_time_us"]
        assert (latencies > 0).all()
        figures = report(loop)["metrics"][kind]
        assert figures["Count"] == NUM_REQUESTS
        for percent in (50, 90, 95, 99):
            assert figures[f"RealP{percent}"] == pytest.approx(np.percentile(latencies, percent), rel=1e-12)


def test_python_says_what_the_commands_say(loop):
    """The same settings as in the command of the page, and errors and correlation computed anew with numpy."""
    trace = blis.load_trace(loop / "rec.csv")
    scenario = blis.Scenario(
        model="tiny",
        latency=blis.LatencySettings(alpha=(1500, 0, 0), beta=(220, 5, 50)),
        engine=blis.EngineSettings(max_num_seqs=4),
        kv=blis.KVSettings(blocks=2048),
    )
    calibration = blis.calibrate(trace, blis.replay(scenario, trace))
    assert calibration.report() == report(loop)
    pairs = calibration.pairs
    for kind, agreement in (("ttft", calibration.ttft), ("e2e", calibration.e2e)):
        real, simulated = pairs[f"real_{kind}_us"], pairs[f"sim_{kind}_us"]
        assert agreement.mape == pytest.approx(np.mean(np.abs(real - simulated) / real), rel=1e-9)
        assert agreement.pearson_r == pytest.approx(np.corrcoef(real, simulated)[0, 1], rel=1e-9)
        assert agreement.bias == ("over-predict" if simulated.sum() > real.sum() else "under-predict")


def test_the_loop_repeats_from_the_recording_to_the_byte(loop, tmp_path):
    files = ["--trace-header", str(loop / "rec.yaml"), "--trace-data", str(loop / "rec.csv")]
    words = [*files, "--sim-results", str(loop / "sim.json"), "--report", str(tmp_path / "again.json")]
    assert main(["calibrate", *words]) == 0
    assert (tmp_path / "again.json").read_bytes() == (loop / "report.json").read_bytes()
