"""GPUs: the figures that latency models and the KV capacity need, and the file they come from.

The file keeps the layout of the reference's ``hardware_config.json``, because users bring theirs: an object that maps
each GPU name to its figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.catalog.files import as_number, parse_json_object, read_bundled
from blis_simpy.errors import ScenarioError, closest
from blis_simpy.files.text_files import read_text
from blis_simpy.settings.bounds import broken_bound

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KEY_OF_FIGURE", "Gpu", "find_gpu", "load_gpus"]

KEY_OF_FIGURE = {
    "tflops": "TFlopsPeak",
    "fp8_tflops": "TFlopsFP8",
    "bandwidth_tb_s": "BwPeakTBs",
    "mfu_prefill": "mfuPrefill",
    "mfu_decode": "mfuDecode",
    "memory_gib": "MemoryGiB",
}
"""Key in a hardware file of each figure of `Gpu`."""
_FIELD_OF_KEY = {key.lower(): field for field, key in KEY_OF_FIGURE.items()}


@attrs.frozen
class Gpu:
    """Figures of one GPU type; 0 = not known.

    Attributes
    ----------
    name : str
        Name, case-sensitive, e.g. ``H100``.
    tflops : float, 10**12 FLOP/s
        Dense FP16 or BF16 peak.
    fp8_tflops : float, 10**12 FLOP/s
        Dense FP8 peak; 0 = do not use one.
    bandwidth_tb_s : float, 10**12 byte/s
        Memory bandwidth.
    mfu_prefill, mfu_decode : float, fraction
        Share of the peak that prefill and decode reach.
    memory_gib : float, GiB
        Memory.
    kernels : mapping or None
        Object ``kernels`` of the entry as written in the file; see `blis_simpy.catalog.kernel_coefficients`.
    """

    name: str = ""
    tflops: float = 0.0
    fp8_tflops: float = 0.0
    bandwidth_tb_s: float = 0.0
    mfu_prefill: float = 0.0
    mfu_decode: float = 0.0
    memory_gib: float = 0.0
    kernels: Mapping[str, Any] | None = attrs.field(default=None, eq=False, repr=False)


def load_gpus(path: str | Path | None = None) -> dict[str, Gpu]:
    """Read all GPUs of a hardware file.

    Keys of a GPU are matched whatever their case; unknown ones are ignored, and missing figures are 0.

    Parameters
    ----------
    path : str or Path, optional
        The file; the bundled ``hardware_config.json`` unless given.

    Raises
    ------
    ScenarioError
        If the file cannot be read, is not strict JSON, or a figure is no number.
    """
    return dict(_bundled_gpus()) if path is None else _parsed(read_text(path), str(path))


@cache
def _bundled_gpus() -> dict[str, Gpu]:
    return _parsed(*read_bundled("hardware_config.json"))


def _parsed(text: str, file: str) -> dict[str, Gpu]:
    entries = parse_json_object(text, file)
    return {name: _gpu(name, figures, entries, file) for name, figures in entries.items()}


def find_gpu(gpus: Mapping[str, Gpu], name: str, file: str = "hardware_config.json") -> Gpu:
    """Look a GPU up by name.

    Raises
    ------
    ScenarioError
        If there is none of that name; lists the known ones and the nearest.
    """
    if name in gpus:
        return gpus[name]
    by_folded = {known.lower(): known for known in gpus}
    near = closest(name.lower(), by_folded, cutoff=0.4)
    guess = "" if near is None else f"did you mean {by_folded[near]!r}? "
    raise ScenarioError.at(
        "hardware", f"is not a GPU of {file}", name, hint=f"{guess}known: {', '.join(sorted(gpus))}", code="unknown_gpu"
    )


def _gpu(name: str, figures: object, entries: Mapping[str, object], file: str) -> Gpu:
    if not isinstance(figures, Mapping):
        raise ScenarioError.at(name, "must be an object of figures", figures, file=file)
    known: dict[str, float] = {}
    for key, value in figures.items():
        field = _FIELD_OF_KEY.get(key.lower())
        if field is None or value is None:
            continue
        number = as_number(value)
        if number is None:
            raise ScenarioError.at(f"{name}.{key}", "must be a number", value, file=file)
        if rule := broken_bound(number):
            raise ScenarioError.at(f"{name}.{key}", rule, value, file=file)
        known[field] = float(number)
    return Gpu(name, **known, kernels=_kernels(name, figures, entries, file))


def _kernels(
    name: str, figures: Mapping[str, object], entries: Mapping[str, object], file: str
) -> Mapping[str, Any] | None:
    """Object ``kernels`` of an entry, filled up with that of the GPU that it names as ``like``."""
    own = figures.get("kernels")
    if own is None:
        return None
    if not isinstance(own, Mapping):
        raise ScenarioError.at(f"{name}.kernels", "must be an object", own, file=file)
    if "like" not in own:
        return own
    other = entries.get(own["like"]) if isinstance(own["like"], str) else None
    theirs = other.get("kernels") if isinstance(other, Mapping) else None
    if not isinstance(theirs, Mapping):
        raise ScenarioError.at(f"{name}.kernels.like", "must be a GPU of the file with kernels", own["like"], file=file)
    return {**theirs, **own}
