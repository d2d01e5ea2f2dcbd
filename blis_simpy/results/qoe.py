"""Quality of experience: how close the tokens of an output come to the pace of a reader.

The definition is our own, after the idea of Andes (Liu et al., 2024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.core.slo_targets import QoETarget

__all__ = ["quality_of_experience"]


def quality_of_experience(delivered_us: NDArray[np.int64], target: QoETarget) -> float:
    """Compute the quality of experience of one output.

    A reader consumes s tokens/s, starts at the expected TTFT e, and never consumes a token before its delivery. D(t) is
    the number of tokens consumed until t, and D*(t) = min(s max(0, t - e), n) the same if all tokens were delivered at
    once. With T, the time at which the reader ends, the quality is the ratio of the integrals of D and D* from 0 to T.

    Token i is consumed until f_i = i/s + max over j <= i of (max(a_j, e) - (j - 1)/s), where a_j is the delivery of
    token j, at a constant rate over 1/s. So the integral of D is n T - sum of f_i + n/(2s), and with f_i = e + i/s that
    of D*.

    Parameters
    ----------
    delivered_us : ndarray of int64, shape (num_tokens,), µs
        Time from the arrival of the request to the delivery of each token, ascending; at least one.
    target : QoETarget
        The reader.

    Returns
    -------
    float
        In (0, 1]; 1 if no token is late.

    Examples
    --------
    >>> from blis_simpy.core.slo_targets import QoETarget
    >>> round(quality_of_experience(np.array([3_000_000] * 4), QoETarget(ttft="1s", tokens_per_s=2)), 3)
    0.333
    """
    period = 1 / target.tokens_per_s
    index = np.arange(1, len(delivered_us) + 1)
    expected = target.ttft / 1e6
    ideal = expected + index * period
    # Both curves relative to the ideal one, so that a request without delay has exactly 1.
    delay = np.maximum.accumulate(np.maximum(delivered_us / 1e6, expected) - (index - 1) * period) - expected
    delay = np.maximum(delay, 0.0)
    end = ideal[-1] + delay[-1]
    area = len(index) * (end + period / 2) - ideal.sum()
    return float(1 - delay.sum() / area)
