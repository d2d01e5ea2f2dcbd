"""Bytes of a weight as the reference reads them: one figure for the whole model."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from blis_simpy.catalog.files import as_number

__all__ = ["DTYPE_BYTES", "bytes_in_name", "dtype_bytes", "quantised_bytes"]

DTYPE_BYTES = {
    "float32": 4.0,
    "float16": 2.0,
    "bfloat16": 2.0,
    "int8": 1.0,
    "uint8": 1.0,
    "fp8": 1.0,
    "int4": 1.0,
    "nf4": 1.0,
}
"""Size of a number by the name of its type, bytes."""


_LOG = logging.getLogger("blis_simpy")
_DEFAULT_DTYPE_BYTES = 2.0
_LIMIT = 2.0**63
_WEIGHT_BITS_IN_NAME = re.compile(r"(?:^|[._/-])w([0-9]{1,4})a[0-9]+(?:[._-]|\Z)", re.IGNORECASE)
_FP8_IN_NAME = re.compile(r"(?:^|[._/-])fp8(?:[._-]|\Z)", re.IGNORECASE)


def dtype_bytes(config: Mapping[str, Any], origin: str) -> float:
    """Return the size of a number that a configuration states, bytes; 0 for a type that is not known.

    Without one it is 2 bytes, with a warning that names `origin`.
    """
    stated = [config.get("torch_dtype"), config.get("dtype")]
    for dtype in stated:
        if isinstance(dtype, str):
            return DTYPE_BYTES.get(dtype, 0.0)
    if any(dtype is not None for dtype in stated):
        return 0.0
    _LOG.warning("%s: no torch_dtype or dtype; counting 2 bytes a parameter", origin)
    return _DEFAULT_DTYPE_BYTES


def quantised_bytes(quantization: object) -> float:
    """Bytes per weight that a ``quantization_config`` states, 0 if it does not."""
    if not isinstance(quantization, Mapping):
        return 0.0
    stated = quantization.get("bits")
    if isinstance(stated, str):
        bits = int(stated) if re.fullmatch(r"[+-]?[0-9]{1,18}", stated) else 0
    else:
        number = as_number(stated)
        bits = int(number) if number is not None and abs(number) < _LIMIT else 0
    if 0 < bits < _LIMIT:
        return bits / 8
    method = quantization.get("quant_method")
    method = method.lower() if isinstance(method, str) else ""
    if method == "fp8":
        return 1.0
    groups = quantization.get("config_groups")
    if method == "compressed-tensors" and isinstance(groups, Mapping):
        for key in sorted(groups, key=str):
            group = groups[key]
            weights = group.get("weights") if isinstance(group, Mapping) else None
            group_bits = as_number(weights.get("num_bits")) if isinstance(weights, Mapping) else None
            if group_bits is not None and 0 < group_bits < _LIMIT:
                return group_bits / 8
    return 0.0


def bytes_in_name(name: str) -> float:
    """Return the bytes of a weight that a model's name states (``w4a16``, ``fp8``), 0 if it states none."""
    found = _WEIGHT_BITS_IN_NAME.search(name)
    if found and int(found[1]) > 0:
        return int(found[1]) / 8
    return 1.0 if _FP8_IN_NAME.search(name) else 0.0
