"""From the settings of a scenario to the policies of its cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.cluster.routing import Weighted
from blis_simpy.cluster.scorers import parse_scorers
from blis_simpy.errors import PluginError, ScenarioError, joined

if TYPE_CHECKING:
    from blis_simpy.cluster.decision_log import DecisionLog
    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy
    from blis_simpy.scenario_settings import ScenarioSettings
    from blis_simpy.settings.fields import Plugin

__all__ = ["build_admission", "build_decision_log", "build_routing"]

_log = logging.getLogger("blis_simpy")


def build_admission(scenario: ScenarioSettings) -> AdmissionPolicy:
    """Make the admission policy that a scenario names.

    Parameters
    ----------
    scenario : ScenarioSettings
        Its `admission`, with its `token_bucket_capacity` and `token_bucket_refill_rate` where that is
        ``token-bucket`` and has no options of its own.

    Raises
    ------
    ScenarioError
        If an option is wrong.
    PluginError
        If the policy is unknown, does not take its options, or cannot admit.
    """
    options: dict[str, Any] = {}
    if _name(scenario.admission) == "token-bucket":
        options = {"capacity": scenario.token_bucket_capacity, "refill_rate": scenario.token_bucket_refill_rate}
    policy: AdmissionPolicy = _built("admission", scenario.admission, "admit", options)
    return policy


def build_routing(scenario: ScenarioSettings) -> RoutingPolicy:
    """Make the routing policy that a scenario names.

    Parameters
    ----------
    scenario : ScenarioSettings
        Its `routing`, with its `scorers` where that is ``weighted``; elsewhere they have no effect, which is logged.

    Raises
    ------
    ScenarioError
        If the mix of scorers is wrong.
    PluginError
        If the policy is unknown, does not take its options, or cannot route.
    """
    options: dict[str, Any] = {}
    if scenario.scorers is not None:
        if _name(scenario.routing) in ("weighted", Weighted):
            options["scorers"] = parse_scorers(scenario.scorers)
        else:
            _log.warning(
                "scorers (--routing-scorers) has no effect when the routing policy is %r: only 'weighted' uses it",
                _name(scenario.routing),
            )
    policy: RoutingPolicy = _built("routing", scenario.routing, "route", options)
    return policy


def build_decision_log(scenario: ScenarioSettings) -> DecisionLog | None:
    """Make an empty decision log, if a scenario wants one.

    Parameters
    ----------
    scenario : ScenarioSettings
        Its `trace_level`, and its `counterfactual_k`, which has no effect without: that is logged.
    """
    if scenario.trace_level == "none":
        if scenario.counterfactual_k:
            _log.warning(
                "counterfactual_k (--counterfactual-k) has no effect without trace_level: decisions "
                "(--trace-level decisions)"
            )
        return None
    from blis_simpy.cluster.decision_log import DecisionLog

    return DecisionLog(scenario.counterfactual_k)


def _name(spec: Plugin) -> Any:
    return spec.get("policy") if isinstance(spec, Mapping) else spec


def _built(kind: str, spec: Plugin, method: str, options: dict[str, Any]) -> Any:
    try:
        policy = registry.build(kind, spec, **options)
    except ScenarioError as error:
        problems = (attrs.evolve(problem, path=joined(kind, problem.path)) for problem in error.problems)
        raise ScenarioError(problems) from None
    if not callable(getattr(policy, method, None)):
        raise PluginError.at(f"{kind} policy {type(policy).__name__}", f"has no method {method}")
    return policy
