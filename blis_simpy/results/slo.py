"""Service-level objectives: targets of an SLO class, attainment and goodput.

Only completed requests are judged: one that was rejected, dropped or timed out has no latency. It lowers goodput but
not attainment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from blis_simpy.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.results.requests import RequestTable

__all__ = ["Goodput", "Target", "attainment", "goodput"]


_COLUMNS = {"ttft_us": "ttft_us", "tpot_us": "itl_mean_us", "e2e_us": "e2e_us"}


@attrs.frozen(kw_only=True)
class Target:
    """Latency targets of an SLO class; None is no target.

    Attributes
    ----------
    ttft_us : int or None, µs
        Maximum time to first token.
    tpot_us : float or None, µs
        Maximum mean gap between the tokens of a request.
    e2e_us : int or None, µs
        Maximum time to last token.
    """

    ttft_us: int | None = None
    tpot_us: float | None = None
    e2e_us: int | None = None


@attrs.frozen
class Goodput:
    """Rates of the requests that met their targets.

    Attributes
    ----------
    requests_per_s, tokens_per_s : float
        Completed requests that met their targets, and their output tokens, per second of the run.
    attainment : float, fraction
        Share of the completed requests that met their targets.
    """

    requests_per_s: float
    tokens_per_s: float
    attainment: float


def _met(requests: RequestTable, targets: Mapping[str, Target | int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which requests completed, and which of them met their targets."""
    completed = requests["outcome"] == "completed"
    met = completed.copy()
    classes = requests["slo_class"]
    problems = []
    for name, target in targets.items():
        if not isinstance(target, Target):
            target = Target(e2e_us=target)
        members = classes == name
        for figure, column in _COLUMNS.items():
            limit = getattr(target, figure)
            if limit is None:
                continue
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 0:
                problems.append(Problem(path=f"targets[{name!r}].{figure}", rule="must be a number >= 0", value=limit))
            else:
                met &= ~members | (requests[column] <= limit)
    if problems:
        raise ScenarioError(problems)
    return completed, met


def _share(met: NDArray[np.bool_], completed: NDArray[np.bool_]) -> float:
    return int(met.sum()) / int(completed.sum()) if completed.any() else 0.0


def attainment(requests: RequestTable, targets: Mapping[str, Target | int]) -> float:
    """Return the share of the completed requests that met the target of their SLO class.

    Parameters
    ----------
    requests : RequestTable
        All requests of a run.
    targets : mapping of str to Target or int
        Targets by SLO class; a number is a maximum E2E in µs. Requests of a class without targets meet them. Requests
        without an SLO class are in the class ``""``.

    Returns
    -------
    float, fraction
        0 if nothing completed.

    Raises
    ------
    ScenarioError
        If a target is not a number >= 0.
    """
    completed, met = _met(requests, targets)
    return _share(met, completed)


def goodput(requests: RequestTable, targets: Mapping[str, Target | int], *, duration_us: int) -> Goodput:
    """Compute the goodput: requests and tokens per second that met the targets of their SLO class.

    Parameters
    ----------
    requests, targets
        As for `attainment`.
    duration_us : int, µs
        Duration of the run; if it is 0, all rates are 0.

    Raises
    ------
    ScenarioError
        If a target is not a number >= 0.
    """
    completed, met = _met(requests, targets)
    seconds = duration_us / 1e6
    tokens = int(requests["generated_tokens"][met].sum())
    return Goodput(
        requests_per_s=int(met.sum()) / seconds if seconds else 0.0,
        tokens_per_s=tokens / seconds if seconds else 0.0,
        attainment=_share(met, completed),
    )
