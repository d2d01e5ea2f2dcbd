"""Workload specifications made of other specifications, of presets and of the formats of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError
from blis_simpy.settings import loader
from blis_simpy.settings.fields import evolved
from blis_simpy.workload.inference_perf_config import is_configuration, read_configuration
from blis_simpy.workload.load_workload import read_workload
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.spec.servegen import ServegenData
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

__all__ = ["compose", "from_inference_perf", "from_preset", "from_servegen"]

_NO_END = 2**63 - 1


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
    >>> both = compose([one, evolved(one, aggregate_rate=10)])
    >>> both.aggregate_rate, [round(client.rate_fraction, 3) for client in both.clients]
    (15.0, [0.333, 0.667])
    """
    if not specs:
        raise ScenarioError.at("specs", "must not be empty")
    total = float(sum(spec.aggregate_rate for spec in specs))
    if total <= 0 and not all(spec.has_own_rates for spec in specs):
        raise ScenarioError.at("aggregate_rate", "must add up to more than 0", total)
    return WorkloadSpec(
        category=specs[0].category,
        aggregate_rate=total,
        clients=tuple(
            client
            if client.has_own_rates
            else evolved(client, rate_fraction=client.rate_fraction * (spec.aggregate_rate / total))
            for spec in specs
            for client in spec.clients
        ),
    )


def from_preset(name: str, *, rate: float = 1.0, num_requests: int = 100, defaults: str | None = None) -> WorkloadSpec:
    """Make a specification from a preset of the defaults file.

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
    client = evolved(spec.clients[0], id=f"preset-{name}")
    return evolved(spec, category="language", clients=(client,), aggregate_rate=rate)


def from_servegen(path: str | PathLike[str], *, span_start: int = 0, span_end: int = 0) -> WorkloadSpec:
    """Make a specification from a folder in the layout of ServeGen.

    Parameters
    ----------
    path : path-like
        The folder.
    span_start, span_end : int, s
        First second that is used, and first second that is no longer used; 0 means no bound.

    Returns
    -------
    WorkloadSpec
        A client for each measured window of each chunk, with its rate, up to the end of the last one.

    Raises
    ------
    ScenarioError
        If the files cannot be read or are wrong.
    """
    clients = ServegenData(path=str(path), span_start=span_start, span_end=span_end).measured_clients()
    end = max(window.end_us for client in clients for window in (client.lifecycle.windows if client.lifecycle else ()))
    return WorkloadSpec(clients=clients, horizon=end if end < _NO_END else 0)


def from_inference_perf(path: str | PathLike[str]) -> WorkloadSpec:
    """List the clients of the inference-perf load in a specification.

    Parameters
    ----------
    path : path-like
        Specification with the key ``inference_perf``, or a configuration of the benchmark.

    Returns
    -------
    WorkloadSpec
        Its clients and its seed; horizon and number of requests of a specification are dropped, as in the reference.

    Raises
    ------
    ScenarioError
        If the file cannot be read, is wrong, or has no key ``inference_perf``.
    """
    document = loader.load(path)
    if is_configuration(document.data):
        return read_configuration(document).with_clients_listed()
    spec = read_workload(document)
    if spec.inference_perf is None:
        raise ScenarioError.at("inference_perf", "is required", file=str(path))
    return evolved(spec.with_clients_listed(), cohorts=(), horizon=0, num_requests=0)
