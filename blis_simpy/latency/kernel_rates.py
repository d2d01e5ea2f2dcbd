"""Rates of one GPU in the units of kernel times: bytes and FLOPs a microsecond, corrected by the overheads' factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from blis_simpy.catalog.kernel_coefficients import KernelCoefficients
    from blis_simpy.latency.kernel_overheads import KernelOverheads

__all__ = ["Rates"]

_PER_US_OF_TERA = 1e6
_PER_US_OF_GIGA = 1e3


@attrs.frozen
class Rates:
    """Rates of one GPU.

    Attributes
    ----------
    memory, link : float, byte/µs
        Memory bandwidth; bandwidth to the other GPUs of a group, one direction.
    bf16, fp8, fp4 : float, FLOP/µs
        Peak arithmetic rates; 0 = no such arithmetic.
    """

    memory: float
    link: float
    bf16: float
    fp8: float
    fp4: float

    @classmethod
    def of(cls, coefficients: KernelCoefficients, overheads: KernelOverheads) -> Rates:
        """Take them from the figures of a GPU."""
        flops = _PER_US_OF_TERA / overheads.comp
        return cls(
            memory=coefficients.bandwidth_tb_s * _PER_US_OF_TERA / overheads.mem,
            link=coefficients.link_gb_s * _PER_US_OF_GIGA / overheads.link,
            bf16=coefficients.bf16_tflops * flops,
            fp8=coefficients.fp8_tflops * flops,
            fp4=coefficients.fp4_tflops * flops,
        )

    def flops(self, arithmetic: str) -> float:
        """Peak rate of a kind of arithmetic, FLOP/µs; 0 = none."""
        return {"bf16": self.bf16, "fp8": self.fp8, "fp4": self.fp4}[arithmetic]
