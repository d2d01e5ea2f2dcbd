"""Keys of the blocks in the host tier, evicted in the order in which they were last renewed.

An offload renews all blocks of the running requests, in batch order, after every step. Where they lie among each other
matters only when one of them is the oldest. So just the keys of former requests are kept in order, and an offload
costs as much as there are new blocks.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HostBlocks", "OffloadedKeys"]


class OffloadedKeys(Protocol):
    """Keys of the full blocks of a request.

    Attributes
    ----------
    keys : list of int
        The keys, which differ; it only grows.
    num_offloaded : int
        How many of them the last offload has renewed; written by `HostBlocks`.
    has_left : bool
        Whether the request has left the batch since.
    """

    keys: list[int]
    num_offloaded: int
    has_left: bool


class HostBlocks:
    """Blocks of the host tier by key.

    Parameters
    ----------
    capacity : int
        Number of blocks.

    Attributes
    ----------
    stored, evicted : int
        Number of blocks stored and evicted so far.
    """

    def __init__(self, capacity: int) -> None:
        self.stored = 0
        self.evicted = 0
        self._capacity = capacity
        # Without the keys of the batch, whose order is that of `_batch`, and without those of the requests that have
        # left it since the last offload.
        self._former: OrderedDict[int, None] = OrderedDict()
        # Number of members of the batch with a key.
        self._held: Counter[int] = Counter()
        self._batch: Sequence[OffloadedKeys] = ()
        self._moved: list[int] = []
        # All keys in order, while the host tier is too small for those of the batch.
        self._all: OrderedDict[int, None] | None = None

    def __len__(self) -> int:
        return len(self._former) + len(self._held) if self._all is None else len(self._all)

    def __contains__(self, key: int) -> bool:
        return key in self._held or key in self._former if self._all is None else key in self._all

    def move_to_end(self, key: int) -> None:
        """Make a key the last to be evicted, until the next offload."""
        if self._all is None:
            self._moved.append(key)
        else:
            self._all.move_to_end(key)

    def offload(self, batch: Sequence[OffloadedKeys]) -> None:
        """Store or renew the blocks of the running requests, in batch order."""
        new = sum([len(layout.keys) - layout.num_offloaded for layout in batch])
        # Former keys that are surely older than all that were renewed or moved since.
        old = len(self._former) - len(self._moved)
        if self._all is None and (new <= old or len(self) + new <= self._capacity):
            self._store_new(batch)
        else:
            self._renew_all(batch)
        self._batch = batch
        self._moved.clear()

    def _store_new(self, batch: Sequence[OffloadedKeys]) -> None:
        former, held = self._former, self._held
        for layout in self._batch:
            if layout.has_left:
                for key in layout.keys[: layout.num_offloaded]:
                    held[key] -= 1
                    if not held[key]:
                        del held[key]
                        former[key] = None
        for key in self._moved:
            if key in former:
                former.move_to_end(key)
        for layout in batch:
            for key in layout.keys[layout.num_offloaded :]:
                if key in held:
                    held[key] += 1
                    continue
                if key in former:
                    del former[key]
                else:
                    if len(former) + len(held) >= self._capacity:
                        former.popitem(last=False)
                        self.evicted += 1
                    self.stored += 1
                held[key] = 1
            layout.num_offloaded = len(layout.keys)

    def _renew_all(self, batch: Sequence[OffloadedKeys]) -> None:
        """Renew block by block, since blocks of the batch may be evicted between."""
        order = self._in_order() if self._all is None else self._all
        for layout in batch:
            for key in layout.keys:
                if key in order:
                    order.move_to_end(key)
                    continue
                if len(order) >= self._capacity:
                    order.popitem(last=False)
                    self.evicted += 1
                order[key] = None
                self.stored += 1
            layout.num_offloaded = len(layout.keys)
        self._held = held = Counter([key for layout in batch for key in layout.keys])
        if held.keys() <= order.keys():
            self._former = OrderedDict((key, None) for key in order if key not in held)
            self._all = None
        else:
            self._all = order

    def _in_order(self) -> OrderedDict[int, None]:
        order = self._former
        for layout in self._batch:
            for key in layout.keys[: layout.num_offloaded]:
                order[key] = None
                order.move_to_end(key)
        for key in self._moved:
            order.move_to_end(key)
        return order
