"""Settings of the network between replicas."""

from __future__ import annotations

from blis_simpy.settings.field_types import Bandwidth, Duration, OptionalBandwidth, OptionalDuration
from blis_simpy.settings.fields import evolved, fields_of, setting, settings_class

__all__ = ["NIC_SHARING", "NetworkSettings", "PoolNetwork"]

NIC_SHARING = ("gpu", "node")


@settings_class
class PoolNetwork:
    """Network of the nodes of a pool. Unset fields have the values of the `network` of the scenario."""

    nic_bandwidth: OptionalBandwidth = setting(
        default=None,
        help="Bandwidth of a network interface in each direction.",
        unit="bytes/s",
        ge=1,
        finite=False,
        dimension="bandwidth",
    )
    nic_per: str | None = setting(
        default=None, help="What a network interface belongs to: a GPU, or a node.", choices=NIC_SHARING
    )
    nic_latency: OptionalDuration = setting(
        default=None,
        help="Latency of a transfer between nodes.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    intra_node_bandwidth: OptionalBandwidth = setting(
        default=None,
        help="Bandwidth of a GPU to the other GPUs of its node, in each direction.",
        unit="bytes/s",
        ge=1,
        finite=False,
        dimension="bandwidth",
    )
    intra_node_latency: OptionalDuration = setting(
        default=None,
        help="Latency of a transfer within a node.",
        unit="us",
        ge=0,
        dimension="duration",
    )


@settings_class
class NetworkSettings:
    """Network between replicas: interfaces of nodes or GPUs, links within a node, and a spine between racks.

    Concurrent transfers share each link by max-min fairness.
    """

    nic_bandwidth: Bandwidth = setting(
        default=50e9,
        help="Bandwidth of a network interface in each direction; the default is 400 Gbit/s.",
        unit="bytes/s",
        ge=1,
        finite=False,
        dimension="bandwidth",
    )
    nic_per: str = setting(
        default="gpu",
        help="What a network interface belongs to: a GPU, so that a replica has one per GPU; or a node, whose replicas "
        "share it.",
        choices=NIC_SHARING,
    )
    nic_latency: Duration = setting(
        default=0, help="Latency of a transfer between nodes.", unit="us", ge=0, dimension="duration"
    )
    intra_node_bandwidth: Bandwidth = setting(
        default=450e9,
        help="Bandwidth of a GPU to the other GPUs of its node, in each direction; the default is that of NVLink 4.",
        unit="bytes/s",
        ge=1,
        finite=False,
        dimension="bandwidth",
    )
    intra_node_latency: Duration = setting(
        default=0, help="Latency of a transfer within a node.", unit="us", ge=0, dimension="duration"
    )
    nodes_per_rack: int | None = setting(
        default=None,
        help="Number of nodes of a rack; racks are connected by a spine. Unset means no spine.",
        unit="nodes",
        ge=1,
    )
    oversubscription: float = setting(
        default=1.0,
        help="Bandwidth of the network interfaces of a rack per bandwidth of its connection to the spine.",
        ge=1,
    )
    spine_latency: Duration = setting(
        default=0, help="Additional latency of a transfer between racks.", unit="us", ge=0, dimension="duration"
    )
    flow_limit: OptionalBandwidth = setting(
        default=None,
        help="Maximum rate of a single transfer between replicas, for protocols that cannot use a whole interface; "
        "unset means none.",
        unit="bytes/s",
        ge=1,
        dimension="bandwidth",
    )

    def of_pool(self, pool: PoolNetwork | None) -> NetworkSettings:
        """Return the settings for the nodes of a pool."""
        if pool is None:
            return self
        given = {field.name: getattr(pool, field.name) for field in fields_of(PoolNetwork)}
        return evolved(self, **{name: value for name, value in given.items() if value is not None})
