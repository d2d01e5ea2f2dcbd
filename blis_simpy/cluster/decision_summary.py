"""Summary of the decision log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.cluster.decision_records import AdmissionRecord, RoutingRecord

__all__ = ["summarize"]


def summarize(admissions: Sequence[AdmissionRecord], routings: Sequence[RoutingRecord]) -> dict[str, Any]:
    """Count decisions and average their regret.

    Returns
    -------
    dict
        ``total_decisions``, ``admitted`` and ``rejected`` count admission decisions. ``unique_targets`` is the number
        of replicas with requests, ``target_distribution`` the number of requests by name of the replica, sorted as
        text. ``mean_regret`` and ``max_regret`` are taken over routing decisions; 0 without any.
    """
    admitted = sum(record.admitted for record in admissions)
    targets = Counter(record.name for record in routings)
    regrets = [record.regret for record in routings]
    return {
        "total_decisions": len(admissions),
        "admitted": admitted,
        "rejected": len(admissions) - admitted,
        "unique_targets": len(targets),
        "target_distribution": dict(sorted(targets.items())),
        "mean_regret": sum(regrets) / len(regrets) if regrets else 0.0,
        "max_regret": max(regrets, default=0.0),
    }
