"""Clients from a folder in the layout of ServeGen: measured rates and length tables, one pair of files a client.

``chunk-<name>-trace.csv`` has rows of start time (s), rate (1/s), coefficient of variation and arrival pattern, without
a header. ``chunk-<name>-dataset.json`` has, for each window start (s), the tables of prompt and output lengths as text
of the form ``{100: 0.5, 200: 0.5}``.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.fields import setting
from blis_simpy.workload.spec.arrival import Arrival, check_cv
from blis_simpy.workload.spec.client import Client
from blis_simpy.workload.spec.length_distribution import LengthDistribution

__all__ = ["ServegenData"]

_log = logging.getLogger("blis_simpy")

_USED_COLUMNS = 4


class _Row(NamedTuple):
    start_s: float
    rate: float
    cv: float
    pattern: str


@attrs.frozen(kw_only=True)
class ServegenData:
    """Folder in the layout of ServeGen, and the part of its time that is used."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str = setting(help="Folder, relative to the working directory.")
    span_start: int = setting(0, help="First second that is used; 0 means no bound.", unit="s")
    span_end: int = setting(0, help="First second that is not used any more; 0 means no bound.", unit="s")

    def __attrs_post_init__(self) -> None:
        if not self.path:
            raise ScenarioError.at("path", "must not be empty", self.path)

    def clients(self) -> tuple[Client, ...]:
        """Read the folder.

        Returns
        -------
        tuple of Client
            One for each trace with a positive rate in the span, by file name; the row of the highest rate counts.

        Raises
        ------
        ScenarioError
            If there is nothing to read, or a file breaks the layout.
        """
        traces = sorted(Path(self.path).glob("chunk-*-trace.csv"), key=str)
        if not traces:
            raise ScenarioError.at("servegen_data.path", "must be a folder with chunk-*-trace.csv files", self.path)
        clients = [client for trace in traces if (client := self._client(trace)) is not None]
        if not clients:
            raise ScenarioError.at("servegen_data.path", "has no chunk with a positive rate in the span", self.path)
        return tuple(clients)

    def _client(self, trace: Path) -> Client | None:
        rows = [row for row in _rows(trace) if self._in_span(row.start_s)]
        if not rows:
            return None
        row = max(rows, key=lambda row: row.rate)
        if not row.rate > 0:
            return None
        name = trace.name.removeprefix("chunk-").removesuffix("-trace.csv")
        prompt, output = self._tables(trace.with_name(f"chunk-{name}-dataset.json"))
        process = row.pattern.lower()
        arrival = Arrival(process, row.cv) if process in ("gamma", "weibull") else Arrival("poisson")
        try:
            check_cv(arrival.build())
            return Client(
                id=f"servegen-chunk-{name}",
                tenant=f"chunk-{name}",
                rate_fraction=row.rate,
                arrival=arrival,
                input_distribution=LengthDistribution("empirical", prompt),
                output_distribution=LengthDistribution("empirical", output),
            )
        except ScenarioError as error:
            raise ScenarioError([attrs.evolve(problem, file=str(trace)) for problem in error.problems]) from None

    def _in_span(self, second: float) -> bool:
        return not (0 < self.span_start > second or 0 < self.span_end <= second)

    def _tables(self, dataset: Path) -> tuple[dict[str, float], dict[str, float]]:
        try:
            windows = json.loads(_text(dataset))
        except (ValueError, RecursionError) as error:
            raise ScenarioError.at("", f"is not valid JSON: {error}", file=str(dataset)) from None
        if not isinstance(windows, dict) or not all(_is_text_table(window) for window in windows.values()):
            raise ScenarioError.at("", "must be a JSON object of objects of text", file=str(dataset))
        for start in sorted(windows):
            try:
                second = float(start)
            except ValueError:
                _log.warning("%s: window %r is not a number of seconds; skipped", dataset, start)
                continue
            prompt, output = (windows[start].get(key, "") for key in ("input_tokens", "output_tokens"))
            if self._in_span(second) and prompt and output:
                return (
                    _table(prompt, f"{start}.input_tokens", dataset),
                    _table(output, f"{start}.output_tokens", dataset),
                )
        raise ScenarioError.at("", "has no window with both length tables in the span", file=str(dataset))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ScenarioError.at("", f"cannot be read: {reason.lower()}", file=str(path)) from None


def _is_text_table(window: Any) -> bool:
    return isinstance(window, dict) and all(isinstance(value, str) for value in window.values())


def _rows(trace: Path) -> list[_Row]:
    """Rows that can be read, in file order; one warning if there are others."""
    try:
        lines = [line for line in csv.reader(_text(trace).splitlines()) if line]
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
    """Read ``{tokens: weight, ...}``; of equal token counts the last one counts."""
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
    if not table:
        raise ScenarioError.at(key, "must not be empty", text, file=str(dataset))
    return table
