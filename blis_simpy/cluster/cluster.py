"""The replicas and what stands in front of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cluster.router import Router
from blis_simpy.cluster.snapshots import SnapshotBook

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.cluster.policies import AdmissionPolicy, RoutingPolicy
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request import Request
    from blis_simpy.decisions.log import DecisionLog
    from blis_simpy.replica.replica import Replica

__all__ = ["Cluster"]


class Cluster:
    """A router and its replicas.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    model : str
        Name of the model that all replicas serve.
    num_replicas : int
        How many there are at the start.
    make_replica : callable
        Makes the replica of an index, which tells the given function of each request that ended on it.
    admission, routing : policy
        Who is let in, and who goes where.
    admission_delay_us, routing_delay_us : int, µs
        Time that these decisions take.
    snapshot_interval_us : int, µs
        Age from which a look at a replica reads it anew; 0 = always.
    log : DecisionLog or None
        Told of each decision.
    on_end : callable
        Told of each request that ended, refused ones included.

    Attributes
    ----------
    replicas : list of Replica
        The replicas by index.
    router : Router
        Takes requests at their arrival.
    """

    def __init__(
        self,
        env: Environment,
        *,
        model: str,
        num_replicas: int,
        make_replica: Callable[[int, Callable[[Request], None]], Replica],
        admission: AdmissionPolicy,
        admission_delay_us: int,
        routing: RoutingPolicy,
        routing_delay_us: int,
        snapshot_interval_us: int,
        log: DecisionLog | None,
        on_end: Callable[[Request], None],
    ) -> None:
        self._on_end = on_end
        self._book = SnapshotBook(snapshot_interval_us)
        self.replicas: list[Replica] = []
        for index in range(num_replicas):
            replica = make_replica(index, self._ended)
            self.replicas.append(replica)
            self._book.add(replica, model.lower())
        self.router = Router(
            env,
            admission=admission,
            admission_delay_us=admission_delay_us,
            routing=routing,
            routing_delay_us=routing_delay_us,
            book=self._book,
            replicas=self.replicas,
            log=log,
            on_rejected=on_end,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no replica has anything to do."""
        return all(replica.is_idle for replica in self.replicas)

    def in_flight(self, replica: int) -> int:
        """Count the requests that went to a replica and have not ended."""
        return self._book.in_flight(replica)

    def _ended(self, request: Request) -> None:
        self._book.ended(request.replica)
        self._on_end(request)
