"""Which requests of a run are good: the latency of each against the targets of its SLO class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.request import NEVER, RequestOutcome
from blis_simpy.core.slo_targets import DIMENSIONS, SLOTargets, targets_of
from blis_simpy.results.qoe import quality_of_experience

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.results.requests import RequestTable
    from blis_simpy.results.run_record import ReplicaOutcome

__all__ = ["Judgement", "judge"]


@attrs.frozen(eq=False, kw_only=True)
class Judgement:
    """Requests against their targets; each array has a value per request.

    Attributes
    ----------
    slo_class : ndarray of str
        SLO class.
    arrived_at : ndarray of int64, tick
        Arrival.
    outcome : ndarray of str
        Outcome; ``length_capped`` for a completed request that is not served, see `served`.
    input_tokens, output_tokens : ndarray of int64
        Tokens of the prompt, and generated ones.
    served : ndarray of bool
        Whether it completed. A length-capped request counts only if its targets say so.
    is_open : ndarray of bool
        Whether it was in the system at the end of the run and had missed no target.
    offered : ndarray of bool
        Whether it arrived before the end of the run and is not open.
    limits : dict of str to ndarray of int64, µs
        Target of each dimension; -1 = none.
    values : dict of str to ndarray of float64, µs
        Latency of each dimension; NaN = none.
    missed : dict of str to ndarray of bool
        Whether the target of each dimension is missed. One that ended without being served misses no dimension.
    weight : ndarray of float64
        Weight in the weighted attainment.
    qoe : ndarray of float64
        Quality of experience, 0 if it was not served; NaN without a target of it.
    """

    slo_class: NDArray[np.object_]
    arrived_at: NDArray[np.int64]
    outcome: NDArray[np.object_]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    served: NDArray[np.bool_]
    is_open: NDArray[np.bool_]
    offered: NDArray[np.bool_]
    limits: Mapping[str, NDArray[np.int64]]
    values: Mapping[str, NDArray[np.float64]]
    missed: Mapping[str, NDArray[np.bool_]]
    weight: NDArray[np.float64]
    qoe: NDArray[np.float64]

    @property
    def num_missed(self) -> NDArray[np.int64]:
        """Number of dimensions whose target is missed, per request."""
        return np.asarray(sum(self.missed[name].astype(np.int64) for name in DIMENSIONS))

    @property
    def good(self) -> NDArray[np.bool_]:
        """Whether it was served and misses no target, per request."""
        return np.asarray(self.served & (self.num_missed == 0))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Judgement:
        """Return the judgement of some of the requests."""

        def chosen(value: Any) -> Any:
            return {name: array[rows] for name, array in value.items()} if isinstance(value, dict) else value[rows]

        return Judgement(**{field.name: chosen(getattr(self, field.name)) for field in attrs.fields(Judgement)})


def judge(
    requests: RequestTable,
    targets: Mapping[str, SLOTargets],
    *,
    observed_at: int,
    own_targets: Mapping[int, SLOTargets] | None = None,
    ttft: NDArray[np.int64] | None = None,
    replicas: Sequence[ReplicaOutcome] = (),
) -> Judgement:
    """Compare the requests of a run with the targets of their SLO class.

    Parameters
    ----------
    requests : RequestTable
        All requests of the run.
    targets : mapping of str to SLOTargets
        Targets by SLO class; ``*`` = all other requests.
    observed_at : int, tick
        End of the run, up to which requests that have not ended have waited.
    own_targets : mapping of int to SLOTargets, optional
        Targets of single requests by row, which replace those of their class one by one.
    ttft : ndarray of int64, shape (num_requests,), µs, optional
        TTFT of each request, in place of that in the table.
    replicas : sequence of ReplicaOutcome
        The replicas, whose steps give the tokens of each request; needed for `itl` and `qoe`.
    """
    classes, members = np.unique(requests["slo_class"].astype(str), return_inverse=True)
    chosen = [targets_of(targets, name) for name in classes.tolist()]
    limits = {
        name: np.array([getattr(one, name) or NEVER for one in chosen], dtype=np.int64)[members] for name in DIMENSIONS
    }
    for row, own in (own_targets or {}).items():
        for name in DIMENSIONS:
            limits[name][row] = getattr(own, name) or limits[name][row]
    completed, arrived_at = requests.completed, requests["arrived_at_us"]
    capped = requests["length_capped"] & ~np.array([one.capped_is_good for one in chosen], dtype=np.bool_)[members]
    served = completed & ~capped
    has_ended = np.isin(requests["outcome"], [o.name.lower() for o in RequestOutcome if o >= RequestOutcome.COMPLETED])
    waits = ~has_ended & (arrived_at <= observed_at)
    elapsed = observed_at - arrived_at
    ttft = requests["ttft_us"] if ttft is None else ttft
    e2e, tokens = requests["e2e_us"], requests["generated_tokens"]
    values = {
        "ttft": _known(ttft),
        "tpot": _known(requests["tpot_us"]),
        "itl": np.full(requests.num_rows, np.nan),
        "ntpot": _known(requests["ntpot_us"]),
        "e2e": _known(e2e),
    }
    if (limits["itl"] >= 0).any():
        percentile = np.array([one.itl_percentile for one in chosen])[members]
        values["itl"] = _gaps(requests, np.flatnonzero(served & (limits["itl"] >= 0)), percentile, replicas)
    after_first = e2e - requests["ttft_us"]
    late = {
        # A request in the system has waited for its first token, and for its last one, since its arrival.
        "ttft": np.where(waits & (ttft < 0), elapsed, ttft) > limits["ttft"],
        # Products of integers, because quotients are rounded.
        "tpot": (tokens > 1) & (after_first > limits["tpot"] * (tokens - 1)),
        "itl": values["itl"] > limits["itl"],
        "ntpot": e2e > limits["ntpot"] * tokens,
        "e2e": np.where(waits, elapsed, e2e) > limits["e2e"],
    }
    judged = {name: served | waits if name in ("ttft", "e2e") else served for name in DIMENSIONS}
    missed = {name: late[name] & judged[name] & (limits[name] >= 0) for name in DIMENSIONS}
    is_open = waits & ~np.any([missed[name] for name in DIMENSIONS], axis=0)
    return Judgement(
        slo_class=requests["slo_class"],
        arrived_at=arrived_at,
        outcome=np.where(completed & capped, "length_capped", requests["outcome"]).astype(object),
        input_tokens=requests["input_tokens"],
        output_tokens=tokens,
        served=served,
        is_open=is_open,
        offered=(has_ended | waits) & ~is_open,
        limits=limits,
        values=values,
        missed=missed,
        weight=np.array([one.weight for one in chosen])[members],
        qoe=_qualities(requests, chosen, members, served, replicas),
    )


def _known(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values < 0, np.nan, values)


def _gaps(
    requests: RequestTable,
    rows: NDArray[np.int64],
    percentile: NDArray[np.float64],
    replicas: Sequence[ReplicaOutcome],
) -> NDArray[np.float64]:
    """Return a percentile of the gaps of each of some requests, µs; NaN for those without gaps."""
    found = np.full(requests.num_rows, np.nan)
    replica = requests["replica"][rows]
    for index, outcome in enumerate(replicas):
        for row, gaps in _split(*outcome.gaps_by_request(requests, rows[replica == index])):
            found[row] = np.percentile(gaps, percentile[row])
    return found


def _qualities(
    requests: RequestTable,
    targets: Sequence[SLOTargets],
    members: NDArray[np.intp],
    served: NDArray[np.bool_],
    replicas: Sequence[ReplicaOutcome],
) -> NDArray[np.float64]:
    """Return the quality of experience of each request."""
    wanted = np.array([one.qoe is not None for one in targets], dtype=np.bool_)[members]
    found = np.where(wanted, 0.0, np.nan)
    rows = np.flatnonzero(wanted & served)
    replica = requests["replica"][rows]
    for index, outcome in enumerate(replicas if len(rows) else ()):
        for row, delivered in _split(*outcome.token_times(requests, rows[replica == index])):
            reader = targets[members[row]].qoe
            assert reader is not None
            found[row] = quality_of_experience(delivered, reader)
    return found


def _split(owners: NDArray[np.int64], values: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Split values by their owners, which are sorted."""
    rows, starts = np.unique(owners, return_index=True)
    return list(zip(rows.tolist(), np.split(values, starts[1:]), strict=True)) if len(rows) else []
