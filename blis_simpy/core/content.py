"""What a prompt is made of, without its token ids.

Only equality of block prefixes matters to a prefix cache. So content is a sequence of spans of named streams: two
spans of one stream with the same start and length hold the same tokens, and different streams share nothing. A prefix
group is a stream; so is the output of a request that a later round of its session sends back.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Content", "Span"]


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


Content = tuple[Span, ...]
"""Spans in the order of the tokens."""
