"""Scenario files whose figures follow from one line of arithmetic."""

import pytest

STEADY = """\
model: any/model
hardware: H100
tp: 1
engine_version: any
latency: {{backend: blackbox, alpha: [0, 0, 0], beta: [{step_us}, 1, 100]}}
kv: {{blocks: 10000}}
workload:
  rate: {rate}
  num_requests: {num_requests}
  arrivals: {arrivals}
  prompt: {{type: constant, value: 100}}
  output: {{type: constant, value: 20}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory but for three scenarios.

    A step takes 5 ms (10 in ``slow.yaml``), 1 µs more a prompt token and 0.1 ms more a decode token. In ``fast.yaml``
    and ``slow.yaml`` requests of 100 and 20 tokens come one a second, so that each is alone: TTFT 5.1 ms or 10.1, gaps
    of 5.1 or 10.1, and with 19 of those E2E 102 ms or 202. In ``busy.yaml`` they come at random, 20 a second.
    """
    monkeypatch.chdir(tmp_path)
    alone = {"rate": "1/s", "num_requests": 5, "arrivals": "constant"}
    (tmp_path / "fast.yaml").write_text(STEADY.format(step_us=5000, **alone))
    (tmp_path / "slow.yaml").write_text(STEADY.format(step_us=10_000, **alone))
    (tmp_path / "busy.yaml").write_text(STEADY.format(step_us=5000, rate=20, num_requests=40, arrivals="poisson"))
    return tmp_path


@pytest.fixture
def blis(folder, capsys):
    """Run a command in that folder: exit status, stdout, lines of stderr."""
    from blis_simpy.cli.main import main

    def blis(*words):
        status = main(list(words))
        captured = capsys.readouterr()
        return status, captured.out, captured.err.splitlines()

    return blis
