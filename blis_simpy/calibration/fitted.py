"""Outcome of a fit: estimates with standard errors, errors of prediction, a scenario."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.calibration.measured import Latencies
from blis_simpy.calibration.parameters import Parameter
from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["Errors", "Estimate", "Fit"]

S = TypeVar("S", bound=ScenarioSettings)

NOT_IDENTIFIED = 0.8
"""Ratio of posterior to prior standard deviation above which the data do not identify an option."""


@attrs.frozen(kw_only=True)
class Estimate:
    """One option of the latency model after a fit.

    Attributes
    ----------
    parameter : Parameter
        What it is, and what was known beforehand.
    value : float
        Most likely value, in the unit of the parameter.
    coordinate : float
        The same on the scale of the fit: its logarithm, for a factor.
    standard_error : float
        Of the value.
    sd_ratio : float
        Posterior to prior standard deviation: near 0 the data decide, near 1 the prior does.
    """

    parameter: Parameter
    value: float
    coordinate: float
    standard_error: float
    sd_ratio: float

    @property
    def is_identified(self) -> bool:
        """Whether the data identify it, rather than the prior."""
        return self.sd_ratio <= NOT_IDENTIFIED


@attrs.frozen(kw_only=True)
class Errors:
    """Errors of simulated latencies against measured ones, as fractions.

    Attributes
    ----------
    ttft, tpot, e2e : float
        Signed error of the mean: time to first token, time of an output token, end to end.
    e2e_mape : float
        Mean of the absolute errors of the single requests, end to end.
    """

    ttft: float
    tpot: float
    e2e: float
    e2e_mape: float

    @classmethod
    def of(cls, simulated: Latencies, measured: Latencies) -> Errors:
        """Compare the same requests."""

        def of_means(found: NDArray[Any], true: NDArray[Any]) -> float:
            known = np.isfinite(true)
            return float(found[known].mean() / true[known].mean() - 1.0) if known.any() else float("nan")

        return cls(
            ttft=of_means(simulated.ttft, measured.ttft),
            tpot=of_means(simulated.tpot, measured.tpot),
            e2e=of_means(simulated.e2e, measured.e2e),
            e2e_mape=float(np.abs(simulated.e2e / measured.e2e - 1.0).mean()),
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Fit(Rendered, Generic[S]):
    """Estimates of the options of the latency model from a recording; made by `fit`.

    Attributes
    ----------
    scenario : Scenario
        That of the fit, with the options that were found.
    estimates : tuple of Estimate
        The options, with standard errors.
    correlation : ndarray of float64, shape (num_estimates, num_estimates)
        Correlations of the estimates: a pair near 1 or -1 is known together only.
    num_fitted, num_held_out : int
        Earlier requests, which were fitted, and later ones, which were not.
    errors : dict of str to Errors
        ``before``: the later requests, with the scenario as it was; ``fitted``: the earlier requests, ``held out``: the
        later ones, both with the options that were found.
    measured, simulated : Latencies
        Of all compared requests in order of arrival, the later part last; simulated with the options that were found.
    num_simulations : int
        How many it took.
    """

    scenario: S
    estimates: tuple[Estimate, ...]
    correlation: NDArray[np.float64]
    num_fitted: int
    num_held_out: int
    errors: dict[str, Errors]
    measured: Latencies
    simulated: Latencies
    num_simulations: int

    @property
    def options(self) -> dict[str, float]:
        """Options of the latency model that were found, by name."""
        return {estimate.parameter.name: estimate.value for estimate in self.estimates}

    @property
    def not_identified(self) -> list[str]:
        """Names of the options that the data do not identify: their values are close to the prior."""
        return [estimate.parameter.name for estimate in self.estimates if not estimate.is_identified]

    @property
    def largest_correlation(self) -> tuple[str, str, float]:
        """The pair of options with the strongest correlation in the data, and the correlation."""
        apart = np.abs(self.correlation - np.eye(len(self.estimates)))
        one, other = np.unravel_index(np.argmax(apart), apart.shape)
        names = [estimate.parameter.name for estimate in self.estimates]
        return names[one], names[other], float(self.correlation[one, other])

    def snippet(self) -> str:
        """Part of a scenario file with the options that were found, as YAML."""
        backend: Any = self.scenario.latency.backend
        lines = ["latency:", "  backend:"]
        lines += [f"    {name}: {value}" for name, value in backend.items() if name not in self.options]
        width = max(len(f"{name}: {value:g}") for name, value in self.options.items())
        for estimate in self.estimates:
            said = f"+- {estimate.standard_error:.2g}" if estimate.is_identified else "not identified"
            lines.append(f"    {f'{estimate.parameter.name}: {estimate.value:g}':<{width}}  # {said}")
        return "\n".join(lines) + "\n"

    @property
    def plot(self) -> Plots:
        """Draws simulated against measured E2E latencies, and the estimates: ``fit.plot()``."""
        return Plots(self, "fit.", default="latencies")

    def __repr__(self) -> str:
        return self.render("text")
