"""Policies of a cluster, built from their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy import registry
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from blis_simpy.cluster.deciders import Decider
    from blis_simpy.cluster.decision_log import DecisionLog
    from blis_simpy.cluster.migration import MigrationPolicy
    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy
    from blis_simpy.cluster.settings import (
        AdmissionSettings,
        DisaggregationSettings,
        MigrationSettings,
        RouterSettings,
    )
    from blis_simpy.settings.field_types import Plugin

__all__ = [
    "build_admission",
    "build_decider",
    "build_decision_log",
    "build_migration",
    "build_prefill_routing",
    "build_routing",
]


def build_admission(settings: AdmissionSettings) -> AdmissionPolicy:
    """Build the admission policy.

    Raises
    ------
    ScenarioError
        If an option is wrong.
    PluginError
        If the policy is unknown, has unknown options, or has no method ``admit``.
    """
    policy: AdmissionPolicy = _built("admission", "admission", settings.policy)
    return policy


def build_routing(settings: RouterSettings) -> RoutingPolicy:
    """Build the routing policy.

    Raises
    ------
    ScenarioError
        If an option is wrong.
    PluginError
        If the policy is unknown, has unknown options, or has no method ``route``.
    """
    policy: RoutingPolicy = _built("routing", "router", settings.policy)
    return policy


def build_prefill_routing(settings: DisaggregationSettings) -> RoutingPolicy:
    """Build the routing policy that chooses prefill replicas.

    Raises
    ------
    ScenarioError
        If an option is wrong.
    PluginError
        If the policy is unknown, has unknown options, or has no method ``route``.
    """
    policy: RoutingPolicy = _built("routing", "disaggregation.prefill_policy", settings.prefill_policy)
    return policy


def build_decider(settings: DisaggregationSettings) -> Decider:
    """Build the decider.

    Raises
    ------
    ScenarioError
        If an option is wrong.
    PluginError
        If the decider is unknown, has unknown options, or has no method ``disaggregate``.
    """
    decider: Decider = _built("decider", "disaggregation.decider", settings.decider)
    return decider


def build_migration(settings: MigrationSettings) -> MigrationPolicy | None:
    """Build the migration policy; None if there is none.

    Raises
    ------
    ScenarioError
        If an option is wrong.
    PluginError
        If the policy is unknown, has unknown options, or has no method ``migrations``.
    """
    if settings.policy is None:
        return None
    policy: MigrationPolicy = _built("migration", "migration", settings.policy)
    return policy


def build_decision_log(settings: RouterSettings) -> DecisionLog | None:
    """Build an empty decision log; None if the settings disable it."""
    if not settings.decision_log:
        return None
    from blis_simpy.cluster.decision_log import DecisionLog

    return DecisionLog(settings.decision_alternatives)


def _built(kind: str, section: str, policy: Plugin) -> Any:
    try:
        return registry.build(kind, policy)
    except ScenarioError as error:
        raise ScenarioError(problem.inside(section) for problem in error.problems) from None
