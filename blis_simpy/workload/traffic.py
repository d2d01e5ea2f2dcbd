"""Base class of the workloads that a scenario can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import attrs

from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.generator import GeneratedWorkload
    from blis_simpy.workload.preview import Preview
    from blis_simpy.workload.spec.client import TrafficSource

__all__ = ["Traffic"]

_DEFAULT_SEED = 42
"""Seed of a run whose scenario and workload set none, as in the reference."""

_OF_CLIENTS = ("slo_class", "tenant", "model", "prefix_group")
"""Labels of requests that are settings of their client."""


class Traffic:
    """Base class of workloads, from which a simulation gets its requests.

    `Workload` and `WorkloadSpec` describe open-loop traffic, `UserWorkload` closed-loop users, `TraceWorkload` a
    recorded trace and `RequestWorkload` requests made by hand. A subclass lists its traffic sources, or overrides
    `generate`.

    Attributes
    ----------
    num_requests : int
        Number of requests to generate; 0 means all that arrive before the horizon.
    """

    __slots__ = ()

    num_requests: int

    @property
    def ends_at(self) -> int | None:
        """End of simulated time that the workload sets, tick; None if it sets none."""
        return None

    @property
    def max_in_flight(self) -> int | None:
        """Largest number of requests in flight at a time; None means no limit."""
        return None

    @property
    def default_seed(self) -> int:
        """Seed of the requests where no scenario sets one."""
        return _DEFAULT_SEED

    def mean_rate(self) -> float:
        """Return the mean number of requests, or of starts of sessions, per second.

        Raises
        ------
        ScenarioError
            If this kind of workload has none.
        """
        raise ScenarioError.at("rate", f"does not apply to a {type(self).__name__}")

    def with_rate(self, rate_per_s: float) -> Self:
        """Return the same traffic with another mean rate.

        Parameters
        ----------
        rate_per_s : float or str
            Requests, or starts of sessions, per second.

        Raises
        ------
        ScenarioError
            If this kind of workload has no rate, or the rate is out of range.
        """
        raise ScenarioError.at("rate", f"does not apply to a {type(self).__name__}", rate_per_s)

    def as_in_blis(self) -> Traffic:
        """Return the traffic as a run in the engine profile ``blis`` has it, which follows the reference."""
        return self

    def content(self) -> Any:
        """Return the data that determine the requests, with the content of files in place of their names."""
        return self

    def sources(self, defaults: str | None = None) -> list[TrafficSource]:
        """Clients and members of cohorts, in the order in which simultaneous arrivals are sorted.

        Parameters
        ----------
        defaults : str, optional
            Defaults file in which a preset is looked up; the shipped one unless given.

        Raises
        ------
        ScenarioError
            If there is no such preset, or a file cannot be read.
        """
        raise NotImplementedError

    def labels(self, name: str, *, defaults: str | None = None) -> set[str]:
        """Return the values of a label that requests can have; the empty text is that of requests without one.

        Parameters
        ----------
        name : str
            Label, such as ``slo_class``.
        defaults : str, optional
            As for `sources`.
        """
        try:
            sources = self.sources(defaults)
        except NotImplementedError:  # a workload without clients, whose labels are settings of its own, if any
            return {getattr(self, name)} if hasattr(self, name) else set()
        if name == "client":
            return {source.id for source in sources}
        return {getattr(source.client, name) for source in sources} if name in _OF_CLIENTS else set()

    def generate(
        self, streams: RandomStreams, horizon: int | None = None, *, defaults: str | None = None
    ) -> GeneratedWorkload:
        """Draw the requests.

        Parameters
        ----------
        streams : RandomStreams
            Random streams of the run. Those under ``workload/<stream of the source>/`` are taken, so the requests of
            a client do not depend on which other clients there are.
        horizon : int, ticks, optional
            Requests arrive strictly before it; None takes the end that the workload sets itself.
        defaults : str, optional
            As for `sources`.

        Returns
        -------
        GeneratedWorkload
            Requests in order of arrival and the sessions that continue in the simulation.

        Raises
        ------
        ScenarioError
            If neither the number of requests nor the horizon is limited, or as for `sources`.
        PluginError
            If an arrival process or a length distribution returns something invalid.
        """
        from blis_simpy.workload.generator import generate_requests

        end = self.ends_at if horizon is None else horizon
        workload = generate_requests(self.sources(defaults), self.num_requests, streams, end)
        return attrs.evolve(workload, max_in_flight=self.max_in_flight)

    def preview(self, *, seed: int | None = None, horizon: int | None = None, defaults: str | None = None) -> Preview:
        """Draw one sample of the traffic, without a simulation.

        `Scenario.preview` shows the traffic that a run of the scenario simulates.

        Parameters
        ----------
        seed : int, optional
            Seed of the sample; `default_seed` unless given. A run with this seed simulates the same requests.
        horizon, defaults
            As for `generate`.

        Returns
        -------
        Preview
            Rate over time, lengths and shares of the clients; printable.

        Raises
        ------
        ScenarioError, PluginError
            As `generate` does.
        """
        from blis_simpy.core.random_streams import RandomStreams
        from blis_simpy.workload.preview import preview_of

        streams = RandomStreams(self.default_seed if seed is None else seed)
        return preview_of(self.generate(streams, horizon, defaults=defaults))
