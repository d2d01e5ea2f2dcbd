"""How things are measured: a process from start to end, the events of a simulation, and the speed of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from blis_simpy.simulation import Simulation

LAUNCHER = Path(__file__).with_name("launch.py")


@attrs.frozen(kw_only=True)
class Cost:
    """What a process took.

    Attributes
    ----------
    cpu_s, wall_s : float
        Seconds of CPU and by the clock, from start to end.
    peak_mib : float
        Most memory that it had at a time.
    """

    cpu_s: float
    wall_s: float
    peak_mib: float


def process(argv: list[str], **environment: str) -> Cost:
    """Run a program to its end, with some environment variables set.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    # Bytecode is written, as on a user's machine: where the shell forbids it, a start takes three times as long.
    env = {**os.environ, **environment}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), *argv]
    return Cost(**json.loads(subprocess.run(launcher, stdout=subprocess.PIPE, check=True, env=env).stdout))


@attrs.frozen(kw_only=True)
class Counts:
    """What a simulation did."""

    requests: int
    completed: int
    tokens: int
    events: int
    steps: int


def count(simulation: Simulation) -> Counts:
    """Run a simulation and count its SimPy events and engine steps."""
    env = simulation.env
    events = 0
    step = env.step

    def counted() -> None:
        nonlocal events
        events += 1
        step()

    env.step = counted  # type: ignore[method-assign]
    summary = simulation.run().summary
    return Counts(
        requests=len(simulation.requests),
        completed=summary["completed_requests"],
        tokens=summary["total_input_tokens"] + summary["total_output_tokens"],
        events=events,
        steps=sum(len(replica.steps) for replica in simulation.replicas),
    )


def calibrate(rounds: int = 5) -> float:
    """Least CPU seconds of a fixed mix of arithmetic, heap and dictionary work, to compare machines and days by."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        number = 1
        heap: list[tuple[int, int]] = []
        seen: dict[int, int] = {}
        for index in range(200_000):
            number = number * 48271 % 2147483647
            heappush(heap, (number, index))
            if index % 3 == 2:
                key, _ = heappop(heap)
                seen[key % 1009] = seen.get(key % 1009, 0) + key
        best = min(best, time.process_time() - start)
    return best
