"""Traces of Mooncake and similar ones: lengths and hashes of prompt blocks.

A hash identifies a block of tokens and all blocks before it, so two prompts share the blocks of the common prefix of
their lists of hashes. The last block may be shorter. The hashes become the content of the prompts, for the prefix cache
of a replica with any block size.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from blis_simpy.core.call_graph import Call, CallGraph
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.errors import WorkloadTraceError
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.json_records import Record, count, each_record, json_lines, listed
from blis_simpy.trace_files.json_rows import names_of
from blis_simpy.trace_files.pace import Paced
from blis_simpy.trace_files.text_tokens import TOKENIZER_HELP, num_tokens, plain_text, span_of
from blis_simpy.trace_files.timestamps import check_reach, ticks_of
from blis_simpy.trace_files.trace_builder import build_trace, rounds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from blis_simpy.trace_files.trace import Trace

__all__ = ["Bailian", "Mooncake"]

_log = logging.getLogger(__name__)

_BLOCK_SIZES = tuple(2**exponent for exponent in range(8, -1, -1))
_PROMPTS = ("input_length", "text_input", "messages")


@attrs.frozen
class _Row:
    """One request of a file.

    Attributes
    ----------
    line : int or None
        Line of the file.
    arrival, delay : int or None, ticks
        Arrival time, or time since the arrival of the previous round.
    input_tokens, output_tokens : int
        Lengths.
    hashes : tuple of int
        Hashes of the blocks of the prompt.
    texts : TokenSpans
        Content of a prompt given as text.
    session, parent : str
        Session, and the session that it continues; empty = none.
    wait : int or None, ticks
        Time of tools before it, after the response to the previous round.
    waits_for : tuple of str
        Sessions whose rows so far have to end first.
    """

    line: int | None
    arrival: int | None
    delay: int | None
    input_tokens: int
    output_tokens: int
    hashes: tuple[int, ...]
    texts: TokenSpans
    session: str
    parent: str = ""
    wait: int | None = None
    waits_for: tuple[str, ...] = ()


@settings_class
class Mooncake(Paced):
    """Mooncake traces and session traces of aiperf (JSON lines); their block hashes drive the prefix cache."""

    block_size: int | None = setting(
        default=None,
        help="Tokens per hash; unset means the usual size of the format, or the power of two that fits all prompts.",
        unit="tokens",
        ge=1,
        flag="--block-size",
    )
    context: str = setting(
        default="recorded",
        help="Content of the rows of a session: whole prompts (recorded), or only the part after the earlier prompts "
        "and outputs (accumulate), as in files of aiperf.",
        choices=("recorded", "accumulate"),
        flag="--context",
    )
    tokenizer: Any = setting(default=None, help=TOKENIZER_HELP)

    fields: ClassVar[str] = (
        "timestamp, input_length, text_input or messages, output_length; optional hash_ids, session_id, delay, "
        "tool_wait_ms, wait_for"
    )
    times: ClassVar[str] = "ms; without timestamps by rate"
    not_kept: ClassVar[str] = "delays after responses, which become delays after arrivals"
    unit: ClassVar[str] = "ms"
    session_key: ClassVar[str] = "session_id"
    usual_block_size: ClassVar[int] = 512

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first object has the length or text of a prompt, and keys of this format."""
        keys = set(names_of(start)) if start.lstrip().startswith(b"{") else set()
        return (
            "chat_id" not in keys
            and not keys.isdisjoint(_PROMPTS)
            and not keys.isdisjoint({"timestamp", "delay", "hash_ids", "output_length"})
        )

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; times are milliseconds, and requests without hashes share no prefix."""
        rows = list(islice(each_record(path, json_lines(path), self._row), max_rows))
        sessions = self.sessions(rows)
        arrivals = self._arrivals(path, rows, sessions)
        inputs, contents, output_streams = self._prompts(path, rows, sessions)
        trace = build_trace(
            path,
            arrivals=arrivals,
            input_tokens=inputs,
            output_tokens=[row.output_tokens for row in rows],
            contents=contents,
            output_streams=output_streams,
            not_kept=[Mooncake.not_kept if any(row.delay is not None for row in rows) else ""],
            session_id=sessions,
        )
        trace.columns["round_index"] = rounds_of(trace.columns["session_id"])
        if not any(row.delay is not None or row.wait is not None or row.waits_for for row in rows):
            return trace
        accumulates = self.context == "accumulate"
        return attrs.evolve(trace, sessions=tuple(_graphs(path, rows, sessions, contents, accumulates=accumulates)))

    def sessions(self, rows: Sequence[_Row]) -> list[str]:
        """Return the session of each row; empty = none."""
        return [row.session for row in rows]

    def _row(self, record: Record) -> _Row:
        texts: list[Span] = []
        present = next((key for key in _PROMPTS if record.get(key, lambda value: value, None) is not None), _PROMPTS[0])
        if present == "text_input":
            texts = [self._text(record, present, record.get(present, plain_text))]
        elif present == "messages":
            messages = record.get(present, listed)
            for number, values in enumerate(messages):
                message = Record(values, f"{present}[{number}]", record.line)
                texts.append(self._text(message, "content", message.get("content", plain_text, "")))
        tokens = record.get("input_length", count) if present == "input_length" else sum(text.tokens for text in texts)
        return _Row(
            line=record.line,
            arrival=record.get("timestamp", self._ticks, None),
            delay=record.get("delay", self._ticks, None),
            input_tokens=tokens,
            output_tokens=record.get("output_length", count),
            hashes=record.get("hash_ids", _hashes, ()),
            texts=tuple(text for text in texts if text.tokens),
            session=record.get(self.session_key, _name, ""),
            parent=record.get("parent_chat_id", _name, ""),
            wait=record.get("tool_wait_ms", _milliseconds, None),
            waits_for=record.get("wait_for", _names, ()),
        )

    def _ticks(self, value: Any) -> int:
        return ticks_of(value, self.unit)

    def _text(self, record: Record, key: str, text: str) -> Span:
        try:
            return span_of(text, num_tokens(text, self.tokenizer))
        except ValueError as broken:
            raise record.error(key, str(broken)) from None

    def _arrivals(self, path: str, rows: Sequence[_Row], sessions: Sequence[str]) -> NDArray[np.int64]:
        """Arrivals in file order: recorded, or at a rate; delays count from the arrival of the previous round."""
        first_place: dict[str, int] = {}
        for place, session in enumerate(sessions):
            first_place.setdefault(session or f"row {place}", place)
        firsts = [rows[place] for place in first_place.values()]
        if self.rate is not None:
            starts = self.arrivals_at(self.rate, len(firsts)).tolist()
        else:
            without = [row for row in firsts if row.arrival is None and not row.waits_for]
            if len(without) == len(firsts) > 0:
                raise self.no_rate("the file has no timestamps")
            if without:
                raise WorkloadTraceError.at("timestamp", "is missing", file=path, line=without[0].line)
            starts = [row.arrival for row in firsts]
        start_of = dict(zip(first_place, starts, strict=True))
        latest: dict[str, int] = {}
        arrivals = []
        for place, row in enumerate(rows):
            key = sessions[place] or f"row {place}"
            first = rows[first_place[key]]
            start = start_of[key]
            if first is row and start is not None:
                arrival = start
            elif first is row:
                awaited = max((latest[other] for other in row.waits_for if other in latest), default=0)
                arrival = awaited + (row.delay or 0) + (row.wait or 0)
            elif row.delay is None and start is not None and row.arrival is not None and first.arrival is not None:
                arrival = start + row.arrival - first.arrival
            else:
                arrival = latest[key] + (row.delay or 0) + (row.wait or 0)
            latest[key] = arrival
            arrivals.append(arrival)
        check_reach(max(arrivals, default=0), "rate", self.rate)
        return np.array(arrivals, np.int64)

    def _prompts(
        self, path: str, rows: Sequence[_Row], sessions: Sequence[str]
    ) -> tuple[list[int], list[TokenSpans | None], list[str | None]]:
        """Length and content of each prompt, and the stream of each output in a later prompt."""
        block_size = self._block_size(path, rows)
        known: dict[tuple[int, int], Span] = {}
        earlier: defaultdict[str, TokenSpans] = defaultdict(tuple)
        inputs: list[int] = []
        contents: list[TokenSpans | None] = []
        streams: list[str | None] = []
        accumulates = self.context == "accumulate"
        for place, row in enumerate(rows):
            own = row.texts or _content(row, block_size, known)
            session, stream = sessions[place], None
            if accumulates and session:
                unshared = row.input_tokens - sum(span.tokens for span in own)
                if unshared:
                    own = (*own, Span(f"row:{place}", 0, unshared))
                own = (*earlier[session], *own)
                stream = f"answer:{place}"
                earlier[session] = (*own, Span(stream, 0, row.output_tokens)) if row.output_tokens else own
            inputs.append(sum(span.tokens for span in own) if accumulates and session else row.input_tokens)
            contents.append(own or None)
            streams.append(stream)
        return inputs, contents, streams

    def _block_size(self, path: str, rows: Iterable[_Row]) -> int:
        """Return the number of tokens per hash; rows that contradict it raise an error."""
        size = self.block_size or self.usual_block_size
        hashed = [row for row in rows if row.hashes]
        wrong = [row for row in hashed if len(row.hashes) > -(-row.input_tokens // size)]
        if wrong and self.block_size is None:
            for other in _BLOCK_SIZES:
                if all(len(row.hashes) == -(-row.input_tokens // other) for row in hashed):
                    _log.warning("%s: the numbers of hashes fit %d tokens per hash, not %d", path, other, size)
                    return int(other)
        if wrong:
            blocks = -(-wrong[0].input_tokens // size)
            rule = f"must not be more than the {blocks} blocks of {size} tokens of the prompt"
            raise WorkloadTraceError.at("hash_ids", rule, list(wrong[0].hashes), file=path, line=wrong[0].line)
        return size


@settings_class
class Bailian(Mooncake):
    """Traces of Alibaba's Bailian with chat_id and parent_chat_id (JSON lines); 16 tokens per hash."""

    fields: ClassVar[str] = "chat_id, parent_chat_id, timestamp, input_length, output_length; optional hash_ids"
    times: ClassVar[str] = "s"
    not_kept: ClassVar[str] = "types"
    unit: ClassVar[str] = "s"
    session_key: ClassVar[str] = "chat_id"
    usual_block_size: ClassVar[int] = 16

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first object has the keys."""
        return start.lstrip().startswith(b"{") and {"chat_id", "parent_chat_id", "timestamp"} <= set(names_of(start))

    def sessions(self, rows: Sequence[_Row]) -> list[str]:
        """Return the session of each row: the first chat in the chain of its parents."""
        roots: dict[str, str] = {}
        for row in rows:
            parent = "" if row.parent == "-1" else row.parent
            roots[row.session] = roots.get(parent, parent or row.session)
        return [roots[row.session] for row in rows]


def _graphs(
    path: str,
    rows: Sequence[_Row],
    sessions: Sequence[str],
    contents: Sequence[TokenSpans | None],
    *,
    accumulates: bool,
) -> Iterator[CallGraph]:
    """Make the sessions; those that wait for one another are one session, with the name of the first."""
    root = {session: session for session in sessions}

    def root_of(session: str) -> str:
        while root[session] != session:
            session = root[session]
        return session

    seen: set[str] = set()
    for row, session in zip(rows, sessions, strict=True):
        for other in row.waits_for:
            if other not in seen:
                rule = "must be a session with an earlier row"
                raise WorkloadTraceError.at("wait_for", rule, other, file=path, line=row.line)
            root[root_of(session)] = root_of(other)
        seen.add(session)
    members: defaultdict[str, list[int]] = defaultdict(list)
    for place, session in enumerate(sessions):
        # Rows without a session are sessions of their own.
        members[root_of(session) if session else f"row-{place}"].append(place)
    starts = {name: rows[places[0]].arrival for name, places in members.items()}
    first = min((start for start in starts.values() if start is not None), default=0)
    for name, places in members.items():
        latest: dict[str, int] = {}
        calls = []
        for number, place in enumerate(places):
            row, session = rows[place], sessions[place]
            parents = [latest[other] for other in (session, *row.waits_for) if other in latest]
            calls.append(
                Call(
                    input_tokens=row.input_tokens,
                    output_tokens=row.output_tokens,
                    after=tuple(dict.fromkeys(parents)),
                    wait_us=(row.delay or 0) + (row.wait or 0),
                    context="append" if accumulates and session in latest else "fresh",
                    prompt_tokens=None if accumulates else row.input_tokens,
                    content=() if accumulates else contents[place] or (),
                    started_us=None if row.arrival is None else row.arrival - (starts[name] or 0),
                )
            )
            latest[session] = number
        yield CallGraph(name=name, calls=tuple(calls), started_us=(starts[name] or first) - first)


def _milliseconds(value: Any) -> int:
    return ticks_of(value, "ms")


def _names(value: Any) -> tuple[str, ...]:
    """Read one label, or a list of labels."""
    return tuple(map(_name, value)) if isinstance(value, list) else (_name(value),)


def _content(row: _Row, block_size: int, known: dict[tuple[int, int], Span]) -> TokenSpans:
    """Content of a prompt; equal blocks share an object."""

    def block(place: int, number: int) -> Span:
        held = min(block_size, row.input_tokens - place * block_size)
        return known.get((number, held)) or known.setdefault((number, held), Span(f"hash:{number}", 0, held))

    return tuple(map(block, range(len(row.hashes)), row.hashes))


def _hashes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise ValueError("must be a list of whole numbers")
    return tuple(value)


def _name(value: Any) -> str:
    """Read a label, which may be a number."""
    if isinstance(value, str) or type(value) is int:
        return str(value)
    raise ValueError("must be text or a whole number")
