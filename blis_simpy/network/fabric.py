"""Links between replicas that follow from their nodes: network interfaces, links within a node, a spine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from blis_simpy.network.network import Path, replica_endpoint, replica_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from blis_simpy.network.links import Link
    from blis_simpy.network.network import Network
    from blis_simpy.network.settings import NetworkSettings, PoolNetwork

__all__ = ["UNCONTENDED_BANDWIDTH", "Fabric", "Site"]

UNCONTENDED_BANDWIDTH = 25e9
"""Rate of each transfer between replicas of a scenario without network, bytes/s."""


@attrs.frozen(cache_hash=True)
class Site:
    """GPUs of a replica.

    Attributes
    ----------
    replica : str
        Endpoint of the replica.
    num_gpus : int
        Number of its GPUs.
    node : str
        Name of their node; without node pools that of the endpoint.
    pool : str
        Name of the node pool; empty without node pools.
    node_number : int
        Number of the node in its pool.
    node_gpus : int
        Number of GPUs of the node.
    """

    replica: str
    num_gpus: int
    node: str
    pool: str = ""
    node_number: int = 0
    node_gpus: int = 0

    @property
    def name(self) -> str:
        """Name of the GPUs, for links."""
        return f"{self.node}/{self.replica}" if self.pool else self.replica


class Fabric:
    """Topology of the replicas of a cluster.

    Each replica has links out and in: those of its network interfaces to other nodes, and those of its GPUs to the
    replicas on its node. A transfer between racks also takes a link up to the spine and one down from it. Latencies are
    those of the links out and up.

    Parameters
    ----------
    settings : NetworkSettings or None
        The network; None = no links, each transfer has its own `UNCONTENDED_BANDWIDTH`.
    pools : mapping of str to PoolNetwork or None
        Settings that node pools have of their own.
    site_of : callable
        Returns the GPUs of a replica, by index; raises `SimulationError` if it has none now.
    num_replicas : callable
        Returns the number of replicas.
    """

    def __init__(
        self,
        settings: NetworkSettings | None,
        pools: Mapping[str, PoolNetwork | None],
        *,
        site_of: Callable[[int], Site],
        num_replicas: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._by_pool = {} if settings is None else {name: settings.of_pool(pool) for name, pool in pools.items()}
        self._site_of = site_of
        self._num_replicas = num_replicas
        self._paths: dict[tuple[Site | str, Site | str], Path] = {}

    def endpoints(self) -> Iterable[str]:
        """Return the endpoints of all replicas."""
        return map(replica_endpoint, range(self._num_replicas()))

    def path(self, network: Network, source: str, destination: str) -> Path | None:
        """Return the path between two replicas, or a replica and an attached endpoint; None if one is unknown."""
        start, end = self._resolved(network, source), self._resolved(network, destination)
        if start is None or end is None:
            return None
        path = self._paths.get((start, end))
        if path is None:
            path = self._paths[start, end] = self._new_path(network, start, end)
        return path

    def _resolved(self, network: Network, endpoint: str) -> Site | str | None:
        if 0 <= (replica := replica_number(endpoint)) < self._num_replicas():
            return self._site_of(replica)
        return endpoint if endpoint in network.attached else None

    def _new_path(self, network: Network, start: Site | str, end: Site | str) -> Path:
        if start == end:
            return Path()
        if self._settings is None:
            links = [
                network.attached[site][number] for number, site in enumerate((start, end)) if isinstance(site, str)
            ]
            return Path(tuple(links), None if links else UNCONTENDED_BANDWIDTH)
        if isinstance(start, Site) and isinstance(end, Site) and start.node == end.node:
            links = [self._within_node(network, start, is_out=True), self._within_node(network, end, is_out=False)]
            return Path(tuple(links), self._settings.flow_limit)
        out, into = self._between_nodes(network, start, is_out=True), self._between_nodes(network, end, is_out=False)
        racks = [site if isinstance(site, str) else self._rack(site) for site in (start, end)]
        if racks[0] != racks[1]:
            out += self._spine(network, start, is_out=True)
            into = self._spine(network, end, is_out=False) + into
        between_replicas = isinstance(start, Site) and isinstance(end, Site)
        return Path((*out, *into), self._settings.flow_limit if between_replicas else None)

    def _node_settings(self, site: Site) -> NetworkSettings:
        assert self._settings is not None
        return self._by_pool.get(site.pool, self._settings)

    def _rack(self, site: Site) -> str:
        nodes = self._node_settings(site).nodes_per_rack
        return f"{site.pool} rack {site.node_number // nodes}" if nodes else ""

    def _within_node(self, network: Network, site: Site, *, is_out: bool) -> Link:
        settings = self._node_settings(site)
        bandwidth = settings.intra_node_bandwidth * site.num_gpus
        return _link(network, f"{site.name} node", bandwidth, settings.intra_node_latency, is_out=is_out)

    def _between_nodes(self, network: Network, site: Site | str, *, is_out: bool) -> list[Link]:
        if isinstance(site, str):
            return [network.attached[site][0 if is_out else 1]]
        settings = self._node_settings(site)
        name, interfaces = (site.name, site.num_gpus) if settings.nic_per == "gpu" else (site.node, 1)
        return [_link(network, f"{name} nic", settings.nic_bandwidth * interfaces, settings.nic_latency, is_out=is_out)]

    def _spine(self, network: Network, site: Site | str, *, is_out: bool) -> list[Link]:
        """Return the link of the rack of a site to the spine; attached endpoints are at the spine."""
        if isinstance(site, str) or not (rack := self._rack(site)):
            return []
        settings = self._node_settings(site)
        assert settings.nodes_per_rack is not None
        interfaces = settings.nodes_per_rack * (site.node_gpus if settings.nic_per == "gpu" else 1)
        bandwidth = settings.nic_bandwidth * interfaces / settings.oversubscription
        return [_link(network, f"{rack} spine", bandwidth, settings.spine_latency, is_out=is_out)]


def _link(network: Network, name: str, bandwidth: float, latency: int, *, is_out: bool) -> Link:
    """Return a link of a network, which is added on first use."""
    full_name = f"{name} {'out' if is_out else 'in'}"
    link = network.links.get(full_name)
    return network.add_link(full_name, bandwidth, latency if is_out else 0) if link is None else link
