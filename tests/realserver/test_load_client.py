"""The benchmark of the load client of `blis observe`, at a small load."""

import re
import runpy
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "load_client.py"


def test_the_benchmark_sends_all_requests_and_reports_the_slip(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(BENCHMARK), "--rate", "50", "--seconds", "0.2", "--tokens", "2"])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    out = capsys.readouterr().out
    assert "requests/s, {'ok': 10}" in out
    assert re.search(r"schedule slip \(ms\): mean [\d.]+, p99 [\d.]+, max [\d.]+", out)
