"""What each quantisation tool writes into a configuration, and what it means.

Embeddings, norms and the router of a mixture keep the type of the model with all of them. The output embedding is
quantised by the tools that treat it as any other matrix, unless they list it as skipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.catalog.checkpoint.module_names import ModuleNames
from blis_simpy.catalog.checkpoint.quantisation import NOT_QUANTISED, Quantisation
from blis_simpy.catalog.checkpoint.stated_quantisation import (
    ALGORITHMS,
    BLOCK_SCALE_BITS,
    FP8_BLOCK_SCALE_BITS,
    GROUP_SCALE_BITS,
    StatedQuantisation,
)
from blis_simpy.catalog.files import as_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.catalog.checkpoint.config import ConfigView

__all__ = ["read_quantisation"]

Rule = tuple[ModuleNames, float | None]

_QUARK_BITS = {
    "fp8": 8.0,
    "int8": 8.0,
    "uint8": 8.0,
    "fp6": 6.0,
    "mxfp6": 6.0,
    "fp4": 4.0,
    "mxfp4": 4.0,
    "int4": 4.0,
    "uint4": 4.0,
    "int3": 3.0,
    "int2": 2.0,
    "bfloat16": None,
    "float16": None,
}
_INTEGER_METHODS = frozenset(
    {
        "aqlm",
        "auto-round",
        "awq",
        "bitnet",
        "bitsandbytes",
        "eetq",
        "experts-int8",
        "gptq",
        "hqq",
        "intel/auto-round",
        "quanto",
    }
)
"""Methods that store integers and compute in 16 bits."""
_TORCHAO_BITS = {
    "int4weight": 4.0,
    "weight4": 4.0,
    "int8dynamicactivationint4": 4.0,
    "nvfp4": ALGORITHMS["nvfp4"],
    "mxfp4": ALGORITHMS["mxfp4"],
    "float8": 8.0,
    "int8": 8.0,
}
"""Bits by a part of the name of a type: Quark's, and TorchAO's without its underscores; the first counts."""


def read_quantisation(view: ConfigView) -> Quantisation:
    """Read the quantisation of a configuration.

    Raises
    ------
    ScenarioError
        If it states a method, a type or a number of bits that is not understood.
    """
    key = "quantization_config" if view.has("quantization_config") else "compression_config"
    value = view.get(key)
    if value is None or value == {}:
        return NOT_QUANTISED
    if not isinstance(value, Mapping):
        raise view.error(key, "must be an object", value)
    stated = StatedQuantisation(view, key, value)
    method = _method(stated)
    name = method.lower().replace("_", "-") if isinstance(method, str) else ""
    read = _METHODS.get("modelopt" if name.startswith("modelopt") else name)
    if read is None and stated.number("bits"):
        read = _grouped
    if read is None:
        rule = f"must be one of {', '.join(sorted(_METHODS))}"
        raise stated.error("quant_method", rule, method, code="unknown_quantisation")
    integers = _expanded_integers(stated, name)
    return attrs.evolve(read(stated), kv_bits=stated.kv_bits(), integers=integers)


def _expanded_integers(stated: StatedQuantisation, name: str) -> bool:
    """Return whether a method stores integers and leaves activations in 16 bits."""
    if name == "compressed-tensors":
        groups = [group for group in stated.mapping("config_groups").values() if isinstance(group, Mapping)]
        kinds = [weights.get("type") for group in groups if isinstance(weights := group.get("weights"), Mapping)]
        return bool(kinds) and "float" not in kinds and not any(group.get("input_activations") for group in groups)
    algorithm = stated.get("quant_algo")
    return name in _INTEGER_METHODS or (
        isinstance(algorithm, str) and algorithm.lower() in ("int4_awq", "w4a16_awq", "w4a16", "w8a16")
    )


def _method(stated: StatedQuantisation) -> object:
    """Return the name of the method; files of older tools leave it out."""
    if stated.get("quant_method") is not None:
        return stated.get("quant_method")
    if "quant_algo" in stated.values:
        return "modelopt"
    return "compressed-tensors" if "config_groups" in stated.values else None


def _fixed(bits: float) -> Callable[[StatedQuantisation], Quantisation]:
    return lambda stated: Quantisation(bits=bits, skip=stated.skip())


def _fp8(stated: StatedQuantisation) -> Quantisation:
    bits = 8.0
    block = stated.get("weight_block_size")
    sizes = [as_number(size) or 0 for size in block] if isinstance(block, list) else []
    if len(sizes) == 2 and all(0 < size < 2**20 for size in sizes):
        bits += FP8_BLOCK_SCALE_BITS / (sizes[0] * sizes[1])
    algorithm = stated.get("moe_quant_algo")
    if algorithm is not None:
        # Such a configuration lists what is about its experts only: everything else is in FP8.
        return Quantisation(bits=bits, part_bits=(("experts", stated.algorithm("moe_quant_algo", algorithm)),))
    experts = {"fp4": "mxfp4", "mxfp4": "mxfp4", "nvfp4": "nvfp4"}.get(stated.text_of_model("expert_dtype").lower())
    part_bits = (("experts", ALGORITHMS[experts]),) if experts else ()
    return Quantisation(bits=bits, skip=stated.skip(), part_bits=part_bits)


def _mxfp4(stated: StatedQuantisation) -> Quantisation:
    return Quantisation(bits=ALGORITHMS["mxfp4"], skip=stated.skip(), experts_only=True)


def _experts_int8(stated: StatedQuantisation) -> Quantisation:
    return Quantisation(bits=8.0, skip=stated.skip(), experts_only=True)


def _modelopt(stated: StatedQuantisation) -> Quantisation:
    algorithm = stated.get("quant_algo")
    if layers := stated.mapping("quantized_layers"):
        return _by_module(stated, layers)
    mixed = algorithm is None or (isinstance(algorithm, str) and algorithm.lower() == "mixed_precision")
    if mixed and stated.mapping("config_groups"):
        return _compressed_tensors(stated)
    return Quantisation(bits=stated.algorithm("quant_algo", algorithm), skip=stated.skip(), lm_head=True)


def _by_module(stated: StatedQuantisation, layers: Mapping[str, Any]) -> Quantisation:
    by_bits: dict[float, list[str]] = {}
    for name, how in layers.items():
        algorithm = how.get("quant_algo") if isinstance(how, Mapping) else how
        by_bits.setdefault(stated.algorithm(f"quantized_layers.{name}", algorithm), []).append(str(name))
    rules = [(ModuleNames(names), bits) for bits, names in by_bits.items()]
    return Quantisation(rules=((stated.skip(), None), *rules), lm_head=True)


def _compressed_tensors(stated: StatedQuantisation) -> Quantisation:
    groups = stated.mapping("config_groups")
    if not groups:
        raise stated.error("config_groups", "must be an object that is not empty", stated.get("config_groups"))
    default: float | None = None
    rules: list[Rule] = [(stated.skip(), None)]
    for name in sorted(groups, key=str):
        group = groups[name] if isinstance(groups[name], Mapping) else {}
        weights, targets, bits = group.get("weights"), group.get("targets"), None
        if isinstance(weights, Mapping):
            bits = _group_bits(stated, f"config_groups.{name}.weights.num_bits", group, weights)
        targets = targets if isinstance(targets, list) else ["Linear"]
        modules = [
            target for target in targets if isinstance(target, str) and not target.endswith(("Linear", "Experts"))
        ]
        if modules:
            rules.append((ModuleNames(modules), bits))
        if len(modules) < len(targets) and default is None:
            default = bits
    return Quantisation(bits=default, rules=tuple(rules), lm_head=True)


def _group_bits(stated: StatedQuantisation, key: str, group: Mapping[str, Any], weights: Mapping[str, Any]) -> float:
    bits = stated.number("num_bits", weights)
    if not 0 < bits <= 32:
        raise stated.error(key, "must be a number of bits from 1 to 32", weights.get("num_bits"))
    size = stated.number("group_size", weights)
    form = group.get("format") or stated.get("format")
    form = form if isinstance(form, str) else ""
    if form.startswith("mxfp"):
        return bits + BLOCK_SCALE_BITS / (size or 32.0)
    if form.startswith("nvfp4") or (bits == 4 and weights.get("type") == "float"):
        return bits + BLOCK_SCALE_BITS / (size or 16.0)
    return bits + (GROUP_SCALE_BITS / size if size else 0.0)


def _grouped(stated: StatedQuantisation) -> Quantisation:
    """Integer weights with a scale, and maybe a zero point, per group: GPTQ, AWQ and their like."""
    bits = stated.bits("bits", "w_bit", "weight_bits")
    size = stated.number("group_size") or stated.number("q_group_size")
    zero_point = bits if stated.get("zero_point") is True or stated.get("sym") is False else 0.0
    overhead = (GROUP_SCALE_BITS + zero_point) / size if size else 0.0
    rules: list[Rule] = []
    # GPTQModel: regular expressions; one with a minus sign keeps a module, another one changes its bits.
    for pattern, how in stated.mapping("dynamic").items():
        names = ModuleNames([f"re:{str(pattern).removeprefix('-:').removeprefix('+:')}"])
        if str(pattern).startswith("-:"):
            rules.append((names, None))
        elif isinstance(how, Mapping) and (own := stated.number("bits", how)):
            rules.append((names, own + overhead))
    # AutoRound: bits of single modules.
    for name, how in stated.mapping("extra_config").items():
        if isinstance(how, Mapping) and (own := stated.number("bits", how)):
            rules.append((ModuleNames([str(name)]), None if own >= 16 else own + overhead))
    lm_head = stated.get("lm_head") is True
    return Quantisation(bits=bits + overhead, skip=stated.skip(), rules=tuple(rules), lm_head=lm_head)


def _bitsandbytes(stated: StatedQuantisation) -> Quantisation:
    flags = {str(key).removeprefix("_"): value for key, value in stated.values.items()}
    if flags.get("load_in_4bit") is True:
        # One FP32 scale per 64 weights, or an 8-bit one with FP32 per 256 of them.
        double = flags.get("bnb_4bit_use_double_quant") is True
        return _fixed(4.0 + (8.0 / 64 + 32.0 / (64 * 256) if double else 32.0 / 64))(stated)
    if flags.get("load_in_8bit") is True:
        return _fixed(8.0)(stated)
    raise stated.error("load_in_4bit", "or load_in_8bit must be true", flags.get("load_in_4bit"))


def _quark(stated: StatedQuantisation) -> Quantisation:
    rules: list[Rule] = [(stated.skip(), None)]
    for name, how in stated.mapping("layer_quant_config").items():
        rules.append((ModuleNames([str(name)]), _quark_bits(stated, f"layer_quant_config.{name}", how)))
    bits = _quark_bits(stated, "global_quant_config", stated.get("global_quant_config"))
    return Quantisation(bits=bits, rules=tuple(rules))


def _quark_bits(stated: StatedQuantisation, key: str, how: object) -> float | None:
    weight = how.get("weight") if isinstance(how, Mapping) else None
    # Of two steps, the first is what is stored and the second is how its scales are.
    step = weight[0] if isinstance(weight, list) and weight else weight
    if not isinstance(step, Mapping):
        return None
    dtype = str(step.get("dtype"))
    for prefix, bits in _QUARK_BITS.items():
        if dtype.startswith(prefix):
            size = stated.number("group_size", step) if step.get("qscheme") == "per_group" else 0.0
            scale = BLOCK_SCALE_BITS if step.get("scale_format") == "e8m0" else GROUP_SCALE_BITS
            return bits + scale / size if bits and size else bits
    raise stated.error(
        f"{key}.weight.dtype", "must name an FP8, FP6, FP4, INT8 or INT4 type", dtype, code="unknown_quantisation"
    )


def _hqq(stated: StatedQuantisation) -> Quantisation:
    params = stated.mapping("quant_config").get("weight_quant_params")
    params = params if isinstance(params, Mapping) else stated.values
    size = stated.number("group_size", params)
    bits = stated.bits("nbits", "bits", values=params)
    return _fixed(bits + (2 * GROUP_SCALE_BITS / size if size else 0.0))(stated)


def _torchao(stated: StatedQuantisation) -> Quantisation:
    how = stated.get("quant_type")
    if isinstance(how, Mapping):
        how = how.get("default")
    name, data = (how.get("_type"), how.get("_data")) if isinstance(how, Mapping) else (how, None)
    words = re.sub(r"[^a-z0-9]", "", name.lower()) if isinstance(name, str) else ""
    size = stated.number("group_size", data if isinstance(data, Mapping) else stated.mapping("quant_type_kwargs"))
    for word, bits in _TORCHAO_BITS.items():
        if word in words:
            return _fixed(bits + (2 * GROUP_SCALE_BITS / (size or 128.0) if bits == 4.0 else 0.0))(stated)
    rule = "must name an INT4, INT8, FP8, MXFP4 or NVFP4 type"
    raise stated.error("quant_type", rule, name, code="unknown_quantisation")


def _quanto(stated: StatedQuantisation) -> Quantisation:
    kinds = {"int8": 8.0, "float8": 8.0, "int4": 4.0, "int2": 2.0}
    weights = stated.get("weights")
    if not isinstance(weights, str) or weights not in kinds:
        rule = f"must be one of {', '.join(sorted(kinds))}"
        raise stated.error("weights", rule, weights, code="unknown_quantisation")
    return _fixed(kinds[weights])(stated)


def _aqlm(stated: StatedQuantisation) -> Quantisation:
    codebooks, bits = stated.number("num_codebooks"), stated.number("nbits_per_codebook")
    size = stated.number("in_group_size") * (stated.number("out_group_size") or 1.0)
    if not (codebooks and bits and size):
        raise stated.error("nbits_per_codebook", "must be > 0, as num_codebooks and in_group_size", bits)
    return _fixed(codebooks * bits / size)(stated)


def _fp_quant(stated: StatedQuantisation) -> Quantisation:
    kind = stated.get("forward_dtype")
    return _fixed(stated.algorithm("forward_dtype", "nvfp4" if kind is None else kind))(stated)


_METHODS: dict[str, Callable[[StatedQuantisation], Quantisation]] = {
    "aqlm": _aqlm,
    "auto-round": _grouped,
    "awq": _grouped,
    "bitnet": _fixed(2.0),
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "eetq": _fixed(8.0),
    "experts-int8": _experts_int8,
    "fbgemm-fp8": _fp8,
    "fp-quant": _fp_quant,
    "fp8": _fp8,
    "gptq": _grouped,
    "hqq": _hqq,
    "intel/auto-round": _grouped,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
    "mxfp8": _fixed(ALGORITHMS["mxfp8"]),
    "ptpc-fp8": _fp8,
    "quanto": _quanto,
    "quark": _quark,
    "torchao": _torchao,
    "tpu-int8": _fixed(8.0),
}
"""Readers by the name under ``quant_method``, with hyphens."""
