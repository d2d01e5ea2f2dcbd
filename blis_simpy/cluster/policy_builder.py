"""Policies of a cluster, built from their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy import registry
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from blis_simpy.cluster.decision_log import DecisionLog
    from blis_simpy.cluster.settings import RouterSettings
    from blis_simpy.settings.field_types import Plugin

__all__ = ["build_decision_log", "build_policy"]


def build_policy(kind: str, section: str, policy: Plugin) -> Any:
    """Build a policy.

    Parameters
    ----------
    kind : str
        Kind of plug-in, such as ``routing``.
    section : str
        Path of the settings that name the policy, for errors.
    policy : str, mapping, class or instance
        The policy as the settings name it.

    Raises
    ------
    ScenarioError
        If an option is wrong.
    PluginError
        If the policy is unknown, has unknown options, or lacks a method of its kind.
    """
    try:
        return registry.build(kind, policy)
    except ScenarioError as error:
        raise ScenarioError(problem.inside(section) for problem in error.problems) from None


def build_decision_log(settings: RouterSettings) -> DecisionLog | None:
    """Build an empty decision log; None if the settings disable it."""
    if not settings.decision_log:
        return None
    from blis_simpy.cluster.decision_log import DecisionLog

    return DecisionLog(settings.decision_alternatives)
