"""Texts of prompts of which only the length is given.

It owns the words of token streams and the responses that later rounds repeat. One token is written as one word and a
blank; the server reports its own count. Leading tokens that prompts share are words drawn for their stream, the same in
every prompt with this stream. A response that a later round repeats is the text that the server sent. All other tokens
are ``hello``, or words drawn for the request.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blis_simpy.core.token_spans import output_stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.core.request import Request
    from blis_simpy.core.token_spans import Span

__all__ = ["WORDS", "Prompts", "Turn", "joined"]

_TEXT = """
acorn amber anchor apron arrow atlas badge bamboo barley basil beacon birch blanket bottle branch bridge bronze
bucket button cabin camel candle canyon carpet castle cellar chalk cherry cinder clover cobalt comet copper coral
cotton cradle crystal curtain daisy desert dolphin eagle ember engine falcon feather fiddle flannel forest fossil
garden ginger glacier granite hammer harbor hazel helmet hollow island ivory jacket jasmine kettle ladder lagoon
lantern lemon lichen linen lobster maple marble meadow mirror mosaic needle nutmeg oasis olive orchid otter paddle
pebble pepper pigeon pillow pocket quartz rabbit raven ribbon saddle saffron sandal silver spruce thistle timber
walnut
"""
WORDS = tuple(_TEXT.split())
"""Words of which shared text is made."""

_OTHER = "hello "


class Turn(NamedTuple):
    """Message of a conversation.

    Attributes
    ----------
    role : {"user", "assistant"}
        Author.
    text : str
        Text.
    """

    role: str
    text: str


class Prompts:
    """The prompts of one run.

    Parameters
    ----------
    seed : int
        Any integer. The words of a stream depend only on the seed and the name of the stream.
    distinct : bool, default False
        Whether tokens that are not shared are words drawn for the request, instead of ``hello``. Then the prefix cache
        of the server does not match them.

    Examples
    --------
    >>> from blis_simpy.core.token_spans import Span
    >>> from blis_simpy.core.request import Request
    >>> prompts = Prompts(seed=1)
    >>> prompts.turns(Request("plain", 0, input_tokens=3, output_tokens=1))
    [Turn(role='user', text='hello hello hello ')]
    >>> shared = Request("shared", 0, 4, 1, content=(Span("prefix:system", 0, 2),), prefix_group="system")
    >>> prompts.turns(shared)
    [Turn(role='user', text='button basil hello hello ')]
    """

    def __init__(self, seed: int, *, distinct: bool = False) -> None:
        self._seed = seed
        self._distinct = distinct
        self._drawn: dict[Span, str] = {}
        self._responses: dict[str, str] = {}

    def turns(self, request: Request) -> list[Turn]:
        """Write the prompt of a request.

        Parameters
        ----------
        request : Request
            A request whose spans each begin at the start of their stream.

        Returns
        -------
        list of Turn
            One user turn for a request without a session; otherwise the whole conversation, the new user turn last.
        """
        turns: list[Turn] = []
        named = 0
        responses = {output_stream(request.session, earlier) for earlier in range(request.round_index)}
        for span in request.content or ():
            named += span.tokens
            if span.stream in responses:
                turns.append(Turn("assistant", self._responses.get(span.stream, "") or self._words(span)))
            else:
                _add(turns, self._words(span))
        others = request.input_tokens - named
        # A prompt has at least one token after a shared prefix.
        if others or not request.session or not request.content:
            others = max(1, others)
            _add(turns, self._draw(f"request:{request.id}", others) if self._distinct else _OTHER * others)
        return turns

    def remember(self, request: Request, response: str) -> None:
        """Keep a response for the rounds that repeat it."""
        if request.output_stream is not None:
            self._responses[request.output_stream] = response

    def _words(self, span: Span) -> str:
        text = self._drawn.get(span)
        if text is None:
            text = self._drawn[span] = self._draw(span.stream, span.tokens)
        return text

    def _draw(self, stream: str, num_words: int) -> str:
        digest = hashlib.blake2b(f"{self._seed}\nprompt/{stream}".encode(), digest_size=32).digest()
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "little"))))
        return "".join(f"{WORDS[number]} " for number in rng.integers(len(WORDS), size=num_words))


def _add(turns: list[Turn], text: str) -> None:
    """Append a message of the user; join it with the previous one if that is of the user, too."""
    if turns and turns[-1].role == "user":
        text = turns.pop().text + text
    turns.append(Turn("user", text))


def joined(turns: Iterable[Turn]) -> str:
    """Write a conversation as one text, with a blank between words of different messages.

    Examples
    --------
    >>> joined([Turn("user", "hello "), Turn("assistant", "good morning"), Turn("user", "hello ")])
    'hello good morning hello '
    """
    text = ""
    for turn in turns:
        text += turn.text if not text or text[-1].isspace() or turn.text[:1].isspace() else f" {turn.text}"
    return text
