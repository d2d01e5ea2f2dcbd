"""Content of prompts as spans of named token streams, without token ids.

A prefix cache only compares block prefixes for equality, so content is a sequence of spans. Spans of the same stream,
start and length hold equal tokens; different streams have no tokens in common. A prefix group is a stream, and so is
the output of a request, if later rounds of its session include it in their prompts.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ContinuedSpans", "Span", "TokenSpans", "input_stream", "output_stream", "spans"]


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


class ContinuedSpans(tuple[Span, ...]):  # noqa: SLOT001 - a tuple subclass cannot have slots
    """Spans that begin with those of an earlier content, such as the prompt of the round before.

    Equal to a plain tuple of all these spans. `earlier` lets a prefix cache hash the added spans only.

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
        # Without `earlier`, whose chain would exceed the recursion limit of pickle in a long session.
        return tuple, (list(self),)


def input_stream(session: str, round_index: int) -> str:
    """Stream name of the tokens that the user adds in a round."""
    return f"session:{session}:input:{round_index}"


def output_stream(session: str, round_index: int) -> str:
    """Stream name of the tokens that the model generates in a round."""
    return f"session:{session}:output:{round_index}"


def spans(*pieces: tuple[str, int]) -> TokenSpans:
    """Content made of the first tokens of streams; streams without tokens are left out."""
    return tuple(Span(stream, 0, tokens) for stream, tokens in pieces if tokens)
