"""Resolves the replicas of a scenario: model, GPU, latency model, KV capacity, maximum length.

Settings that the scenario leaves open come from the catalog: GPU, tensor parallelism and engine version from the usual
deployment of the model, architecture and coefficients from its tables; an architecture that is not in the catalog comes
from Hugging Face. The class of the latency model states what it needs. KV capacity and maximum length are computed from
these. Each value is kept with its origin.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.catalog import hardware, models
from blis_simpy.catalog.defaults import Catalog, Coefficients
from blis_simpy.catalog.hardware import Gpu
from blis_simpy.catalog.hub import fetch_config
from blis_simpy.catalog.kv_blocks import growing_bytes_per_token, kv_blocks
from blis_simpy.catalog.kv_capacity import reference_kv_blocks
from blis_simpy.catalog.models import ModelSpec, derive_max_model_len, load_model_config
from blis_simpy.catalog.weight_bytes import DTYPE_BYTES
from blis_simpy.errors import Problem, ScenarioError, closest
from blis_simpy.files.paths import exists, is_directory, is_regular
from blis_simpy.latency.base import LatencyInputs, LatencyModel
from blis_simpy.replica.profiles import with_engine_defaults, with_kv_defaults
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.settings.plugin_options import plugin_label

if TYPE_CHECKING:
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["UNMODELLED_BLOCKS", "Resolved", "ResolvedDeployment", "resolve"]

UNMODELLED_BLOCKS = 1_000_000
"""KV blocks if too little is known to compute them: practically unlimited."""

_log = logging.getLogger("blis_simpy")

_NO_ROOM = {"insufficient_memory", "zero_blocks"}
_NO_DELAYS = (0.0, 0.0, 0.0)
_OTHER_RULES = (
    "set latency.backend (--latency-model) to roofline and kv.capacity_rules (--kv-capacity-rules) to blis to simulate "
    "it by its flat figures"
)
"""Remedy for a model whose layers are not understood."""


@attrs.frozen
class Resolved:
    """Resolved value of a setting.

    Attributes
    ----------
    value : object
        As it could be given in a scenario; None if it is neither known nor needed.
    origin : str
        Origin of the value: ``scenario``, ``default``, or a description such as ``catalog: deployments``.
    """

    value: Any
    origin: str


@attrs.frozen(kw_only=True, repr=False)
class ResolvedDeployment:
    """Model, hardware, latency model and limits of a replica.

    Attributes
    ----------
    model : ModelSpec or None
        Architecture, if known.
    gpu : Gpu or None
        Figures of the GPU, if known.
    tp : int
        Tensor-parallel degree, GPUs; 0 if neither given nor needed.
    latency : LatencyModel
        Latency model of the replica.
    num_blocks : int
        KV blocks of a replica.
    max_model_len : int
        Maximum number of prompt and output tokens; 0 means unlimited.
    engine : EngineSettings
        Settings of the engine, completed by its profile.
    kv : KVSettings
        Settings of the KV cache, completed by the engine profile.
    settings : mapping of str to Resolved
        The settings that a scenario may leave open, by dotted path, with their origins.
    """

    model: ModelSpec | None
    gpu: Gpu | None
    tp: int
    latency: LatencyModel
    num_blocks: int
    max_model_len: int
    engine: EngineSettings
    kv: KVSettings
    settings: Mapping[str, Resolved]

    def __repr__(self) -> str:
        names = ("hardware", "tp", "latency.backend")
        values = (f"{name} {self.settings[name].value}" for name in names if name in self.settings)
        return f"<ResolvedDeployment: {', '.join(values)}, {self.num_blocks:,} KV blocks>"

    def kv_bytes_per_token(self) -> float | None:
        """Return the size of the KV cache of a token on all GPUs of a replica, bytes; None without an architecture.

        The setting `kv.bytes_per_token`, if it is given; else only layers whose cache grows with the context count.
        """
        if self.kv.bytes_per_token is not None:
            return self.kv.bytes_per_token
        if self.model is None or self.tp < 1:
            return None
        try:
            return growing_bytes_per_token(self.model.architecture, self.tp) * self.tp
        except ScenarioError:  # layers that are not understood
            return None

    def weight_bytes(self) -> float | None:
        """Return the size of the weights of a replica, as stored, bytes; None without an architecture."""
        if self.model is None:
            return None
        try:
            return self.model.architecture.weight_bytes
        except ScenarioError:  # layers that are not understood
            return None


def resolve(scenario: ScenarioSettings) -> ResolvedDeployment:
    """Resolve the settings of a replica.

    Raises
    ------
    ScenarioError
        If a value is missing or contradictory, or the model does not fit the GPUs; names the file and the key of a
        wrong value.
    PluginError
        If the latency model is unknown.
    """
    return _Resolver(scenario).deployment()


class _Resolver:
    """Resolves one scenario."""

    def __init__(self, scenario: ScenarioSettings) -> None:
        self.scenario = scenario
        self.settings: dict[str, Resolved] = {}
        self.catalog = self._load_catalog()
        self.catalog_name = scenario.defaults or "catalog"
        self.backend = scenario.latency.chosen
        self.backend_class = registry.plugin_of("latency", self.backend)
        # An instance needs nothing else.
        self.ready = not registry.is_recipe(self.backend_class)
        self.needs_architecture = not self.ready and bool(getattr(self.backend_class, "needs_architecture", False))
        self.stated_dtype: object = None
        self.vllm_rules = (scenario.kv.capacity_rules or scenario.engine.profile) == "vllm"
        # File and key path of the values of model, GPU and latency model, for messages.
        self.places: dict[str, tuple[str | None, str]] = {}

    def deployment(self) -> ResolvedDeployment:
        """Resolve all settings, each before those that depend on it."""
        scenario = self.scenario
        self._note("latency.backend", self.backend, self._origin_of_backend())
        hardware_name = self._usual("hardware", "gpu", self._spelled(scenario.hardware))
        tp = int(self._usual("tp", "tp", scenario.tp) or 0)
        # Blackbox coefficients are measured for one combination of model, GPU, parallelism and engine version.
        version = self._usual("engine_version", "engine_version", scenario.engine_version)
        coefficients = self._coefficients(hardware_name or "", tp, version or "")
        # If the latency model does not need it, the architecture is looked up only to compute the KV capacity.
        wanted = self.needs_architecture or scenario.kv.blocks is None
        model = self._model() if wanted else None
        gpu = self._gpu(hardware_name) if wanted or scenario.engine.profile == "vllm" else None
        # Before the latency model is built: the rules decide the bytes of the weights, which step times depend on.
        kv = self._kv()
        with self._figures_named_by_their_files():
            if model is not None:
                model = self._as_read(model, tp)
            latency = registry.build("latency", self.backend, self._inputs(coefficients, model, gpu, tp))
            num_blocks = self._num_blocks(kv, model, gpu if wanted else None, tp, dp=getattr(latency, "dp", 1))
        # After the KV blocks: a length that the cache cannot hold is reduced to what it can.
        max_model_len = self._max_model_len(model if self.needs_architecture else None, num_blocks)
        # The default is never faster than the GPU.
        if scenario.latency.backend is not None and self.needs_architecture and model is not None and gpu is not None:
            self._warn_of_impossible_times(latency, model, gpu, tp)
        return ResolvedDeployment(
            model=model,
            gpu=gpu,
            tp=tp,
            latency=latency,
            num_blocks=num_blocks,
            max_model_len=max_model_len,
            engine=self._engine(gpu, max_model_len),
            kv=kv,
            settings=self.settings,
        )

    def _kv(self) -> KVSettings:
        given, engine = self.scenario.kv, self.scenario.engine
        completed = with_kv_defaults(given, engine)
        self._note_completed("kv", given, completed, f"profile {engine.profile}")
        return completed

    def _engine(self, gpu: Gpu | None, max_model_len: int) -> EngineSettings:
        given = self.scenario.engine
        completed = with_engine_defaults(
            given,
            gpu_name=None if gpu is None else gpu.name,
            gpu_memory_gib=None if gpu is None else gpu.memory_gib,
            max_model_len=max_model_len,
        )
        self._note_completed("engine", given, completed, f"profile {given.profile}")
        if given.profile == "vllm" and gpu is not None:
            for name in ("max_num_seqs", "max_num_batched_tokens"):
                if getattr(given, name) is None:
                    self._note(f"engine.{name}", getattr(completed, name), f"profile vllm, server on {gpu.name}")
        return completed

    def _note_completed(self, part: str, given: Any, completed: Any, origin: str) -> None:
        for field in attrs.fields(type(given)):
            value = getattr(completed, field.name)
            if getattr(given, field.name) is None and value is not None:
                self._note(f"{part}.{field.name}", value, origin)

    def _note(self, path: str, value: Any, origin: str) -> Any:
        self.settings[path] = Resolved(value, origin)
        return value

    def _load_catalog(self) -> Catalog | None:
        path = self.scenario.defaults
        if path is None or exists(path):
            return Catalog.load(path)
        _log.warning("defaults file %s does not exist and is ignored", path)
        return None

    def _origin_of_backend(self) -> str:
        if self.scenario.latency.backend is not None:
            return "scenario"
        return "default" if self.scenario.latency.alpha is None else "default where coefficients are given"

    def _usual(self, path: str, field: str, given: Any) -> Any:
        """Return the given value of a setting, or else that of the usual deployment of the model."""
        # 0 and empty text mean "not given", as on the command line of the reference.
        if given:
            return self._note(path, given, "scenario")
        usual = self.catalog.deployment(self.scenario.model) if self.catalog else None
        if usual is not None:
            return self._note(path, getattr(usual, field), f"{self.catalog_name}: deployments")
        # The version only selects blackbox coefficients, which no analytical latency model reads.
        if self.needs_architecture and path != "engine_version":
            self._check_model_name()
            raise ScenarioError.at(path, "must be given: the model has no usual deployment")
        return self._note(path, None, "not known")

    def _check_model_name(self) -> None:
        """Refuse a model that is not in the catalog, unless its architecture is given."""
        model = self.scenario.model
        is_file = Path(model, "config.json").is_file() or Path(model).is_file()
        if is_file or self.scenario.model_config is not None or self.catalog is None:
            return
        if self.catalog.model(model) is None:
            hint = f"{self._similar_models()}for another model give hardware, tp and, if need be, model_config"
            raise ScenarioError.at("model", "is not in the catalog", model, hint=hint)

    def _coefficients(self, gpu: str, tp: int, version: str) -> Coefficients:
        found, place, origin = self._find_coefficients(gpu, tp, version)
        file = self.catalog.file if self.catalog and place != "latency" else None
        for name, values in attrs.asdict(found, recurse=False).items():
            self._note(f"latency.{name}", values or None, origin)
            self.places[name] = file, f"{place}.{name}"
        return found

    def _find_coefficients(self, gpu: str, tp: int, version: str) -> tuple[Coefficients, str, str]:
        """Return the coefficients, their key path, and their origin."""
        given, model = self.scenario.latency, self.scenario.model
        if given.alpha is not None and given.beta is not None:
            return Coefficients(given.alpha, given.beta), "latency", "scenario"
        name = getattr(self.backend_class, "global_coefficients", None)
        is_measured = getattr(self.backend_class, "coefficients_of_deployment", False)
        if self.ready or not (name or is_measured):
            return Coefficients((), ()), "latency", "this latency model takes none"
        if self.catalog is None:
            raise ScenarioError.at("latency.alpha", "must be given: there is no defaults file to take it from")
        if name is None:
            found, place = self.catalog.blackbox_coefficients(model, gpu, tp, version), f"blackbox.{model}"
            return found, place, f"{self.catalog_name}: blackbox row of {gpu} tp {tp} {version}"
        found, place = self.catalog.global_coefficients(name), f"global_coefficients.{name}"
        return found, place, f"{self.catalog_name}: {place}"

    def _inputs(self, found: Coefficients, model: ModelSpec | None, gpu: Gpu | None, tp: int) -> LatencyInputs:
        takes_coefficients = getattr(self.backend_class, "takes_coefficients", True)
        alpha = found.alpha or (() if takes_coefficients else _NO_DELAYS)
        return LatencyInputs(alpha=alpha, beta=found.beta, model=model, gpu=gpu, tp=tp)

    def _model(self) -> ModelSpec | None:
        name, given = self.scenario.model, self.scenario.model_config
        # What is given beats a local folder of that name, that beats the catalog, and only then the network is asked.
        if given is not None:
            return self._model_of_file(given, "scenario")
        if is_regular(Path(name, "config.json")) or (name.endswith(".json") and is_regular(name)):
            return self._model_of_file(name, f"config.json of {name}")
        spec = self.catalog.model(name) if self.catalog else None
        if self.catalog is not None and spec is not None:
            self.places["model"] = self.catalog.file, f"models.{spec.name}."
            self._note("model_config", None, f"{self.catalog_name}: models")
            return spec
        return self._model_of_hub() if self.needs_architecture else None

    def _as_read(self, model: ModelSpec, tp: int) -> ModelSpec:
        """Return the figures by the rules that are chosen."""
        if self.vllm_rules:
            return model.as_deployed(tp)
        config = model.config or {}
        self.stated_dtype = config.get("torch_dtype", config.get("dtype"))
        if config.get("quantization_config") and not model.weight_bytes_per_param:
            _log.warning(
                "the quantisation of %s is not understood by the rules of BLIS: all its weights count %g bytes; "
                "kv.capacity_rules vllm (--kv-capacity-rules) reads it",
                model.name,
                model.bytes_per_param,
            )
        return model

    def _model_of_file(self, path: str, origin: str) -> ModelSpec:
        file = Path(path, "config.json") if is_directory(path) else Path(path)
        self.places["model"] = str(file), ""
        self._note("model_config", path, origin)
        return load_model_config(file, self.scenario.model)

    def _model_of_hub(self) -> ModelSpec:
        usual = self.catalog.deployment(self.scenario.model) if self.catalog else None
        repo = (usual.hf_repo if usual else "") or self.scenario.model
        file = fetch_config(repo, hint=f"{self._similar_models()}or give model_config, a folder with its config.json")
        try:
            return self._model_of_file(str(file), f"hub: {repo}")
        except ScenarioError as error:
            hint = f"fetched from the repository {repo}; delete it to have it fetched again"
            raise ScenarioError(attrs.evolve(problem, hint=hint) for problem in error.problems) from None

    def _similar_models(self) -> str:
        known = {name.lower(): name for name in self.catalog.names("models")} if self.catalog else {}
        near = closest(self.scenario.model.lower(), known)
        return "" if near is None else f"did you mean {known[near]!r}? "

    def _spelled(self, name: str | None) -> str | None:
        """Return the name of a GPU as the hardware table spells it."""
        if not name:
            return name
        known = {gpu.lower(): gpu for gpu in hardware.load_gpus(self.scenario.hardware_config)}
        return known.get(name.lower(), name)

    def _gpu(self, name: str | None) -> Gpu | None:
        if name is None:
            return None
        path = self.scenario.hardware_config
        gpus = hardware.load_gpus(path)
        # Blackbox coefficients work for a GPU that no table has; its memory is then not modelled.
        if name not in gpus and not self.needs_architecture:
            return None
        file = path or "hardware_config.json"
        self.places["gpu"] = file, f"{name}."
        return hardware.find_gpu(gpus, name, file)

    @contextmanager
    def _figures_named_by_their_files(self) -> Iterator[None]:
        """Name the file and the key of each wrong value in a ``with`` block."""
        try:
            yield
        except ScenarioError as error:
            raise ScenarioError(self._placed(problem) for problem in error.problems) from None

    def _placed(self, problem: Problem) -> Problem:
        if problem.code == "unsupported":
            return attrs.evolve(problem, hint=_OTHER_RULES)
        part, _, figure = problem.path.partition(".")
        part, bracket, index = part.partition("[")
        if part not in self.places:
            return problem
        file, place = self.places[part]
        if part in ("alpha", "beta"):
            return attrs.evolve(problem, file=file, path=place + bracket + index)
        key = (models if part == "model" else hardware).KEY_OF_FIGURE.get(figure)
        if part == "gpu" and figure.startswith("kernels."):
            key = figure
        # The width follows from the name of a type in the file, so the error shows that name, not the width.
        if figure == "bytes_per_param":
            rule = f"must be one of {', '.join(sorted(DTYPE_BYTES))}"
            return attrs.evolve(problem, path=f"{place}{key}", rule=rule, value=self.stated_dtype, file=file)
        return attrs.evolve(problem, file=file, path=place + key if key else problem.path)

    def _warn_of_impossible_times(self, latency: LatencyModel, model: ModelSpec, gpu: Gpu, tp: int) -> None:
        """Warn if a chosen latency model computes or reads faster than the GPU can."""
        from blis_simpy.latency.peak import PROMPT_TOKENS, peak_use

        try:
            use = peak_use(latency, model, gpu, tp=tp, dp=getattr(latency, "dp", 1))
        except ScenarioError:  # what a step has to compute and read is known only of layers that are understood
            return
        excesses = []
        if use.arithmetic > 1.0:
            excesses.append(f"computes a prompt of {PROMPT_TOKENS} tokens at {use.arithmetic:.0%} of the peak rate")
        if use.bandwidth > 1.0:
            excesses.append(f"reads the weights at {use.bandwidth:.0%} of the memory bandwidth")
        if excesses:
            _log.warning(
                "latency model %s %s of %s: too short a time",
                plugin_label(self.backend),
                " and ".join(excesses),
                gpu.name,
            )

    def _num_blocks(self, kv: KVSettings, model: ModelSpec | None, gpu: Gpu | None, tp: int, dp: int) -> int:
        blocks, origin = kv.blocks, "scenario"
        if blocks is None and model is not None and gpu is not None and tp > 0:
            origin = f"computed from the memory of {tp} {gpu.name}"
            try:
                blocks = max(self._computed_blocks(kv, model, gpu, tp, dp) - (kv.reserved_blocks or 0), 1)
            except ScenarioError as error:
                if self.needs_architecture or error.code in _NO_ROOM:
                    raise
                _log.warning("%s", error)
        if blocks is None:
            blocks, origin = UNMODELLED_BLOCKS, "assumed: too little is known to compute it"
            _log.warning(
                "KV capacity is not modelled: too little is known of model and GPU to compute it, so %d blocks are "
                "assumed; set kv.blocks (--total-kv-blocks) to model it",
                blocks,
            )
        self._note("kv.blocks", blocks, origin)
        return blocks

    def _computed_blocks(self, kv: KVSettings, model: ModelSpec, gpu: Gpu, tp: int, dp: int) -> int:
        assert kv.gpu_memory_utilization is not None
        if not self.vllm_rules:
            return reference_kv_blocks(model, gpu.memory_gib, tp, kv.gpu_memory_utilization, kv.block_size, dp)
        architecture = model.architecture
        length = self.scenario.engine.max_model_len or architecture.max_model_len
        return kv_blocks(architecture, gpu.memory_gib, tp, kv.gpu_memory_utilization, kv.block_size, dp, length)

    def _max_model_len(self, model: ModelSpec | None, num_blocks: int) -> int:
        """Return the maximum length: as given, or else derived from `model`.

        If the latency model needs the architecture, a length beyond the KV cache is reduced; else it is an error.
        """
        given = self.scenario.engine.max_model_len
        length, origin = given or 0, "default" if given is None else "scenario"
        if given is None and model is not None:
            length = model.architecture.max_model_len if self.vllm_rules else derive_max_model_len(model)
            origin = "derived from max_position_embeddings of the model"
        block_size = self.scenario.kv.block_size
        needed = -(-length // block_size)
        if needed > num_blocks:
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
            length, origin = num_blocks * block_size, f"cut from {length} to the KV cache"
        self._note("engine.max_model_len", length, origin)
        return length
