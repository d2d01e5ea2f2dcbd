"""Render the pictures of the README and the documentation into docs/images; `make pictures` runs it.

Each picture comes from scenarios and seeds in this file, so that the same version draws the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import blis_simpy as blis
from blis_simpy.display.comparisons import plot_differences, plot_saturation
from blis_simpy.display.plot_latencies import plot_ecdfs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = Path(__file__).parent / "images"
SCENARIOS = Path(__file__).parents[1] / "scenarios"
DPI = 100
RATES = (5, 10, 15, 20, 25, 30, 33, 36)
SEEDS = range(1, 9)
PRESSURE = {"kv.blocks": 6000, "workload.num_requests": 1200}


def save(name: str, ax: Axes) -> None:
    """Write a picture and let go of it."""
    # Without the version of matplotlib, so that equal pictures are equal files.
    ax.figure.savefig(IMAGES / f"{name}.png", dpi=DPI, metadata={"Software": None})
    plt.close(ax.figure)


def result_pictures() -> None:
    """Draw one run in all ways, short of KV blocks so that there is something to see."""
    scenario = blis.load_scenario(SCENARIOS / "quickstart.yaml").with_(**PRESSURE)
    result = scenario.run()
    plots = result.plot
    save("timeline", plots.timeline()[0, 0])
    save("latencies", plots.latencies()[0])
    save("histogram", plots.histogram("e2e"))
    save("gantt", plots.gantt(start="8s"))
    save("throughput", plots.throughput()[0])
    preempted, _ = result.preemptions[-1]
    save("explain", plots.explain(preempted))


def routing_pictures() -> None:
    """Draw what routing by prefix does for four replicas, against turns and load."""
    affinity = blis.load_scenario(SCENARIOS / "prefix-affinity.yaml")
    scenarios = {
        "round-robin": affinity.with_(router="round-robin"),
        "least-loaded": affinity.with_(router="least-loaded"),
        "prefix-affinity": affinity,
    }
    results = {name: scenario.run() for name, scenario in scenarios.items()}
    save("ecdf", plot_ecdfs(results, "ttft"))
    save("replicas", results["prefix-affinity"].plot.timeline()[0, 0])
    save("routing", results["prefix-affinity"].plot.routing(by="prefix_group"))
    values = {
        name: np.array([scenario.run(seed=seed).metric("ttft_p99_ms") for seed in SEEDS])
        for name, scenario in scenarios.items()
    }
    save("comparison", comparison(values))


def comparison(values: dict[str, np.ndarray]) -> Axes:
    """Draw differences from the first one over seeds that all share, with intervals of 95 %."""
    (_, baseline), *candidates = values.items()
    differences = [candidate - baseline for _, candidate in candidates]
    half = [stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5 for d in differences]
    means = np.array([d.mean() for d in differences])
    low, high = means - half, means + half
    verdicts = ["lower" if h < 0 else "higher" if lo > 0 else "undecided" for lo, h in zip(low, high, strict=True)]
    names = [name for name, _ in candidates]
    return plot_differences(
        names, means, low, high, xlabel="change of TTFT p99 against round-robin (ms)", verdicts=verdicts
    )


def saturation_picture() -> None:
    """Draw how latency grows with the rate, for one GPU and for two that work together."""
    quick = blis.load_scenario(SCENARIOS / "quickstart.yaml").with_(**{"workload.num_requests": 1000})
    ax = None
    for label, scenario in (("1 GPU", quick), ("2 GPUs (tp 2)", quick.with_(tp=2))):
        values = np.array(
            [
                [scenario.with_(**{"workload.rate": rate}).run(seed=seed).metric("ttft_p99_ms") for seed in (1, 2, 3)]
                for rate in RATES
            ]
        )
        low, mean, high = values.min(axis=1), values.mean(axis=1), values.max(axis=1)
        target = None if ax else 200
        ax = plot_saturation(RATES, mean, low, high, ylabel="TTFT p99 (ms)", label=label, target=target, ax=ax)
    assert ax is not None
    save("saturation", ax)


def main() -> None:
    """Draw everything."""
    mpl.use("Agg")
    IMAGES.mkdir(exist_ok=True)
    result_pictures()
    routing_pictures()
    saturation_picture()


if __name__ == "__main__":
    main()
