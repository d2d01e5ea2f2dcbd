"""Sessions of agents as directed acyclic graphs of calls: which call waits for which, and what its prompt repeats."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import attrs

from blis_simpy.core.token_spans import TokenSpans
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.bounds import MAX_COUNT, MAX_TICK

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CONTEXTS", "Call", "CallGraph"]

CONTEXTS = ("append", "join", "fresh", "compact")
"""What a prompt has before its own tokens: see `Call`."""


@attrs.frozen(kw_only=True)
class Call:
    """One request of a session.

    Attributes
    ----------
    input_tokens : int
        New tokens of the prompt, after those of its context.
    output_tokens : int
        Output length.
    after : tuple of int
        Positions of the calls that must have ended; the first one is the main parent. Without any, the call starts
        with the session.
    wait_us : int, µs
        Time of tools or of a human after the last of them has ended.
    context : str
        ``append``: the prompt repeats prompt and output of the main parent. ``join``: and the outputs of the others.
        ``fresh``: the shared prefix only. ``compact``: the shared prefix and a summary. A call without a parent is
        fresh.
    summary_tokens : int
        Length of the summary; new tokens, which no earlier prompt has.
    prompt_tokens : int or None
        Recorded length of the whole prompt; None if it follows from the context.
    content : TokenSpans
        Recorded content of the whole prompt, in place of the context; empty = none.
    started_us : int or None, µs
        Recorded start, from the start of the session.
    client : str
        Label.
    """

    input_tokens: int
    output_tokens: int
    after: tuple[int, ...] = ()
    wait_us: int = 0
    context: str = "append"
    summary_tokens: int = 0
    prompt_tokens: int | None = None
    content: TokenSpans = ()
    started_us: int | None = None
    client: str = ""


@attrs.frozen(kw_only=True)
class CallGraph:
    """One session: calls in an order in which each comes after those that it waits for.

    Attributes
    ----------
    name : str
        Name of the session.
    calls : tuple of Call
        At least one.
    prefix : TokenSpans
        Shared prefix, such as system prompt and tools; sessions with equal spans share it.
    started_us : int, µs
        Recorded start, from the start of the recording.

    Raises
    ------
    ScenarioError
        If a number is negative or too large, a context is unknown or a call waits for one that does not precede it.
    """

    name: str
    calls: tuple[Call, ...]
    prefix: TokenSpans = ()
    started_us: int = 0

    def __attrs_post_init__(self) -> None:
        if not self.calls:
            raise ScenarioError.at("calls", "must have at least one call")
        if problems := list(chain.from_iterable(map(_problems, range(len(self.calls)), self.calls))):
            raise ScenarioError(problems)

    @property
    def has_starts(self) -> bool:
        """Whether the start of each call is recorded."""
        return all(call.started_us is not None for call in self.calls)


def _problems(position: int, call: Call) -> Iterator[Problem]:
    for name in ("input_tokens", "output_tokens", "wait_us", "summary_tokens"):
        value, largest = getattr(call, name), MAX_TICK if name == "wait_us" else MAX_COUNT
        if type(value) is not int or value < 0:
            yield Problem(path=f"calls[{position}].{name}", rule="must be a whole number >= 0", value=value)
        elif value > largest:
            yield Problem(path=f"calls[{position}].{name}", rule=f"must be <= {largest}", value=value)
    if call.context not in CONTEXTS:
        rule = f"must be one of {', '.join(CONTEXTS)}"
        yield Problem(path=f"calls[{position}].context", rule=rule, value=call.context)
    if not all(0 <= parent < position for parent in call.after):
        rule = "must be calls that come before it"
        yield Problem(path=f"calls[{position}].after", rule=rule, value=list(call.after))
    if len(set(call.after)) < len(call.after):
        yield Problem(path=f"calls[{position}].after", rule="must not repeat a call", value=list(call.after))
