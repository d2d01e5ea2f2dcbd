"""Speed and memory of the simulator, from the start of the program to its end.

    python benchmarks/run.py [--full] [--compiled PYTHON] [--rounds N] [--only TEXT]

Prints tables and writes them to results/benchmarks.json. Counts (events, steps, tokens) are exact and the same
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
from loads import CORPUS, Load, changed, conversations, digest, generated, growth, recorded
from measure import Cost, calibrate, count, process
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks.json"
CONVERSATIONS = 12_031
"""Requests of Mooncake's conversation trace."""


def best_of(load: Load, rounds: int, blis: Path) -> tuple[Cost, bool]:
    """Least CPU of some runs of a load, and whether the latencies are as recorded (True if none are)."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        argv = [str(blis), *load.command, "--report=none", "--log=error"]
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


def measured(load: Load, rounds: int, builds: dict[str, Path]) -> list[dict[str, Any]]:
    """Everything about one load, a row for each build, as it goes into the file."""
    counts = count(load.simulation())
    rows = []
    for build, blis in builds.items():
        cost, exact = best_of(load, rounds, blis)
        row = {
            "load": load.name,
            "series": load.series,
            "point": load.point,
            "build": build,
            **attrs.asdict(counts),
            **attrs.asdict(cost),
            "cpu_us_per_request": 1e6 * cost.cpu_s / counts.requests,
            "events_per_request": counts.events / counts.requests,
            "steps_per_request": counts.steps / counts.requests,
            "tokens_per_cpu_s": counts.tokens / cost.cpu_s,
            "exact": exact if load.digest else None,
            "reference_ratio": None,
        }
        if load.reference_cpu_s:
            scale = corpus_calibration() / load.reference_calibration_s
            row["reference_ratio"] = scale * load.reference_cpu_s / cost.cpu_s
        rows.append(row)
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    table = Table(title=title)
    columns = {
        "load": ("load", "{}"),
        "build": ("build", "{}"),
        "CPU s": ("cpu_s", "{:.2f}"),
        "peak MiB": ("peak_mib", "{:.0f}"),
        "µs/request": ("cpu_us_per_request", "{:.0f}"),
        "events/request": ("events_per_request", "{:.2f}"),
        "steps/request": ("steps_per_request", "{:.2f}"),
        "tokens/s": ("tokens_per_cpu_s", "{:,.0f}"),
        "reference": ("reference_ratio", "{:.1f} x"),
        "exact": ("exact", "{}"),
    }
    for column in columns:
        table.add_column(column, justify="left" if column in ("load", "build") else "right", no_wrap=True)
    for row in rows:
        values = ((row[key], form) for key, form in columns.values())
        table.add_row(*("-" if value is None else form.format(value) for value, form in values))
    Console(width=160).print(table)


def chosen_loads(folder: Path, *, full: bool) -> list[Load]:
    """Return the loads to measure, those of growth series last."""
    loads: list[Load] = []
    for profile in ("blis", "vllm"):
        found = [load for key in "abc" if (load := recorded(key, profile))]
        loads += found or [generated("near-saturation", 20_000, profile), generated("decode-heavy", 5_000, profile)]
        loads.append(generated("sparse-decode", 2_000, profile))
    for per_s in (3, 10):
        loads.append(changed(f"2,000 x 512/512 at {per_s}/s", "steady.yaml", {"workload.rate": f"{per_s}/s"}))
    loads.append(conversations(folder, CONVERSATIONS if full else CONVERSATIONS // 10))
    return [*loads, *growth(full=full)]


def main() -> int:
    """Measure, print, write; returns 1 if latencies are not as recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all points of all series, up to a million requests")
    parser.add_argument("--compiled", metavar="PYTHON", help="interpreter of a compiled installation to measure, too")
    parser.add_argument(
        "--rounds", type=int, help="runs of a load, of which the fastest counts (default 3; 1 in a series)"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only loads with this text in their names")
    options = parser.parse_args()
    builds = {"pure": Path(sys.executable).parent / "blis"}
    if options.compiled:
        builds["compiled"] = Path(options.compiled).parent / "blis"
    calibration_s = calibrate()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for load in chosen_loads(Path(folder), full=options.full):
            if options.only in load.name:
                rows += measured(load, options.rounds or (1 if load.series else 3), builds)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"calibration_cpu_s": calibration_s, "rows": rows}, indent=1), encoding="utf-8")
    show(f"Whole program; calibration {calibration_s:.3f} CPU s", [row for row in rows if not row["series"]])
    show("Growth, whole program", [row for row in rows if row["series"]])
    return int(any(row["exact"] is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
