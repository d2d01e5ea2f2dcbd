"""Policy bundles: a YAML file that names the policies of a cluster, in the reference's format.

::

    admission: {policy: token-bucket, token_bucket_capacity: 5000}
    routing:
      policy: weighted
      scorers:
        - {name: queue-depth, weight: 2}
    priority: {policy: slo-based}
    scheduler: priority-fcfs

Every key may be left out, null, or empty text. In a scenario file the same settings stand under their own names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy import registry
from blis_simpy.cluster.scorers import parse_scorers
from blis_simpy.errors import Problem, ScenarioError, joined, nearest
from blis_simpy.settings import loader
from blis_simpy.settings.convert import structure
from blis_simpy.settings.fields import setting

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["load_policy_bundle"]


@attrs.frozen(kw_only=True)
class _Admission:
    policy: str | None = setting(None, help="Admission policy.")
    token_bucket_capacity: float | None = setting(None, help="Capacity of the token bucket.", unit="tokens", ge=0)
    token_bucket_refill_rate: float | None = setting(None, help="Refill rate of it.", unit="tokens/s", ge=0)


@attrs.frozen(kw_only=True)
class _Scorer:
    name: str = setting(help="Scorer.")
    weight: float = setting(help="Its weight, compared with the others'.")


@attrs.frozen(kw_only=True)
class _Routing:
    policy: str | None = setting(None, help="Routing policy.")
    scorers: tuple[_Scorer, ...] | None = setting(None, help="Mix of the weighted policy.")


@attrs.frozen(kw_only=True)
class _Priority:
    policy: str | None = setting(None, help="Priority policy.")


@attrs.frozen(kw_only=True)
class _Bundle:
    admission: _Admission | None = setting(None, help="Who is let in.")
    routing: _Routing | None = setting(None, help="Who goes where.")
    priority: _Priority | None = setting(None, help="Number by which a queue may be ordered.")
    scheduler: str | None = setting(None, help="Order of the wait queue.")


_SETTINGS = {
    "admission.policy": "admission",
    "admission.token_bucket_capacity": "token_bucket_capacity",
    "admission.token_bucket_refill_rate": "token_bucket_refill_rate",
    "routing.policy": "routing",
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
        What it sets, by the path of the scenario's setting: ``scenario.with_(**load_policy_bundle(path))``.

    Raises
    ------
    ScenarioError
        If the file cannot be read, has a key that is not known, or something in it is wrong: with file and line.
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
            changes["scorers"] = tuple(parse_scorers([(scorer.name, scorer.weight) for scorer in scorers]))
    except ScenarioError as error:
        problems += [attrs.evolve(problem, path=joined("routing", problem.path)) for problem in error.problems]
    if problems:
        raise ScenarioError(
            attrs.evolve(problem, file=document.file, line=document.line_of(loader.parts(problem.path)))
            for problem in problems
        )
    return changes


def _at(bundle: _Bundle, key: str) -> Any:
    value: Any = bundle
    for name in key.split("."):
        value = None if value is None else getattr(value, name)
    return value
