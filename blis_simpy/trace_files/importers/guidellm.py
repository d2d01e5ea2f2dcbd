"""Reports of GuideLLM: benchmarks with the requests that succeeded, failed, or were not complete (JSON or YAML)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import yaml

from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.files.text_files import DATA_BYTES, read_text
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.json_records import Record, count, each_record, listed, parse_json
from blis_simpy.trace_files.measured import Measured, measured_trace
from blis_simpy.trace_files.timestamps import ticks_of

if TYPE_CHECKING:
    from blis_simpy.trace_files.trace import Trace

__all__ = ["GuideLLM"]

_OUTCOMES = {"successful": False, "completed": False, "incomplete": True, "errored": True}
"""Lists of requests by their outcome, and whether it is a failure."""
_START = ("info.timings.request_start", "info.timings.resolve_start", "request_start_time", "start_time")
_FIRST = ("info.timings.first_token_iteration", "info.timings.first_iteration", "first_token_time")
_LAST = ("info.timings.last_token_iteration", "info.timings.last_iteration", "last_token_time")
_INPUT = ("prompt_tokens", "input_metrics.total_tokens", "input_metrics.text_tokens", "prompt_token_count")
_OUTPUT = ("output_tokens", "output_metrics.total_tokens", "output_metrics.text_tokens", "output_token_count")
_CHUNKS = ("info.timings.token_iterations", "info.timings.iterations")


@settings_class
class GuideLLM:
    """Reports of GuideLLM, benchmarks.json or benchmarks.yaml; failed and incomplete requests are left out."""

    run: int | None = setting(
        default=None,
        help="Number of the benchmark in the file, from 1; unset means all, at their times.",
        ge=1,
        flag="--run",
    )

    fields: ClassVar[str] = (
        "benchmarks[].requests: successful, incomplete, errored; of each prompt_tokens, output_tokens, "
        "info.timings or start_time, first_token_time, last_token_time"
    )
    times: ClassVar[str] = "s since 1970"
    not_kept: ClassVar[str] = "failed and incomplete requests, the texts"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is an object with benchmarks."""
        text = start.lstrip()
        is_named = b"guidellm" in start.lower()
        is_json = text.startswith(b"{") and (b'"benchmarks"' in text or (is_named and b'"metadata"' in text))
        return is_json or (is_named and text.startswith((b"benchmarks:", b"metadata:")))

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a report; requests arrive when they were sent."""
        report = [Record(_parsed(path))]
        [runs] = each_record(path, report, lambda record: record.get("benchmarks", listed))
        numbers = list(range(len(runs)))
        if self.run is not None:
            if self.run > len(runs):
                raise ScenarioError.at("run", f"must be at most {len(runs)}, the benchmarks of the file", self.run)
            numbers = [self.run - 1]
        records = [record for number in numbers for record in _requests(path, runs[number], f"benchmarks[{number}]")]
        requests = list(islice(each_record(path, (record for record, _ in records), _request), max_rows))
        failed = [failed for _, failed in records]
        found = [attrs.evolve(one, failed=bad) for one, bad in zip(requests, failed, strict=False)]
        has_texts = any(record.values.get("output") or record.values.get("request_args") for record, _ in records)
        return measured_trace(path, found, not_kept=["the texts"] if has_texts else [])


def _parsed(path: str) -> Any:
    text = read_text(path, WorkloadTraceError, max_bytes=DATA_BYTES)
    if text.lstrip().startswith("{"):
        return parse_json(text, path)
    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
    except yaml.YAMLError as broken:
        line = getattr(getattr(broken, "problem_mark", None), "line", None)
        place = None if line is None else line + 1
        raise WorkloadTraceError.at("", "is not valid YAML", file=path, line=place) from None


def _requests(path: str, benchmark: Any, place: str) -> Iterator[tuple[Record, bool]]:
    """List the requests of a benchmark, and whether they failed."""
    outcomes = benchmark.get("requests") if isinstance(benchmark, Mapping) else None
    if not isinstance(outcomes, Mapping):
        hint = "run GuideLLM so that its report has the requests"
        raise WorkloadTraceError.at(f"{place}.requests", "must be an object of lists", file=path, hint=hint)
    for outcome, failed in _OUTCOMES.items():
        for number, values in enumerate(outcomes.get(outcome) or ()):
            yield Record(values, f"{place}.requests.{outcome}[{number}]"), failed


def _request(record: Record) -> Measured:
    def first_of(names: tuple[str, ...], convert: Any, default: Any) -> Any:
        found = [(name, value) for name in names if (value := _look_up(record.values, name)) is not None]
        if not found:
            return default
        try:
            return convert(found[0][1])
        except ValueError as broken:
            raise record.error(found[0][0], str(broken), found[0][1]) from None

    sent = first_of(_START, _seconds, None)
    tokens = first_of(_INPUT, count, None)
    for names, value in ((_START, sent), (_INPUT, tokens)):
        if value is None:
            raise record.error(names[0], "is missing")
    return Measured(
        sent_at=sent,
        input_tokens=tokens,
        output_tokens=first_of(_OUTPUT, count, 0),
        first_chunk_at=first_of(_FIRST, _seconds, None),
        last_chunk_at=first_of(_LAST, _seconds, None),
        num_chunks=first_of(_CHUNKS, count, 0),
        session_id=first_of(("info.conversation_id",), str, ""),
    )


def _look_up(values: Any, name: str) -> Any:
    for key in name.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _seconds(value: Any) -> int:
    return ticks_of(value, "s")
