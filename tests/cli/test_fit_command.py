"""``blis fit``: what it prints and writes, and its errors."""

from pathlib import Path

import pytest

import blis_simpy as blis
from blis_simpy.cli.main import main

SCENARIO = "model: qwen/qwen3-14b\nhardware: H100\ntp: 1\nkv: {blocks: 10000}\nengine: {max_num_seqs: 64}\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A scenario, and a recording of 60 requests on a server whose memory is a fifth slower."""
    monkeypatch.chdir(tmp_path)
    Path("server.yaml").write_text(SCENARIO)
    lengths = {"prompt": blis.Gaussian(600, 400), "output": blis.Gaussian(60, 20)}
    scenario = blis.load_scenario("server.yaml").with_(
        **{
            "latency.backend": {"type": "kernels", "mem": 1.2},
            "workload": blis.Workload(rate=8, num_requests=60, **lengths),
        }
    )
    scenario.run().write_trace("real")
    return ["fit", "server.yaml", "--trace-data", "real.csv"]


def test_estimates_errors_and_a_snippet_are_printed_and_the_scenario_is_written(files, capsys):
    assert main([*files, "--scenario-output", "fitted.yaml"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Estimates from 30 requests, ")
    assert "\nlatency:\n  backend:\n    type: kernels\n    mem: 1." in out
    fitted = blis.load_scenario("fitted.yaml")
    assert fitted.latency.backend["mem"] == pytest.approx(1.2, abs=0.1)
    assert fitted.engine.max_num_seqs == 64


def test_a_picture_is_written(files):
    pytest.importorskip("matplotlib")
    assert main([*files, "--plot-output", "fit.png"]) == 0
    assert Path("fit.png").read_bytes().startswith(b"\x89PNG")


def test_flags_describe_the_server_where_there_is_no_file(files, capsys):
    flags = ["--model", "qwen/qwen3-14b", "--hardware", "H100", "--tp", "1", "--total-kv-blocks", "10000"]
    more = ["--max-num-running-reqs", "64", "--trace-header", "real.yaml", "--held-out", "0.4"]
    assert main(["fit", *flags, *files[2:], *more]) == 0
    assert capsys.readouterr().out.startswith("Estimates from 36 requests, ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["server.yaml"], "--trace-data is required"),
        (["--trace-data", "real.csv"], "--model is required; or name a scenario: 'blis list scenarios' lists them"),
        (
            ["server.yaml", "--trace-data", "real.csv", "--held-out", "2"],
            "--held-out must be from 0.1 to 0.9, got 2",
        ),
        (
            ["server.yaml", "--trace-data", "real.csv", "--held-out", "x"],
            "--held-out must be from 0.1 to 0.9, got 'x'",
        ),
        (
            ["server.yaml", "--trace-data", "real.csv", "--network-rtt-us", "-5"],
            "--network-rtt-us must be a whole number of us >= 0, got -5",
        ),
        (["server.yaml", "--trace-data", "none.csv"], "none.csv: cannot be read: No such file or directory"),
        (
            ["server.yaml", "--trace-data", "real.csv", "--plot-output", "x.txt"],
            "--plot-output must end in .png, .svg, .pdf, got 'x.txt'",
        ),
        (
            ["server.yaml", "--trace-data", "real.csv", "--scenario-output", "server.yaml"],
            "--scenario-output must be another file than the scenario, got 'server.yaml'",
        ),
        (
            ["server.yaml", "--trace-data", "real.csv", "--latency-model", "roofline"],
            "--latency-model must be kernels: its options are fitted, got 'roofline'",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(files, words, line, capsys):
    assert main(["fit", *words]) == 2
    assert capsys.readouterr().err == f"{line}\n"
