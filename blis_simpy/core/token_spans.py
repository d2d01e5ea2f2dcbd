"""Content of prompts as spans of named streams, without token ids.

Only equality of block prefixes matters to a prefix cache. So content is a sequence of spans of named streams: two
spans of one stream with the same start and length hold the same tokens, and different streams share nothing. A prefix
group is a stream; so is the output of a request that a later round of its session sends back.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ContinuedSpans", "Span", "TokenSpans"]


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


class ContinuedSpans(tuple[Span, ...]):  # noqa: SLOT001 - a tuple subclass cannot have slots
    """Spans that begin with those of an earlier content, such as the prompt of the round before.

    They equal the tuple of all these spans; `earlier` spares a prefix cache to hash them again.

    Attributes
    ----------
    earlier : TokenSpans
        The content that they begin with.
    """

    earlier: TokenSpans

    @classmethod
    def of(cls, earlier: TokenSpans, *added: Span) -> ContinuedSpans:
        """Return the spans of a content and those added to it."""
        spans = cls((*earlier, *added))
        spans.earlier = earlier
        return spans

    def __reduce__(self) -> tuple[type[TokenSpans], tuple[list[Span]]]:
        # Without the chain of all rounds before, which is as deep as the session is long.
        return tuple, (list(self),)
