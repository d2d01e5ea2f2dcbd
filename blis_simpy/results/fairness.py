"""Fairness: how equally requests or tokens are shared among tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["jain_index"]


def jain_index(shares: Mapping[str, float]) -> float:
    """Compute Jain's fairness index, (Σx)² / (n Σx²): 1 if all shares are equal, 1/n if one has all.

    Parameters
    ----------
    shares : mapping of str to float
        Share of each, >= 0.

    Returns
    -------
    float
        0 if there are no shares, 1 if all are 0.

    Notes
    -----
    Source: R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness and discrimination for resource allocation
    in shared computer systems", 1984.

    Examples
    --------
    >>> jain_index({"a": 3, "b": 1})
    0.8
    """
    values = [shares[name] for name in sorted(shares)]
    squares = sum(value * value for value in values)
    if not values:
        return 0.0
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
