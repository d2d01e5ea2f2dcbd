"""Conversations as ShareGPT exports them: messages of users and models, without times and token counts.

Each answer of the model becomes a request, a round of the conversation, whose prompt consists of all previous messages.
Equal texts are equal tokens, so earlier rounds and common beginnings of conversations are found in the prefix cache.
Lengths are counted by a tokenizer, if one is given, or estimated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import attrs
import numpy as np

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.settings.fields import setting
from blis_simpy.trace_files.json_records import Record, each_record, listed, read_json, words
from blis_simpy.trace_files.timestamps import check_reach
from blis_simpy.trace_files.trace import TraceHeader
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from blis_simpy.trace_files.trace import Trace

__all__ = ["ShareGPT", "estimated_tokens"]

_BYTES_PER_TOKEN = 4
_MODELS = frozenset({"gpt", "assistant", "chatgpt", "bing", "bard", "model"})
_OTHERS = frozenset({"human", "user", "system", "tool"})


class _Round(NamedTuple):
    """A request, without its arrival."""

    input_tokens: int
    output_tokens: int
    content: TokenSpans
    output_stream: str | None


def estimated_tokens(text: str) -> int:
    """Estimate the tokens of a text: one for every four bytes of UTF-8, rounded up.

    Examples
    --------
    >>> estimated_tokens("Hello, world!"), estimated_tokens("")
    (4, 0)
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


@attrs.frozen(kw_only=True)
class ShareGPT:
    """Conversations in the layout of ShareGPT (JSON); rates and think times are options."""

    rate: float | None = setting(
        default=None,
        help="Conversations that begin each second, or text like 30/min; required, as the file has no times.",
        unit="1/s",
        gt=0,
        dimension="rate",
        flag="--rate",
    )
    arrivals: str = setting(
        default="poisson", help="How conversations begin.", choices=("constant", "poisson"), flag="--arrivals"
    )
    think_time: int = setting(
        default=10_000_000,
        help="From the arrival of a round to that of the next one, ticks or text like 30s.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--think-time",
    )
    seed: int = setting(default=42, help="Seed of the arrivals.", ge=0, flag="--seed")
    tokenizer: Any = setting(
        default=None, help="Callable that gives the tokens of a text, or their number; unset: one for every four bytes."
    )

    not_kept: ClassVar[str] = "the texts"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is a list of objects with conversations."""
        return start.lstrip().startswith(b"[") and b'"conversations"' in start

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; `max_rows` is the number of conversations.

        Messages after the last answer, and empty answers, are left out.
        """
        if self.rate is None:
            raise ScenarioError.at("rate", "must be given: conversations have no times")
        found = read_json(path)
        if not isinstance(found, list):
            raise WorkloadTraceError.at("", "must be a list of conversations", file=path)
        records = (Record(values, f"[{number}]") for number, values in enumerate(found[:max_rows]))
        names: list[str] = []
        numbers: list[int] = []
        rounds: list[_Round] = []
        starts = self._starts(len(found[:max_rows])).tolist()
        arrivals: list[int] = []
        for number, (name, conversation) in enumerate(each_record(path, records, self._conversation)):
            for index, one in enumerate(conversation):
                names.append(name or str(number))
                numbers.append(index)
                rounds.append(one)
                arrivals.append(starts[number] + index * self.think_time)
        check_reach(max(arrivals, default=0), "think_time", self.think_time)
        return build_trace(
            path,
            arrivals=arrivals,
            input_tokens=[one.input_tokens for one in rounds],
            output_tokens=[one.output_tokens for one in rounds],
            header=TraceHeader(mode="generated"),
            contents=[one.content for one in rounds],
            output_streams=[one.output_stream for one in rounds],
            session_id=names,
            round_index=np.array(numbers, np.int64),
        )

    def _starts(self, conversations: int) -> NDArray[np.int64]:
        """First arrivals of the conversations, ticks."""
        mean_gap_us = 1e6 / (self.rate or 1.0)
        check_reach(conversations * mean_gap_us, "rate", self.rate)
        if self.arrivals == "constant":
            instants = np.arange(conversations) * mean_gap_us
        else:
            random = RandomStreams(self.seed).generator("trace/conversations")
            instants = np.cumsum(random.exponential(mean_gap_us, conversations))
        starts: NDArray[np.int64] = np.rint(instants).astype(np.int64)
        return starts

    def _conversation(self, record: Record) -> tuple[str, list[_Round]]:
        turns = record.get("conversations", listed)
        said: list[tuple[bool, Span]] = []
        for number, values in enumerate(turns):
            turn = Record(values, f"{record.path}.conversations[{number}]")
            is_answer = turn.get("from", _speaker) in _MODELS
            text = turn.get("value", words)
            if tokens := self._tokens(turn, text):
                digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
                said.append((is_answer, Span(f"text:{digest}", 0, tokens)))
        return str(record.get("id", lambda value: value, "")), list(_rounds(said))

    def _tokens(self, turn: Record, text: str) -> int:
        if self.tokenizer is None:
            return estimated_tokens(text)
        count: Callable[[str], Any] = self.tokenizer
        found = count(text)
        if isinstance(found, Sized):
            return len(found)
        if isinstance(found, int) and found >= 0:
            return int(found)
        raise turn.error("value", "must become tokens or their number by the tokenizer", found)


def _rounds(said: list[tuple[bool, Span]]) -> Iterator[_Round]:
    last = max((place for place, (is_answer, _) in enumerate(said) if is_answer), default=0)
    for place, (is_answer, span) in enumerate(said):
        # Two answers in a row are one request for each; an answer before any question is part of the context.
        if is_answer and place:
            content = tuple(earlier for _, earlier in said[:place])
            yield _Round(
                sum(earlier.tokens for earlier in content), span.tokens, content, span.stream if place < last else None
            )


def _speaker(value: Any) -> str:
    if not isinstance(value, str) or value not in _MODELS | _OTHERS:
        raise ValueError(f"must be one of {', '.join(sorted(_MODELS | _OTHERS))}")
    return str(value)
