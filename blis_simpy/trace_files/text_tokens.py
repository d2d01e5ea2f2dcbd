"""Token counts of texts, by a tokenizer or estimated, and texts as content of prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sized
from typing import Any

from blis_simpy.core.token_spans import Span

__all__ = ["TOKENIZER_HELP", "estimated_tokens", "num_tokens", "plain_text", "span_of"]

TOKENIZER_HELP = "Callable that returns the tokens of a text, or their number; unset means one token per four bytes."
"""Help of the option ``tokenizer`` of formats whose files have texts."""

_BYTES_PER_TOKEN = 4


def estimated_tokens(text: str) -> int:
    """Estimate the number of tokens of a text: one per four bytes of UTF-8, rounded up.

    Examples
    --------
    >>> estimated_tokens("Hello, world!"), estimated_tokens("")
    (4, 0)
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def num_tokens(text: str, tokenizer: Callable[[str], Any] | None) -> int:
    """Count the tokens of a text.

    Raises
    ------
    ValueError
        If the tokenizer does not return tokens or their number.
    """
    if tokenizer is None:
        return estimated_tokens(text)
    found = tokenizer(text)
    if isinstance(found, Sized):
        return len(found)
    if isinstance(found, int) and found >= 0:
        return int(found)
    raise ValueError(f"must be converted to tokens or their number by the tokenizer, not {found!r}")


def span_of(text: str, tokens: int) -> Span:
    """Return a text as content of prompts; equal texts give equal spans."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return Span(f"text:{digest}", 0, tokens)


def plain_text(content: Any) -> str:
    """Text of a message's content: itself, or its parts of text one after the other; nothing is empty.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part if isinstance(part, str) else plain_text(part.get("text"))
            for part in content
            if isinstance(part, str | Mapping)
        )
    raise ValueError("must be text")
