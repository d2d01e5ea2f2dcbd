"""Traces of Azure's LLM inference services (2023 and 2024): moment, prompt and output length of each request."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.trace_files.csv_columns import CsvColumn, by_name, has_columns, integer, read_table
from blis_simpy.trace_files.timestamps import moment
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.errors import Problem
    from blis_simpy.trace_files.csv_columns import Layout
    from blis_simpy.trace_files.trace import Trace

__all__ = ["Azure"]

_count = partial(integer, at_least=0)
_COLUMNS = (
    CsvColumn("TIMESTAMP", moment, np.int64),
    CsvColumn("ContextTokens", _count, np.int64),
    CsvColumn("GeneratedTokens", _count, np.int64),
)


def _layout_of(names: Sequence[str]) -> Layout | Problem:
    return by_name(names, _COLUMNS)


@attrs.frozen(kw_only=True)
class Azure:
    """Azure LLM inference traces of 2023 and 2024 (CSV)."""

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the first line names the columns."""
        return has_columns(start, *(column.name for column in _COLUMNS))

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; its moments have ten millionths of a second, of which the last digit is cut off."""
        columns: dict[str, Any] = read_table(path, _layout_of, max_rows=max_rows).columns
        return build_trace(
            path,
            arrivals=columns["TIMESTAMP"],
            input_tokens=columns["ContextTokens"],
            output_tokens=columns["GeneratedTokens"],
        )
