"""Token spans of a prompt, as text for one field of a table.

``hash:7+512 hash:9+100 >answer:3`` is 512 tokens of the stream ``hash:7``, then 100 of ``hash:9``; the output belongs
to the stream ``answer:3``. A span that does not begin at the start of its stream states its offset: ``chat@512+100``.
Characters other than letters, digits and ``:/-._~`` are written as in a URL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from blis_simpy.core.token_spans import Span

if TYPE_CHECKING:
    from blis_simpy.core.token_spans import TokenSpans

__all__ = ["read_content", "write_content"]

_SPAN = re.compile(r"([^\s@+>]+)(?:@([0-9]{1,18}))?\+([0-9]{1,18})")
_RULE = "must be spans like stream+tokens or stream@start+tokens, then perhaps >stream of the output"


def write_content(content: TokenSpans | None, output_stream: str | None = None) -> str:
    """Write a content and the stream of the output.

    Parameters
    ----------
    content : TokenSpans or None
        Leading tokens of the prompt that others may share.
    output_stream : str, optional
        Stream that the output belongs to.

    Examples
    --------
    >>> write_content((Span("a b", 0, 3), Span("c", 2, 5)), "d")
    'a%20b+3 c@2+5 >d'
    """
    words = [
        f"{quote(stream, safe=':/')}{f'@{start}' if start else ''}+{tokens}" for stream, start, tokens in content or ()
    ]
    if output_stream is not None:
        words.append(f">{quote(output_stream, safe=':/')}")
    return " ".join(words)


def read_content(text: str) -> tuple[TokenSpans | None, str | None]:
    """Read what `write_content` wrote.

    Raises
    ------
    ValueError
        With the rule that the text breaks.

    Examples
    --------
    >>> read_content("a%20b+3 >d")
    ((Span(stream='a b', start=0, tokens=3),), 'd')
    >>> read_content("")
    (None, None)
    """
    words = text.split(" ") if text else []
    output_stream = None
    if words and words[-1].startswith(">"):
        output_stream = unquote(words.pop()[1:])
    spans = []
    for word in words:
        found = _SPAN.fullmatch(word)
        if found is None:
            raise ValueError(_RULE)
        stream, start, tokens = found.groups()
        spans.append(Span(unquote(stream), int(start or 0), int(tokens)))
    return tuple(spans) or None, output_stream
