"""KV blocks with keys, kept as segments of consecutive blocks, and the free list that they are on while not in use.

Blocks of one line (`blis_simpy.core.block_keys`) that the same requests hold, or that follow each other on the free
list, are one *segment*: taking, sharing, releasing and evicting a thousand blocks are a handful of operations. A
segment is split where a request shares only its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NO_LINE", "FreeList", "HeldBlocks", "Segment"]

NO_LINE = 0
"""Line of blocks without a key, which are all alike."""


class Segment:
    """Consecutive KV blocks.

    On the free list its last block is the first to be taken.

    Parameters
    ----------
    line, position : int
        Line of the blocks, and position of the first of them there.
    length : int
        Number of blocks.

    Attributes
    ----------
    num_holders : int
        Running requests that hold the blocks; 0 = they are on the free list.
    is_found : bool
        Whether a lookup of their keys finds these blocks, and not others with the same content.
    rest : Segment or None
        The blocks behind, if they were split off while requests held both parts.
    before, after : Segment
        Neighbours on the free list.
    """

    __slots__ = ("after", "before", "is_found", "length", "line", "num_holders", "position", "rest")

    before: Segment
    after: Segment

    def __init__(self, line: int, position: int, length: int) -> None:
        self.line = line
        self.position = position
        self.length = length
        self.num_holders = 0
        self.is_found = False
        self.rest: Segment | None = None

    @property
    def end(self) -> int:
        """Position behind the last block."""
        return self.position + self.length

    def split(self, length: int) -> Segment:
        """Keep the first blocks, and return the others as a segment of their own with the same holders."""
        rest = Segment(self.line, self.position + length, self.length - length)
        rest.num_holders = self.num_holders
        rest.is_found = self.is_found
        rest.rest = self.rest
        self.rest = rest
        self.length = length
        return rest


class HeldBlocks:
    """Leading blocks of a request: a cached prefix, or the blocks with keys that a running request holds.

    Attributes
    ----------
    num_blocks : int
        Number of blocks.
    parts : list of (Segment, int)
        Segments with the number of their blocks. If a segment has fewer, it was split since, and the others follow as
        its `rest`. Only read.
    """

    __slots__ = ("num_blocks", "parts")

    def __init__(self) -> None:
        self.parts: list[tuple[Segment, int]] = []
        self.num_blocks = 0

    def __len__(self) -> int:
        return self.num_blocks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeldBlocks) and self.parts == other.parts

    __hash__ = None  # type: ignore[assignment]

    def append(self, segment: Segment, blocks: int) -> None:
        """Add the first blocks of a segment."""
        self.parts.append((segment, blocks))
        self.num_blocks += blocks

    def lengthen(self, blocks: int) -> None:
        """Add blocks at the end, by which the last segment has become longer."""
        segment, length = self.parts[-1]
        self.parts[-1] = (segment, length + blocks)
        self.num_blocks += blocks

    @property
    def last(self) -> Segment | None:
        """The last segment; None without blocks."""
        if not self.parts:
            return None
        segment, blocks = self.parts[-1]
        while segment.length < blocks:
            blocks -= segment.length
            assert segment.rest is not None
            segment = segment.rest
        return segment

    def backwards(self) -> Iterator[Segment]:
        """Yield the segments that a request holds, the deepest first."""
        for segment, blocks in reversed(self.parts):
            if segment.length == blocks:
                yield segment
                continue
            split: list[Segment] = []
            left = blocks
            while left:
                split.append(segment)
                left -= segment.length
                if left:
                    assert segment.rest is not None
                    segment = segment.rest
            yield from reversed(split)


class FreeList:
    """Segments that no request holds, in the order in which their blocks are taken: a linked list.

    Attributes
    ----------
    anchor : Segment
        Its neighbours are the last and the first segment of the list; itself, if the list is empty.
    """

    __slots__ = ("anchor",)

    def __init__(self) -> None:
        self.anchor = anchor = Segment(NO_LINE, 0, 0)
        anchor.before = anchor.after = anchor

    def __iter__(self) -> Iterator[Segment]:
        segment = self.anchor.after
        while segment is not self.anchor:
            yield segment
            segment = segment.after

    def append(self, segment: Segment) -> None:
        """Add a segment at the end."""
        self.insert(segment, self.anchor)

    def append_blocks(self, blocks: int) -> None:
        """Add blocks without a key at the end."""
        # Those at the tail are all alike, so they join the segment that is there.
        last = self.anchor.before
        if last.line == NO_LINE and last is not self.anchor:
            last.length += blocks
        else:
            self.append(Segment(NO_LINE, 0, blocks))

    def insert(self, segment: Segment, after: Segment) -> None:
        """Add a segment in front of another one."""
        before = after.before
        segment.before, segment.after = before, after
        before.after = after.before = segment

    def remove(self, segment: Segment) -> None:
        """Take a segment off the list."""
        before, after = segment.before, segment.after
        before.after, after.before = after, before
