"""Coefficients of GPU kernel times: input of the latency model ``kernels`` for one GPU.

They are in the hardware file, in an object ``kernels`` of a GPU's entry, which other readers ignore. An entry without
one gets the coefficients of the bundled GPU of the same name, else typical ones; its own peak figures count in both
cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from blis_simpy.catalog.files import as_number
from blis_simpy.catalog.hardware import Gpu, load_gpus
from blis_simpy.errors import Problem, ScenarioError

__all__ = [
    "ARITHMETICS",
    "AllReduceKernel",
    "DecodeAttentionKernel",
    "KernelCoefficients",
    "MatrixKernel",
    "PrefillAttentionKernel",
    "kernel_coefficients",
]

ARITHMETICS = ("bf16", "fp8", "fp4")
"""Kinds of arithmetic with a peak rate of their own."""

_SLOWEST_NVLINK_TB_S = 1.9
"""Memory bandwidth above which a GPU of unknown interconnect counts as one with NVLink."""
_NVLINK_GB_S = 450.0
_PCIE_GB_S = 32.0
_SLOW_LINK_GB_S = 100.0


@attrs.frozen(kw_only=True)
class MatrixKernel:
    """A matrix product, or the products of all experts of a layer.

    Attributes
    ----------
    arithmetic : str
        Peak rate that it is measured against, one of `ARITHMETICS`.
    fixed_us : float, µs
        Time of the smallest product.
    memory_efficiency, compute_efficiency : float, fraction
        Share of the memory bandwidth and of the peak rate that a large product reaches.
    overlap : float
        How well memory traffic and arithmetic overlap: exponent of the norm that joins their times; 1 = not at all,
        infinity = completely.
    extra_passes : float
        Passes over the activations beside the product: to quantise the input of a product, to sort, activate and sum
        the tokens of experts.
    """

    arithmetic: str = "bf16"
    fixed_us: float
    memory_efficiency: float
    compute_efficiency: float
    overlap: float
    extra_passes: float = 0.0


@attrs.frozen(kw_only=True)
class DecodeAttentionKernel:
    """Attention of one token a request over its context.

    Attributes
    ----------
    fixed_us, cold_us : float, µs
        Time of the smallest kernel, and what it takes longer once its KV data no longer come from the L2 cache.
    memory_efficiency : float, fraction
        Share of the memory bandwidth that reading the KV cache reaches.
    head_us : float, µs
        Time a request and KV head.
    overlap : float
        Exponent of the norm that joins the time of the heads with that of the KV reads.
    """

    fixed_us: float
    cold_us: float
    memory_efficiency: float
    head_us: float
    overlap: float


@attrs.frozen(kw_only=True)
class PrefillAttentionKernel:
    """Attention of prompt chunks.

    Attributes
    ----------
    fixed_us : float, µs
        Time of the smallest kernel.
    compute_efficiency : float, fraction
        Share of the BF16 peak rate.
    memory_efficiency : float, fraction
        Bandwidth of queries, keys, values and outputs against that of the memory; above 1 where they stay in the cache.
    """

    fixed_us: float
    compute_efficiency: float
    memory_efficiency: float


@attrs.frozen(kw_only=True)
class AllReduceKernel:
    """Sum of one vector a token over the GPUs of a tensor-parallel group.

    Attributes
    ----------
    fixed_us, per_gpu_us : float, µs
        Time of the smallest sum over two GPUs, and for each GPU more.
    pair_efficiency, group_efficiency : float, fraction
        Share of the link's bandwidth with two GPUs, and with more.
    """

    fixed_us: float
    per_gpu_us: float
    pair_efficiency: float
    group_efficiency: float


@attrs.frozen(kw_only=True)
class KernelCoefficients:
    """Peak figures of a GPU and coefficients of its kernels.

    Attributes
    ----------
    source : str
        Where the coefficients come from.
    bandwidth_tb_s : float, 10**12 byte/s
        Memory bandwidth that the efficiencies refer to.
    bf16_tflops, fp8_tflops, fp4_tflops : float, 10**12 FLOP/s
        Dense peak rates; 0 = no such arithmetic.
    link_gb_s : float, 10**9 byte/s
        Bandwidth to the other GPUs of a group, one direction.
    gemm, experts : mapping of str to MatrixKernel
        By weight type; there is always a ``bf16``.
    decode_attention : mapping of str to DecodeAttentionKernel
        By type of the KV cache; there is always a ``bf16``.
    prefill_attention : PrefillAttentionKernel
        Attention of prompts.
    all_reduce : AllReduceKernel
        Communication of tensor parallelism.
    """

    source: str
    bandwidth_tb_s: float
    bf16_tflops: float
    fp8_tflops: float
    fp4_tflops: float
    link_gb_s: float
    gemm: Mapping[str, MatrixKernel]
    experts: Mapping[str, MatrixKernel]
    decode_attention: Mapping[str, DecodeAttentionKernel]
    prefill_attention: PrefillAttentionKernel
    all_reduce: AllReduceKernel

    def tflops(self, arithmetic: str) -> float:
        """Peak rate of a kind of arithmetic, 10**12 FLOP/s; 0 = none."""
        return {"bf16": self.bf16_tflops, "fp8": self.fp8_tflops, "fp4": self.fp4_tflops}[arithmetic]


_TYPICAL_GEMM = {
    "bf16": MatrixKernel(fixed_us=3.94745, memory_efficiency=0.8288, compute_efficiency=0.8082, overlap=2.1116),
    "fp8": MatrixKernel(
        arithmetic="fp8",
        fixed_us=6.827,
        memory_efficiency=0.8457,
        compute_efficiency=0.7075,
        overlap=1.3883,
        extra_passes=3.1483,
    ),
}
_TYPICAL_EXPERTS = {
    "bf16": MatrixKernel(
        fixed_us=29.2765,
        memory_efficiency=0.91325,
        compute_efficiency=0.5792,
        overlap=1.51115,
        extra_passes=1.75705,
    ),
    "fp8": MatrixKernel(
        arithmetic="fp8",
        fixed_us=36.2215,
        memory_efficiency=0.8467,
        compute_efficiency=0.3764,
        overlap=2.0851,
        extra_passes=2.1641,
    ),
}
_TYPICAL_DECODE_ATTENTION = {
    "bf16": DecodeAttentionKernel(
        fixed_us=10.4447, cold_us=5.73755, memory_efficiency=0.8712, head_us=0.025, overlap=4.4561
    ),
    "fp8": DecodeAttentionKernel(
        fixed_us=11.0209, cold_us=4.9328, memory_efficiency=0.8117, head_us=0.0179, overlap=2.2309
    ),
}
_TYPICAL_PREFILL_ATTENTION = PrefillAttentionKernel(fixed_us=13.875, compute_efficiency=0.608, memory_efficiency=0.4825)
_TYPICAL_NVLINK = AllReduceKernel(fixed_us=4.9, per_gpu_us=0.4, pair_efficiency=0.53, group_efficiency=0.40)
_TYPICAL_PCIE = AllReduceKernel(fixed_us=4.9, per_gpu_us=4.0, pair_efficiency=0.59, group_efficiency=0.2)
"""Medians over H100, H200, B200, A100, L40S and RTX PRO 6000, as far as each has the kernel."""


def kernel_coefficients(gpu: Gpu) -> KernelCoefficients:
    """Coefficients of a GPU's kernels.

    Parameters
    ----------
    gpu : Gpu
        As read from a hardware file.

    Returns
    -------
    KernelCoefficients
        Those of its own entry; what is missing there comes from the bundled GPU of its name, else from medians over the
        measured GPUs. Peak figures that are missing come from the entry itself.

    Raises
    ------
    ScenarioError
        With one problem for each figure that is wrong.
    """
    if gpu.kernels is not None:
        return _Reader(gpu, gpu.kernels).coefficients()
    same_name = load_gpus().get(gpu.name)
    shipped = {} if same_name is None or same_name.kernels is None else dict(same_name.kernels)
    for figure in _FIGURES_OF_ENTRY:
        shipped.pop(figure, None)
    if shipped:
        shipped["source"] = f"coefficients of the shipped {gpu.name} ({shipped['source']})"
    return _Reader(gpu, shipped).coefficients()


_FIGURES_OF_ENTRY = ("bandwidth_tb_s", "bf16_tflops", "fp8_tflops")
"""Figures that every entry of a hardware file states in its own way."""
_POSITIVE = frozenset({"memory_efficiency", "compute_efficiency", "pair_efficiency", "group_efficiency"})
_K = TypeVar("_K")


class _Reader:
    """Reads one object ``kernels``, and collects what is wrong with it."""

    def __init__(self, gpu: Gpu, kernels: Mapping[str, Any]) -> None:
        self._gpu, self._kernels = gpu, kernels
        self._problems: list[Problem] = []

    def coefficients(self) -> KernelCoefficients:
        gpu = self._gpu
        bandwidth = self._figure("bandwidth_tb_s", gpu.bandwidth_tb_s, "bandwidth_tb_s", positive=True)
        usual_link = _NVLINK_GB_S if bandwidth > _SLOWEST_NVLINK_TB_S else _PCIE_GB_S
        link = self._figure("link_gb_s", usual_link, positive=True)
        typical_all_reduce = _TYPICAL_PCIE if link < _SLOW_LINK_GB_S else _TYPICAL_NVLINK
        found = KernelCoefficients(
            source=str(self._kernels.get("source", "estimated: medians over the measured GPUs")),
            bandwidth_tb_s=bandwidth,
            bf16_tflops=self._figure("bf16_tflops", gpu.tflops, "tflops", positive=True),
            fp8_tflops=self._figure("fp8_tflops", gpu.fp8_tflops, "fp8_tflops"),
            fp4_tflops=self._figure("fp4_tflops", 0.0),
            link_gb_s=link,
            gemm=self._by_type("gemm", MatrixKernel, _TYPICAL_GEMM),
            experts=self._by_type("experts", MatrixKernel, _TYPICAL_EXPERTS),
            decode_attention=self._by_type("decode_attention", DecodeAttentionKernel, _TYPICAL_DECODE_ATTENTION),
            prefill_attention=self._one("prefill_attention", PrefillAttentionKernel, _TYPICAL_PREFILL_ATTENTION),
            all_reduce=self._one("all_reduce", AllReduceKernel, typical_all_reduce),
        )
        if self._problems:
            raise ScenarioError(self._problems)
        return found

    def _figure(self, key: str, default: float, of_entry: str = "", *, positive: bool = False) -> float:
        """Read a figure that the entry itself may state, too, as `of_entry`."""
        path = f"gpu.{of_entry}" if of_entry and key not in self._kernels else f"gpu.kernels.{key}"
        return self._number(self._kernels, key, path, default, positive=positive)

    def _by_type(self, key: str, cls: type[_K], typical: Mapping[str, _K]) -> Mapping[str, _K]:
        given = self._object(self._kernels, key, f"gpu.kernels.{key}")
        if given is None:
            return typical
        kernels = {name: self._kernel(given, name, cls, f"gpu.kernels.{key}") for name in given}
        if "bf16" not in kernels:
            self._wrong(f"gpu.kernels.{key}", "must have the weight type bf16", sorted(kernels))
        return {name: kernel for name, kernel in kernels.items() if kernel is not None}

    def _one(self, key: str, cls: type[_K], typical: _K) -> _K:
        if key not in self._kernels:
            return typical
        return self._kernel(self._kernels, key, cls, "gpu.kernels") or typical

    def _kernel(self, of: Mapping[str, Any], name: str, cls: type[_K], path: str) -> _K | None:
        path = f"{path}.{name}"
        given = self._object(of, name, path)
        if given is None:
            return None
        values: dict[str, Any] = {}
        for field in attrs.fields(cls):  # type: ignore[arg-type]
            inside = f"{path}.{field.name}"
            if field.name == "arithmetic":
                values["arithmetic"] = given.get("arithmetic", field.default)
                if values["arithmetic"] not in ARITHMETICS:
                    self._wrong(inside, f"must be one of {', '.join(ARITHMETICS)}", values["arithmetic"])
                continue
            default = None if field.default is attrs.NOTHING else field.default
            values[field.name] = self._number(given, field.name, inside, default, positive=field.name in _POSITIVE)
            if field.name == "overlap" and not values["overlap"] >= 1:
                self._wrong(inside, "must be >= 1", values["overlap"])
        return cls(**values)

    def _object(self, of: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any] | None:
        value = of.get(key)
        if value is not None and not isinstance(value, Mapping):
            self._wrong(path, "must be an object", value)
            return None
        return value

    def _number(self, of: Mapping[str, Any], key: str, path: str, default: float | None, *, positive: bool) -> float:
        value = of.get(key, default)
        number = as_number(value)
        rule = "> 0" if positive else ">= 0"
        if number is None or not math.isfinite(number) or number < 0 or (positive and number == 0):
            self._wrong(path, f"must be a finite number {rule}", value)
            return 1.0
        return float(number)

    def _wrong(self, path: str, rule: str, value: object) -> None:
        self._problems.append(Problem(path=path, rule=rule, value=value, code="bad_kernel_coefficient"))
