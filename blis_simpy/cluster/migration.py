"""Migration policies: they move decoding requests between replicas at regular intervals.

A policy is any object with the method `migrations`; it sees the routable replicas and their decoding requests::

    class Newest:
        def migrations(self, state):
            busiest = max(state.snapshots, key=lambda snapshot: snapshot.batch_size)
            idlest = min(state.snapshots, key=lambda snapshot: snapshot.batch_size)
            yield from ((request, idlest.replica) for request in state.decoding(busiest.replica)[-1:])

Pass the class, an instance or a registered name: ``Scenario(migration={"policy": Newest, "interval": "1s"}, ...)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from blis_simpy.cluster.policy_calls import broken
from blis_simpy.errors import PluginError, SimulationError
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from simpy.events import Event

    from blis_simpy.cluster.policies import MigrationPolicy, MigrationState, Snapshot
    from blis_simpy.core.environment import Environment
    from blis_simpy.core.request import Request

__all__ = ["BalanceKV", "MigratingCluster", "migrate_regularly"]


class MigratingCluster(Protocol):
    """Interface of a cluster whose requests can be migrated."""

    def decode_snapshots(self, now: int) -> Sequence[Snapshot]:
        """Return the snapshots of the routable replicas that decode."""
        ...

    def migratable(self, replica: int) -> list[Request]:
        """Return the requests that decode on a replica."""
        ...

    def migrate(self, request: Request, replica: int) -> Event:
        """Move a decoding request to another replica."""
        ...


class _State:
    """State of a cluster; see `blis_simpy.cluster.policies.MigrationState`."""

    def __init__(self, cluster: MigratingCluster, now: int) -> None:
        self._cluster = cluster
        self.now = now
        self.snapshots: Sequence[Snapshot] = cluster.decode_snapshots(now)

    def decoding(self, replica: int) -> list[Request]:
        return self._cluster.migratable(replica)


@settings_class(kw_only=False)
class BalanceKV:
    """Move requests from the replica with the highest KV utilization to that with the lowest (``balance-kv``).

    At each decision, the last admitted request moves, if the two utilizations differ enough and its replica has others.

    Notes
    -----
    The idea is that of Llumnix (Sun et al., OSDI 2024), which pairs the most and the least loaded instances.
    """

    threshold: float = setting(
        default=0.2, help="Minimum difference of the KV utilizations.", unit="fraction", gt=0, le=1
    )

    def migrations(self, state: MigrationState) -> Iterable[tuple[Request, int]]:
        """Return the request to migrate, if any."""
        for model in dict.fromkeys(snapshot.model for snapshot in state.snapshots):
            alike = [snapshot for snapshot in state.snapshots if snapshot.model == model]
            fullest = max(alike, key=lambda snapshot: snapshot.kv_utilization)
            emptiest = min(alike, key=lambda snapshot: snapshot.kv_utilization)
            if fullest.kv_utilization - emptiest.kv_utilization < self.threshold:
                continue
            decoding = state.decoding(fullest.replica)
            if len(decoding) > 1:
                yield decoding[-1], emptiest.replica


def migrate_regularly(
    env: Environment, cluster: MigratingCluster, policy: MigrationPolicy, interval_us: int
) -> Generator[Event, None, None]:
    """Ask a migration policy at regular intervals, and begin the migrations.

    Raises
    ------
    PluginError
        If the policy raises an exception, or a migration is not possible.
    """
    name = f"migration policy {type(policy).__name__}"
    while True:
        yield env.timeout(interval_us)
        try:
            chosen = list(policy.migrations(_State(cluster, env.now)))
        except Exception as error:
            raise broken("migration policy", policy, "migrations", error, now=env.now) from error
        for request, replica in chosen:
            try:
                cluster.migrate(request, replica)
            except SimulationError as error:
                raise PluginError.at(name, f"chooses a migration that is not possible: {error}") from error
