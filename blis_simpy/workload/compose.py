"""Workload specifications made from other specifications, from presets and from the formats of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.workload.load_workload import load_workload
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.spec.servegen import ServegenData
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

__all__ = ["compose", "from_inference_perf", "from_preset", "from_servegen"]


def compose(specs: Sequence[WorkloadSpec]) -> WorkloadSpec:
    """Combine the clients of several specifications.

    Parameters
    ----------
    specs : sequence of WorkloadSpec
        At least one. Their clients keep their rates if the fractions of each specification add up to 1.

    Returns
    -------
    WorkloadSpec
        With the category of the first and the sum of the rates. Seed, horizon, number of requests, cohorts,
        `servegen_data` and `inference_perf` are dropped, as in the reference.

    Raises
    ------
    ScenarioError
        If there is no specification, or none of them has a client.

    Examples
    --------
    >>> one = from_preset("chatbot", rate=5)
    >>> both = compose([one, attrs.evolve(one, aggregate_rate=10)])
    >>> both.aggregate_rate, [round(client.rate_fraction, 3) for client in both.clients]
    (15.0, [0.333, 0.667])
    """
    if not specs:
        raise ScenarioError.at("specs", "must not be empty")
    total = float(sum(spec.aggregate_rate for spec in specs))
    if total <= 0:
        raise ScenarioError.at("aggregate_rate", "must add up to more than 0", total)
    return WorkloadSpec(
        category=specs[0].category,
        aggregate_rate=total,
        clients=tuple(
            attrs.evolve(client, rate_fraction=client.rate_fraction * (spec.aggregate_rate / total))
            for spec in specs
            for client in spec.clients
        ),
    )


def from_preset(name: str, *, rate: float = 1.0, num_requests: int = 100, defaults: str | None = None) -> WorkloadSpec:
    """Make a specification of a preset of the defaults file.

    Parameters
    ----------
    name : str
        Name of the preset, e.g. ``chatbot``.
    rate : float
        Requests per second, > 0.
    num_requests : int
        Number of requests, > 0.
    defaults : str, optional
        Defaults file; the shipped one unless given.

    Raises
    ------
    ScenarioError
        If there is no such preset, or a number is out of range.
    """
    if num_requests <= 0:
        raise ScenarioError.at("num_requests", "must be > 0", num_requests)
    spec = Workload(num_requests=num_requests, preset=name).specification(defaults)
    client = attrs.evolve(spec.clients[0], id=f"preset-{name}")
    return attrs.evolve(spec, category="language", clients=(client,), aggregate_rate=rate)


def from_servegen(path: str | PathLike[str]) -> WorkloadSpec:
    """Make a specification of a folder in the layout of ServeGen.

    Parameters
    ----------
    path : path-like
        The folder. Data of all times is used.

    Returns
    -------
    WorkloadSpec
        Clients whose fractions are their rates (1/s); the aggregate rate is a placeholder of 1.

    Raises
    ------
    ScenarioError
        If the files cannot be read or are wrong.
    """
    return WorkloadSpec(servegen_data=ServegenData(path=str(path)), aggregate_rate=1.0).with_clients_listed()


def from_inference_perf(path: str | PathLike[str]) -> WorkloadSpec:
    """List the clients of the inference-perf load in a specification.

    Parameters
    ----------
    path : path-like
        Specification with the key ``inference_perf``.

    Returns
    -------
    WorkloadSpec
        Its clients and its seed; horizon and number of requests are dropped, as in the reference.

    Raises
    ------
    ScenarioError
        If the file cannot be read, is wrong, or has no key ``inference_perf``.
    """
    spec = load_workload(path)
    if spec.inference_perf is None:
        raise ScenarioError.at("inference_perf", "is required", file=str(path))
    return attrs.evolve(spec.with_clients_listed(), cohorts=(), horizon=0, num_requests=0)
