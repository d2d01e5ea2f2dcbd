"""Length distributions of prompts and outputs.

All except `Uniform` and `Lognormal` are those of the reference. A drawn length is rounded to the nearest integer,
halves upward, and is at least 1, unless the distribution has other bounds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Constant",
    "Empirical",
    "Exponential",
    "Gaussian",
    "LengthSampler",
    "Lognormal",
    "ParetoLognormal",
    "Uniform",
]

_UNBOUNDED = 2**31 - 1


class LengthSampler(Protocol):
    """Draws prompt or output lengths.

    Drawing in parts gives the same lengths: two calls for n return what one call for 2n returns. The requests of a
    short run are then the first ones of a longer run.
    """

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw the next lengths.

        Parameters
        ----------
        rng : numpy.random.Generator
            Random stream of the prompt or output lengths of this client.
        n : int
            Number of lengths, >= 1.

        Returns
        -------
        ndarray of int64, shape (n,), tokens
            Each >= 0.
        """
        ...


@settings_class(kw_only=False)
class Constant:
    """Constant length.

    Examples
    --------
    >>> Constant(512).sample(np.random.default_rng(), 3).tolist()
    [512, 512, 512]
    """

    value: int = setting(help="Length.", unit="tokens", ge=1, le=_UNBOUNDED)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Repeat the value; nothing is drawn."""
        return np.full(n, self.value, dtype=np.int64)


@settings_class(kw_only=False)
class Gaussian:
    """Normally distributed lengths, clamped into [min, max].

    A length outside is set to the nearer bound and not drawn again, so the bounds are more likely than their
    neighbours. Equal bounds fix the length to that value, which may be 0.

    Examples
    --------
    >>> Gaussian(512, 256, max=4096).sample(np.random.default_rng(1), 3).tolist()
    [600, 722, 597]
    """

    mean: float = setting(help="Mean before clamping.", unit="tokens")
    std_dev: float = setting(help="Standard deviation before clamping.", unit="tokens", ge=0)
    min: int = setting(default=1, help="Shortest length.", unit="tokens", ge=0, le=_UNBOUNDED)
    max: int = setting(default=_UNBOUNDED, help="Longest length.", unit="tokens", ge=0, le=_UNBOUNDED)

    def __attrs_post_init__(self) -> None:
        _check_bounds(self.min, self.max)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw, clamp, round; with equal bounds nothing is drawn."""
        if self.min == self.max:
            return np.full(n, self.min, dtype=np.int64)
        lengths = self.mean + self.std_dev * rng.standard_normal(n)
        return _whole(lengths.clip(self.min, self.max))


@settings_class(kw_only=False)
class Exponential:
    """Exponentially distributed lengths.

    Examples
    --------
    >>> Exponential(512).sample(np.random.default_rng(1), 3).tolist()
    [549, 158, 2752]
    """

    mean: float = setting(help="Mean before rounding.", unit="tokens", gt=0, le=_UNBOUNDED)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw and round."""
        return _whole(self.mean * rng.standard_exponential(n))


@settings_class(kw_only=False)
class Uniform:
    """Each length from min to max with the same probability.

    Examples
    --------
    >>> Uniform(10, 12).sample(np.random.default_rng(1), 6).tolist()
    [11, 12, 10, 12, 10, 11]
    """

    min: int = setting(help="Shortest length.", unit="tokens", ge=0, le=_UNBOUNDED)
    max: int = setting(help="Longest length.", unit="tokens", ge=0, le=_UNBOUNDED)

    def __attrs_post_init__(self) -> None:
        _check_bounds(self.min, self.max)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw one uniform number a length."""
        return self.min + np.floor(rng.random(n) * (self.max - self.min + 1)).astype(np.int64)


@settings_class(kw_only=False)
class Lognormal:
    """Log-normally distributed lengths, clamped into [min, max].

    Examples
    --------
    >>> Lognormal.of_moments(mean=100, std_dev=0).sample(np.random.default_rng(1), 2).tolist()
    [100, 100]
    """

    mu: float = setting(help="Mean of the logarithm.", ge=-700, le=700)
    sigma: float = setting(help="Standard deviation of the logarithm.", ge=0, le=700)
    min: int = setting(default=1, help="Shortest length.", unit="tokens", ge=0, le=_UNBOUNDED)
    max: int = setting(default=_UNBOUNDED, help="Longest length.", unit="tokens", ge=0, le=_UNBOUNDED)

    def __attrs_post_init__(self) -> None:
        _check_bounds(self.min, self.max)

    @classmethod
    def of_moments(cls, mean: float, std_dev: float, min: int = 1, max: int = _UNBOUNDED) -> Lognormal:  # noqa: A002
        """Make the distribution with a mean and a standard deviation before clamping.

        Parameters
        ----------
        mean, std_dev : float, tokens
            Mean > 0, standard deviation >= 0.
        min, max : int, tokens
            Bounds.

        Raises
        ------
        ScenarioError
            If the mean is not positive.
        """
        if not mean > 0:
            raise ScenarioError.at("mean", "must be > 0", mean)
        variance = math.log1p((std_dev / mean) ** 2)
        return cls(math.log(mean) - variance / 2, math.sqrt(variance), min, max)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw, clamp, round."""
        with np.errstate(over="ignore"):
            lengths = np.exp(self.mu + self.sigma * rng.standard_normal(n))
        return _rounded(lengths.clip(self.min, self.max))


@settings_class(kw_only=False)
class ParetoLognormal:
    """A heavy-tailed mixture: Pareto lengths with one probability, lognormal ones otherwise.

    A draw that is not finite counts as 1; lengths are capped at 2**31 - 1, unlike in the reference.

    Examples
    --------
    >>> ParetoLognormal(alpha=1.5, xm=100, mu=5, sigma=0, mix_weight=0).sample(np.random.default_rng(1), 2).tolist()
    [148, 148]
    """

    alpha: float = setting(help="Tail index of the Pareto distribution.")
    xm: float = setting(help="Minimum of the Pareto distribution.", unit="tokens")
    mu: float = setting(help="Mean of the logarithm of the lognormal distribution.")
    sigma: float = setting(help="Standard deviation of the logarithm of the lognormal distribution.")
    mix_weight: float = setting(help="Probability of the Pareto distribution; values below 0 count as 0, above 1 as 1.")

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw two uniform numbers per length, whichever distribution is chosen, and round."""
        from scipy.special import ndtri

        uniform = rng.random((n, 2))
        chance = np.maximum(uniform[:, 1], np.finfo(np.float64).tiny)
        with np.errstate(all="ignore"):
            pareto = self.xm / chance ** (np.float64(1.0) / self.alpha)
            lognormal = np.exp(self.mu + self.sigma * ndtri(chance))
        lengths = np.where(uniform[:, 0] < self.mix_weight, pareto, lognormal)
        return _whole(np.where(np.isfinite(lengths), lengths, 1.0).clip(0.0, _UNBOUNDED))


@settings_class(kw_only=False)
class Empirical:
    """Lengths from a table with weights.

    Without weights, all lengths are equally likely. Weights need not add up to 1. Lengths whose weight is not positive
    are never drawn, but negative weights count in the sum, as in the reference. Without any positive weight every
    length is 1. A length of 0 is possible.

    Examples
    --------
    >>> Empirical((64, 512), (3, 1)).sample(np.random.default_rng(1), 4).tolist()
    [64, 512, 64, 512]
    """

    lengths: tuple[int, ...] = setting(help="Lengths, all different.", unit="tokens", ge=0, le=_UNBOUNDED)
    weights: tuple[float, ...] = setting(default=(), help="Weight of each length; unset means equal weights.")

    def __attrs_post_init__(self) -> None:
        if not self.lengths:
            raise ScenarioError.at("lengths", "must not be empty")
        if not self.weights:
            object.__setattr__(self, "weights", (1.0,) * len(self.lengths))
        if len(self.weights) != len(self.lengths):
            raise ScenarioError.at(
                "weights", f"must have as many items as lengths ({len(self.lengths)})", len(self.weights)
            )
        if len(set(self.lengths)) < len(self.lengths):
            raise ScenarioError.at("lengths", "must differ from each other", self.lengths)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Invert the cumulated weights; nothing is drawn if only one length is possible."""
        table = sorted(zip(self.lengths, self.weights, strict=True))
        usable = [(length, weight) for length, weight in table if weight > 0]
        if len(usable) < 2:
            return np.full(n, usable[0][0] if usable else 1, dtype=np.int64)
        with np.errstate(all="ignore"):
            shares = np.array([weight for _, weight in usable]) / np.float64(sum(weight for _, weight in table))
            cumulated = np.cumsum(shares)
        cumulated[-1] = 1.0
        chosen = np.searchsorted(np.maximum.accumulate(cumulated), rng.random(n))
        return np.array([length for length, _ in usable], dtype=np.int64)[chosen]


def _check_bounds(least: int, most: int) -> None:
    if least > most:
        raise ScenarioError.at("min", f"must be <= max ({most})", least)


def _rounded(lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round lengths that are not negative, halves upward."""
    return np.floor(lengths + 0.5).astype(np.int64)


def _whole(lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round lengths that are not negative, halves upward, to at least 1."""
    return np.maximum(np.floor(lengths + 0.5), 1.0).astype(np.int64)
