"""The figures the library comes with: deployments, coefficients, workload presets, model architectures.

They are in ``defaults.yaml``, which is written to be read and extended; a scenario may name another file of the same
layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import attrs

from blis_simpy.catalog.files import read_bundled
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.catalog.sections import Entry, Figures, cut
from blis_simpy.errors import ScenarioError, closest
from blis_simpy.files.text_files import read_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Catalog", "CatalogEntry", "Coefficients", "WorkloadPreset"]

Section = Literal["deployments", "blackbox", "global_coefficients", "presets", "models"]
SECTIONS = ("deployments", "blackbox", "global_coefficients", "presets", "models")


@attrs.frozen
class CatalogEntry:
    """Default hardware of a model.

    Attributes
    ----------
    gpu : str
        GPU name.
    tp : int, GPUs
        Tensor-parallel degree.
    engine_version : str
        Image tag of the serving engine, which selects coefficients; empty = none were measured.
    hf_repo : str
        Repository name as Hugging Face spells it; empty = not known.
    """

    gpu: str
    tp: int
    engine_version: str
    hf_repo: str = ""


@attrs.frozen
class Coefficients:
    """Coefficients of a latency model; their meaning is the model's own.

    Attributes
    ----------
    alpha : tuple of float, µs
        Of the per-request delays.
    beta : tuple of float
        Of the step time.
    """

    alpha: tuple[float, ...]
    beta: tuple[float, ...]


@attrs.frozen(kw_only=True)
class WorkloadPreset:
    """Token counts of a named single-client workload: a shared prefix, and clipped normal prompt and output lengths."""

    prefix_tokens: int
    prompt_tokens: int
    prompt_tokens_stdev: int
    prompt_tokens_min: int
    prompt_tokens_max: int
    output_tokens: int
    output_tokens_stdev: int
    output_tokens_min: int
    output_tokens_max: int


class Catalog:
    """A defaults file. Names match whatever their case.

    Parameters
    ----------
    text : str
        Its text.
    file : str
        Its name, for messages.

    Raises
    ------
    ScenarioError
        If the text is not laid out as a defaults file; errors inside an entry are raised when it is read.
    """

    def __init__(self, text: str, file: str = "defaults.yaml") -> None:
        self.file = file
        self._entries = cut(text, SECTIONS, file)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Catalog:
        """Read a defaults file; the bundled one, which is read once, unless a path is given."""
        return _bundled() if path is None else _of_text(read_text(path), str(path))

    def names(self, section: Section) -> tuple[str, ...]:
        """Names of the entries of a section, in file order."""
        return tuple(entry.name for entry in self._entries[section].values())

    def deployment(self, model: str) -> CatalogEntry | None:
        """Return the default deployment of a model, by full or short name; None if it has none."""
        entry = self._of_model("deployments", model)
        if entry is None:
            return None
        figures = Figures(entry, entry.value)
        deployment = CatalogEntry(
            figures.text("gpu"),
            figures.count("tp"),
            figures.text("engine_version", default=""),
            figures.text("hf_repo", default=""),
        )
        figures.close()
        return deployment

    def blackbox_coefficients(self, model: str, gpu: str, tp: int, engine_version: str) -> Coefficients:
        """Return the coefficients measured for a deployment; the first row that matches counts.

        Raises
        ------
        ScenarioError
            If none were measured for it; lists those that were.
        """
        entry = self._of_model("blackbox", model)
        if entry is None:
            rule = "has no blackbox coefficients: give alpha and beta, or choose another latency model"
            raise ScenarioError.at("model", rule, model, hint=self._guess("blackbox", model), code="no_coefficients")
        rows = entry.value
        if not isinstance(rows, list):
            raise entry.error("must be a list of deployments", rows)
        measured = []
        for index, row in enumerate(rows):
            figures = Figures(entry, row, f"[{index}]")
            key = (figures.text("gpu"), figures.count("tp"), figures.text("engine_version"))
            if key == (gpu, tp, engine_version):
                return _coefficients(figures)
            measured.append("gpu {} tp {} engine {}".format(*key))
        raise ScenarioError.at(
            "model",
            f"has no blackbox coefficients for gpu {gpu} tp {tp} engine {engine_version}",
            model,
            hint=f"measured: {'; '.join(measured)}",
            code="no_coefficients",
        )

    def global_coefficients(self, backend: str) -> Coefficients:
        """Return the coefficients of a latency model that has one set for all models and GPUs.

        Raises
        ------
        ScenarioError
            If there are none; lists the latency models that have them.
        """
        entry = self._named("global_coefficients", backend, "latency", "has no coefficients in " + self.file)
        return _coefficients(Figures(entry, entry.value))

    def preset(self, name: str) -> WorkloadPreset:
        """Return a workload preset.

        Raises
        ------
        ScenarioError
            If there is none of that name; lists the known ones.
        """
        entry = self._named("presets", name, "workload.preset", "is not a preset of " + self.file)
        figures = Figures(entry, entry.value)
        preset = WorkloadPreset(**{field.name: figures.count(field.name) for field in attrs.fields(WorkloadPreset)})
        figures.close()
        return preset

    def model(self, name: str) -> ModelSpec | None:
        """Return the architecture of a model, by full or short name; None if it is not known.

        A name of another organisation finds the model of that short name, too.
        """
        entry = self._of_model("models", name) or self._of_model("models", name.rpartition("/")[2])
        if entry is None:
            return None
        config = entry.value
        if not isinstance(config, Mapping):
            raise entry.error("must be a mapping with the keys of a config.json", config)
        return ModelSpec.from_hf_config(
            config, name if "/" in name else entry.name, f"{self.file}: models.{entry.name}"
        )

    def _of_model(self, section: Section, model: str) -> Entry | None:
        entries, wanted = self._entries[section], model.lower()
        if wanted in entries or "/" in wanted:
            return entries.get(wanted)
        return next((entry for name, entry in entries.items() if name.rpartition("/")[2] == wanted), None)

    def _named(self, section: Section, name: str, path: str, rule: str) -> Entry:
        entry = self._entries[section].get(name.lower())
        if entry is None:
            hint = f"{self._guess(section, name)} known: {', '.join(self.names(section))}"
            raise ScenarioError.at(path, rule, name, hint=hint, code=f"unknown_{section.removesuffix('s')}")
        return entry

    def _guess(self, section: Section, name: str) -> str:
        near = closest(name.lower(), self._entries[section])
        return "" if near is None else f"did you mean {self._entries[section][near].name!r}?"


@cache
def _bundled() -> Catalog:
    return Catalog(*read_bundled("defaults.yaml"))


@lru_cache(maxsize=4)
def _of_text(text: str, file: str) -> Catalog:
    # By its text: each simulation of a sweep reads the file, which may change between them.
    return Catalog(text, file)


def _coefficients(figures: Figures) -> Coefficients:
    found = Coefficients(figures.coefficients("alpha"), figures.coefficients("beta"))
    figures.ignore("published_kv_blocks")
    figures.close()
    return found
