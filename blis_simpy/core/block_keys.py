"""Keys of blocks of tokens: equal if and only if all tokens up to the end of the blocks are equal.

Blocks of which each continues the one before form a *line*. The first content that continues the last block of a line
makes the line longer; any other that continues one of its blocks begins a new line. So a line is entered at its first
block only, and the keys of a whole content are few *runs*, each of them the start of a line.

Example with blocks of 4 tokens: a first content of 12 tokens makes line 1 of three blocks. A second one shares its
first 8 tokens and goes on differently for 8 more: its keys are the first two blocks of line 1 and the two of the new
line 2. Whatever continues the second content makes line 2 longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from blis_simpy.core.token_spans import TokenSpans

__all__ = ["NO_KEYS", "BlockHasher", "BlockKeys", "block_key"]

# A key is the number of its line and the position there, in one integer.
_BITS = 32
_POSITION = (1 << _BITS) - 1


def block_key(line: int, position: int) -> int:
    """Return the key of a block by its line and its position there."""
    return line << _BITS | position


class BlockKeys:
    """Keys of the leading full blocks of a content.

    Parameters
    ----------
    runs : list of (int, int)
        Line, and number of its first blocks, in the order of the content.
    num_blocks : int
        Sum of these numbers.
    """

    __slots__ = ("num_blocks", "runs")

    def __init__(self, runs: list[tuple[int, int]], num_blocks: int) -> None:
        self.runs = runs
        self.num_blocks = num_blocks

    def __len__(self) -> int:
        return self.num_blocks

    def __iter__(self) -> Iterator[int]:
        for keys in self.ranges():
            yield from keys

    def ranges(self) -> list[range]:
        """Return the keys as ranges of integers."""
        return [range(line << _BITS, (line << _BITS) + blocks) for line, blocks in self.runs]

    def first(self, blocks: int) -> BlockKeys:
        """Return the keys of the first blocks; of all if there are fewer."""
        if blocks >= self.num_blocks:
            return self
        runs: list[tuple[int, int]] = []
        left = blocks
        for line, length in self.runs:
            if length >= left:
                if left:
                    runs.append((line, left))
                break
            runs.append((line, length))
            left -= length
        return BlockKeys(runs, blocks)

    def followed_by(self, more: BlockKeys) -> BlockKeys:
        """Return these keys and others behind them."""
        return BlockKeys([*self.runs, *more.runs], self.num_blocks + more.num_blocks)


NO_KEYS = BlockKeys([], 0)
"""Keys of no block."""


class _Walk:
    """Position in a content that is being divided into blocks.

    Attributes
    ----------
    parent : int
        Key of the last full block; 0 if there is none.
    pieces : tuple of (str, int, int)
        What the block after it holds of streams before the present one.
    room : int
        Tokens that this block has room for beside these pieces.
    stream : str
        Present stream.
    start, tokens : int
        Offset and number of its tokens that are not in a full block yet.
    parts : list of [int, int] or None
        First key and number of blocks, for blocks of the present stream since it began to fill whole ones; None before.
    done : int
        How many of these blocks are in `runs`.
    """

    __slots__ = (
        "done",
        "num_blocks",
        "num_tokens",
        "parent",
        "parts",
        "pieces",
        "room",
        "runs",
        "start",
        "stream",
        "tokens",
    )

    def __init__(self, block_size: int) -> None:
        self.parent = 0
        self.pieces: tuple[tuple[str, int, int], ...] = ()
        self.room = block_size
        self.stream = ""
        self.start = 0
        self.tokens = 0
        self.parts: list[list[int]] | None = None
        self.done = 0
        self.runs: list[tuple[int, int]] = []
        self.num_blocks = 0
        self.num_tokens = 0

    def copy(self) -> _Walk:
        copy = _Walk(self.room)
        copy.parent, copy.pieces, copy.stream = self.parent, self.pieces, self.stream
        copy.start, copy.tokens, copy.parts, copy.done = self.start, self.tokens, self.parts, self.done
        copy.runs, copy.num_blocks, copy.num_tokens = self.runs[:], self.num_blocks, self.num_tokens
        return copy

    def keys(self) -> BlockKeys:
        return BlockKeys(self.runs[:], self.num_blocks)

    def add(self, key: int, blocks: int) -> None:
        """Add blocks with consecutive keys."""
        line = key >> _BITS
        runs = self.runs
        if runs and runs[-1][0] == line:
            runs[-1] = (line, runs[-1][1] + blocks)
        else:
            runs.append((line, blocks))
        self.parent = key + blocks - 1
        self.num_blocks += blocks


class BlockHasher:
    """Computes keys of blocks: integers that stand for the content of a block and of all blocks before it.

    Keys of different instances are unrelated.

    Parameters
    ----------
    block_size : int
        Tokens per block.
    """

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        # Blocks of each line; lines count from 1, so that no key is 0.
        self._lengths = [0]
        # Key of a block by parent and content.
        self._blocks: dict[tuple[object, ...], int] = {}
        # Parts of consecutive blocks of one stream, by parent and content of the first.
        self._parts: dict[tuple[int, str, int], list[list[int]]] = {}
        self._short: dict[TokenSpans, BlockKeys] = {}
        # Ends of contents that may be continued, by identity; the content is kept so that it stays unique.
        self._ends: dict[int, tuple[TokenSpans, _Walk]] = {}

    def key(self, parent: int, pieces: Iterable[tuple[str, int, int]]) -> int:
        """Return the key of a block. A hasher is used either for single blocks or for whole contents.

        Parameters
        ----------
        parent : int
            Key of the block before it; 0 for the first block.
        pieces : iterable of (str, int, int)
            Tokens of the block as spans, in order; consecutive spans of a stream count as one.
        """
        return self._key(_identity(parent, pieces))

    def has_key(self, parent: int, pieces: Iterable[tuple[str, int, int]]) -> bool:
        """Whether `key` has been called for such a block; if not, no block behind it has a key either."""
        return _identity(parent, pieces) in self._blocks

    def _key(self, identity: tuple[object, ...]) -> int:
        key = self._blocks.get(identity)
        if key is None:
            parent = identity[0]
            assert isinstance(parent, int)
            key = self._blocks[identity] = self._new_keys(parent, 1)
        return key

    def _new_keys(self, parent: int, blocks: int) -> int:
        """Return the first of consecutive new keys for blocks after another one."""
        line, position = parent >> _BITS, (parent & _POSITION) + 1
        lengths = self._lengths
        if not parent or lengths[line] != position:
            line, position = len(lengths), 0
            lengths.append(0)
        lengths[line] = position + blocks
        return line << _BITS | position

    def fresh(self, blocks: int) -> BlockKeys:
        """Return unused keys, for blocks that no other prompt shares."""
        line = self._new_keys(0, blocks) >> _BITS
        return BlockKeys([(line, blocks)], blocks)

    def keys(self, content: TokenSpans | None, *more: tuple[str, int, int]) -> BlockKeys:
        """Return the keys of the full blocks of a content, with further spans behind it."""
        if not content and not more:
            return NO_KEYS
        if more:
            walk = self._walk(content or ()).copy()
            for span in more:
                self._advance(walk, span)
            return walk.keys()
        assert content is not None
        if len(content) > 1:
            return self._walk(content).keys()
        # Prefix groups: many requests with one content of one span.
        keys = self._short.get(content)
        if keys is None:
            keys = self._short[content] = self._walk(content).keys()
        return keys

    def shared(self, content: TokenSpans | None, input_tokens: int) -> BlockKeys:
        """Return the keys of the full blocks of a prompt that other prompts may share.

        Parameters
        ----------
        content : TokenSpans or None
            Leading tokens of the prompt as spans.
        input_tokens : int
            Length of the prompt.
        """
        return self.keys(content).first(input_tokens // self.block_size)

    def num_tokens(self, content: TokenSpans) -> int:
        """Return the number of tokens of a content."""
        return self._walk(content).num_tokens

    def _walk(self, content: TokenSpans) -> _Walk:
        """Cut a content into blocks, from the end of an earlier content on if that is known."""
        missing: list[TokenSpans] = [content]
        known: tuple[TokenSpans, _Walk] | None = None
        while (earlier := getattr(missing[-1], "earlier", None)) is not None:
            known = self._ends.get(id(missing[-1]))
            if known is not None:
                break
            missing.append(earlier)
        if known is None:
            known = self._ends.get(id(missing[-1]))
        if known is None:
            walk, start = _Walk(self.block_size), 0
        else:
            if known[0] is content:
                return known[1]
            walk, start = known[1].copy(), len(known[0])
        for span in content[start:]:
            self._advance(walk, span)
        if len(missing) > 1:
            if known is not None:
                del self._ends[id(known[0])]
            self._ends[id(content)] = (content, walk)
        return walk

    def _advance(self, walk: _Walk, span: tuple[str, int, int]) -> None:
        stream, start, tokens = span
        if not tokens:
            return
        walk.num_tokens += tokens
        if stream != walk.stream or start != walk.start + walk.tokens:
            if walk.tokens:
                walk.pieces += ((walk.stream, walk.start, walk.tokens),)
                walk.room -= walk.tokens
            walk.stream, walk.start, walk.tokens = stream, start, 0
            walk.parts = None
        walk.tokens += tokens
        size = self.block_size
        if walk.pieces:
            room = walk.room
            if walk.tokens < room:
                return
            walk.add(self._key((walk.parent, *walk.pieces, (stream, walk.start, room))), 1)
            walk.pieces, walk.room = (), size
            walk.start += room
            walk.tokens -= room
        blocks = walk.tokens // size
        if blocks:
            if walk.parts is None:
                walk.parts = self._parts.setdefault((walk.parent, stream, walk.start), [])
                walk.done = 0
            self._add_whole_blocks(walk, walk.parts, blocks)
            walk.start += blocks * size
            walk.tokens -= blocks * size

    def _add_whole_blocks(self, walk: _Walk, parts: list[list[int]], blocks: int) -> None:
        """Add whole blocks of one stream: those with keys first, then new ones."""
        skipped = walk.done
        walk.done += blocks
        for first, length in parts:
            if skipped >= length:
                skipped -= length
                continue
            taken = min(blocks, length - skipped)
            walk.add(first + skipped, taken)
            blocks -= taken
            if not blocks:
                return
            skipped = 0
        first = self._new_keys(walk.parent, blocks)
        if parts and parts[-1][0] + parts[-1][1] == first:
            parts[-1][1] += blocks
        else:
            parts.append([first, blocks])
        walk.add(first, blocks)


def _identity(parent: int, pieces: Iterable[tuple[str, int, int]]) -> tuple[object, ...]:
    merged: list[tuple[str, int, int]] = []
    for stream, start, tokens in pieces:
        if merged and merged[-1][0] == stream and merged[-1][1] + merged[-1][2] == start:
            merged[-1] = (stream, merged[-1][1], merged[-1][2] + tokens)
        else:
            merged.append((stream, start, tokens))
    return (parent, *merged)
