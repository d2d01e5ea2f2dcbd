"""From a scenario to one replica's figures: model, GPU, latency model, KV capacity, maximum length.

What the scenario leaves open comes from the catalog: GPU, tensor parallelism and engine version from the model's usual
deployment, architecture and coefficients from its tables. KV capacity and maximum length are computed from these.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.catalog.capacity import kv_block_capacity
from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.hardware import Gpu, find_gpu, load_gpus
from blis_simpy.catalog.models import ModelSpec, derive_max_model_len, load_model_config
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.base import LatencyInputs, LatencyModel

if TYPE_CHECKING:
    from blis_simpy.scenario import Scenario

__all__ = ["UNMODELLED_BLOCKS", "Deployment", "resolve"]

UNMODELLED_BLOCKS = 1_000_000
"""KV blocks where nothing is known to compute the capacity from: practically never a limit."""

_log = logging.getLogger("blis_simpy")

_NO_ROOM = {"insufficient_memory", "zero_blocks"}


@attrs.frozen(kw_only=True)
class Deployment:
    """What a replica of a scenario is made of.

    Attributes
    ----------
    model : ModelSpec or None
        Architecture, if known.
    gpu : Gpu or None
        Hardware figures, if known.
    tp : int
        Tensor-parallel degree, GPUs; 0 if neither given nor needed.
    latency : LatencyModel
        How long its steps take.
    num_blocks : int
        KV blocks of a replica.
    max_model_len : int
        Cap on prompt and output, tokens; 0 = none.
    """

    model: ModelSpec | None
    gpu: Gpu | None
    tp: int
    latency: LatencyModel
    num_blocks: int
    max_model_len: int


class _Resolver:
    """Answers, each looked up at most once, for one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        backend = scenario.latency.chosen
        self.backend_class = registry.get("latency", backend) if isinstance(backend, str) else backend
        self.needs_architecture = bool(getattr(self.backend_class, "needs_architecture", False))
        self._catalog: Catalog | None = None
        self._looked = False

    @property
    def catalog(self) -> Catalog | None:
        if not self._looked:
            self._looked = True
            path = self.scenario.defaults
            if path is not None and not Path(path).exists():
                _log.warning("defaults file %s does not exist: nothing is taken from it", path)
            else:
                self._catalog = Catalog.load(path)
        return self._catalog

    def deployed(self, name: str) -> Any:
        """Value of the model's usual deployment: ``gpu``, ``tp`` or ``engine_version``."""
        usual = self.catalog.deployment(self.scenario.model) if self.catalog else None
        return getattr(usual, name) if usual else None

    def model(self) -> ModelSpec | None:
        scenario = self.scenario
        if scenario.model_config is not None:
            return load_model_config(scenario.model_config, scenario.model)
        if Path(scenario.model, "config.json").is_file() or (
            scenario.model.endswith(".json") and Path(scenario.model).is_file()
        ):
            return load_model_config(scenario.model, scenario.model)
        spec = self.catalog.model(scenario.model) if self.catalog else None
        if spec is None and self.needs_architecture:
            raise ScenarioError.at(
                "model",
                "is not in the catalog",
                scenario.model,
                hint=self._known_models() + "or give model_config, a folder with its config.json",
            )
        return spec

    def _known_models(self) -> str:
        if self.catalog is None:
            return ""
        import difflib

        near = difflib.get_close_matches(self.scenario.model.lower(), self.catalog.names("models"), n=1)
        return f"did you mean {near[0]!r}? " if near else ""

    def gpu(self) -> Gpu | None:
        scenario = self.scenario
        name = scenario.hardware or self.deployed("gpu")
        if name is None:
            if self.needs_architecture:
                raise ScenarioError.at("hardware", "must be given: the model has no usual deployment")
            return None
        gpus = load_gpus(scenario.hardware_config)
        if name not in gpus and not self.needs_architecture:
            return None
        return find_gpu(gpus, name, scenario.hardware_config or "hardware_config.json")

    def tp(self) -> int:
        tp = self.scenario.tp or self.deployed("tp")
        if tp is None and self.needs_architecture:
            raise ScenarioError.at("tp", "must be given: the model has no usual deployment")
        return int(tp or 0)

    def coefficients(self, tp: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        given = self.scenario.latency
        if given.alpha is not None and given.beta is not None:
            return given.alpha, given.beta
        if given.chosen != "blackbox":
            return (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
        scenario = self.scenario
        gpu = scenario.hardware or self.deployed("gpu") or ""
        version = scenario.engine_version or self.deployed("engine_version") or ""
        if self.catalog is None:
            raise ScenarioError.at("latency.alpha", "must be given: there is no defaults file to take it from")
        found = self.catalog.blackbox_coefficients(scenario.model, gpu, tp, version)
        return found.alpha, found.beta


def resolve(scenario: Scenario) -> Deployment:
    """Work out what a replica of a scenario is made of.

    Raises
    ------
    ScenarioError
        If a figure is missing, contradictory, or the model does not fit the GPUs.
    PluginError
        If the latency model is unknown.
    """
    resolver = _Resolver(scenario)
    tp = resolver.tp()
    alpha, beta = resolver.coefficients(tp)
    # Without a need for them, the architecture is only looked up to compute a KV capacity.
    wanted = resolver.needs_architecture or scenario.kv.blocks is None
    model = resolver.model() if wanted else None
    gpu = resolver.gpu() if wanted else None
    latency = registry.build(
        "latency",
        scenario.latency.chosen,
        LatencyInputs(alpha=alpha, beta=beta, model=model, gpu=gpu, tp=tp),
    )
    num_blocks = scenario.kv.blocks or _computed_blocks(scenario, resolver.needs_architecture, model, gpu, tp)
    return Deployment(
        model=model,
        gpu=gpu,
        tp=tp,
        latency=latency,
        num_blocks=num_blocks,
        max_model_len=_max_model_len(scenario, model if resolver.needs_architecture else None, num_blocks),
    )


def _computed_blocks(scenario: Scenario, required: bool, model: ModelSpec | None, gpu: Gpu | None, tp: int) -> int:
    if model is not None and gpu is not None and tp > 0:
        try:
            return kv_block_capacity(
                model,
                gpu_memory_gib=gpu.memory_gib,
                tp=tp,
                gpu_memory_utilization=scenario.kv.gpu_memory_utilization,
                block_size=scenario.kv.block_size,
            )
        except ScenarioError as error:
            if required or error.code in _NO_ROOM:
                raise
            _log.warning("%s", error)
    _log.warning(
        "KV capacity is not modelled: too little is known of model and GPU to compute it, so %d blocks are assumed; "
        "set kv.blocks (--total-kv-blocks) to model it",
        UNMODELLED_BLOCKS,
    )
    return UNMODELLED_BLOCKS


def _max_model_len(scenario: Scenario, model: ModelSpec | None, num_blocks: int) -> int:
    """Maximum length: as given, else derived from the architecture; that of an analytical model is cut to the cache."""
    length = scenario.engine.max_model_len
    if length is None:
        length = derive_max_model_len(model) if model is not None else 0
    block_size = scenario.kv.block_size
    needed = -(-length // block_size)
    if needed <= num_blocks:
        return length
    if model is None:
        raise ScenarioError.at(
            "engine.max_model_len",
            f"needs {needed} KV blocks of {block_size} tokens, but the KV cache has {num_blocks}: "
            "KV cache too small for max model length",
            length,
        )
    _log.warning(
        "max_model_len %d needs %d KV blocks, but the cache has %d: reduced to %d",
        length,
        needed,
        num_blocks,
        num_blocks * block_size,
    )
    return num_blocks * block_size
