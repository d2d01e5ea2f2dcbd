"""One measurement of a real server: what it was, what load it got, what was measured, and the same as a simulation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import blis_simpy as blis
from blis_simpy.catalog.defaults import Catalog
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span

FIGURES = {
    "ttft": ("mean", "p50", "p90", "p99"),
    "itl": ("mean", "p50", "p90", "p98"),  # the client's log has no p99 of the gaps, see accuracy_data/README.md
    "e2e": ("mean", "p90", "p99"),
}
"""What is compared: latencies, and the figures of each."""

_SAME_ARCHITECTURE = {"mistralai/Mixtral-8x7B-v0.1": "mistralai/Mixtral-8x7B-Instruct-v0.1"}
"""Models whose blackbox coefficients stand under another name."""
_GPU_MEMORY_UTILIZATION = 0.9
"""Share of the memory that vLLM 0.15 uses unless told otherwise; the servers ran with its defaults."""
_BLACKBOX_VERSION = "vllm/vllm-openai:v0.8.4"
"""Server that the blackbox coefficients were fitted to; there are none for the one that was measured."""


@attrs.frozen(kw_only=True)
class Stage:
    """A stretch of the load with one request rate.

    Attributes
    ----------
    rate_per_s : float, requests/s
        Nominal rate of the requests.
    duration_s : float, s
        Length of the stage.
    requests : int
        Requests that are sent in it, whatever the draw.
    """

    rate_per_s: float
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
        return [
            Stage(rate_per_s=stage["rate_per_s"], duration_s=stage["duration_s"], requests=stage["requests"])
            for stage in self.facts["workload"]["stages"]
        ]

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

    def scenario(self, backend: str, folder: str, profile: str = "vllm") -> blis.Scenario:
        """Scenario of the server, with an engine profile; its ``config.json`` is written to `folder`."""
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
                profile=profile,
                max_num_seqs=server["max_num_seqs"],
                max_num_batched_tokens=server["max_num_batched_tokens"],
                max_model_len=server["max_model_len"],
            ),
            kv=blis.KVSettings(
                block_size=server["block_size_tokens"],
                blocks=server.get("gpu_kv_blocks"),
                gpu_memory_utilization=_GPU_MEMORY_UTILIZATION,
            ),
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
            # The next stage waited until the server was idle, which forgets nothing: a longer pause is the same.
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
