"""Prompts of the calls of a session: their lengths, and the tokens that they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.token_spans import ContinuedSpans, Span, TokenSpans, input_stream, output_stream, spans

if TYPE_CHECKING:
    from blis_simpy.core.call_graph import Call, CallGraph

__all__ = ["SessionPrompts"]


class SessionPrompts:
    """Prompts of one session, made call by call.

    Parameters
    ----------
    graph : CallGraph
        The session.
    session : str
        Its name in the simulation. A recorded session that is repeated under another name has only its prefix in
        common with others, so that it does not find its own earlier copy in the prefix cache.
    accumulates : bool
        Whether each call with a parent repeats its prompt and output, whatever its context.
    """

    def __init__(self, graph: CallGraph, session: str, *, accumulates: bool = False) -> None:
        self._graph = graph
        self._session = session
        self._accumulates = accumulates
        self._prompts: dict[int, TokenSpans] = {}

    def prompt(self, position: int, outputs: dict[int, int]) -> TokenSpans:
        """Return the content of the prompt of a call; the sum of its spans is its length.

        Parameters
        ----------
        position : int
            The call. Those that it waits for have been made.
        outputs : dict of int to int
            Output length of each of them.
        """
        call = self._graph.calls[position]
        own = spans((input_stream(self._session, position), call.input_tokens))
        content = self._content(position, call, own, outputs)
        self._prompts[position] = content
        return content

    def _content(self, position: int, call: Call, own: TokenSpans, outputs: dict[int, int]) -> TokenSpans:
        repeats = bool(call.after) and (self._accumulates or call.context in ("append", "join"))
        if call.prompt_tokens is not None and not self._accumulates:
            return self._recorded(position, call, call.prompt_tokens)
        if not repeats:
            summary = spans((f"session:{self._session}:summary:{position}", call.summary_tokens))
            return (*self._graph.prefix, *(summary if call.context == "compact" else ()), *own)
        main, *others = call.after
        # In the recorded order, a call may start before its parent.
        earlier = self._prompts.get(main) or self.prompt(main, outputs)
        answers = [main, *(others if call.context == "join" else ())]
        added = spans(*((output_stream(self._session, parent), outputs[parent]) for parent in answers))
        return ContinuedSpans.of(earlier, *added, *own)

    def _recorded(self, position: int, call: Call, tokens: int) -> TokenSpans:
        """Content of a recorded prompt; that of a copy shares the prefix of the session only."""
        rest = spans((input_stream(self._session, position), tokens - sum(span.tokens for span in call.content)))
        if self._session == self._graph.name:
            return (*call.content, *rest)
        content = []
        shared = sum(span.tokens for span in self._graph.prefix)
        begin = 0
        for span in call.content:
            own = max(min(begin + span.tokens - shared, span.tokens), 0)
            if own < span.tokens:
                content.append(span._replace(tokens=span.tokens - own))
            if own:
                content.append(Span(f"session:{self._session}:{span.stream}", span.start + span.tokens - own, own))
            begin += span.tokens
        return (*content, *rest)
