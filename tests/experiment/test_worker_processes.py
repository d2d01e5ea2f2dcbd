"""Worker processes that are killed, or whose parent is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import blis_simpy as blis

PROGRAM = """\
import os, sys, time
import blis_simpy as blis

folder = sys.argv[1]

def stays(result):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    time.sleep(600)
    return 1.0

scenario = blis.Scenario(
    model="my/model",
    kv={"blocks": 100},
    latency={"alpha": (0, 0, 0), "beta": (5000, 10, 1)},
    workload={"rate": 5, "num_requests": 2},
)
if __name__ == "__main__":
    blis.sweep(scenario, {"replicas": [1, 2]}, replications=2, metrics={"stays": stays}, executor="loky", workers=2)
"""
SCENARIO = blis.Scenario(
    model="my/model",
    kv={"blocks": 100},
    latency={"alpha": (0, 0, 0), "beta": (5000, 10, 1)},
    workload={"rate": 5, "num_requests": 2},
)


def waits_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_workers_end_after_their_parent_was_killed(tmp_path):
    program, pids = tmp_path / "program.py", tmp_path / "pids"
    pids.mkdir()
    program.write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, program, pids], stderr=subprocess.DEVNULL)
    try:
        waits_until(lambda: len(list(pids.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    waits_until(lambda: not any(Path("/proc", path.name).exists() for path in pids.iterdir()))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are those of POSIX")
def test_a_worker_that_is_killed_ends_the_experiment_with_one_line():
    def kills(result):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(blis.BlisError, match="has lost a process, which was killed") as caught:
        blis.replicate(SCENARIO, 2, metrics={"kills": kills}, executor="loky", workers=2)
    assert "\n" not in str(caught.value)
