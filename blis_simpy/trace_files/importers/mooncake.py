"""Traces of Mooncake: lengths, and hashes that identify equal blocks of prompts.

A hash represents a block of tokens and all tokens before it, so the blocks that two prompts share are those of a
common beginning of their lists. The last block may be cut short. These hashes become the contents of the prompts,
and so what the prefix cache of a replica finds, whatever the size of its own blocks.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.settings.fields import setting
from blis_simpy.trace_files.json_records import Record, count, each_record, json_lines
from blis_simpy.trace_files.timestamps import ticks_of
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from blis_simpy.trace_files.trace import Trace

__all__ = ["Mooncake"]


@attrs.frozen(kw_only=True)
class Mooncake:
    """Mooncake traces (JSON lines); their block hashes drive the prefix cache."""

    block_size: int = setting(default=512, help="Number of tokens per hash.", unit="tokens", ge=1, flag="--block-size")

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first line is an object with the keys."""
        line = start.lstrip().partition(b"\n")[0]
        return line.startswith(b"{") and all(key in line for key in (b'"timestamp"', b'"input_length"'))

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; timestamps are milliseconds, requests without hashes share nothing."""
        rows = []
        known: dict[tuple[int, int], Span] = {}
        for row in each_record(path, json_lines(path), partial(self._row, known=known)):
            rows.append(row)
            if len(rows) == max_rows:
                break
        arrivals, inputs, outputs, contents = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
        return build_trace(path, arrivals=arrivals, input_tokens=inputs, output_tokens=outputs, contents=contents)

    def _row(self, record: Record, known: dict[tuple[int, int], Span]) -> tuple[int, int, int, TokenSpans | None]:
        arrival = record.get("timestamp", lambda value: ticks_of(value, "ms"))
        tokens = record.get("input_length", count)
        output = record.get("output_length", count)
        blocks = -(-tokens // self.block_size)

        def block(place: int, number: int) -> Span:
            held = min(self.block_size, tokens - place * self.block_size)
            return known.get((number, held)) or known.setdefault((number, held), Span(f"hash:{number}", 0, held))

        def content_of(hashes: Any) -> TokenSpans | None:
            if not isinstance(hashes, list) or not all(type(number) is int for number in hashes):
                raise ValueError("must be a list of whole numbers")
            if len(hashes) > blocks:
                raise ValueError(f"must not be more than the {blocks} blocks of {self.block_size} tokens of the prompt")
            return tuple(map(block, range(len(hashes)), hashes)) or None

        return arrival, tokens, output, record.get("hash_ids", content_of, None)
