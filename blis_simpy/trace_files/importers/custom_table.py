"""CSV and Parquet tables with any column names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError, WorkloadTraceError, nearest
from blis_simpy.files.text_files import is_special, read_start
from blis_simpy.settings.fields import setting
from blis_simpy.trace_files.csv_columns import CsvColumn, by_name, has_columns, integer, read_table
from blis_simpy.trace_files.parquet import PARQUET, read_parquet
from blis_simpy.trace_files.timestamps import TIME_UNITS, instant_reader
from blis_simpy.trace_files.trace_builder import build_trace, rounds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.trace_files.trace import Trace

__all__ = ["CustomTable"]

_FIGURES = ("arrival", "input_tokens", "output_tokens")
_LABELS = ("client_id", "tenant_id", "slo_class", "session_id", "model")
_NAMES = (*_FIGURES, *_LABELS)


def _as_mapping(columns: Any) -> Any:
    """Read ``arrival=ts,input_tokens=prompt`` as a mapping."""
    if not isinstance(columns, str):
        return columns
    pairs = [item.partition("=") for item in columns.split(",") if item.strip()]
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


@attrs.frozen(kw_only=True)
class CustomTable:
    """Other tables with one row per request (CSV or Parquet)."""

    columns: Any = setting(
        factory=dict,
        convert=_as_mapping,
        help=f"Columns of the file for {', '.join(_NAMES)}, as in arrival=ts,...; equal names can be omitted.",
        flag="--columns",
    )
    time_unit: str = setting(
        default="s",
        help="Unit of the arrivals; iso means dates with times.",
        choices=(*TIME_UNITS, "iso"),
        flag="--time-unit",
    )

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.columns, Mapping):
            raise ScenarioError.at("columns", "must be a mapping of our names to those of the file", self.columns)
        for ours, theirs in self.columns.items():
            if ours not in _NAMES:
                raise ScenarioError.at(f"columns.{ours}", "is no column of a trace", hint=nearest(str(ours), _NAMES))
            if not isinstance(theirs, str) or not theirs:
                raise ScenarioError.at(f"columns.{ours}", "must be the name of a column of the file", theirs)
        used: dict[str, str] = {}
        for name in self._required():
            if (first := used.setdefault(self._their(name), name)) != name:
                raise ScenarioError.at(f"columns.{name}", f"must be another column than {first}", self._their(name))

    not_kept: ClassVar[str] = "other columns than those of a trace"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is Parquet, or its first line has our names for what is needed."""
        return start.startswith(PARQUET) or has_columns(start, *_FIGURES)

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; the rows of a session are its rounds."""
        required = [self._column(name) for name in self._required()]
        taken = {column.name for column in required}
        optional = [self._column(name) for name in _LABELS if self._their(name) not in taken]
        # A pipe can be read once only, and holds no Parquet, which is read from its end.
        if not is_special(path) and read_start(path, WorkloadTraceError).startswith(PARQUET):
            found = read_parquet(path, required, optional, max_rows)
        else:
            found = read_table(path, partial(by_name, required=required, optional=optional), max_rows=max_rows).columns
        known: dict[str, Any] = {
            name: found[self._their(name)]
            for name in _NAMES
            if self._their(name) in found and (name in self._required() or self._their(name) not in taken)
        }
        arrivals, inputs, outputs = (known.pop(name) for name in _FIGURES)
        trace = build_trace(path, arrivals=arrivals, input_tokens=inputs, output_tokens=outputs, **known)
        trace.columns["round_index"] = rounds_of(trace.columns["session_id"])
        return trace

    def _required(self) -> list[str]:
        return [*_FIGURES, *(name for name in _LABELS if name in self.columns)]

    def _their(self, name: str) -> str:
        return self.columns.get(name, name)  # type: ignore[no-any-return]

    def _column(self, name: str) -> CsvColumn:
        if name in _LABELS:
            return CsvColumn(self._their(name), sys.intern)
        parse: Callable[[str], int] = instant_reader(self.time_unit) if name == "arrival" else _count
        return CsvColumn(self._their(name), parse, np.int64)


_count = partial(integer, at_least=0)
