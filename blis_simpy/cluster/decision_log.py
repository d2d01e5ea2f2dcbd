"""The decision log: admission and routing decisions, with their reasons.

The log observes the router (`blis_simpy.core.observers`) and records each decision before the request counts as in
flight. A run without a log computes nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.cluster.counterfactual import alternatives
from blis_simpy.cluster.decision_records import AdmissionRecord, Candidate, RoutingRecord
from blis_simpy.cluster.decision_summary import summarize
from blis_simpy.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from blis_simpy.core.request import Request, Route

__all__ = ["DecisionLog"]

_DTYPES: dict[Any, Any] = {str: object, int: np.int64, float: np.float64, bool: np.bool_}


class DecisionLog:
    """Decisions of one run, in order.

    Parameters
    ----------
    counterfactual_k : int, default 0
        Number of candidates to keep with each routing decision; 0 = none, and no regret.

    Attributes
    ----------
    admissions : list of AdmissionRecord
        One record per admission decision.
    routings : list of RoutingRecord
        One record per routing decision.
    """

    def __init__(self, counterfactual_k: int = 0) -> None:
        self.counterfactual_k = counterfactual_k
        self.admissions: list[AdmissionRecord] = []
        self.routings: list[RoutingRecord] = []

    def admitted(self, request: Request, reason: str) -> None:
        """Record an admission."""
        self.admissions.append(AdmissionRecord(request.id, request.admitted_at, True, reason))

    def rejected(self, request: Request, reason: str) -> None:
        """Record a rejection by admission."""
        if request.admitted_at < 0:
            self.admissions.append(AdmissionRecord(request.id, request.rejected_at, False, reason))

    def routed(self, route: Route) -> None:
        """Record a routing decision."""
        scores = None
        if route.scores is not None:
            scores = {snapshot.name: score for snapshot, score in zip(route.snapshots, route.scores, strict=True)}
        candidates: tuple[Candidate, ...] = ()
        regret = 0.0
        if self.counterfactual_k:
            candidates, regret = alternatives(route, self.counterfactual_k)
        self.routings.append(
            RoutingRecord(
                request=route.request.id,
                at=route.at,
                replica=route.replica,
                reason=route.reason,
                scores=scores,
                candidates=candidates,
                regret=regret,
            )
        )

    def summary(self) -> dict[str, Any]:
        """Summarise all decisions, see `blis_simpy.cluster.decision_summary.summarize`."""
        return summarize(self.admissions, self.routings)

    def to_columns(self) -> dict[str, Table]:
        """Return the records as tables of columns.

        Returns
        -------
        dict of str to Table
            ``admissions``, shape (num_admissions,): ``request``, ``at``, ``admitted``, ``reason``. ``routings``,
            shape (num_routings,): ``request``, ``at``, ``replica``, ``reason``, ``regret``. ``candidates``, one row
            per candidate: ``routing`` (row of the routing decision), ``rank`` (0 = best), fields of `Candidate`.
        """
        ranked = [
            (row, rank, candidate)
            for row, routing in enumerate(self.routings)
            for rank, candidate in enumerate(routing.candidates)
        ]
        return {
            "admissions": Table.of(_columns(AdmissionRecord, self.admissions)),
            "routings": Table.of(_columns(RoutingRecord, self.routings)),
            "candidates": Table.of(
                {
                    "routing": np.array([row for row, _, _ in ranked], dtype=np.int64),
                    "rank": np.array([rank for _, rank, _ in ranked], dtype=np.int64),
                    **_columns(Candidate, [candidate for _, _, candidate in ranked]),
                }
            ),
        }

    def copy(self) -> DecisionLog:
        """Return a copy, which later decisions do not change."""
        copy = DecisionLog(self.counterfactual_k)
        copy.admissions, copy.routings = self.admissions[:], self.routings[:]
        return copy

    def to_plain(self) -> dict[str, Any]:
        """Return the log as JSON-compatible data that `of_plain` reads."""
        return {
            "counterfactual_k": self.counterfactual_k,
            "admissions": [attrs.asdict(record) for record in self.admissions],
            "routings": [attrs.asdict(record) for record in self.routings],
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> DecisionLog:
        """Build a log from the data of `to_plain`."""
        log = cls(plain["counterfactual_k"])
        log.admissions = [AdmissionRecord(**record) for record in plain["admissions"]]
        log.routings = [
            RoutingRecord(**{**record, "candidates": tuple(Candidate(**c) for c in record["candidates"])})
            for record in plain["routings"]
        ]
        return log

    def __repr__(self) -> str:
        return f"<DecisionLog of {len(self.admissions)} admissions and {len(self.routings)} routings>"


def _columns(kind: type[attrs.AttrsInstance], records: Sequence[object]) -> dict[str, NDArray[Any]]:
    """Arrays of the fields with plain values."""
    return {
        field.name: np.array([getattr(record, field.name) for record in records], dtype=_DTYPES[field.type])
        for field in attrs.fields(kind)
        if field.type in _DTYPES
    }
