"""Clients from a folder in the layout of ServeGen: measured rates and length tables, one pair of files a client.

``chunk-<name>-trace.csv`` has rows of start time (s), rate (1/s), coefficient of variation and arrival pattern, without
a header. ``chunk-<name>-dataset.json`` has, for each window start (s), tables as text of the form
``{100: 0.5, 200: 0.5}``: of prompt and output lengths, or of the parts of multimodal prompts.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from bisect import bisect_right
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.files.paths import files_in
from blis_simpy.files.text_files import DATA_BYTES, read_text
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.units import SECOND
from blis_simpy.workload.spec.client import ActivityWindows, Client, Multimodal, Window
from blis_simpy.workload.spec.length_distribution import LengthDistribution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from blis_simpy.workload.arrivals import ArrivalProcess
    from blis_simpy.workload.lengths import LengthSampler

__all__ = ["ServegenData"]

_log = logging.getLogger("blis_simpy")

_USED_COLUMNS = 4
_OUTPUT = "output_tokens"
_PROMPT = "input_tokens"
_MULTIMODAL = ("text_tokens", "image_tokens", "audio_tokens", "video_tokens")
_USED_TABLES = (_OUTPUT, _PROMPT, *_MULTIMODAL, "image_count", "audio_count", "video_count")
_ONE = 1


class _Row(NamedTuple):
    start_s: float
    rate: float
    cv: float
    pattern: str


@settings_class
class ServegenData:
    """Folder in the layout of ServeGen, and the span of its time that is used."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str = setting(help="Folder, relative to the working directory.")
    span_start: int = setting(default=0, help="First second that is used; 0 means no bound.", unit="s")
    span_end: int = setting(default=0, help="First second that is not used any more; 0 means no bound.", unit="s")

    def __attrs_post_init__(self) -> None:
        if not self.path:
            raise ScenarioError.at("path", "must not be empty", self.path)

    def clients(self) -> tuple[Client, ...]:
        """Read the folder as shares of an aggregate rate.

        Returns
        -------
        tuple of Client
            One for each trace with a positive rate in the span, by file name; the row of the highest rate counts.

        Raises
        ------
        ScenarioError
            If there is nothing to read, or a file breaks the layout.
        """
        clients: list[Client] = []
        chunks = self._chunks()
        for chunk in chunks:
            rows = [row for row in chunk.rows if self._in_span(row.start_s)]
            row = max(rows, key=lambda row: row.rate, default=None)
            if row is None or not row.rate > 0:
                continue
            if tables := chunk.first_tables(self._in_span):
                clients.append(chunk.client(row, tables))
        return self._all(chunks, clients)

    def measured_clients(self) -> tuple[Client, ...]:
        """Read the folder with its own rates over time.

        Returns
        -------
        tuple of Client
            One for each trace and row with a positive rate in the span, active from its start to that of the next row,
            at its rate. The span begins at tick 0.

        Raises
        ------
        ScenarioError
            As `clients`.
        """
        clients: list[Client] = []
        chunks = self._chunks()
        for chunk in chunks:
            for row, end_s in chunk.windows():
                start_s = max(row.start_s, self.span_start) if self.span_start > 0 else row.start_s
                end_s = min(end_s, self.span_end) if self.span_end > 0 else end_s
                if not (row.rate > 0 and start_s < end_s):
                    continue
                if tables := chunk.tables_at(row.start_s):
                    origin = max(self.span_start, 0)
                    window = Window(_ticks(start_s - origin), _ticks(end_s - origin), row.rate)
                    clients.append(chunk.client(row, tables, window))
        return self._all(chunks, clients)

    def _chunks(self) -> list[_Chunk]:
        traces = files_in(self.path, "chunk-*-trace.csv")
        if not traces:
            raise ScenarioError.at("servegen_data.path", "must be a folder with chunk-*-trace.csv files", self.path)
        return [_Chunk(trace) for trace in traces]

    def _all(self, chunks: list[_Chunk], clients: list[Client]) -> tuple[Client, ...]:
        if not clients:
            rule = "has no chunk with a positive rate and length tables in the span"
            raise ScenarioError.at("servegen_data.path", rule, self.path)
        if clamped := sum(chunk.is_clamped for chunk in chunks):
            from blis_simpy.workload.arrivals import WeibullArrivals  # imports numpy

            rule = "%s: %d clients have a cv beyond %g to %g, taken as the nearest bound"
            _log.warning(rule, self.path, clamped, *WeibullArrivals.CV_RANGE)
        return tuple(clients)

    def _in_span(self, second: float) -> bool:
        return not (0 < self.span_start > second or 0 < self.span_end <= second)


class _Chunk:
    """Files of one client.

    Attributes
    ----------
    is_clamped : bool
        Whether a coefficient of variation was set to a bound.
    """

    def __init__(self, trace: Path) -> None:
        self.trace = trace
        self.name = trace.name.removeprefix("chunk-").removesuffix("-trace.csv")
        self.dataset = trace.with_name(f"chunk-{self.name}-dataset.json")
        self.rows = _rows(trace)
        self.is_clamped = False
        self._read: dict[str, dict[str, LengthSampler]] = {}

    def windows(self) -> list[tuple[_Row, float]]:
        """Rows in order of time, each with the second at which it ends; a single one does not end."""
        rows = sorted(self.rows, key=lambda row: row.start_s)
        ends = [later.start_s for _, later in pairwise(rows)]
        last = 2 * rows[-1].start_s - rows[-2].start_s if len(rows) > 1 else math.inf
        return list(zip(rows, [*ends, last], strict=True)) if rows else []

    @cached_property
    def texts(self) -> dict[str, dict[str, str]]:
        """Tables of the windows that have all that is needed, by start; in the order of the starts as text."""
        try:
            windows = json.loads(read_text(self.dataset, max_bytes=DATA_BYTES))
        except (ValueError, RecursionError) as error:
            raise ScenarioError.at("", f"is not valid JSON: {error}", file=str(self.dataset)) from None
        if not isinstance(windows, dict) or not all(_is_text_table(window) for window in windows.values()):
            raise ScenarioError.at("", "must be a JSON object of objects of text", file=str(self.dataset))
        found: dict[str, dict[str, str]] = {}
        for start in sorted(windows):
            if not _is_number(start):
                _log.warning("%s: window %r is not a number of seconds; skipped", self.dataset, start)
                continue
            texts = {key: windows[start][key] for key in _USED_TABLES if _is_filled(windows[start].get(key, ""))}
            if _OUTPUT in texts and any(key in texts for key in (_PROMPT, *_MULTIMODAL)):
                found[start] = texts
        if not found:
            _log.warning("%s: has no window with tables of prompts and outputs; left out", self.dataset)
        return found

    def first_tables(self, in_span: Callable[[float], bool]) -> dict[str, LengthSampler] | None:
        """Tables of the first window in a span, by the text of its start, as in the reference."""
        return self._tables(next((start for start in self.texts if in_span(float(start))), None))

    def tables_at(self, second: float) -> dict[str, LengthSampler] | None:
        """Tables of the latest window that has begun; of the first one if none has."""
        starts = sorted(self.texts, key=float)
        begun = bisect_right(starts, second, key=float)
        return self._tables(starts[max(begun - 1, 0)] if starts else None)

    def _tables(self, start: str | None) -> dict[str, LengthSampler] | None:
        if start is None:
            return None
        if start not in self._read:
            self._read[start] = {
                key: LengthDistribution("empirical", _table(text, f"{start}.{key}", self.dataset)).build()
                for key, text in self.texts[start].items()
            }
        return self._read[start]

    def client(self, row: _Row, tables: dict[str, LengthSampler], window: Window | None = None) -> Client:
        """Make a client of a row; with a window, one that is active in it alone."""
        try:
            return Client(
                id=f"servegen-chunk-{self.name}",
                tenant=f"chunk-{self.name}",
                rate_fraction=row.rate,
                arrival=self._arrival(row),
                input_distribution=tables.get(_PROMPT, _ONE),
                output_distribution=tables[_OUTPUT],
                multimodal=None if _PROMPT in tables else _multimodal(tables),
                lifecycle=None if window is None else ActivityWindows(windows=(window,)),
            )
        except ScenarioError as error:
            raise ScenarioError([attrs.evolve(problem, file=str(self.trace)) for problem in error.problems]) from None

    def _arrival(self, row: _Row) -> ArrivalProcess:
        """Make the arrival process; a coefficient of variation that no weibull process has becomes the nearest one."""
        from blis_simpy.workload.arrivals import GammaArrivals, PoissonArrivals, WeibullArrivals  # imports numpy

        process = row.pattern.lower()
        if process not in ("gamma", "weibull"):
            return PoissonArrivals()
        if row.cv < 0:
            raise ScenarioError.at("arrival.cv", "must be > 0", row.cv)
        least, most = WeibullArrivals.CV_RANGE
        if process == "gamma":
            most = math.inf
        cv = min(max(row.cv, least), most)
        self.is_clamped = self.is_clamped or cv != row.cv
        return GammaArrivals(cv) if process == "gamma" else WeibullArrivals(cv)


def _multimodal(tables: dict[str, LengthSampler]) -> Multimodal:
    """Parts of multimodal prompts; one item of each kind whose number is not in the folder."""
    parts: dict[str, Any] = {"text_distribution": tables[_MULTIMODAL[0]]} if _MULTIMODAL[0] in tables else {}
    for key in _MULTIMODAL[1:]:
        name = key.removesuffix("_tokens")
        if key in tables:
            parts[f"{name}_distribution"] = tables[key]
            parts[f"{name}_count_distribution"] = tables.get(f"{name}_count", _ONE)
    return Multimodal(**parts)


def _ticks(second: float) -> int:
    ticks = second * SECOND
    return 2**63 - 1 if abs(ticks) >= 2**63 else round(ticks)


def _is_text_table(window: Any) -> bool:
    return isinstance(window, dict) and all(isinstance(value, str) for value in window.values())


def _is_filled(text: str) -> bool:
    """Whether a table has entries; windows without requests have empty tables."""
    return bool(text.strip("{}, \n\t"))


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


def _rows(trace: Path) -> list[_Row]:
    """Return the rows that can be read, in file order, with one warning about the others."""
    try:
        lines = [line for line in csv.reader(read_text(trace, max_bytes=DATA_BYTES).splitlines()) if line]
    except csv.Error as error:
        raise ScenarioError.at("", f"is not valid CSV: {error}", file=str(trace)) from None
    for line in lines:
        if len(line) != len(lines[0]):
            rule = f"must have as many columns in each row as in the first ({len(lines[0])})"
            raise ScenarioError.at("", rule, len(line), file=str(trace))
    rows = []
    for line in lines:
        fields = [field.strip() for field in line]
        with suppress(ValueError):
            start, rate, cv = map(float, fields[:3])
            if len(fields) >= _USED_COLUMNS:
                rows.append(_Row(start, rate, cv, fields[3]))
    if len(rows) < len(lines):
        _log.warning("%s: %d rows without start, rate, cv and pattern skipped", trace, len(lines) - len(rows))
    return rows


def _table(text: str, key: str, dataset: Path) -> dict[str, float]:
    """Read ``{tokens: weight, ...}``; the last one of equal token counts is used."""
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}") and len(body) > 1):
        raise ScenarioError.at(key, "must be a table in braces", text, file=str(dataset))
    table: dict[str, float] = {}
    for piece in filter(None, map(str.strip, body[1:-1].split(","))):
        tokens, _, weight = piece.partition(":")
        try:
            figures = float(tokens), float(weight)
        except ValueError:
            figures = math.nan, math.nan
        if not all(map(math.isfinite, figures)):
            raise ScenarioError.at(key, "must have entries of the form tokens: weight", piece, file=str(dataset))
        table[str(int(figures[0]))] = figures[1]
    return table
