"""Speed and memory of the simulator, from the start of the program to its end.

    python benchmarks/run.py [--quick]

Prints a table and writes it to results/benchmarks.json. Counts (events, steps, tokens) are exact and the same
everywhere; seconds are of this machine, and the calibration beside them tells how fast it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import attrs
from loads import CORPUS, Load, digest, generated, recorded
from measure import BLIS, Cost, calibrate, count, process
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks.json"


def best_of(load: Load, rounds: int, *flags: str) -> tuple[Cost, bool]:
    """Least CPU of some runs of a load, and whether the latencies are as recorded (True if none are)."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        argv = [str(BLIS), *load.command, "--report=none", "--log=error", *flags]
        if load.digest:
            argv.append(f"--results-path={results}")
        costs = [process(argv) for _ in range(rounds)]
        exact = not load.digest or digest(results) == load.digest
    return min(costs, key=lambda cost: cost.cpu_s), exact


@cache
def corpus_calibration() -> float:
    """CPU seconds of the calibration that the reference's figures were taken with."""
    script = CORPUS / "perf" / "calibrate.py"
    return float(subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout)


def measured(load: Load, rounds: int, *, plain: bool) -> dict[str, Any]:
    """Everything about one load, as it goes into the file."""
    cost, exact = best_of(load, rounds)
    counts = count(load.simulation())
    row = {
        "load": load.name,
        **attrs.asdict(counts),
        **attrs.asdict(cost),
        "requests_per_cpu_s": counts.requests / cost.cpu_s,
        "tokens_per_cpu_s": counts.tokens / cost.cpu_s,
        "cpu_us_per_request": 1e6 * cost.cpu_s / counts.requests,
        "events_per_request": counts.events / counts.requests,
        "steps_per_request": counts.steps / counts.requests,
        "exact": exact if load.digest else None,
        "plain_ratio": None,
        "reference_ratio": None,
    }
    if plain:
        slow, exact = best_of(load, rounds, "--plain-steps")
        row["plain_ratio"] = slow.cpu_s / cost.cpu_s
        row["exact"] = bool(row["exact"] and exact) if load.digest else None
    if load.reference_cpu_s:
        scale = corpus_calibration() / load.reference_calibration_s
        row["reference_ratio"] = scale * load.reference_cpu_s / cost.cpu_s
    return row


def show(rows: list[dict[str, Any]], calibration_s: float) -> None:
    """Print the table."""
    table = Table(title=f"Whole program, least of the runs; calibration {calibration_s:.3f} CPU s")
    columns = {
        "load": ("load", "{}"),
        "CPU s": ("cpu_s", "{:.2f}"),
        "wall s": ("wall_s", "{:.2f}"),
        "peak MiB": ("peak_mib", "{:.0f}"),
        "requests/s": ("requests_per_cpu_s", "{:,.0f}"),
        "tokens/s": ("tokens_per_cpu_s", "{:,.0f}"),
        "µs/request": ("cpu_us_per_request", "{:.0f}"),
        "events/request": ("events_per_request", "{:.2f}"),
        "steps/request": ("steps_per_request", "{:.2f}"),
        "plain steps": ("plain_ratio", "{:.1f} x"),
        "reference": ("reference_ratio", "{:.1f} x"),
        "exact": ("exact", "{}"),
    }
    for title in columns:
        table.add_column(title, justify="left" if title == "load" else "right", no_wrap=True)
    for row in rows:
        values = ((row[key], form) for key, form in columns.values())
        table.add_row(*("-" if value is None else form.format(value) for value, form in values))
    Console(width=170).print(table)


def main() -> int:
    """Measure, print, write; returns 1 if latencies are not as recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one run of each load, without the largest")
    quick = parser.parse_args().quick
    rounds = 1 if quick else 3
    calibration_s = calibrate()
    rows = []
    for profile in ("blis", "vllm"):
        loads = [load for key in "ac" if (load := recorded(key, profile))]
        loads = loads or [generated("decode-heavy", 5_000, profile)]
        loads.append(generated("sparse-decode", 2_000, profile))
        rows += [measured(load, rounds, plain=True) for load in loads]
        growth = (2_000, 20_000) if quick else (2_000, 20_000, 200_000)
        rows += [measured(generated("near-saturation", size, profile), rounds, plain=False) for size in growth]
    show(rows, calibration_s)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"calibration_cpu_s": calibration_s, "rows": rows}, indent=1))
    return int(any(row["exact"] is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
