"""Content of prompts as spans of named streams, without token ids.

Only equality of block prefixes matters to a prefix cache. So content is a sequence of spans of named streams: two
spans of one stream with the same start and length hold the same tokens, and different streams share nothing. A prefix
group is a stream; so is the output of a request that a later round of its session sends back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BlockHasher", "Span", "TokenSpans"]


class Span(NamedTuple):
    """Consecutive tokens of a stream.

    Attributes
    ----------
    stream : str
        Name of the stream, unique among all that differ.
    start : int
        Offset of the first token in the stream.
    tokens : int
        Length, tokens.
    """

    stream: str
    start: int
    tokens: int


TokenSpans = tuple[Span, ...]
"""Spans in the order of the tokens."""


class BlockHasher:
    """Small integers that stand for the content of a block and of everything before it.

    Two blocks have one key if and only if the prompts that they belong to are equal up to their ends. Keys of different
    instances have nothing to do with each other.

    Parameters
    ----------
    block_size : int
        Tokens a block.
    """

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self._keys: dict[tuple[object, ...], int] = {}
        self._next_key = 1
        self._chains: dict[TokenSpans, list[int]] = {}

    def key(self, parent: int, pieces: Iterable[tuple[str, int, int]]) -> int:
        """Key of one block.

        Parameters
        ----------
        parent : int
            Key of the block before it; 0 if it is the first.
        pieces : iterable of (str, int, int)
            Its tokens as spans, in order; where one continues the one before it does not matter how they are cut.
        """
        identity = _identity(parent, pieces)
        key = self._keys.get(identity)
        if key is None:
            key = self._keys[identity] = self._next_key
            self._next_key += 1
        return key

    def has_key(self, parent: int, pieces: Iterable[tuple[str, int, int]]) -> bool:
        """Whether `key` has been called for such a block; if not, no block behind it has a key either."""
        return _identity(parent, pieces) in self._keys

    def fresh(self, blocks: int) -> range:
        """Keys of blocks that equal no other, each handed out once."""
        keys = range(self._next_key, self._next_key + blocks)
        self._next_key += blocks
        return keys

    def chain(self, content: TokenSpans) -> list[int]:
        """Keys of the full blocks of a content, in order."""
        keys: list[int] = []
        parent = 0
        room = self.block_size
        pieces: list[tuple[str, int, int]] = []
        for stream, start, tokens in content:
            while tokens:
                piece = min(room, tokens)
                pieces.append((stream, start, piece))
                start += piece
                tokens -= piece
                room -= piece
                if room == 0:
                    parent = self.key(parent, pieces)
                    keys.append(parent)
                    pieces = []
                    room = self.block_size
        return keys

    def shared(self, content: TokenSpans | None, input_tokens: int) -> list[int]:
        """Keys of the full blocks of a prompt that other prompts may share.

        Parameters
        ----------
        content : TokenSpans or None
            Leading tokens of the prompt that have a name.
        input_tokens : int
            Length of the prompt.

        Returns
        -------
        list of int
            Computed once for each content; not to be changed.
        """
        if not content:
            return []
        keys = self._chains.get(content)
        if keys is None:
            keys = self._chains[content] = self.chain(content)
        full_blocks = input_tokens // self.block_size
        return keys if len(keys) <= full_blocks else keys[:full_blocks]


def _identity(parent: int, pieces: Iterable[tuple[str, int, int]]) -> tuple[object, ...]:
    merged: list[tuple[str, int, int]] = []
    for stream, start, tokens in pieces:
        if merged and merged[-1][0] == stream and merged[-1][1] + merged[-1][2] == start:
            merged[-1] = (stream, merged[-1][1], merged[-1][2] + tokens)
        else:
            merged.append((stream, start, tokens))
    return (parent, *merged)
