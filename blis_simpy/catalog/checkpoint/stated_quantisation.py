"""Typed access to the object in which a quantisation tool describes what it did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blis_simpy.catalog.checkpoint.module_names import ModuleNames
from blis_simpy.catalog.files import as_number

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.config import ConfigView
    from blis_simpy.errors import ScenarioError

__all__ = ["ALGORITHMS", "BLOCK_SCALE_BITS", "FP8_BLOCK_SCALE_BITS", "GROUP_SCALE_BITS", "StatedQuantisation"]

GROUP_SCALE_BITS = 16.0
BLOCK_SCALE_BITS = 8.0
FP8_BLOCK_SCALE_BITS = 32.0
"""Scale of a group of integer weights, of a block of MXFP4, NVFP4 or MXFP8 weights, and of a block of FP8 weights."""

_FP8_BLOCKS = 8.0 + FP8_BLOCK_SCALE_BITS / 128**2
_NVFP4 = 4.0 + BLOCK_SCALE_BITS / 16
_MXFP4 = 4.0 + BLOCK_SCALE_BITS / 32
_INT4_GROUPS = 4.0 + GROUP_SCALE_BITS / 128
ALGORITHMS = {
    "fp8": 8.0,
    "fp8_per_channel_per_token": 8.0,
    "fp8_pb_wo": _FP8_BLOCKS,
    "fp8_pb_real": _FP8_BLOCKS,
    "nvfp4": _NVFP4,
    "w4a16_nvfp4": _NVFP4,
    "nvfp4_awq": _NVFP4,
    "nvfp4_svdquant": _NVFP4,
    "mxfp4": _MXFP4,
    "w4a8_mxfp4_fp8": _MXFP4,
    "mxfp8": 8.0 + BLOCK_SCALE_BITS / 32,
    "int4_awq": _INT4_GROUPS,
    "w4a16_awq": _INT4_GROUPS,
    "w4a8_awq": _INT4_GROUPS,
    "w4a16": _INT4_GROUPS,
    "int8": 8.0,
    "int8_sq": 8.0,
    "w8a8_sq_per_channel": 8.0,
    "w8a16": 8.0,
}
"""Bits per weight by the names that ModelOpt gives to its algorithms, in lower case."""
_KV_BITS = {"fp8": 8.0, "fp8_e4m3": 8.0, "fp8_e5m2": 8.0, "int8": 8.0, "nvfp4": _NVFP4}
_KV_KEYS = ("kv_cache_scheme", "kv_cache_quant_algo", "kv_cache_quant_config", "kv_cache_dtype")
_SKIP_KEYS = (
    "modules_to_not_convert",
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "exclude",
    "llm_int8_skip_modules",
    "skip_modules",
    "exclude_layers",
)
_MOST = 2**20


class StatedQuantisation:
    """What a configuration states about quantisation.

    Parameters
    ----------
    view : ConfigView
        The configuration, for messages.
    key : str
        Key of the object.
    stated : mapping
        The object; figures in an inner ``quantization``, as in a ``hf_quant_config.json``, count as its own.
    """

    def __init__(self, view: ConfigView, key: str, stated: Mapping[str, Any]) -> None:
        inner = stated.get("quantization")
        self._view, self._key = view, key
        self.values: Mapping[str, Any] = {**stated, **inner} if isinstance(inner, Mapping) else stated

    def get(self, key: str) -> Any:
        """Return the value under a key as it is, None if there is none."""
        return self.values.get(key)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return the object under a key, an empty one if there is none."""
        value = self.values.get(key)
        return value if isinstance(value, Mapping) else {}

    def text_of_model(self, key: str) -> str:
        """Return a text of the configuration of the model, which contains the object."""
        return self._view.text(key)

    def number(self, key: str, values: Mapping[str, Any] | None = None) -> float:
        """Return a number > 0, 0 if there is none; tools also write it as text."""
        value = (self.values if values is None else values).get(key)
        if isinstance(value, str) and re.fullmatch(r"\+?[0-9]{1,6}", value):
            value = int(value)
        number = as_number(value)
        return float(number) if number is not None and 0 < number <= _MOST else 0.0

    def bits(self, *keys: str, values: Mapping[str, Any] | None = None) -> float:
        """Return the first number of bits under one of the keys.

        Raises
        ------
        ScenarioError
            If there is none, or it is above 32.
        """
        source = self.values if values is None else values
        bits = next((bits for key in keys if (bits := self.number(key, source))), 0.0)
        if not 0 < bits <= 32:
            raise self.error(keys[0], "must be a number of bits from 1 to 32", source.get(keys[0]))
        return bits

    def algorithm(self, key: str, name: object) -> float:
        """Return the bits of an algorithm by its name.

        Raises
        ------
        ScenarioError
            If the name is not known.
        """
        bits = ALGORITHMS.get(name.lower()) if isinstance(name, str) else None
        if bits is None:
            rule = f"must be one of {', '.join(sorted(ALGORITHMS))}"
            raise self.error(key, rule, name, code="unknown_quantisation")
        return bits

    def skip(self) -> ModuleNames:
        """Return the modules that keep the type of the model."""
        names: list[str] = []
        for key in _SKIP_KEYS:
            value = self.values.get(key)
            if isinstance(value, list):
                names += [name for name in value if isinstance(name, str)]
        return ModuleNames(names)

    def kv_bits(self) -> float | None:
        """Return the bits of a number in the KV cache, None where the type of the model is meant.

        Raises
        ------
        ScenarioError
            If a type is named that is not known.
        """
        for key in _KV_KEYS:
            scheme = self.values.get(key)
            if isinstance(scheme, str) and scheme.lower() not in ("auto", "none", ""):
                bits = _KV_BITS.get(scheme.lower())
                if bits is None:
                    rule = f"must be one of {', '.join(sorted(_KV_BITS))}"
                    raise self.error(key, rule, scheme, code="unknown_quantisation")
                return bits
            if isinstance(scheme, Mapping) and scheme:
                return self.number("num_bits", scheme) or 8.0
        return None

    def error(self, key: str, rule: str, value: object, code: str = "") -> ScenarioError:
        """Build an error about a key of the object."""
        return self._view.error(f"{self._key}.{key}", rule, value, code=code)
