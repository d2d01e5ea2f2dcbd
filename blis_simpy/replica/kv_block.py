"""A KV block whose content other prompts may share."""

from __future__ import annotations

__all__ = ["Block"]


class Block:
    """A KV block with an identity; blocks that no other prompt can match are only counted.

    Attributes
    ----------
    key : int
        Identity of its content and of everything before it.
    num_holders : int
        Running requests that hold it; 0 = it is on the free list.
    """

    __slots__ = ("key", "num_holders")

    def __init__(self, key: int) -> None:
        self.key = key
        self.num_holders = 1
