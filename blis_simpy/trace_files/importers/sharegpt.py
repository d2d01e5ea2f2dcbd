"""Conversations in the format of ShareGPT and its successors: messages without times and token counts.

Each answer of the model becomes a request: a round of a session, with all earlier messages as its prompt. Equal texts
are equal tokens, so the prefix cache of a replica finds earlier rounds, and common beginnings of conversations. Lengths
are counted by a tokenizer, or estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from blis_simpy.errors import WorkloadTraceError
from blis_simpy.files.paths import is_special
from blis_simpy.files.text_files import read_start
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.json_records import Record, each_record, json_lines, listed, read_json
from blis_simpy.trace_files.pace import Paced
from blis_simpy.trace_files.text_tokens import TOKENIZER_HELP, num_tokens, plain_text, span_of
from blis_simpy.trace_files.timestamps import check_reach
from blis_simpy.trace_files.trace import TraceHeader
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blis_simpy.core.token_spans import Span, TokenSpans
    from blis_simpy.trace_files.trace import Trace

__all__ = ["ShareGPT"]

_MODELS = frozenset({"gpt", "assistant", "chatgpt", "bing", "bard", "model"})
_OTHERS = frozenset({"human", "user", "system", "tool", "function", "developer"})
_LISTS = ("conversations", "conversation", "messages")
_SPEAKERS = ("from", "role")
_TEXTS = ("value", "content")
_IDS = ("id", "conversation_id", "session_id", "conversation_hash")


class _Round(NamedTuple):
    """A request, without its arrival."""

    input_tokens: int
    output_tokens: int
    content: TokenSpans
    output_stream: str | None


@settings_class
class ShareGPT(Paced):
    """Conversations in the layouts of ShareGPT and OpenAI (JSON, JSON lines), without times."""

    arrivals: str = setting(
        default="poisson", help="Gaps between arrivals at a rate.", choices=("constant", "poisson"), flag="--arrivals"
    )
    think_time: int = setting(
        default=10_000_000,
        help="Time from the arrival of a round to that of the next: ticks, or text such as 30s.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--think-time",
    )
    tokenizer: Any = setting(default=None, help=TOKENIZER_HELP)

    fields: ClassVar[str] = (
        "conversations, conversation or messages: a list of from and value, or role and content; optional id"
    )
    times: ClassVar[str] = "none: rate and think_time"
    not_kept: ClassVar[str] = "the texts, messages after the last answer"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file starts with an object with messages and without times."""
        text = start.lstrip()
        begins = any(f'"{key}"'.encode() in text for key in _LISTS) and any(
            f'"{key}"'.encode() in text for key in _SPEAKERS
        )
        return (
            text.startswith((b"[", b"{")) and begins and b'"timestamp"' not in text and b'"request_inputs"' not in text
        )

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; `max_rows` limits the number of conversations.

        Messages after the last answer, and empty answers, are left out.
        """
        if self.rate is None:
            raise self.no_rate("conversations have no times")
        conversations = list(each_record(path, islice(_records(path), max_rows), self._conversation))
        starts = self.arrivals_at(self.rate, len(conversations)).tolist()
        names: list[str] = []
        numbers: list[int] = []
        rounds: list[_Round] = []
        arrivals: list[int] = []
        for number, (name, conversation) in enumerate(conversations):
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
            not_kept=["the texts"],
            session_id=names,
            round_index=np.array(numbers, np.int64),
        )

    def _conversation(self, record: Record) -> tuple[str, list[_Round]]:
        key = _present(record, _LISTS)
        messages: list[tuple[bool, Span]] = []
        for number, values in enumerate(record.get(key, listed)):
            place = f"{record.path}.{key}[{number}]".removeprefix(".")
            message = Record(values, place, record.line)
            is_answer = message.get(_present(message, _SPEAKERS), _speaker) in _MODELS
            source = _present(message, _TEXTS)
            # The content may be null, as in a tool call, but the key is required.
            text = message.get(source, plain_text, *([""] if _has(message, source) else []))
            try:
                tokens = num_tokens(text, self.tokenizer)
            except ValueError as broken:
                raise message.error(source, str(broken)) from None
            if tokens:
                messages.append((is_answer, span_of(text, tokens)))
        name = next((str(record.values[key]) for key in _IDS if record.values.get(key) is not None), "")
        return name, list(_rounds(messages))


def _records(path: str) -> Iterator[Record]:
    """Conversations of a file: a list, or one per line."""
    if not is_special(path) and read_start(path, WorkloadTraceError).lstrip().startswith(b"["):
        yield from (Record(values, f"[{number}]") for number, values in enumerate(read_json(path)))
    else:
        for record in json_lines(path):
            if isinstance(record.values, list):
                yield from (Record(values, f"[{number}]") for number, values in enumerate(record.values))
            else:
                yield record


def _present(record: Record, keys: tuple[str, ...]) -> str:
    """Return the first of some keys that a record has; the first key if it has none."""
    return next((key for key in keys if _has(record, key)), keys[0])


def _has(record: Record, key: str) -> bool:
    return isinstance(record.values, Mapping) and key in record.values


def _rounds(messages: list[tuple[bool, Span]]) -> Iterator[_Round]:
    last = max((place for place, (is_answer, _) in enumerate(messages) if is_answer), default=0)
    for place, (is_answer, span) in enumerate(messages):
        # Each of two consecutive answers is a request; an answer without a question is only part of later prompts.
        if is_answer and place:
            content = tuple(earlier for _, earlier in messages[:place])
            yield _Round(
                sum(earlier.tokens for earlier in content), span.tokens, content, span.stream if place < last else None
            )


def _speaker(value: Any) -> str:
    if not isinstance(value, str) or value.lower() not in _MODELS | _OTHERS:
        raise ValueError(f"must be one of {', '.join(sorted(_MODELS | _OTHERS))}")
    return value.lower()
