"""Policy bundles: YAML files with the policies of a cluster, in the format of the reference.

::

    admission: {policy: token-bucket, token_bucket_capacity: 5000}
    routing:
      policy: weighted
      scorers:
        - {name: queue-depth, weight: 2}
    priority: {policy: slo-based}
    scheduler: priority-fcfs

Every key is optional; null and empty text count as absent. Scenario files have other names for these settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.cluster.scorers import parse_scorers
from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.settings import loader
from blis_simpy.settings.convert import structure
from blis_simpy.settings.field_types import OptionalPart
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.key_paths import parts

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["load_policy_bundle"]


@settings_class
class _Admission:
    policy: str | None = setting(default=None, help="Admission policy.")
    token_bucket_capacity: float | None = setting(default=None, help="Its capacity.", unit="tokens", ge=0)
    token_bucket_refill_rate: float | None = setting(default=None, help="Its refill rate.", unit="tokens/s", ge=0)


@settings_class
class _Scorer:
    name: str = setting(help="Scorer.")
    weight: float = setting(help="Weight of the scorer, relative to the others.")


@settings_class
class _Routing:
    policy: str | None = setting(default=None, help="Routing policy.")
    scorers: tuple[_Scorer, ...] | None = setting(default=None, help="Scorers of the weighted policy.")


@settings_class
class _Priority:
    policy: str | None = setting(default=None, help="Priority policy.")


@settings_class
class _Bundle:
    admission: OptionalPart[_Admission] = setting(default=None, help="Admission policy and its options.")
    routing: OptionalPart[_Routing] = setting(default=None, help="Routing policy and its options.")
    priority: OptionalPart[_Priority] = setting(default=None, help="Priority policy.")
    scheduler: str | None = setting(default=None, help="Order of the wait queue.")


_SETTINGS = {
    "admission.policy": "admission.policy",
    "admission.token_bucket_capacity": "admission.capacity",
    "admission.token_bucket_refill_rate": "admission.refill_rate",
    "routing.policy": "router.policy",
    "priority.policy": "engine.priority",
    "scheduler": "engine.scheduler",
}
_KINDS = {
    "admission.policy": "admission",
    "routing.policy": "routing",
    "priority.policy": "priority",
    "scheduler": "scheduler",
}


def load_policy_bundle(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a policy bundle.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict of str to object
        Values by the path of the setting of a scenario: ``scenario.with_(**load_policy_bundle(path))``.

    Raises
    ------
    ScenarioError
        If the file cannot be read, or has an unknown key or an invalid value; with file and line.
    """
    document = loader.load(path)
    bundle = structure(document, _Bundle)
    found = {key: value for key in _SETTINGS if (value := _at(bundle, key)) is not None and value != ""}
    problems = [
        Problem(path=key, rule="is unknown", value=found[key], hint=nearest(found[key], known), code=f"unknown_{kind}")
        for key, kind in _KINDS.items()
        if key in found and found[key] not in (known := registry.names(kind))
    ]
    changes = {_SETTINGS[key]: value for key, value in found.items()}
    try:
        if scorers := _at(bundle, "routing.scorers"):
            changes["router.scorers"] = parse_scorers([(scorer.name, scorer.weight) for scorer in scorers])
    except ScenarioError as error:
        problems += [problem.inside("routing.scorers") for problem in error.problems]
    if problems:
        raise ScenarioError(
            attrs.evolve(problem, file=document.file, line=document.line_of(parts(problem.path)))
            for problem in problems
        )
    return changes


def _at(bundle: _Bundle, key: str) -> Any:
    value: Any = bundle
    for name in key.split("."):
        value = None if value is None else getattr(value, name)
    return value
