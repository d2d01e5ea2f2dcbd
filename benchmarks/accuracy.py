"""How far simulated latencies are from those that were measured on real GPUs.

    python benchmarks/accuracy.py [--seeds N] [--experiments FOLDER] [--backends NAME ...] [--engine-profile NAME]
                                  [--runs FILE ...] [--rows FILE] [--json FILE] [--markdown FILE]

Three kinds of measurements are compared; a clone has all of them in `accuracy_data`. Experiments, `--experiments`: each
is simulated with every latency model that has coefficients for it, from what was known beforehand: architecture, GPU,
limits and KV blocks of the server, and its load. The arrivals of the measurement were not published, so a few random
ones are simulated and their figures averaged before they are compared. Recordings of single requests, `--runs`: the
first half of the requests is fitted by `blis fit`, the second half is compared (`accuracy_runs.py`). Decode times at
fixed concurrency, `--rows`: the step times of ``kernels``, without a simulation (`accuracy_rows.py`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from accuracy_experiment import FIGURES, Experiment
from accuracy_report import markdown
from accuracy_rows import compare_rows
from accuracy_runs import compare_run, transfer
from accuracy_servers import SERVERS

import blis_simpy as blis
from blis_simpy.results.aggregate import Aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from blis_simpy.results.percentiles import Percentiles

DATA = Path(__file__).resolve().parent / "accuracy_data"
RUNS = sorted((DATA / "requests").glob("*.csv"))
ROWS = DATA / "decode_times.csv"
BACKENDS = ("roofline", "crossmodel", "trained-roofline", "trained-physics", "kernels", "blackbox")
Figures = dict[str, dict[str, float]]
"""Figures in ms by latency."""


def simulate(experiment: Experiment, backend: str, seed: int, profile: str = "vllm") -> list[dict[str, Any]]:
    """Simulate an experiment once; gives the figures of `Experiment.measured`."""
    requests = experiment.requests(seed)
    with tempfile.TemporaryDirectory() as folder:
        simulation = blis.Simulation(experiment.scenario(backend, folder, profile), seed=seed, requests=requests)
    result = simulation.run()
    ends = np.cumsum([stage.requests for stage in experiment.stages]).tolist()
    rows = np.arange(len(requests))
    parts = [rows, *(rows[start:end] for start, end in zip([0, *ends], ends, strict=False))]
    return [_figures(result, part) for part in parts]


def _figures(result: blis.Result, part: NDArray[np.int64]) -> dict[str, Any]:
    [replica] = result.aggregate.replicas
    completed = part[result.requests.completed[part]]
    aggregate = Aggregate("part", result.requests, [attrs.evolve(replica, rows=completed)])
    return {
        "finished": len(completed) / len(part),
        **{
            name: {figure: _figure(getattr(aggregate, name), figure) for figure in figures}
            for name, figures in FIGURES.items()
        },
    }


def _figure(latencies: Percentiles, figure: str) -> float:
    return latencies.mean_ms if figure == "mean" else latencies.percentile_ms(float(figure[1:]))


def averaged(draws: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over the draws of the arrivals, figure by figure."""
    return {
        "finished": fmean(draw["finished"] for draw in draws),
        **{
            name: {figure: fmean(draw[name][figure] for draw in draws) for figure in figures}
            for name, figures in FIGURES.items()
        },
    }


def spread_percent(draws: Sequence[dict[str, Any]]) -> Figures:
    """Half of the range over the draws, in per cent of their mean: what a difference must exceed to mean anything."""
    spread: Figures = {}
    for name, figures in FIGURES.items():
        for figure in figures:
            values = [draw[name][figure] for draw in draws]
            spread.setdefault(name, {})[figure] = 50 * (max(values) - min(values)) / fmean(values)
    return spread


def errors_percent(simulated: Mapping[str, Any], measured: Mapping[str, Any]) -> Figures:
    """Signed errors in per cent of what was measured, figure by figure."""
    return {
        name: {
            figure: 100 * (simulated[name][figure] - measured[name][figure]) / measured[name][figure]
            for figure in figures
        }
        for name, figures in FIGURES.items()
    }


def compare(experiment: Experiment, backend: str, draws: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Set simulated against measured figures, all stages together and each, as one row of the results."""
    rows = []
    for measured, *drawn in zip(experiment.measured(), *draws, strict=True):
        simulated = averaged(drawn)
        rows.append(
            {
                "measured": measured,
                "simulated": simulated,
                "error_percent": errors_percent(simulated, measured),
                "spread_percent": spread_percent(drawn),
            }
        )
    return {
        "experiment": experiment.name,
        "regime": experiment.regime,
        "backend": backend,
        "overall": rows[0],
        "stages": [
            {"rate_per_s": stage.rate_per_s, **row} for stage, row in zip(experiment.stages, rows[1:], strict=True)
        ],
    }


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Figures]]:
    """Errors over the stable experiments, all stages together: by latency model, by statistic.

    ``median``, ``mean`` (the MAPE) and ``largest`` are those of the absolute error, ``signed`` is the median of the
    signed one.
    """
    statistics = {
        "median": lambda errors: median(map(abs, errors)),
        "mean": lambda errors: fmean(map(abs, errors)),
        "largest": lambda errors: max(map(abs, errors)),
        "signed": median,
    }
    summary: dict[str, dict[str, Figures]] = {}
    for backend in dict.fromkeys(row["backend"] for row in rows):
        errors = [
            row["overall"]["error_percent"] for row in rows if row["backend"] == backend and row["regime"] == "stable"
        ]
        if errors:
            summary[backend] = {
                label: {
                    name: {figure: statistic([e[name][figure] for e in errors]) for figure in figures}
                    for name, figures in FIGURES.items()
                }
                for label, statistic in statistics.items()
            }
    return summary


def capacities(experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    """KV blocks computed for each deployment, and those that the server had."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for experiment in experiments:
        server, name = experiment.facts["server"], experiment.facts["model"]["name"]
        if (name, server["tensor_parallelism"]) not in rows:
            with tempfile.TemporaryDirectory() as folder:
                computed = experiment.scenario("kernels", folder).with_(**{"kv.blocks": None})
                blocks = blis.Simulation(computed, requests=[]).deployment.num_blocks
            rows[name, server["tensor_parallelism"]] = {
                "model": name,
                "tp": server["tensor_parallelism"],
                "computed": blocks,
                "server": server["gpu_kv_blocks"],
            }
    return list(rows.values())


def quiet() -> None:
    """Log no warnings: the latency models compared are known to beat the hardware in part."""
    logging.getLogger("blis_simpy").setLevel(logging.ERROR)


def fitted(path: Path) -> dict[str, Any]:
    """Compare a recording of single requests with simulations before and after a fit."""
    with tempfile.TemporaryDirectory() as folder:
        return compare_run(path, folder)


def transferred(paths: Sequence[Path], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare each recording with simulations by the factors that were fitted to others with the same GPU."""
    done = []
    for path, other in itertools.product(paths, rows):
        if path.stem != other["run"] and SERVERS[path.stem].gpu == SERVERS[other["run"]].gpu:
            with tempfile.TemporaryDirectory() as folder:
                done.append(transfer(path, other, folder))
    return done


def main() -> int:
    """Simulate everything and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many draws of the arrivals (default: %(default)s)")
    parser.add_argument("--experiments", type=Path, default=DATA, help="folder of experiments (default: those shipped)")
    parser.add_argument(
        "--backends", nargs="+", default=BACKENDS, choices=BACKENDS, help="latency models (default: all)"
    )
    parser.add_argument(
        "--engine-profile", default="vllm", choices=("vllm", "blis"), help="engine profile (default: %(default)s)"
    )
    parser.add_argument(
        "--runs", type=Path, nargs="*", default=RUNS, help="recordings of single requests (default: those shipped)"
    )
    parser.add_argument("--rows", type=Path, default=ROWS, help="measured decode times (default: those shipped)")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    given = parser.parse_args()
    start = time.perf_counter()
    experiments = [Experiment.load(path) for path in sorted(given.experiments.glob("*.json"))]
    pairs = [
        (experiment, backend) for experiment in experiments for backend in given.backends if experiment.can_use(backend)
    ]
    runs = [(*pair, seed, given.engine_profile) for pair in pairs for seed in range(given.seeds)]
    with ProcessPoolExecutor(initializer=quiet) as pool:
        done = iter(list(pool.map(simulate, *zip(*runs, strict=True))))
    rows = [compare(*pair, [next(done) for _ in range(given.seeds)]) for pair in pairs]
    recorded = [fitted(path) for path in given.runs]
    results = {
        "engine_profile": given.engine_profile,
        "seeds": list(range(given.seeds)),
        "runs": recorded,
        "transfers": transferred(given.runs, recorded),
        "rows": compare_rows(given.rows),
        "wall_s": time.perf_counter() - start,
        "summary": summarize(rows),
        "capacities": capacities(experiments),
        "experiments": rows,
    }
    text = markdown(results)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        given.markdown.write_text(text, encoding="utf-8")
    print(text)
    print(f"{len(runs)} simulations of {len(experiments)} experiments took {results['wall_s']:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
