"""The KV tiers of the replicas of a model: which replica has which memories, and their links."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from blis_simpy.core.block_keys import BlockHasher
from blis_simpy.errors import ScenarioError
from blis_simpy.network.network import replica_endpoint
from blis_simpy.replica.kv_tier import KVTier
from blis_simpy.replica.tier_eviction import EVICTION_POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from blis_simpy.network.fabric import Site
    from blis_simpy.network.network import Network
    from blis_simpy.replica.tier_settings import KVTierSettings

__all__ = ["TierPool"]


class TierPool:
    """The KV tiers of replicas that can share KV blocks.

    Parameters
    ----------
    network : Network
        Network to which their links are added.
    settings : sequence of KVTierSettings
        The tiers, from the first below the GPU on.
    block_size : int
        Tokens per KV block.
    chunk : int
        KV blocks that are moved together.
    bytes_per_token : float
        Size of the KV cache of a token on all GPUs of a replica.
    site_of : callable
        Returns the GPUs of a replica, by index.
    label : str, default ""
        Distinguishes the memories of several pools.

    Attributes
    ----------
    network, settings, chunk
        As above.
    hasher : BlockHasher
        Computes the keys of the blocks of all replicas, so that they agree.
    counts_requests : bool
        Whether a tier wants to know how many requests have asked for a chunk.
    tiers : list of KVTier
        All memories so far, in the order of first use.

    Raises
    ------
    ScenarioError
        If a capacity is smaller than a chunk.
    """

    def __init__(
        self,
        network: Network,
        settings: Sequence[KVTierSettings],
        *,
        block_size: int,
        chunk: int,
        bytes_per_token: float,
        site_of: Callable[[int], Site],
        label: str = "",
    ) -> None:
        self.settings = tuple(settings)
        self.chunk = chunk
        self.hasher = BlockHasher(block_size)
        self.tiers: list[KVTier] = []
        self._block_bytes = bytes_per_token * block_size
        self.network = network
        self._site_of = site_of
        self._label = label
        self._by_endpoint: dict[str, KVTier] = {}
        # Number of requests that have asked for each chunk, if a tier wants to know.
        self._asked: Counter[int] = Counter()
        self.counts_requests = any(tier.write_after > 1 for tier in self.settings)
        self._capacities = [self._capacity(number, tier) for number, tier in enumerate(self.settings)]

    def num_bytes(self, blocks: int) -> int:
        """Return the size of KV blocks, rounded up to whole bytes."""
        return math.ceil(blocks * self._block_bytes)

    def ask(self, keys: Iterable[int]) -> None:
        """Count a request for chunks."""
        self._asked.update(keys)

    def is_wanted(self, number: int, key: int) -> bool:
        """Whether a tier takes a chunk: enough requests have asked for it."""
        least = self.settings[number].write_after
        return least == 1 or self._asked[key] >= least

    def _capacity(self, number: int, settings: KVTierSettings) -> int | None:
        if settings.blocks is None and settings.capacity is None:
            return None
        blocks = settings.blocks if settings.capacity is None else int(settings.capacity / self._block_bytes)
        assert blocks is not None
        if blocks < self.chunk:
            name = "blocks" if settings.capacity is None else "capacity"
            rule = f"must hold a chunk of {self.chunk} KV blocks, {self.num_bytes(self.chunk)} bytes"
            raise ScenarioError.at(f"kv.tiers[{number}].{name}", rule, getattr(settings, name))
        return blocks // self.chunk

    def of_replica(self, replica: int) -> list[KVTier]:
        """Return the tiers of a replica that has its GPUs, from the first below the GPU on."""
        return [self._tier(number, replica) for number in range(len(self.settings))]

    def _tier(self, number: int, replica: int) -> KVTier:
        settings, network, own = self.settings[number], self.network, replica_endpoint(replica)
        name = f"{settings.name}{self._label}"
        owners = {"replica": f"{own}/", "node": f"{self._site_of(replica).node}/", "cluster": ""}
        endpoint = f"{owners[settings.shared_by]}{name}"
        tier = self._by_endpoint.get(endpoint)
        if tier is None:
            tier = KVTier(
                settings.name,
                endpoint,
                self._capacities[number],
                EVICTION_POLICIES[settings.eviction](),
                chunk_bytes=self.num_bytes(self.chunk),
                is_exclusive=settings.exclusive,
            )
            self._by_endpoint[endpoint] = tier
            self.tiers.append(tier)
            read = network.add_link(f"{endpoint} read", settings.read_bandwidth, settings.latency)
            write = network.add_link(f"{endpoint} write", settings.write_bandwidth, settings.latency)
            if settings.shared_by == "cluster":
                network.attach(endpoint, out=read, into=write)
        if settings.shared_by != "cluster":
            network.connect(endpoint, own, network.links[f"{endpoint} read"])
            network.connect(own, endpoint, network.links[f"{endpoint} write"])
        return tier
