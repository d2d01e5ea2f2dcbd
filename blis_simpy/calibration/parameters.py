"""Options of the latency model ``kernels`` that a fit estimates, and their priors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from blis_simpy.latency.kernel_overheads import KernelOverheads

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PARAMETERS", "Parameter", "as_options", "parameters_for"]


@attrs.frozen(kw_only=True)
class Parameter:
    """One option of the latency model that a fit estimates.

    Attributes
    ----------
    name : str
        Name of the option.
    meaning : str
        What it is.
    prior : float
        Mean of the normal prior, in the unit of the value; of a factor, the prior is normal in its logarithm.
    prior_sd : float
        Standard deviation of the prior; of the logarithm, for a factor.
    is_factor : bool
        Whether it is a factor, which the fit treats by its logarithm.
    unit : str
        Unit of the value; empty for a factor.
    """

    name: str
    meaning: str
    prior: float
    prior_sd: float
    is_factor: bool = False
    unit: str = ""

    @property
    def center(self) -> float:
        """Mean of the prior on the scale of the fit."""
        return math.log(self.prior) if self.is_factor else self.prior

    def value(self, coordinate: float) -> float:
        """Value of the option, given its coordinate on the scale of the fit; times are not negative."""
        return math.exp(coordinate) if self.is_factor else max(coordinate, 0.0)

    def standard_error(self, coordinate: float, sd: float) -> float:
        """Compute the standard error of the value from that on the scale of the fit."""
        return self.value(coordinate) * sd if self.is_factor else sd


_COMMUNICATION = "link"
PARAMETERS = (
    Parameter(name="mem", meaning="time of memory traffic", prior=1.0, prior_sd=0.15, is_factor=True),
    Parameter(name="comp", meaning="time of arithmetic", prior=1.0, prior_sd=0.15, is_factor=True),
    Parameter(name=_COMMUNICATION, meaning="time of traffic between GPUs", prior=1.0, prior_sd=0.5, is_factor=True),
    Parameter(name="kv", meaning="time of KV reads", prior=KernelOverheads().kv, prior_sd=0.08, is_factor=True),
    Parameter(name="step", meaning="fixed time of a step", prior=300.0, prior_sd=600.0, unit="us"),
    Parameter(name="seq", meaning="time a request in the step", prior=0.0, prior_sd=15.0, unit="us"),
    Parameter(name="mixed_layer", meaning="time a layer, with prompts", prior=24.0, prior_sd=15.0, unit="us"),
    Parameter(name="api", meaning="delay before the queue", prior=1000.0, prior_sd=2000.0, unit="us"),
)
"""The priors cover how much these options differ between GPUs, servers and versions of vLLM.

Source: docs, "Fit the latency model". All other overheads keep their values.
"""


def parameters_for(num_gpus: int) -> tuple[Parameter, ...]:
    """Parameters of a replica with a number of GPUs; a single GPU has no link."""
    return tuple(parameter for parameter in PARAMETERS if num_gpus > 1 or parameter.name != _COMMUNICATION)


def as_options(parameters: Sequence[Parameter], coordinates: Sequence[float]) -> dict[str, float]:
    """Options of the latency model by name, from coordinates on the scale of the fit.

    Four significant digits, as a scenario shows them: a fit is no more precise, and its last digits may depend on the
    platform.
    """
    return {
        parameter.name: float(f"{parameter.value(coordinate):.4g}")
        for parameter, coordinate in zip(parameters, coordinates, strict=True)
    }
