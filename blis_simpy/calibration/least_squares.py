"""Damped Gauss-Newton for few parameters with normal priors, where each evaluation is a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Posterior", "posterior_mode"]

Vector = NDArray[np.float64]

_MAX_ITERATIONS = 8
_MAX_TRIALS = 4
_DIFFERENCE = 0.2
"""Difference for derivatives, in standard deviations of the prior: wide enough to see past the batches' jumps."""
_SETTLED = 0.2
"""A step this small against the standard errors ends the search."""


@attrs.frozen(eq=False)
class Posterior:
    """Where the sum of squares is least, and how sharply.

    Attributes
    ----------
    mode : ndarray of float64, shape (num_parameters,)
        The most likely parameters.
    covariance : ndarray of float64, shape (num_parameters, num_parameters)
        Inverse of the curvature there.
    num_evaluations : int
        How often the residuals were computed.
    """

    mode: Vector
    covariance: NDArray[np.float64]
    num_evaluations: int


def posterior_mode(residuals: Callable[[Vector], Vector], center: Vector, sd: Vector, lowest: Vector) -> Posterior:
    """Find the parameters at which the squares of residuals and of deviations from the prior are least.

    Parameters
    ----------
    residuals : callable
        Residuals for given parameters, in their standard deviations; it need not be smooth.
    center, sd : ndarray of float64, shape (num_parameters,)
        Middle and standard deviation of the normal priors; the search starts in the middle.
    lowest : ndarray of float64, shape (num_parameters,)
        Least values.

    Examples
    --------
    A measurement of 3 with standard deviation 1 of what is 1 give or take 1 beforehand:

    >>> found = posterior_mode(lambda x: x - 3, np.array([1.0]), np.array([1.0]), np.array([-10.0]))
    >>> found.mode.round(6).tolist(), found.covariance.round(6).tolist()
    ([2.0], [[0.5]])
    """
    precision = np.diag(1.0 / sd**2)
    num_evaluations = 0

    def evaluated(at: Vector) -> tuple[Vector, float]:
        nonlocal num_evaluations
        num_evaluations += 1
        found = residuals(at)
        return found, float(found @ found + (at - center) @ precision @ (at - center))

    at = center
    found, cost = evaluated(at)
    damping = 0.0
    for _ in range(_MAX_ITERATIONS):
        slopes = np.empty((len(found), len(at)))
        for index in range(len(at)):
            moved = at.copy()
            moved[index] += _DIFFERENCE * sd[index]
            slopes[:, index] = (evaluated(moved)[0] - found) / (_DIFFERENCE * sd[index])
        curvature = slopes.T @ slopes + precision
        gradient = slopes.T @ found + precision @ (at - center)
        covariance: NDArray[np.float64] = np.linalg.inv(curvature).astype(np.float64)
        for _ in range(_MAX_TRIALS):
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), -gradient)
            trial = np.maximum(at + step, lowest)
            trial_found, trial_cost = evaluated(trial)
            if trial_cost < cost:
                break
            damping = max(4.0 * damping, 0.25)
        else:
            break
        settled = bool(np.all(np.abs(trial - at) < _SETTLED * np.sqrt(np.diag(covariance))))
        at, found, cost, damping = trial, trial_found, trial_cost, damping / 4.0
        if settled:
            break
    return Posterior(at, covariance, num_evaluations)
