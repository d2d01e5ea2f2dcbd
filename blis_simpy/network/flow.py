"""A transfer of bytes over a network, as an event that processes wait for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from simpy.events import Event

from blis_simpy.core.request import NEVER

if TYPE_CHECKING:
    from blis_simpy.core.environment import Environment

__all__ = ["Carrier", "Flow", "FlowState"]


class FlowState(StrEnum):
    """State of a flow."""

    STARTING = "starting"
    """In the latency of its links."""
    SENDING = "sending"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class Carrier(Protocol):
    """Interface of the network of a flow."""

    def bytes_left(self, flow: Flow) -> int:
        """Return the bytes that have not arrived yet, rounded up."""
        ...

    def extend(self, flow: Flow, num_bytes: int) -> None:
        """Add bytes to a flow."""
        ...

    def cancel(self, flow: Flow) -> None:
        """End a flow early."""
        ...


class Flow(Event):
    """Transfer of bytes, from `Network.send`: an event that succeeds with itself when the last byte has arrived.

    Attributes
    ----------
    number : int
        Number of the flow in its network.
    source, destination : str
        Its endpoints.
    num_bytes : int
        Bytes to transfer.
    kind : str
        Purpose, for the table of transfers.
    request : str
        Id of the request that it is for; may be empty.
    state : FlowState
        State of the transfer.
    started_at : int, tick
        When it was sent.
    ended_at : int, tick
        When its last byte arrived, or it was cancelled; -1 before.
    """

    def __init__(
        self,
        env: Environment,
        carrier: Carrier,
        *,
        number: int,
        source: str,
        destination: str,
        num_bytes: int,
        kind: str,
        request: str,
    ) -> None:
        super().__init__(env)
        self._carrier = carrier
        self.number = number
        self.source = source
        self.destination = destination
        self.num_bytes = num_bytes
        self.kind = kind
        self.request = request
        self.state = FlowState.STARTING
        self.started_at: int = env.now
        self.ended_at = NEVER
        # Kept by group and network.
        self.served_at_end = 0
        self.bytes_lost = 0

    def __repr__(self) -> str:
        return f"<Flow of {self.num_bytes:,} bytes from {self.source} to {self.destination}: {self.state}>"

    @property
    def is_over(self) -> bool:
        """Whether it is delivered or cancelled."""
        return self.ended_at != NEVER

    @property
    def bytes_left(self) -> int:
        """Bytes that have not arrived yet, rounded up."""
        return self._carrier.bytes_left(self)

    def extend(self, num_bytes: int) -> None:
        """Add bytes that have become available to the transfer.

        Raises
        ------
        SimulationError
            If the transfer is over, or the number of bytes is no whole number >= 0.
        """
        self._carrier.extend(self, num_bytes)

    def cancel(self) -> None:
        """End the transfer; the event never happens. A flow that is over does not change."""
        self._carrier.cancel(self)
