"""Time a sweep of many short runs with one worker and with several.

    python benchmarks/sweep_scaling.py [--runs 200] [--workers 2] [--rounds 3]

Every worker needs a moment to start and to load the library, once; so the sweep is timed with workers that have to be
started, and with those that wait for more. Prints runs per second by the clock and their ratio to one worker, which
simulates in the program itself. Figures of all sweeps have to be the same.
"""

from __future__ import annotations

import argparse
import time

import blis_simpy as blis

SCENARIO = blis.Scenario(
    model="qwen/qwen3-14b",
    hardware="H100",
    tp=1,
    workload=blis.Workload(
        rate=30,
        num_requests=2000,
        arrivals="poisson",
        prompt=blis.Gaussian(512, 128, 32, 2048),
        output=blis.Gaussian(256, 64, 16, 1024),
    ),
)
GRID = {"workload.rate": [10, 20, 30, 40], "engine.max_num_seqs": [64, 256]}


def timed(runs: int, workers: int) -> tuple[float, str]:
    """Seconds that a sweep takes, and what it comes to."""
    start = time.perf_counter()
    found = blis.sweep(SCENARIO, GRID, replications=runs // 8, workers=workers, progress=False)
    return time.perf_counter() - start, found.table().text()


def stop_workers() -> None:
    """End the processes that wait for more work."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="runs of a sweep, a multiple of 8")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    SCENARIO.run()  # what is loaded once is no part of a sweep
    print(f"{options.runs} runs of {SCENARIO.workload.num_requests} requests; runs/s, and how many times one worker")
    ratios: dict[str, list[float]] = {"started": [], "waiting": []}
    for _ in range(options.rounds):
        alone, expected = timed(options.runs, 1)
        line = f"1 worker {options.runs / alone:.2f}"
        for state, found in ratios.items():
            if state == "started":
                stop_workers()
            seconds, figures = timed(options.runs, options.workers)
            assert figures == expected
            found.append(alone / seconds)
            line += f", {options.workers} workers ({state}) {options.runs / seconds:.2f}, x {found[-1]:.2f}"
        print(line, flush=True)
    for state, found in ratios.items():
        print(f"{options.workers} workers, {state}: x {sorted(found)[len(found) // 2]:.2f} (median)")


if __name__ == "__main__":
    main()
