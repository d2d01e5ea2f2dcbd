"""A network: links, and the flows that share them.

The network is no process. It keeps the rates of the flows, and schedules the end of the first flow of each *component*:
groups that are connected by common links. The start and the end of a flow change the rates of its component only. All
changes of one tick are applied together, before time goes on.

Time is in whole microseconds: a flow ends at the first tick at which less than a thousandth of a byte is left, so its
duration is rounded up.
"""

from __future__ import annotations

from functools import cache
from operator import attrgetter, index
from typing import TYPE_CHECKING, Protocol, SupportsIndex, cast

import attrs

from blis_simpy.core.environment import CONTROL_PLANE, FOREVER, ControlEvent, event_priority
from blis_simpy.errors import SimulationError, nearest
from blis_simpy.network.components import Components
from blis_simpy.network.fair_shares import fair_rates
from blis_simpy.network.flow import Flow, FlowState
from blis_simpy.network.links import RATE_UNIT, FlowGroup, Link, ticks_to_send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.network.components import Component

__all__ = ["Network", "Path", "Topology", "replica_endpoint", "replica_number"]

_FLOW = event_priority(CONTROL_PLANE, ControlEvent.LINK)
# After the flows of the same tick have started and ended.
_SHARE = event_priority(CONTROL_PLANE, ControlEvent.LINK, 1)
_NUMBER = attrgetter("number")


@cache
def replica_endpoint(replica: int) -> str:
    """Return the name of the endpoint of a replica."""
    return f"replica-{replica}"


@cache
def replica_number(endpoint: str) -> int:
    """Return the index of the replica whose endpoint has this name; -1 if it is not that of a replica."""
    prefix, _, number = endpoint.rpartition("-")
    return int(number) if prefix == "replica" and number.isdecimal() else -1


@attrs.frozen(eq=False)
class Path:
    """Links from one endpoint to another.

    Attributes
    ----------
    links : tuple of Link
        The links, each once. Without links, a transfer takes no time unless its rate is limited.
    flow_limit : float, bytes/s or None
        Maximum rate of each flow; None = unlimited.
    """

    links: tuple[Link, ...] = ()
    flow_limit: float | None = None

    latency: int = attrs.field(init=False)
    """Sum of the latencies of its links, µs."""

    @latency.default
    def _sum_of_latencies(self) -> int:
        return sum(link.latency for link in self.links)


class Topology(Protocol):
    """Paths between endpoints that no call of `Network.connect` has connected."""

    def path(self, network: Network, source: str, destination: str) -> Path | None:
        """Return the path between two endpoints, whose links are those of the network; None if one is unknown."""
        ...

    def endpoints(self) -> Iterable[str]:
        """Return the names of the endpoints, for messages."""
        ...


class Network:
    """Links, and the flows that share their bandwidth by max-min fairness.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    topology : Topology, optional
        Paths between endpoints beside those of `connect`.

    Attributes
    ----------
    links : dict of str to Link
        The links by name.
    attached : dict of str to tuple of Link
        Link out of and link into each attached endpoint.
    flows : list of Flow
        All flows, in the order in which they were sent.
    on_share : callable or None
        Called with the groups of a component when their rates have been set.

    Examples
    --------
    >>> from blis_simpy.core.environment import Environment
    >>> env = Environment()
    >>> network = Network(env)
    >>> network.connect("gpu", "disk", network.add_link("pcie", bandwidth=25e9))
    >>> def send(at_ms, num_bytes):
    ...     yield env.timeout(at_ms * 1000)
    ...     flow = yield network.send("gpu", "disk", num_bytes)
    ...     print(f"{num_bytes:,} bytes: {flow.started_at} to {flow.ended_at} us")
    >>> _ = env.process(send(0, 4 * 10**9)), env.process(send(80, 10**9))
    >>> env.run()
    1,000,000,000 bytes: 80000 to 160000 us
    4,000,000,000 bytes: 0 to 200000 us
    """

    def __init__(self, env: Environment, topology: Topology | None = None) -> None:
        self.env = env
        self.links: dict[str, Link] = {}
        self.attached: dict[str, tuple[Link, Link]] = {}
        self.flows: list[Flow] = []
        self.on_share: Callable[[Sequence[FlowGroup]], object] | None = None
        self._topology = topology
        self._paths: dict[tuple[str, str], Path] = {}
        self._groups: dict[tuple[tuple[Link, ...], int | None], FlowGroup] = {}
        self._group_of: dict[Path, FlowGroup | None] = {}
        # Without a group, nothing limits the flow.
        self._in_flight: dict[Flow, tuple[Path, FlowGroup | None]] = {}
        self._components = Components()
        # Groups with a flow more or less since the last computation of the rates.
        self._changed: dict[FlowGroup, None] = {}
        # Whether that computation is an event of this tick.
        self._is_sharing = False

    def __repr__(self) -> str:
        return (
            f"<Network of {len(self.links):,} links: {len(self._in_flight):,} of {len(self.flows):,} flows in flight>"
        )

    def add_link(self, name: str, bandwidth: float, latency: int = 0) -> Link:
        """Add a link in one direction.

        Parameters
        ----------
        name : str
            Its name.
        bandwidth : float, bytes/s
            Capacity, >= 1; `math.inf` is no limit.
        latency : int, µs
            Time before the first byte of a flow arrives.

        Raises
        ------
        SimulationError
            If there is a link of this name, or a value is out of its range.
        """
        if name in self.links:
            raise SimulationError.at(f"link {name}", "must have a name that no other has")
        link = self.links[name] = Link(name, bandwidth, latency)
        return link

    def connect(self, source: str, destination: str, *links: Link, flow_limit: float | None = None) -> None:
        """Set the links from one endpoint to another; the opposite direction is a connection of its own.

        Parameters
        ----------
        source, destination : str
            Names of the endpoints.
        *links : Link
            Links of this network, each once.
        flow_limit : float, bytes/s, optional
            Maximum rate of each flow.
        """
        self._paths[source, destination] = Path(tuple(dict.fromkeys(links)), flow_limit)

    def attach(self, endpoint: str, *, out: Link, into: Link) -> None:
        """Add an endpoint that is connected with all others: with replicas by their links, with others directly.

        Parameters
        ----------
        endpoint : str
            Its name.
        out, into : Link
            Links from it to the others, and from the others to it.
        """
        self.attached[endpoint] = out, into

    def path(self, source: str, destination: str) -> Path:
        """Return the path between two endpoints.

        Raises
        ------
        SimulationError
            If there is none.
        """
        path = self._paths.get((source, destination))
        if path is None and source in self.attached and destination in self.attached:
            self.connect(source, destination, self.attached[source][0], self.attached[destination][1])
            path = self._paths[source, destination]
        if path is None and self._topology is not None:
            path = self._topology.path(self, source, destination)
        if path is None:
            raise self._no_path(source, destination)
        return path

    def _no_path(self, source: str, destination: str) -> SimulationError:
        known = {*self.attached, *(name for pair in self._paths for name in pair)}
        if self._topology is not None:
            known.update(self._topology.endpoints())
        unknown = next((name for name in (source, destination) if name not in known), None)
        if unknown is not None:
            return SimulationError.at("network", "has no endpoint of this name", unknown, hint=nearest(unknown, known))
        return SimulationError.at("network", f"has no path from {source} to {destination}")

    def send(
        self, source: str | int, destination: str | int, num_bytes: int, *, kind: str = "", request: str = ""
    ) -> Flow:
        """Transfer bytes.

        Parameters
        ----------
        source, destination : str or int
            Names of the endpoints, or indices of replicas.
        num_bytes : int
            Number of bytes, >= 0.
        kind : str, default ""
            Purpose, a column of the table of transfers.
        request : str, default ""
            Id of the request that it is for, a column of the table.

        Returns
        -------
        Flow
            An event that succeeds with the flow when the last byte has arrived. It may be cancelled.

        Raises
        ------
        SimulationError
            If an endpoint is unknown, or the number of bytes is no whole number >= 0.
        """
        num_bytes = _size(num_bytes)
        source, destination = _endpoint(source), _endpoint(destination)
        path = self.path(source, destination)
        flow = Flow(
            self.env,
            self,
            number=len(self.flows),
            source=source,
            destination=destination,
            num_bytes=num_bytes,
            kind=kind,
            request=request,
        )
        self.flows.append(flow)
        self._in_flight[flow] = path, self._group(path)
        # The bytes follow after the latency. This also gives a flow that takes no time its place within the tick.
        self.env.call_at(self.env.now + path.latency, _FLOW, self._begin, flow)
        return flow

    def _group(self, path: Path) -> FlowGroup | None:
        """Return the group of a path; None if nothing limits its flows."""
        if path not in self._group_of:
            self._group_of[path] = self._new_group(path)
        return self._group_of[path]

    def _new_group(self, path: Path) -> FlowGroup | None:
        """Return the group of all paths over the same links, with the same limit."""
        links = tuple(link for link in path.links if link.is_limited)
        limit = None if path.flow_limit is None else int(path.flow_limit * RATE_UNIT)
        if not links and limit is None:
            return None
        group = self._groups.get((links, limit))
        if group is None:
            group = self._groups[links, limit] = FlowGroup(links, limit)
        return group

    def time_alone(self, source: str | int, destination: str | int, num_bytes: int) -> int:
        """Return the duration of a transfer without other flows, µs."""
        return self._time(source, destination, num_bytes, is_alone=True)

    def expected_time(self, source: str | int, destination: str | int, num_bytes: int) -> int:
        """Return the duration of a transfer that has an equal share of each of its links with their present flows, µs.

        An estimate: flows that start or end later change the share, and flows that other links limit leave more of it.
        """
        return self._time(source, destination, num_bytes, is_alone=False)

    def _time(self, source: str | int, destination: str | int, num_bytes: int, *, is_alone: bool) -> int:
        path = self.path(_endpoint(source), _endpoint(destination))
        group = self._group(path)
        if group is None:
            return path.latency
        rates = [] if group.limit is None else [group.limit]
        rates += [link.capacity if is_alone else link.capacity // (link.num_flows + 1) for link in group.links]
        return path.latency + ticks_to_send(num_bytes, min(rates))

    def bytes_left(self, flow: Flow) -> int:
        """Return the bytes of a flow that have not arrived yet, rounded up."""
        if flow.state is FlowState.STARTING:
            return flow.num_bytes
        if flow.state is not FlowState.SENDING:
            return flow.bytes_lost
        self._share_now()
        _, group = self._in_flight[flow]
        assert group is not None
        return group.bytes_left(flow, self.env.now)

    def bytes_in_flight(self, link: Link) -> int:
        """Return the bytes that a link has transferred for flows that are not over."""
        flows = [flow for flow, (path, _) in self._in_flight.items() if link in path.links]
        return sum(flow.num_bytes - self.bytes_left(flow) for flow in flows)

    def extend(self, flow: Flow, num_bytes: int) -> None:
        """Add bytes to a flow; see `Flow.extend`."""
        if flow.is_over:
            raise SimulationError.at("flow", "must not be over to be extended", str(flow.state))
        num_bytes = _size(num_bytes)
        flow.num_bytes += num_bytes
        _, group = self._in_flight[flow]
        if flow.state is FlowState.SENDING and group is not None:
            group.extend(flow, num_bytes)

    def cancel(self, flow: Flow) -> None:
        """End a flow early; see `Flow.cancel`."""
        if flow.is_over:
            return
        flow.bytes_lost = self.bytes_left(flow)
        self._end(flow, FlowState.CANCELLED)
        if self._changed and not self._is_sharing:
            # The caller may be anywhere in the tick.
            self._is_sharing = True
            self.env.call_at(self.env.now, _SHARE, self._share)

    def _begin(self, event: Event) -> None:
        flow = cast("Flow", event.value)
        if flow.is_over:
            return
        _, group = self._in_flight[flow]
        if group is None:
            self._end(flow, FlowState.DELIVERED)
            flow.succeed(flow)
            return
        flow.state = FlowState.SENDING
        group.add(flow, self.env.now)
        self._changed[group] = None
        self._share_soon()

    def _share_soon(self) -> None:
        """Compute the rates of changed components after the other changes of this tick: at once if there are none."""
        if not self._is_sharing:
            if self.env.advance(self.env.now, _SHARE):
                self._share_now()
            else:
                self._is_sharing = True
                self.env.call_at(self.env.now, _SHARE, self._share)

    def _share(self, _event: Event) -> None:
        self._is_sharing = False
        self._share_now()

    def _share_now(self) -> None:
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        now = self.env.now
        for group in changed:
            for link in group.links:
                if not link.groups:
                    link.set_load(0, now)
        for component in self._components.update(changed):
            self._share_component(component)

    def _share_component(self, component: Component) -> None:
        now, groups = self.env.now, list(component.groups)
        rates, loads = fair_rates(groups)
        ends_at = FOREVER
        for group in groups:
            rate = rates[group]
            if rate != group.rate:
                group.set_rate(rate, now)
            group_ends_at = group.ends_at if group.ends_at >= 0 else group.next_end()
            if group_ends_at < ends_at:
                ends_at = group_ends_at
        for link, load in loads:
            if load != link.load:
                link.set_load(load, now)
        if self.on_share is not None:
            self.on_share(groups)
        if component.timer is None or component.ends_at != ends_at:
            component.stop()
            component.ends_at = ends_at
            component.timer = self.env.call_at(ends_at, _FLOW, self._end_of_flows, component)

    def _end_of_flows(self, event: Event) -> None:
        component = cast("Component", event.value)
        component.timer = None
        now = self.env.now
        ended: list[Flow] = []
        for group in component.groups:
            if group.ends_at <= now:
                group.advance(now)
                ended += group.ended()
        if not ended:  # the flow has been extended
            self._share_component(component)
            return
        if len(ended) > 1:
            ended.sort(key=_NUMBER)
        for flow in ended:
            self._end(flow, FlowState.DELIVERED)
        self._share_soon()
        for flow in ended:
            flow.succeed(flow)

    def _end(self, flow: Flow, state: FlowState) -> None:
        path, group = self._in_flight.pop(flow)
        if flow.state is FlowState.SENDING:
            assert group is not None
            group.remove(self.env.now)
            self._changed[group] = None
        flow.state = state
        flow.ended_at = self.env.now
        for link in path.links:
            link.bytes_carried += flow.num_bytes - flow.bytes_lost


def _size(num_bytes: object) -> int:
    # The test of a protocol costs more than the rest of a transfer.
    if type(num_bytes) is not int and (isinstance(num_bytes, bool) or not isinstance(num_bytes, SupportsIndex)):
        size = -1
    else:
        size = index(num_bytes)
    if size < 0:
        raise SimulationError.at("num_bytes", "must be a whole number >= 0", num_bytes)
    return size


def _endpoint(endpoint: str | int) -> str:
    return endpoint if isinstance(endpoint, str) else replica_endpoint(endpoint)
