"""Configurations of the inference-perf benchmark (``config.yml``) as workload specifications.

The sections ``load`` and ``data`` describe traffic; the others, about the server and the reports, are not read.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.convert import structure
from blis_simpy.settings.field_types import OptionalPart, Part, Parts, listed_class, nested_class, type_hints
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.settings.key_paths import parts
from blis_simpy.units import SECOND
from blis_simpy.workload.spec.client import ActivityWindows, Client, Window
from blis_simpy.workload.spec.inference_perf import InferencePerf, SharedPrefix, Stage
from blis_simpy.workload.spec.length_distribution import LengthDistribution
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from blis_simpy.settings.loader import Document

__all__ = ["is_configuration", "read_configuration"]

_log = logging.getLogger("blis_simpy")

_SECTIONS = frozenset({"api", "data", "load", "server"})
_OTHER_NAMES = {
    "num_groups": "num_unique_system_prompts",
    "num_prompts_per_group": "num_users_per_system_prompt",
    "question_distribution": "question_len",
    "output_distribution": "output_len",
    "std": "std_dev",
}
# Settings of the client and of the report do not affect the requests.
_WITHOUT_EFFECT = frozenset(
    {"num_workers", "worker_max_concurrency", "worker_max_tcp_connections", "request_timeout", "request_retries"}
    | {"request_retry_backoff_sec", "stage_teardown_grace_seconds", "circuit_breakers", "total_count"}
    | {"corpus_file_path", "use_chat_template", "seed"}
)


@settings_class
class _Lengths:
    """Length distribution of a configuration."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset()

    type: str = setting(
        default="normal",
        help="Distribution.",
        choices=("normal", "skew_normal", "lognormal", "uniform", "poisson", "fixed"),
    )
    min: int = setting(default=10, help="Shortest.", ge=0)
    max: int = setting(default=1024, help="Longest.", ge=0)
    mean: float = setting(default=512.0, help="Mean.", ge=0)
    std_dev: float = setting(default=200.0, help="Standard deviation.", ge=0)
    variance: float | None = setting(default=None, help="Its square.", ge=0)
    skew: float = setting(default=0.0, help="Skewness.")

    def distribution(self, path: str) -> LengthDistribution:
        """Return the distribution in the format of a specification."""
        std_dev = self.std_dev if self.variance is None else math.sqrt(self.variance)
        bounds = {"min": self.min, "max": self.max}
        if self.type == "fixed":
            return LengthDistribution("constant", {"value": self.mean})
        if self.type == "uniform":
            return LengthDistribution("uniform", bounds)
        if self.type == "lognormal" and self.mean > 0:
            variance = math.log1p((std_dev / self.mean) ** 2)
            params = {"mu": math.log(self.mean) - variance / 2, "sigma": math.sqrt(variance)}
            return LengthDistribution("lognormal", {**params, **bounds})
        if self.type == "poisson":
            std_dev = math.sqrt(self.mean)
        if self.type == "poisson" or self.skew:
            _log.warning("%s: %s lengths are taken as normal with their mean and spread", path, self.type)
        return LengthDistribution("gaussian", {"mean": self.mean, "std_dev": std_dev, **bounds})


@settings_class
class _SharedPrefix:
    """Groups of users whose prompts share a prefix."""

    num_unique_system_prompts: int = setting(default=10, help="Groups.", gt=0, le=100_000)
    num_users_per_system_prompt: int = setting(default=10, help="Users of each.", gt=0, le=100_000)
    system_prompt_len: Part[_Lengths] = setting(factory=lambda: _fixed(100), help="Length of a prefix.")
    question_len: Part[_Lengths] = setting(factory=lambda: _fixed(50), help="Length of what follows.")
    output_len: Part[_Lengths] = setting(factory=lambda: _fixed(50), help="Length of an answer.")
    enable_multi_turn_chat: bool = setting(default=False, help="Each user has one conversation.")


@settings_class
class _Data:
    """Section ``data``: lengths of prompts and outputs."""

    type: str = setting(default="mock", help="Kind.")
    input_distribution: OptionalPart[_Lengths] = setting(default=None, help="Lengths of prompts.")
    output_distribution: OptionalPart[_Lengths] = setting(default=None, help="Lengths of outputs.")
    shared_prefix: Part[_SharedPrefix] = setting(factory=_SharedPrefix, help="Groups.")


@settings_class
class _Load:
    """Section ``load``: arrivals."""

    type: str = setting(default="constant", help="Kind.")
    interval: float = setting(default=1.0, help="Pause between stages.", unit="s", ge=0)
    stages: Parts[Stage] = setting(default=(), help="One after the other.")
    base_seed: int = setting(default=0, help="Seed.")


@settings_class
class _Configuration:
    """Sections of a configuration that describe traffic."""

    load: Part[_Load] = setting(factory=_Load, help="Arrivals.")
    data: Part[_Data] = setting(factory=_Data, help="Prompts.")


def _fixed(value: float) -> _Lengths:
    return _Lengths(type="fixed", mean=value)


def is_configuration(data: object) -> bool:
    """Whether plain data is a configuration of inference-perf: it has ``load`` and another one of its sections."""
    return isinstance(data, Mapping) and "load" in data and len(_SECTIONS & set(data)) > 1 and "clients" not in data


def read_configuration(document: Document) -> WorkloadSpec:
    """Make a workload specification from a configuration.

    Parameters
    ----------
    document : Document
        The configuration.

    Returns
    -------
    WorkloadSpec
        Poisson arrivals at the rates of the stages, up to the end of the last one.

    Raises
    ------
    ScenarioError
        If it has an invalid value, or if its prompts or arrivals are described elsewhere.
    """
    unused: list[str] = []
    data: Mapping[str, Any] = document.data or {}
    sections = {key: data[key] for key in ("load", "data") if key in data}
    known = _known(sections, _Configuration, "", unused)
    configuration: _Configuration = structure(document.with_data(known), _Configuration, lenient=True)
    if unused:
        _log.warning("%s: %s not used", document.file or "configuration", ", ".join(unused))
    try:
        return _specification(configuration)
    except ScenarioError as error:
        raise ScenarioError(_placed(problem, document) for problem in error.problems) from None


def _specification(configuration: _Configuration) -> WorkloadSpec:
    load, data = configuration.load, configuration.data
    if load.type not in ("constant", "poisson"):
        raise ScenarioError.at(
            "load.type", "must be constant or poisson: arrivals of others depend on answers", load.type
        )
    if not load.stages:
        raise ScenarioError.at("load.stages", "must have at least one stage; a sweep finds its rates on the server")
    pauses = (len(load.stages) - 1) * load.interval
    end = sum(stage.duration for stage in load.stages) * SECOND + round(pauses * SECOND)
    if data.type == "shared_prefix":
        return WorkloadSpec(seed=load.base_seed, horizon=end, inference_perf=_benchmark(load, data.shared_prefix))
    if data.type not in ("random", "synthetic"):
        rule = "must be random, synthetic or shared_prefix: lengths of others are in their files"
        raise ScenarioError.at("data.type", rule, data.type)
    prompt, output = data.input_distribution or _Lengths(), data.output_distribution or _Lengths()
    one = Client(
        rate_fraction=1,
        arrival="poisson",
        input_distribution=prompt.distribution("data.input_distribution"),
        output_distribution=output.distribution("data.output_distribution"),
    )
    clients: list[Client] = []
    start = 0
    for number, stage in enumerate(load.stages):
        window = Window(start, start + stage.duration * SECOND, stage.rate)
        clients.append(evolved(one, id=f"stage-{number}", lifecycle=ActivityWindows(windows=(window,))))
        start = window.end_us + round(load.interval * SECOND)
    return WorkloadSpec(seed=load.base_seed, horizon=end, clients=tuple(clients))


def _benchmark(load: _Load, prefix: _SharedPrefix) -> InferencePerf:
    if prefix.system_prompt_len.type != "fixed":
        _log.warning("data.shared_prefix.system_prompt_len: every prefix has the mean length")
    distributions = {
        name: None if lengths.type == "fixed" else lengths.distribution(f"data.shared_prefix.{name}_len")
        for name, lengths in (("question", prefix.question_len), ("output", prefix.output_len))
    }
    return InferencePerf(
        stages=load.stages,
        interval=round(load.interval * SECOND),
        shared_prefix=SharedPrefix(
            num_unique_system_prompts=prefix.num_unique_system_prompts,
            num_users_per_system_prompt=prefix.num_users_per_system_prompt,
            system_prompt_len=int(prefix.system_prompt_len.mean),
            question_len=int(prefix.question_len.mean),
            output_len=int(prefix.output_len.mean),
            question_distribution=distributions["question"],
            output_distribution=distributions["output"],
            enable_multi_turn_chat=prefix.enable_multi_turn_chat,
        ),
    )


def _known(data: Any, cls: Any, path: str, unused: list[str]) -> Any:
    """Return the keys of a section that the settings class has, by their newest names; record the others as unused."""
    if not isinstance(data, Mapping):
        return data
    hints = type_hints(cls)
    result: dict[str, Any] = {}
    for key, value in data.items():
        name = _OTHER_NAMES.get(key, key) if _OTHER_NAMES.get(key, key) in hints and key not in hints else key
        place = f"{path}.{key}".lstrip(".")
        if name not in hints:
            if key not in _WITHOUT_EFFECT and value:
                unused.append(place)
            continue
        inner = nested_class(hints[name])
        if inner is _Lengths and isinstance(value, int | float) and not isinstance(value, bool):
            result.setdefault(name, {"type": "fixed", "mean": value})
        elif isinstance(value, list) and (item := listed_class(hints[name])):
            result[name] = [_known(one, item, f"{place}[{number}]", unused) for number, one in enumerate(value)]
        elif value is not None:
            result[name] = value if inner is None else _known(value, inner, place, unused)
    return result


def _placed(problem: Problem, document: Document) -> Problem:
    return attrs.evolve(problem, file=document.file, line=document.line_of(parts(problem.path)))
