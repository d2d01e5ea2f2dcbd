"""Traces of Azure's LLM inference services (2023 and 2024): date, prompt and output length of each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from blis_simpy.trace_files.any_table import names_columns, read_any_table
from blis_simpy.trace_files.csv_columns import CsvColumn, by_name, whole_number
from blis_simpy.trace_files.timestamps import moment
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.errors import Problem
    from blis_simpy.trace_files.csv_columns import Layout
    from blis_simpy.trace_files.trace import Trace

__all__ = ["Azure"]

_COLUMNS = (
    CsvColumn("TIMESTAMP", moment, np.int64),
    CsvColumn("ContextTokens", whole_number, np.int64),
    CsvColumn("GeneratedTokens", whole_number, np.int64),
)


def _layout_of(names: Sequence[str], _first: Sequence[str]) -> Layout | Problem:
    return by_name(names, _COLUMNS)


@attrs.frozen(kw_only=True)
class Azure:
    """Azure LLM inference traces of 2023 and 2024 (CSV)."""

    fields: ClassVar[str] = "TIMESTAMP, ContextTokens, GeneratedTokens"
    times: ClassVar[str] = "dates, cut to µs"
    not_kept: ClassVar[str] = "requests without prompt and output"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the columns have the names."""
        return names_columns(start, *(column.name for column in _COLUMNS))

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; its dates have a resolution of 0.1 µs, and the last digit is cut off."""
        columns: dict[str, Any] = read_any_table(path, _layout_of, max_rows)
        return build_trace(
            path,
            arrivals=columns["TIMESTAMP"],
            input_tokens=columns["ContextTokens"],
            output_tokens=columns["GeneratedTokens"],
        )
