"""Settings of the KV tiers below the memory of the GPU."""

from __future__ import annotations

from blis_simpy.errors import ScenarioError
from blis_simpy.replica.tier_eviction import EVICTION_POLICIES
from blis_simpy.settings.bounds import MAX_COUNT
from blis_simpy.settings.field_types import Bandwidth, Duration, OptionalSize
from blis_simpy.settings.fields import setting, settings_class

__all__ = ["KVTierSettings"]


@settings_class
class KVTierSettings:
    """Memory for KV blocks below that of the GPU: host memory, an NVMe drive, a shared store."""

    name: str = setting(help="Name of the tier.")
    capacity: OptionalSize = setting(
        default=None,
        help="Capacity in bytes; without it and `blocks`, unlimited.",
        unit="bytes",
        ge=1,
        dimension="size",
    )
    blocks: int | None = setting(default=None, help="Capacity in KV blocks.", unit="blocks", ge=1, le=MAX_COUNT)
    read_bandwidth: Bandwidth = setting(
        help="Bandwidth from the tier to the GPUs that share it, all together.",
        unit="bytes/s",
        ge=1,
        finite=False,
        dimension="bandwidth",
    )
    write_bandwidth: Bandwidth = setting(
        help="Bandwidth from the GPUs that share it to the tier, all together.",
        unit="bytes/s",
        ge=1,
        finite=False,
        dimension="bandwidth",
    )
    latency: Duration = setting(default=0, help="Latency of each transfer.", unit="us", ge=0, dimension="duration")
    shared_by: str = setting(
        default="replica",
        help="What has one such memory: each replica, each node, or the cluster. All replicas that share it find its "
        "blocks. That of the cluster is reached over the network interfaces of the replica.",
        choices=("replica", "node", "cluster"),
    )
    eviction: str = setting(
        default="lru", help="Eviction policy: chooses the chunk that makes room.", choices=tuple(EVICTION_POLICIES)
    )
    write_on: str = setting(
        default="computation",
        help="When a block is written: computation, when it is full and computed, those of outputs at the end of the "
        "request; end, at the end of the request; eviction, when it is evicted from the tier above, of the first tier "
        "from the GPU.",
        choices=("computation", "end", "eviction"),
    )
    write_after: int = setting(
        default=1,
        help="Number of requests that must have asked for a block before it is written.",
        unit="requests",
        ge=1,
    )
    exclusive: bool = setting(default=False, help="Whether a chunk leaves the tier when it has been loaded.")

    def __attrs_post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ScenarioError.at("name", "must not be empty or contain a slash", self.name)
        if self.capacity is not None and self.blocks is not None:
            raise ScenarioError.at("blocks", "must be left out where a capacity is given", self.blocks)
