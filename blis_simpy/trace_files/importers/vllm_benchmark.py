"""Results of the serving benchmarks of vLLM and SGLang, with the figures of every request; one run, or several."""

from __future__ import annotations

import logging
import math
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.bounds import MAX_NUMBER
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.json_records import Record, count, each_record, json_values, listed
from blis_simpy.trace_files.measured import Measured, measured_trace
from blis_simpy.trace_files.pace import Paced
from blis_simpy.trace_files.timestamps import ticks_of
from blis_simpy.trace_files.trace import ServerInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.trace_files.trace import Trace

__all__ = ["SGLangBenchmark", "VLLMBenchmark"]

_log = logging.getLogger(__name__)


@attrs.frozen
class _Run:
    """Measurement of one benchmark run.

    Attributes
    ----------
    starts : ndarray of int64, shape (num_requests,), ticks
        Time of sending of its requests, from the start of the run.
    requests : list of Measured
        Its requests, with times relative to their sending.
    duration : int, ticks
        Duration of the run.
    plan : str
        Plan of the arrivals, if the file has no start times.
    model : str
        Name of the model.
    has_gaps : bool
        Whether the file has the gaps between tokens.
    """

    starts: NDArray[np.int64]
    requests: list[Measured]
    duration: int
    plan: str
    model: str
    has_gaps: bool


@settings_class
class VLLMBenchmark(Paced):
    """Results of vllm bench serve with --save-detailed (JSON, JSON lines); failed requests are left out."""

    run: int | None = setting(
        default=None,
        help="Number of the run in the file, from 1; unset means all, one after another.",
        ge=1,
        flag="--run",
    )

    fields: ClassVar[str] = "input_lens, output_lens; optional start_times, ttfts, itls, errors"
    times: ClassVar[str] = "s; without start_times by request_rate and max_concurrency, or rate"
    not_kept: ClassVar[str] = "failed requests, the single gaps between tokens"
    server: ClassVar[str] = "vllm"
    hint: ClassVar[str] = "run the benchmark with --save-result --save-detailed"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is an object with results of a benchmark of vLLM."""
        return _is_benchmark(start) and not _is_of_sglang(start)

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; latencies become times of chunks, for a calibration.

        Without start_times, requests arrive at equal gaps at the rate of the benchmark, limited by its
        max_concurrency.
        """
        records = json_values(path)
        if self.run is not None:
            if self.run > len(records):
                raise ScenarioError.at("run", f"must be at most {len(records)}, the runs of the file", self.run)
            records = [records[self.run - 1]]
        elif len(records) > 1:
            _log.warning("%s: has %d runs, replayed one after another; run=1 selects the first", path, len(records))
        runs = list(each_record(path, records, self._run))
        for plan in dict.fromkeys(run.plan for run in runs if run.plan):
            _log.warning("%s: has no start_times; arrivals follow the plan of the benchmark: %s", path, plan)
        requests: list[Measured] = []
        begins = 0
        for run in runs:
            for start, request in zip(run.starts.tolist(), run.requests, strict=True):
                requests.append(_sent_at(request, begins + start))
            begins += max(run.duration, int(run.starts.max(initial=0)))
        return measured_trace(
            path,
            requests[:max_rows],
            server=ServerInfo(type=self.server, model=runs[0].model if runs else ""),
            not_kept=["the single gaps between tokens"] if any(run.has_gaps for run in runs) else [],
        )

    def _run(self, record: Record) -> _Run:
        if record.get("input_lens", lambda value: value, None) is None:
            raise record.error("input_lens", f"is missing: {self.hint}")
        inputs = record.items("input_lens", count)
        size = len(inputs)
        outputs = record.items("output_lens", count, size)
        errors = record.optional_items("errors", _error, size) or [""] * size
        ttfts = record.optional_items("ttfts", _seconds, size)
        gaps = record.optional_items("itls", _gaps, size)
        requests = []
        for place in range(size):
            failed = bool(errors[place]) or not outputs[place]
            known = ttfts is not None and gaps is not None and not failed
            first = ttfts[place] if ttfts is not None and known else None
            requests.append(
                Measured(
                    sent_at=0,
                    input_tokens=inputs[place],
                    output_tokens=outputs[place],
                    first_chunk_at=first,
                    last_chunk_at=first + sum(gaps[place]) if first is not None and gaps is not None else None,
                    num_chunks=len(gaps[place]) + 1 if known and gaps is not None else 0,
                    failed=failed,
                )
            )
        starts, plan = self._starts(record, requests)
        return _Run(
            starts=starts,
            requests=requests,
            duration=record.get("duration", _seconds, 0),
            plan=plan,
            model=record.get("model_id", str, ""),
            has_gaps=any(gaps or ()),
        )

    def _starts(self, record: Record, requests: Sequence[Measured]) -> tuple[NDArray[np.int64], str]:
        """Return the times of sending, and the plan of the arrivals if the file has no start times."""
        size = len(requests)
        starts = record.optional_items("start_times", _seconds, size)
        if self.rate is not None:
            return self.arrivals_at(self.rate, size), ""
        if starts is not None:
            sent = np.array(starts, np.int64)
            return sent - (sent.min() if size else 0), ""
        rate = record.get("request_rate", _rate, None)
        if rate is None:
            raise self.no_rate("the file has neither start_times nor a request_rate")
        planned = self.arrivals_at(rate, size)
        plan = "all at once" if math.isinf(rate) else f"at equal gaps, {rate:g} per second"
        places = record.get("max_concurrency", count, None)
        if places and any(request.last_chunk_at for request in requests):
            return _with_places(planned, requests, places), f"{plan}, at most {places} at a time"
        return planned, plan


@settings_class
class SGLangBenchmark(VLLMBenchmark):
    """Results of sglang.bench_serving with --output-details (JSON lines); failed requests are left out."""

    server: ClassVar[str] = "sglang"
    hint: ClassVar[str] = "run the benchmark with --output-details"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is an object with results of a benchmark of SGLang."""
        return start.lstrip().startswith(b"{") and _is_of_sglang(start)


def _is_benchmark(start: bytes) -> bool:
    pairs = ((b'"total_input_tokens"', b'"duration"'), (b'"input_lens"', b'"output_lens"'))
    return start.lstrip().startswith((b"{", b"[")) and any(one in start and other in start for one, other in pairs)


def _is_of_sglang(start: bytes) -> bool:
    return b'"dataset_name"' in start and b'"request_rate"' in start and b'"backend"' in start


def _with_places(scheduled: NDArray[np.int64], requests: Sequence[Measured], places: int) -> NDArray[np.int64]:
    """Return the times of sending of a client with a maximum number of concurrent requests."""
    free_at = [0] * places
    heapify(free_at)
    starts = []
    for planned, request in zip(scheduled.tolist(), requests, strict=True):
        start = max(planned, free_at[0])
        heapreplace(free_at, start + (request.last_chunk_at or 0))
        starts.append(start)
    return np.array(starts, np.int64)


def _sent_at(request: Measured, sent: int) -> Measured:
    def later(duration: int | None) -> int | None:
        return None if duration is None else sent + duration

    return attrs.evolve(
        request,
        sent_at=sent,
        first_chunk_at=later(request.first_chunk_at),
        last_chunk_at=later(request.last_chunk_at),
    )


def _rate(value: Any) -> float:
    """Read a rate, which may be infinite; a benchmark with arrivals from a file has none."""
    if value in ("inf", "Infinity", math.inf):
        return math.inf
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_NUMBER:
        return float(value)
    raise ValueError(f"must be a number > 0 and <= {MAX_NUMBER:g}, or inf, unless a rate is given")


def _seconds(value: Any) -> int:
    return ticks_of(value, "s")


def _error(value: Any) -> str:
    return str(value or "")


def _gaps(value: Any) -> list[int]:
    gaps = [_seconds(gap) for gap in listed(value)]
    ticks_of(sum(gaps), "us")
    return gaps
