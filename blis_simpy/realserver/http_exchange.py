"""One request to a real server and its response, timed by a clock that does not jump."""

from __future__ import annotations

import json
import re
import time
from functools import cache
from typing import Any

import attrs

__all__ = ["ERROR", "OK", "TIMEOUT", "Clock", "Exchange", "without_secret"]

OK, ERROR, TIMEOUT = "ok", "error", "timeout"
"""Statuses of an exchange."""

_LONGEST_MESSAGE = 500
_SAID = ("text", "content")
_ALSO_TOKENS = ("reasoning_content", "reasoning", "tool_calls", "function_call", "refusal", "audio")


class Clock:
    """Time since the start of a run, without later corrections of the wall clock, which is read once."""

    def __init__(self) -> None:
        self.started_at = time.time_ns() // 1000
        self._origin = time.monotonic_ns()

    def elapsed_us(self) -> int:
        """Return the µs since the start."""
        return (time.monotonic_ns() - self._origin) // 1000

    def unix_us(self) -> int:
        """Return the µs since 1970 (UTC)."""
        return self.started_at + self.elapsed_us()


@attrs.define(eq=False)
class Exchange:
    """Outcome of one request. Instants are µs since 1970 (UTC); 0 = never.

    Attributes
    ----------
    sent_at : int, µs
        Start of sending.
    first_chunk_at, last_chunk_at : int, µs
        Arrival of the first and last chunk with tokens: text, reasoning, or a tool call.
    num_chunks : int
        Chunks with tokens; 1 for a response in one piece.
    num_events : int
        All chunks of a stream, those without tokens (role, end, usage) included.
    status : {"ok", "error", "timeout"}
        Outcome.
    error_message : str
        Reason of the outcome; empty for ``ok``.
    finish_reason : str
        Reason why the model stopped, as reported by the server.
    input_tokens, output_tokens : int
        Lengths of prompt and response as reported by the server; 0 if it did not report them.
    has_usage : bool
        Whether the server reported them.
    malformed_chunks : int
        Chunks of a stream that were not JSON.
    text : str
        Text of the response.
    is_unreachable : bool
        Whether no connection was established.
    secret : str
        API key, which messages must not show, even if the server returns it.
    """

    sent_at: int
    first_chunk_at: int = 0
    last_chunk_at: int = 0
    num_chunks: int = 0
    num_events: int = 0
    status: str = OK
    error_message: str = ""
    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    has_usage: bool = False
    malformed_chunks: int = 0
    text: str = ""
    is_unreachable: bool = False
    secret: str = attrs.field(default="", repr=False)

    def stamp(self, now: int) -> None:
        """Record the arrival of a chunk with tokens."""
        self.first_chunk_at = self.first_chunk_at or now
        self.last_chunk_at = now
        self.num_chunks += 1

    def fail(self, status: str, message: str, *, keep_times: bool = False) -> None:
        """Record a failure.

        The chunk times are cleared by default, so that they are not taken for latencies.
        """
        self.status = status
        self.error_message = self._shown(message)
        if not keep_times:
            self.first_chunk_at = self.last_chunk_at = 0

    def _shown(self, text: str) -> str:
        """Text of a server on one line, without the key in any spelling."""
        text = without_secret(text, self.secret)
        printable = "".join(character if character.isprintable() else " " for character in text)
        return " ".join(printable.split())[:_LONGEST_MESSAGE]

    def take(self, data: bytes | bytearray) -> bool:
        """Read one chunk of a response.

        Returns
        -------
        bool
            Whether it has tokens.

        Raises
        ------
        ValueError
            If it is not a JSON object.
        """
        try:
            piece = json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(piece, dict):
            # A ValueError, like the errors of the JSON decoder, so that the caller handles one type.
            raise ValueError(f"expected an object, got {type(piece).__name__}")  # noqa: TRY004
        if problem := piece.get("error"):
            message = problem.get("message", problem) if isinstance(problem, dict) else problem
            self.fail(ERROR, f"error in the response: {message}")
        choice = _first(piece.get("choices"))
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self.finish_reason = self._shown(reason)
        parts = (choice, *(part for name in ("delta", "message") if isinstance(part := choice.get(name), dict)))
        text = "".join(found for part in parts for name in _SAID if isinstance(found := part.get(name), str))
        self.text += text
        if isinstance(usage := piece.get("usage"), dict):
            self.has_usage = True
            self.input_tokens = _count(usage.get("prompt_tokens"))
            self.output_tokens = _count(usage.get("completion_tokens"))
        return bool(text) or any(part.get(name) for part in parts for name in _ALSO_TOKENS)


def without_secret(text: str, secret: str) -> str:
    r"""Replace a secret in a text, also where it is escaped as in JSON, a URL or HTML, or contains blanks.

    Examples
    --------
    >>> without_secret(r"a sk-1/2 b sk-1\/2 c sk-1%2F2 d sk-1\u002f2", "sk-1/2")
    'a *** b *** c *** d ***'
    """
    return _secret_pattern(secret).sub("***", text) if secret else text


@cache
def _secret_pattern(secret: str) -> re.Pattern[str]:
    def spellings(character: str) -> str:
        code = ord(character)
        escaped = rf"(?i:\\u{code:04x}|\\x{code:02x}|%{code:02x}|&\#x0*{code:x};|&\#0*{code};)"
        return rf"(?:\\?{re.escape(character)}|{escaped})"

    return re.compile(r"\s*".join(map(spellings, secret)))


def _first(choices: Any) -> dict[str, Any]:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else 0
