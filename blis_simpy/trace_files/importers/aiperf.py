"""Records of aiperf: one object per request, with metadata, metrics and error (``profile_export.jsonl``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from blis_simpy.trace_files.json_records import Record, count, each_record, json_lines, listed
from blis_simpy.trace_files.json_rows import names_of
from blis_simpy.trace_files.measured import Measured, measured_trace
from blis_simpy.trace_files.timestamps import TIME_UNITS, ticks_of

if TYPE_CHECKING:
    from blis_simpy.trace_files.trace import Trace

__all__ = ["AIPerf"]

_log = logging.getLogger(__name__)

_START = ("request_start_ns", "timestamp_ns", "credit_issued_ns")
_TTFT = ("time_to_first_token", "ttft")
_OUTPUT = ("output_sequence_length", "output_token_count")
_UNITS = {**{unit: unit for unit in TIME_UNITS}, "sec": "s", "seconds": "s", "milliseconds": "ms", "nanoseconds": "ns"}


@attrs.frozen(kw_only=True)
class AIPerf:
    """Request records of aiperf, profile_export.jsonl (JSON lines); failed requests are left out."""

    fields: ClassVar[str] = (
        "metadata.request_start_ns, metrics.input_sequence_length, output_sequence_length, time_to_first_token, "
        "inter_chunk_latency, request_latency"
    )
    times: ClassVar[str] = "ns since 1970; metrics in their own unit"
    not_kept: ClassVar[str] = "failed requests, other phases than profiling, further metrics"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first object has metadata and metrics."""
        keys = set(names_of(start)) if start.lstrip().startswith(b"{") else set()
        return {"metadata", "metrics"} <= keys and any(key in keys or f"metadata.{key}" in keys for key in _START)

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file. Requests of other phases than profiling, such as a warm-up, are left out."""
        found = list(islice(each_record(path, json_lines(path), self._request), max_rows))
        requests = [request for request in found if request is not None]
        if others := len(found) - len(requests):
            _log.warning("%s: %d of %d requests are left out: other phases", path, others, len(found))
        return measured_trace(path, requests)

    def _request(self, record: Record) -> Measured | None:
        metadata = Record(record.get("metadata", _object), _inside(record, "metadata"), record.line)
        metrics = Record(record.get("metrics", _object, {}), _inside(record, "metrics"), record.line)
        if metadata.get("benchmark_phase", str, "profiling") != "profiling":
            return None
        sent = metadata.get(_first_of(metadata, _START), lambda value: ticks_of(value, "ns"))
        failed = record.get("error", bool, False) or metadata.get("was_cancelled", bool, False)
        if failed:
            return Measured(sent_at=sent, input_tokens=0, output_tokens=0, failed=True)
        ttft = metrics.get(_first_of(metrics, _TTFT), _ticks, None)
        latency = metrics.get("request_latency", _ticks, None)
        gaps = metrics.get("inter_chunk_latency", _ticks_of_all, None)
        first = sent + ttft if ttft is not None else None
        last = sent + latency if latency is not None else first
        if first is not None and gaps is not None:
            last = first + sum(gaps)
        return Measured(
            sent_at=sent,
            input_tokens=metrics.get("input_sequence_length", _tokens),
            output_tokens=metrics.get(_first_of(metrics, _OUTPUT), _tokens),
            first_chunk_at=first,
            last_chunk_at=last,
            num_chunks=0 if gaps is None else len(gaps) + 1,
            session_id=_session(metadata),
        )


def _session(metadata: Record) -> str:
    """Session of a request; empty without turns."""
    turn = metadata.get("turn_index", count, None)
    return metadata.get("x_correlation_id", str, "") if turn is not None else ""


def _inside(record: Record, key: str) -> str:
    return ".".join(filter(None, (record.path, key)))


def _first_of(record: Record, keys: tuple[str, ...]) -> str:
    """Return the first of some keys that a record has; the first key if it has none."""
    return next((key for key in keys if record.values.get(key) is not None), keys[0])


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("must be an object")  # noqa: TRY004  # the caller handles all invalid values alike
    return value


def _metric(value: Any) -> tuple[Any, str]:
    """Value and unit of a metric; older files have no unit."""
    if isinstance(value, Mapping):
        return value.get("value"), str(value.get("unit", ""))
    return value, ""


def _tokens(value: Any) -> int:
    return count(_metric(value)[0])


def _ticks(value: Any) -> int:
    figure, unit = _metric(value)
    return ticks_of(figure, _UNITS.get(unit, "ms"))


def _ticks_of_all(value: Any) -> list[int]:
    figures, unit = _metric(value)
    return [ticks_of(figure, _UNITS.get(unit, "ms")) for figure in listed(figures)]
