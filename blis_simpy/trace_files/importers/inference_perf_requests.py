"""Reports of inference-perf about every request (``per_request_lifecycle_metrics.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from blis_simpy.trace_files.json_records import Record, count, each_record, json_values, listed
from blis_simpy.trace_files.measured import Measured, measured_trace
from blis_simpy.trace_files.timestamps import ticks_of

if TYPE_CHECKING:
    from blis_simpy.trace_files.trace import Trace

__all__ = ["InferencePerfRequests"]


@attrs.frozen(kw_only=True)
class InferencePerfRequests:
    """Per-request reports of inference-perf (JSON); failed requests are left out."""

    fields: ClassVar[str] = "start_time, end_time, info: input_tokens, output_tokens, output_token_times"
    times: ClassVar[str] = "s"
    not_kept: ClassVar[str] = "failed requests, the texts"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is a list of objects with start and end."""
        text = start.lstrip()
        return text.startswith(b"[") and b'"start_time"' in text and b'"end_time"' in text

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a report; requests arrive when they were sent."""
        records = json_values(path)[:max_rows]
        requests = list(islice(each_record(path, records, _request), max_rows))
        has_texts = any(isinstance(one.values, Mapping) and one.values.get("request") for one in records)
        return measured_trace(path, requests, not_kept=["the texts"] if has_texts else [])


def _request(record: Record) -> Measured:
    sent, ended = record.get("start_time", _seconds), record.get("end_time", _seconds)
    if record.get("error", bool, False):
        return Measured(sent_at=sent, input_tokens=0, output_tokens=0, failed=True)
    info = record.get("info", _object)
    response = _inner(info, "response_metrics") or info
    text = _inner(_inner(info, "request_metrics"), "text")
    chunks = Record(response, _inside(record, "info")).get("output_token_times", _times, [])
    inputs = {"input_tokens": info.get("input_tokens", text.get("input_tokens"))}
    return Measured(
        sent_at=sent,
        input_tokens=Record(inputs, _inside(record, "info")).get("input_tokens", count),
        output_tokens=Record(response, _inside(record, "info")).get("output_tokens", count),
        first_chunk_at=chunks[0] if chunks else None,
        last_chunk_at=chunks[-1] if chunks else ended,
        num_chunks=len(chunks),
    )


def _inside(record: Record, key: str) -> str:
    return ".".join(filter(None, (record.path, key)))


def _inner(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise ValueError("must be an object")


def _times(value: Any) -> list[int]:
    return [_seconds(time) for time in listed(value)]


def _seconds(value: Any) -> int:
    return ticks_of(value, "s")
