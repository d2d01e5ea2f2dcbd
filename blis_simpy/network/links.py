"""Links, and the flows that share them.

Flows over the same links have the same rate, so they are kept together as a *group*: the cost of a change does not
depend on their number.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from blis_simpy.errors import SimulationError
from blis_simpy.network.flow import Flow, FlowState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["RATE_UNIT", "FlowGroup", "Link", "ticks_to_send"]

RATE_UNIT = 10**9
"""Units of a rate of one byte per second: rates are integers, so that sums are exact."""
# What a flow at a rate of one unit transfers in a microsecond is the unit of volume.
_VOLUME_OF_BYTE = RATE_UNIT * 1_000_000
# Shares are rounded down. Without this tolerance, three equal flows on one link would end one microsecond late.
_TOLERANCE = _VOLUME_OF_BYTE // 1000


def ticks_to_send(num_bytes: int, rate: int) -> int:
    """Return the time to transfer some bytes at a rate, in whole µs."""
    return _ticks(num_bytes * _VOLUME_OF_BYTE, rate)


def _ticks(volume: int, rate: int) -> int:
    """Return the whole µs after which less than the tolerance is left of a volume."""
    return (volume - _TOLERANCE) // rate + 1 if volume >= _TOLERANCE else 0


class Link:
    """A link in one direction.

    Parameters
    ----------
    name : str
        Name, unique in its network.
    bandwidth : float, bytes/s
        Capacity, >= 1; `math.inf` is no limit.
    latency : int, µs
        Time before the first byte of a flow arrives, >= 0.

    Attributes
    ----------
    is_limited : bool
        Whether the bandwidth is finite.
    capacity : int
        The bandwidth as a rate; 0 if it is infinite.
    load : int
        Rate of all its flows together.
    left, num_growing : int
        Capacity that is left, and number of flows whose rate is not set, during the computation of rates.
    groups : dict of FlowGroup
        Routes over this link that have flows.
    bytes_carried : int
        Bytes of the flows that are over.
    load_changes : list of (int, float)
        Tick and new load, bytes/s, of each change of the load; in order.

    Raises
    ------
    SimulationError
        If bandwidth or latency is out of its range.
    """

    __slots__ = (
        "bandwidth",
        "bytes_carried",
        "capacity",
        "groups",
        "is_limited",
        "latency",
        "left",
        "load",
        "load_changes",
        "name",
        "num_growing",
    )

    def __init__(self, name: str, bandwidth: float, latency: int = 0) -> None:
        if not bandwidth >= 1:
            raise SimulationError.at(f"link {name}", "bandwidth must be >= 1 byte/s", bandwidth)
        if latency < 0:
            raise SimulationError.at(f"link {name}", "latency must be >= 0", latency)
        self.name = name
        self.bandwidth = bandwidth
        self.latency = latency
        self.is_limited = bandwidth != math.inf
        self.capacity = int(bandwidth * RATE_UNIT) if self.is_limited else 0
        self.load = self.left = self.num_growing = 0
        self.groups: dict[FlowGroup, None] = {}
        self.bytes_carried = 0
        self.load_changes: list[tuple[int, float]] = []

    def __repr__(self) -> str:
        return f"<Link {self.name} of {self.bandwidth:g} bytes/s>"

    @property
    def num_flows(self) -> int:
        """Number of flows that share it."""
        return sum(group.num_flows for group in self.groups)

    def set_load(self, load: int, now: int) -> None:
        """Set the load from a tick on, and record it."""
        if load == self.load:
            return
        self.load = load
        changes, shown = self.load_changes, load / RATE_UNIT
        if changes and changes[-1][0] == now:
            changes.pop()
        if shown != (changes[-1][1] if changes else 0.0):
            changes.append((now, shown))


class FlowGroup:
    """Flows over the same links, which have the same rate.

    All of them receive the same volume in the same time, so their progress is one number, `served`: a flow ends when it
    has grown by the volume of the flow.

    Parameters
    ----------
    links : sequence of Link
        Links with a finite capacity, each once.
    limit : int or None
        Maximum rate of each flow; None = unlimited.

    Attributes
    ----------
    num_flows : int
        Number of flows that share the links.
    rate : int
        Rate of each flow.
    ends_at : int, tick
        Next end of a flow; -1 if it is not known since the last change.
    """

    __slots__ = ("_ends", "_served", "_updated_at", "ends_at", "limit", "links", "num_flows", "rate")

    def __init__(self, links: Sequence[Link], limit: int | None = None) -> None:
        self.links = tuple(links)
        self.limit = limit
        self.num_flows = 0
        self.rate = 0
        self.ends_at = -1
        self._served = 0
        self._updated_at = 0
        # `served` at the end of each flow, number of the flow, flow. Old entries of flows that were cancelled or
        # extended stay until they come first.
        self._ends: list[tuple[int, int, Flow]] = []

    def advance(self, now: int) -> None:
        """Let the flows progress to a tick."""
        self._served += self.rate * (now - self._updated_at)
        self._updated_at = now

    def set_rate(self, rate: int, now: int) -> None:
        """Set the rate of each flow from a tick on."""
        self.advance(now)
        self.rate = rate
        self.ends_at = -1

    def add(self, flow: Flow, now: int) -> None:
        """Add a flow."""
        self.advance(now)
        flow.served_at_end = self._served + flow.num_bytes * _VOLUME_OF_BYTE
        heappush(self._ends, (flow.served_at_end, flow.number, flow))
        self.num_flows += 1
        self.ends_at = -1
        if self.num_flows == 1:
            for link in self.links:
                link.groups[self] = None

    def extend(self, flow: Flow, num_bytes: int) -> None:
        """Let a flow end later, by some bytes."""
        flow.served_at_end += num_bytes * _VOLUME_OF_BYTE
        heappush(self._ends, (flow.served_at_end, flow.number, flow))
        self.ends_at = -1

    def remove(self, now: int) -> None:
        """Count a flow less, which has ended or is cancelled."""
        self.advance(now)
        self.num_flows -= 1
        self.ends_at = -1
        if not self.num_flows:
            self.rate = self._served = 0
            self._ends.clear()
            for link in self.links:
                del link.groups[self]

    def bytes_left(self, flow: Flow, now: int) -> int:
        """Return the bytes of a flow that have not arrived at a tick, rounded up."""
        left = flow.served_at_end - self._served - self.rate * (now - self._updated_at)
        return max(-(-left // _VOLUME_OF_BYTE), 0)

    def next_end(self) -> int:
        """Return the tick at which the next of its flows ends; there is one."""
        if self.ends_at < 0:
            while not _is_valid(self._ends[0]):
                heappop(self._ends)
            self.ends_at = self._updated_at + _ticks(self._ends[0][0] - self._served, self.rate)
        return self.ends_at

    def ended(self) -> Iterator[Flow]:
        """Yield the flows that have ended, in order, and forget them."""
        while self._ends and self._ends[0][0] - self._served < _TOLERANCE:
            entry = heappop(self._ends)
            if _is_valid(entry):
                yield entry[2]


def _is_valid(entry: tuple[int, int, Flow]) -> bool:
    served_at_end, _, flow = entry
    return flow.state is FlowState.SENDING and served_at_end == flow.served_at_end
