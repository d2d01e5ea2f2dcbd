"""BurstGPT: calls of ChatGPT and GPT-4 in a university, with and without the later columns for sessions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from blis_simpy.trace_files.any_table import names_columns, read_any_table
from blis_simpy.trace_files.csv_columns import CsvColumn, by_name, label, normalised, whole_number
from blis_simpy.trace_files.timestamps import ticks
from blis_simpy.trace_files.trace_builder import build_trace, rounds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.errors import Problem
    from blis_simpy.trace_files.csv_columns import Layout
    from blis_simpy.trace_files.trace import Trace

__all__ = ["BurstGPT"]

_ELAPSED = "Elapsed time"
_COLUMNS = (
    CsvColumn("Timestamp", partial(ticks, unit="s"), np.int64),
    CsvColumn("Model", label),
    CsvColumn("Request tokens", whole_number, np.int64),
    CsvColumn("Response tokens", whole_number, np.int64),
    CsvColumn("Log Type", label),
)
_SESSION = CsvColumn("Session ID", label)


@attrs.frozen(kw_only=True)
class BurstGPT:
    """BurstGPT traces, with or without session ids (CSV); failed requests are left out."""

    fields: ClassVar[str] = (
        "Timestamp, Model (as client_id), Request tokens, Response tokens, Log Type (as tenant_id); optional Session ID"
    )
    times: ClassVar[str] = "s"
    not_kept: ClassVar[str] = "failed requests (no response tokens), elapsed times"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the columns have the names."""
        return names_columns(start, *(column.name for column in _COLUMNS))

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file. Requests without response tokens have failed.

        The model becomes the client and the log type the tenant, because the ``model`` of a trace must be a simulated
        one.
        """
        lost: list[str] = []

        def layout_of(names: Sequence[str], _first: Sequence[str]) -> Layout | Problem:
            if normalised(_ELAPSED) in map(normalised, names):
                lost.append("elapsed times")
            return by_name(names, _COLUMNS, (_SESSION,))

        columns: dict[str, Any] = read_any_table(path, layout_of, max_rows)
        sessions = columns.get(_SESSION.name)
        labels = {} if sessions is None else {"session_id": sessions}
        trace = build_trace(
            path,
            arrivals=columns["Timestamp"],
            input_tokens=columns["Request tokens"],
            output_tokens=columns["Response tokens"],
            failed=columns["Response tokens"] == 0,
            not_kept=lost,
            client_id=columns["Model"],
            tenant_id=columns["Log Type"],
            **labels,
        )
        trace.columns["round_index"] = rounds_of(trace.columns["session_id"])
        return trace
