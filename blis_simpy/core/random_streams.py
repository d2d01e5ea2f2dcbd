"""Random numbers of a run: independent streams, each with a name and one owner.

A stream is a function of the seed and its name alone, so a new consumer never shifts the draws of another, and two runs
with one seed share every stream they both name (common random numbers). The names are part of the format: renaming
one changes figures.
"""

from __future__ import annotations

import hashlib
from operator import index

import numpy as np

from blis_simpy.errors import SimulationError

__all__ = ["RandomStreams"]


class RandomStreams:
    """The named random streams of one run.

    Parameters
    ----------
    seed : int
        Any integer; negative ones are seeds like others.

    Notes
    -----
    Each stream is a PCG64 generator whose seed sequence starts from the 256-bit BLAKE2b digest of seed and name. The
    underlying bits are the same on every platform and Python; numpy may change how it shapes them into a
    distribution between its own releases.

    Examples
    --------
    >>> RandomStreams(42).generator("workload/client-0/arrivals").integers(1000, size=3).tolist()
    [864, 606, 448]
    """

    def __init__(self, seed: int) -> None:
        self.seed = index(seed)
        self._taken: set[str] = set()

    def generator(self, name: str) -> np.random.Generator:
        """Hand out a stream to its owner.

        Parameters
        ----------
        name : str
            Path of the owner and purpose, e.g. ``workload/client-0/arrivals``.

        Returns
        -------
        numpy.random.Generator

        Raises
        ------
        SimulationError
            If the stream has been handed out before: two owners would disturb each other.
        """
        if name in self._taken:
            raise SimulationError.at(f"random stream {name!r}", "has an owner already")
        self._taken.add(name)
        digest = hashlib.blake2b(f"{self.seed}\n{name}".encode(), digest_size=32).digest()
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "little"))))
