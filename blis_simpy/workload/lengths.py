"""Length distributions: how many tokens a prompt or an output has.

The laws are the reference's: a drawn length is rounded to the nearest integer, halves upward, and is at least 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.fields import setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Constant", "Exponential", "Gaussian", "LengthDistribution"]

_UNBOUNDED = 2**31 - 1


class LengthDistribution(Protocol):
    """Anything that draws lengths."""

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw the next lengths.

        Parameters
        ----------
        rng : numpy.random.Generator
            Stream of this client's prompt or output lengths. Asking twice for n must give the same as asking once
            for 2n.
        n : int
            How many lengths, >= 1.

        Returns
        -------
        ndarray of int64, shape (n,), tokens
            Each >= 0.
        """
        ...


@attrs.frozen
class Constant:
    """The same length every time.

    Examples
    --------
    >>> Constant(512).sample(np.random.default_rng(), 3).tolist()
    [512, 512, 512]
    """

    value: int = setting(help="Length of every one.", unit="tokens", ge=1, le=_UNBOUNDED)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Repeat the value; draws nothing."""
        return np.full(n, self.value, dtype=np.int64)


@attrs.frozen
class Gaussian:
    """Normally distributed lengths, clamped into [min, max].

    What falls outside is moved to the nearer bound, not drawn again, so both bounds are more likely than their
    neighbours. Equal bounds fix the length to just that value, 0 included.

    Examples
    --------
    >>> Gaussian(512, 256, max=4096).sample(np.random.default_rng(1), 3).tolist()
    [600, 722, 597]
    """

    mean: float = setting(help="Mean before clamping.", unit="tokens")
    std_dev: float = setting(help="Standard deviation before clamping.", unit="tokens", ge=0)
    min: int = setting(1, help="Shortest length.", unit="tokens", ge=0, le=_UNBOUNDED)
    max: int = setting(_UNBOUNDED, help="Longest length.", unit="tokens", ge=0, le=_UNBOUNDED)

    def __attrs_post_init__(self) -> None:
        if self.min > self.max:
            raise ScenarioError.at("min", f"must be <= max ({self.max})", self.min)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw, clamp, round; equal bounds draw nothing."""
        if self.min == self.max:
            return np.full(n, self.min, dtype=np.int64)
        lengths = self.mean + self.std_dev * rng.standard_normal(n)
        return _whole(lengths.clip(self.min, self.max))


@attrs.frozen
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


def _whole(lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round lengths that are not negative, halves upward, to at least 1."""
    return np.maximum(np.floor(lengths + 0.5), 1.0).astype(np.int64)
