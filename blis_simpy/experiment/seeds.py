"""Seeds of replications: independent, the same in every version, and usable in `Scenario.run`."""

from __future__ import annotations

import numpy as np

from blis_simpy.experiment.number_format import check_count

__all__ = ["replication_seeds"]


def replication_seeds(seed: int, count: int, *, start: int = 0) -> list[int]:
    """Return the seeds of the replications of an experiment.

    Parameters
    ----------
    seed : int
        Seed of the experiment, >= 0.
    count : int
        Number of seeds.
    start : int
        Index of the first replication.

    Returns
    -------
    list of int, shape (count,)
        Each below 2**53, so that JSON and spreadsheets keep it exact. The seed of replication i depends only on `seed`
        and i; ``Scenario.run(seed=...)`` repeats the replication.

    Raises
    ------
    ScenarioError
        If the seed is not an integer >= 0.

    Notes
    -----
    The upper 53 bits of the first word of 64 that ``numpy.random.SeedSequence(seed, spawn_key=(i,))`` generates.

    Examples
    --------
    >>> replication_seeds(42, 3)
    [7880052460224568, 65519398845639, 5664963872013528]
    """
    seed = check_count("seed", seed, 0)
    return [
        int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, np.uint64)[0] >> np.uint64(11))
        for index in range(start, start + count)
    ]
