"""KV blocks that prompts can share."""

from __future__ import annotations

__all__ = ["Block"]


class Block:
    """A KV block with a key; blocks that no other prompt can share are only counted.

    Attributes
    ----------
    key : int
        Key of its content and of that of all blocks before it.
    num_holders : int
        Number of running requests that hold it; 0 = on the free list.
    """

    __slots__ = ("key", "num_holders")

    def __init__(self, key: int) -> None:
        self.key = key
        self.num_holders = 1
