"""Random numbers of a run: independent streams, each with a name and one owner.

A stream depends only on the seed and its name. So a new consumer does not shift the draws of another, and runs with the
same seed share the streams of equal names (common random numbers). A renamed stream changes figures.
"""

from __future__ import annotations

import hashlib
from operator import index
from typing import TYPE_CHECKING

from blis_simpy.errors import SimulationError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RandomStreams"]


class RandomStreams:
    """The named random streams of one run.

    Parameters
    ----------
    seed : int
        Any integer.
    prefix : str, default ""
        Precedes the names of all streams.

    Notes
    -----
    Each stream is a PCG64 generator, seeded with the 256-bit BLAKE2b digest of seed and name. Its bits are the same on
    every platform and Python version; releases of numpy may differ in the distributions that they make of them.

    Examples
    --------
    >>> RandomStreams(42).generator("workload/client-0/arrivals").integers(1000, size=3).tolist()
    [864, 606, 448]
    """

    def __init__(self, seed: int, *, prefix: str = "") -> None:
        self.seed = index(seed)
        self._prefix = prefix
        self._taken: set[str] = set()

    def prefixed(self, prefix: str) -> RandomStreams:
        """Return the streams with a prefix in front of their names, for a second object of the same kind."""
        return RandomStreams(self.seed, prefix=self._prefix + prefix)

    def generator(self, name: str) -> np.random.Generator:
        """Return the generator of a stream.

        Parameters
        ----------
        name : str
            Path of owner and purpose, such as ``workload/client-0/arrivals``.

        Returns
        -------
        numpy.random.Generator

        Raises
        ------
        SimulationError
            If the stream has an owner already.
        """
        name = self._prefix + name
        if name in self._taken:
            raise SimulationError.at(f"random stream {name!r}", "has an owner already")
        self._taken.add(name)
        # Imported here, because settings import this module for its types, and scenarios load faster without numpy.
        import numpy as np

        digest = hashlib.blake2b(f"{self.seed}\n{name}".encode(), digest_size=32).digest()
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "little"))))
