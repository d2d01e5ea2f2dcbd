"""How far simulated latencies are from those that were measured on real GPUs.

    python benchmarks/accuracy.py [--seeds N] [--experiments FOLDER] [--json FILE] [--markdown FILE]

Every experiment is simulated with every latency model that has coefficients for it, from what was known beforehand:
architecture, GPU, limits of the server and the load that it got. Nothing is fitted. The arrivals of the measurement were
not published, so a few random ones are simulated and their figures averaged before they are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean, median
from typing import Any

import attrs
import numpy as np
from accuracy_report import markdown

import blis_simpy as blis
from blis_simpy.catalog.defaults import Catalog
from blis_simpy.core.content import Span
from blis_simpy.core.request import Outcome, Request
from blis_simpy.metrics.aggregate import Aggregate
from blis_simpy.metrics.distributions import Distribution

DATA = Path(__file__).resolve().parent / "accuracy_data"
BACKENDS = ("roofline", "crossmodel", "trained-roofline", "trained-physics", "blackbox")
FIGURES = {
    "ttft": ("mean", "p90", "p99"),
    "itl": ("mean", "p50", "p90", "p98"),  # the client's log has no p99 of the gaps, see accuracy_data/README.md
    "e2e": ("mean", "p90", "p99"),
}
"""What is compared: latencies, and the figures of each."""

_SAME_ARCHITECTURE = {"mistralai/Mixtral-8x7B-v0.1": "mistralai/Mixtral-8x7B-Instruct-v0.1"}
"""Models whose blackbox coefficients stand under another name."""
_BLACKBOX_VERSION = "vllm/vllm-openai:v0.8.4"
"""Server that the blackbox coefficients were fitted to; there are none for the one that was measured."""

Figures = dict[str, dict[str, float]]
"""Figures in ms by latency."""


@attrs.frozen(kw_only=True)
class Stage:
    """A stretch of the load with one request rate.

    Attributes
    ----------
    duration_s : float, s
        Length of the stage.
    requests : int
        Requests that are sent in it, whatever the draw.
    """

    duration_s: float
    requests: int


@attrs.frozen(kw_only=True)
class Experiment:
    """One measurement of a real server, as its file tells it.

    Attributes
    ----------
    name, regime : str
        What it is called; ``stable`` or not.
    facts : mapping
        The file.
    """

    name: str
    regime: str
    facts: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> Experiment:
        """Read an experiment from its JSON file."""
        facts = json.loads(path.read_text(encoding="utf-8"))
        return cls(name=facts["id"], regime=facts["regime"], facts=facts)

    @property
    def stages(self) -> list[Stage]:
        """The stages of the load, in order."""
        return [Stage(duration_s=s["duration_s"], requests=s["requests"]) for s in self.facts["workload"]["stages"]]

    def measured(self) -> list[dict[str, Any]]:
        """Measured figures: all stages together, then each; with the share of requests that were answered."""
        parts = [self.facts["measured"]["overall"], *self.facts["measured"]["stages"]]
        return [
            {
                "finished": part["requests"]["succeeded"] / part["requests"]["sent"],
                **{name: {f: part[f"{name}_ms"][f] for f in figures} for name, figures in FIGURES.items()},
            }
            for part in parts
        ]

    def scenario(self, backend: str, folder: str) -> blis.Scenario:
        """Scenario of the server; its ``config.json`` is written to `folder`."""
        model, server = self.facts["model"], self.facts["server"]
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(model["architecture"]), encoding="utf-8")
        blackbox = backend == "blackbox"
        return blis.Scenario(
            model=self._blackbox_model if blackbox else model["name"],
            model_config=str(config),
            hardware=self.facts["hardware"]["gpu"],
            tp=server["tensor_parallelism"],
            engine_version=_BLACKBOX_VERSION if blackbox else None,
            latency=blis.LatencySettings(backend=backend),
            engine=blis.EngineSettings(
                max_num_seqs=server["max_num_seqs"],
                max_num_batched_tokens=server["max_num_batched_tokens"],
                max_model_len=server["max_model_len"],
            ),
            kv=blis.KVSettings(block_size=server["block_size_tokens"]),
        )

    def can_use(self, backend: str) -> bool:
        """Whether a latency model has coefficients for this deployment."""
        if backend != "blackbox":
            return True
        gpu, tp = self.facts["hardware"]["gpu"], self.facts["server"]["tensor_parallelism"]
        try:
            Catalog.load().blackbox_coefficients(self._blackbox_model, gpu, tp, _BLACKBOX_VERSION)
        except blis.ScenarioError as error:
            if error.code != "no_coefficients":
                raise
            return False
        return True

    @property
    def _blackbox_model(self) -> str:
        name: str = self.facts["model"]["name"]
        return _SAME_ARCHITECTURE.get(name, name)

    def requests(self, seed: int) -> list[Request]:
        """Draw the load: fixed prompts in a fixed cycle, at random instants.

        Request i sends prompt i modulo their number. Prompts of a group begin alike, and a prompt that was sent before
        is known to the cache but for its last tokens. The instants of a stage have exponential gaps, scaled to fill it.
        """
        rng = np.random.default_rng(seed)
        prompts = self._prompts(rng)
        timeout = self.facts["client"]["request_timeout_s"] * blis.SECOND
        requests: list[Request] = []
        start = 0
        for stage in self.stages:
            gaps = rng.exponential(size=stage.requests)
            for instant in (
                np.rint(np.cumsum(gaps) * (stage.duration_s * blis.SECOND / gaps.sum())).astype(int).tolist()
            ):
                content = prompts[len(requests) % len(prompts)]
                requests.append(
                    Request(
                        id=f"request_{len(requests)}",
                        arrived_at=start + instant,
                        input_tokens=sum(span.tokens for span in content),
                        output_tokens=self.facts["workload"]["output_tokens"]["constant"],
                        deadline=start + instant + timeout,
                        content=content,
                    )
                )
            # The next stage waited until the server was idle. An idle server forgets nothing: a longer pause is the same.
            start = requests[-1].deadline + blis.SECOND
        return requests

    def _prompts(self, rng: np.random.Generator) -> list[tuple[Span, ...]]:
        """Contents of the distinct prompts in the order in which they are sent; lengths follow the known quantiles."""
        groups, tokens = self.facts["workload"]["shared_prefix"], self.facts["workload"]["prompt_tokens"]
        count = groups["groups"] * groups["prompts_per_group"]
        quantiles = [tokens[key] for key in ("min", "p50", "p99", "max")]
        lengths = np.rint(np.interp((np.arange(count) + 0.5) / count, (0, 0.5, 0.99, 1), quantiles)).astype(int)
        system = groups["system_prompt_tokens"]
        prompts = [
            (
                Span(f"system {index % groups['groups']}", 0, system),
                Span(f"question {index}", 0, length - system),
            )
            for index, length in enumerate(rng.permutation(lengths).tolist())
        ]
        return [prompts[index] for index in rng.permutation(count)]


def simulate(experiment: Experiment, backend: str, seed: int) -> list[dict[str, Any]]:
    """Simulate an experiment once; gives the figures of `Experiment.measured`."""
    requests = experiment.requests(seed)
    with tempfile.TemporaryDirectory() as folder:
        simulation = blis.Simulation(experiment.scenario(backend, folder), seed=seed, requests=requests)
    [replica] = simulation.run().aggregate.replicas
    ends = np.cumsum([stage.requests for stage in experiment.stages]).tolist()
    parts = [requests, *(requests[start:end] for start, end in zip([0, *ends], ends, strict=False))]
    return [_figures(part, replica) for part in parts]


def _figures(requests: Sequence[Request], replica: Any) -> dict[str, Any]:
    completed = [request for request in requests if request.outcome is Outcome.COMPLETED]
    aggregate = Aggregate("part", [attrs.evolve(replica, requests=completed)])
    return {
        "finished": len(completed) / len(requests),
        **{
            name: {figure: _figure(getattr(aggregate, name), figure) for figure in figures}
            for name, figures in FIGURES.items()
        },
    }


def _figure(latencies: Distribution, figure: str) -> float:
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
    """Simulated against measured, all stages together and each, as one row of the results."""
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
        "stages": rows[1:],
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
                blocks = blis.Simulation(experiment.scenario("roofline", folder), requests=[]).deployment.num_blocks
            rows[name, server["tensor_parallelism"]] = {
                "model": name,
                "tp": server["tensor_parallelism"],
                "computed": blocks,
                "server": server["gpu_kv_blocks"],
            }
    return list(rows.values())


def main() -> int:
    """Simulate everything and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many draws of the arrivals (default: %(default)s)")
    parser.add_argument("--experiments", type=Path, default=DATA, help="folder of experiments (default: those shipped)")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    given = parser.parse_args()
    start = time.perf_counter()
    experiments = [Experiment.load(path) for path in sorted(given.experiments.glob("*.json"))]
    pairs = [(experiment, backend) for experiment in experiments for backend in BACKENDS if experiment.can_use(backend)]
    runs = [(*pair, seed) for pair in pairs for seed in range(given.seeds)]
    with ProcessPoolExecutor() as pool:
        done = iter(list(pool.map(simulate, *zip(*runs, strict=True))))
    rows = [compare(*pair, [next(done) for _ in range(given.seeds)]) for pair in pairs]
    results = {
        "seeds": list(range(given.seeds)),
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
