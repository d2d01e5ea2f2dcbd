"""Results of vLLM's serving benchmark, with the figures of every request (``--save-detailed``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.settings.fields import setting
from blis_simpy.trace_files.json_records import Record, count, each_record, listed, read_json
from blis_simpy.trace_files.timestamps import check_reach, ticks_of
from blis_simpy.trace_files.trace import ServerInfo, TraceHeader
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from blis_simpy.trace_files.trace import Trace

__all__ = ["VLLMBenchmark"]

_HINT = "run the benchmark with --save-result --save-detailed"


@attrs.frozen(kw_only=True)
class VLLMBenchmark:
    """Results of vLLM's serving benchmark with --save-detailed (JSON); failed requests are left out."""

    rate: float | None = setting(
        default=None,
        help="Requests per second, evenly spaced; required if the file has no start_times.",
        unit="1/s",
        gt=0,
        dimension="rate",
        flag="--rate",
    )

    not_kept: ClassVar[str] = "the single gaps between tokens"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is an object with figures of a benchmark."""
        return start.lstrip().startswith(b"{") and b'"total_input_tokens"' in start and b'"duration"' in start

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; latencies become times of chunks, for a calibration."""
        found = read_json(path)
        if not isinstance(found, dict):
            raise WorkloadTraceError.at("", "must be an object with the figures of a benchmark", file=path)
        return next(each_record(path, [Record(found)], lambda record: self._trace(record, path, max_rows)))

    def _trace(self, record: Record, path: str, max_rows: int | None) -> Trace:
        if "input_lens" not in record.values:
            raise record.error("input_lens", f"is missing: {_HINT}")
        inputs = record.items("input_lens", count)
        size = len(inputs)
        outputs = record.items("output_lens", count, size)
        errors = record.optional_items("errors", _error, size) or [""] * size
        starts = record.optional_items("start_times", _seconds, size)
        if starts is None:
            starts = self._even_starts(record, size)
        ttfts = record.optional_items("ttfts", _seconds, size)
        gaps = record.optional_items("itls", _gaps, size)
        columns: dict[str, Any] = {"streaming": np.full(size, ttfts is not None)}
        if ttfts is not None and gaps is not None:
            first = np.array(starts) + np.array(ttfts)
            columns["first_chunk_time_us"] = first
            columns["last_chunk_time_us"] = first + np.array([sum(between) for between in gaps], np.int64)
            columns["num_chunks"] = np.array([len(between) + 1 for between in gaps], np.int64)
        server = ServerInfo(type="vllm", model=record.get("model_id", str, ""))
        return build_trace(
            path,
            arrivals=starts[:max_rows],
            input_tokens=inputs[:max_rows],
            output_tokens=outputs[:max_rows],
            header=TraceHeader(mode="real", server=server),
            failed=[bool(error) or not tokens for error, tokens in zip(errors, outputs, strict=True)][:max_rows],
            **{name: column[:max_rows] for name, column in columns.items()},
        )

    def _even_starts(self, record: Record, size: int) -> list[int]:
        if self.rate is None:
            rate = record.get("request_rate", str, "unknown")
            hint = f"the benchmark's own request_rate is {rate}"
            raise ScenarioError.at("rate", "must be given: the file has no start_times", hint=hint)
        gap_us = 1e6 / self.rate
        check_reach(size * gap_us, "rate", self.rate)
        starts: list[int] = np.rint(np.arange(size) * gap_us).astype(np.int64).tolist()
        return starts


def _seconds(value: Any) -> int:
    return ticks_of(value, "s")


def _error(value: Any) -> str:
    return str(value or "")


def _gaps(value: Any) -> list[int]:
    gaps = [_seconds(gap) for gap in listed(value)]
    ticks_of(sum(gaps), "us")
    return gaps
