"""What the latency model adds up for a decode step of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from blis_simpy.deployment import resolve
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.latency.base import StepBatch
from blis_simpy.latency.explain import Term

if TYPE_CHECKING:
    from blis_simpy.latency.base import LatencyModel
    from blis_simpy.results.requests import RequestTable
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["DecodeStep", "middle_decode_step"]


@attrs.frozen
class DecodeStep:
    """A decode step, as the latency model explains it.

    Attributes
    ----------
    requests : int
        Requests in the step.
    context_tokens : int
        Tokens that they have behind them, all together.
    terms : tuple of Term
        Summands of its time.
    """

    requests: int
    context_tokens: int
    terms: tuple[Term, ...]


def middle_decode_step(requests: RequestTable, scenario: ScenarioSettings, row: int) -> DecodeStep | None:
    """Explain the decode step in the middle of the output of a request.

    Parameters
    ----------
    requests : RequestTable
        Requests of the run.
    scenario : ScenarioSettings
        What was simulated.
    row : int
        The request.

    Returns
    -------
    DecodeStep or None
        None if it did not complete, has one output token, or its latency model explains nothing. The contexts of the
        requests that decode beside it are interpolated between their first and their last token.
    """
    table = requests
    gaps = table["itl_count"]
    decoded = table.completed & (gaps > 0)
    if not decoded[row]:
        return None
    explain = getattr(_latency_of(scenario, int(table["replica"][row])), "explain", None)
    if explain is None:
        return None
    first = table["arrived_at_us"] + table["ttft_us"]
    last = table["arrived_at_us"] + table["e2e_us"]
    middle = (first[row] + last[row]) // 2
    beside = decoded & (table["replica"] == table["replica"][row]) & (first <= middle) & (middle < last)
    done = (middle - first[beside]) / (last[beside] - first[beside])
    contexts = (table["input_tokens"][beside] + np.floor(gaps[beside] * done).astype(np.int64)).tolist()
    batch = StepBatch((), len(contexts), sum(contexts), lambda: contexts)
    return DecodeStep(len(contexts), sum(contexts), tuple(explain(batch)))


def _latency_of(scenario: ScenarioSettings, replica: int) -> LatencyModel | None:
    """Latency model of a replica; None if it cannot be built here, e.g. because a file has gone."""
    try:
        for group in scenario.by_group():
            if replica < group.replicas:
                return resolve(group).latency
            replica -= group.replicas
    except (ScenarioError, PluginError):
        pass
    return None
