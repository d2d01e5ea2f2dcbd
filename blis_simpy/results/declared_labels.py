"""Labels that the requests of a scenario can have, whether or not a run has such requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blis_simpy.scenario_settings import ScenarioSettings

__all__ = ["declared_labels"]

_OF_CLIENTS = ("slo_class", "tenant", "model", "prefix_group")
"""Labels of requests that are settings of their client."""


def declared_labels(scenario: ScenarioSettings, label: str) -> set[str]:
    """Return the values of a label that the clients of a scenario give to their requests.

    Parameters
    ----------
    scenario : ScenarioSettings
        What was simulated.
    label : str
        Column of the requests.
    """
    if scenario.workload is None:
        return set()
    sources = scenario.workload.sources(scenario.defaults)
    if label == "client":
        return {source.id for source in sources} - {""}
    return {getattr(source.client, label) for source in sources} - {""} if label in _OF_CLIENTS else set()
