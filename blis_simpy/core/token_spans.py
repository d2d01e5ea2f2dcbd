"""Content of prompts as spans of named token streams, without token ids.

A prefix cache only compares block prefixes for equality, so content is a sequence of spans. Spans of the same stream,
start and length hold equal tokens; different streams have no tokens in common. A prefix group is a stream, and so is
the output of a request, if later rounds of its session include it in their prompts.
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
        Unique name of the stream.
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
    """Computes keys of blocks: integers that stand for the content of a block and of all blocks before it.

    Two blocks have equal keys if and only if their prompts are equal up to the end of the block. Keys of different
    instances are unrelated.

    Parameters
    ----------
    block_size : int
        Tokens per block.
    """

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self._keys: dict[tuple[object, ...], int] = {}
        self._next_key = 1
        self._chains: dict[TokenSpans, list[int]] = {}

    def key(self, parent: int, pieces: Iterable[tuple[str, int, int]]) -> int:
        """Return the key of a block.

        Parameters
        ----------
        parent : int
            Key of the block before it; 0 for the first block.
        pieces : iterable of (str, int, int)
            Tokens of the block as spans, in order; consecutive spans of a stream count as one.
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
        """Return unused keys, for blocks that no other prompt shares."""
        keys = range(self._next_key, self._next_key + blocks)
        self._next_key += blocks
        return keys

    def chain(self, content: TokenSpans) -> list[int]:
        """Return the keys of the full blocks of a content, in order."""
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
        """Return the keys of the full blocks of a prompt that other prompts may share.

        Parameters
        ----------
        content : TokenSpans or None
            Leading tokens of the prompt as spans.
        input_tokens : int
            Length of the prompt.

        Returns
        -------
        list of int
            Shared between requests with the same content; must not be changed.
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
