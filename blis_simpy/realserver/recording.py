"""Recording of a real server: the trace of a workload, and figures about its quality."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.core.rendering import Rendered
from blis_simpy.display.text_table import Strong, TextColumn, TextTable
from blis_simpy.realserver.http_exchange import OK
from blis_simpy.trace_files.trace import Trace
from blis_simpy.units import SECOND, format_ticks

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from blis_simpy.display.text_table import Line

__all__ = ["Recording", "ScheduleSlip"]

_PERCENTILES = (50, 90, 95, 99)
_SHOWN_FAILURES = 5
# A larger slip means that the server did not get the load that the workload describes.
_LARGE_SLIP_US = 100_000


@attrs.frozen
class ScheduleSlip:
    """Delay between the planned arrival of requests and their sending.

    Attributes
    ----------
    mean_us, p99_us, max_us : float, µs
        Delay over all recorded requests; 0 if there are none.
    num_held_back : int
        Requests that were due while the limit of concurrency was reached, including the warm-up.
    """

    mean_us: float
    p99_us: float
    max_us: float
    num_held_back: int


@attrs.frozen(eq=False, repr=False, kw_only=True)
class Recording(Rendered):
    """Recording of a real server; printed as a summary.

    Attributes
    ----------
    trace : Trace
        One row per request, in order of completion, without the warm-up.
    url : str
        Address of the server, without name and password.
    started_at : int, µs since 1970
        Tick 0 of the arrivals.
    duration_us : int, µs
        Time from tick 0 to the end of the run.
    num_held_back : int
        Requests that were due while the limit of concurrency was reached.
    is_complete : bool
        Whether the run was not interrupted.
    """

    trace: Trace
    url: str
    started_at: int
    duration_us: int
    num_held_back: int
    is_complete: bool

    @property
    def statuses(self) -> dict[str, int]:
        """Number of requests by status (``ok``, ``error``, ``timeout``), the most frequent first."""
        return dict(Counter(self.trace.columns["status"]).most_common())

    @property
    def failures(self) -> dict[str, int]:
        """Number of requests by error message, the most frequent first."""
        return dict(Counter(message for message in self.trace.columns["error_message"] if message).most_common())

    @property
    def finish_reasons(self) -> dict[str, int]:
        """Number of responses by finish reason, as given by the server, the most frequent first."""
        return dict(Counter(reason for reason in self.trace.columns["finish_reason"] if reason).most_common())

    @property
    def schedule_slip(self) -> ScheduleSlip:
        """Delays of sending against the schedule."""
        late = self._column("send_time_us") - self.started_at - self._column("arrival_time_us")
        if not len(late):
            return ScheduleSlip(0.0, 0.0, 0.0, self.num_held_back)
        figures = (float(late.mean()), float(np.percentile(late, 99)), float(late.max()))
        return ScheduleSlip(*figures, self.num_held_back)

    @property
    def ttft_us(self) -> NDArray[np.int64]:
        """Time from sending to the first chunk with tokens, for each response with status ``ok``, µs."""
        return self._latencies("first_chunk_time_us")

    @property
    def e2e_us(self) -> NDArray[np.int64]:
        """Time from sending to the last chunk with tokens, for each response with status ``ok``, µs."""
        return self._latencies("last_chunk_time_us")

    def write(self, header: str | os.PathLike[str], data: str | os.PathLike[str]) -> None:
        """Write the trace, both files or none.

        Parameters
        ----------
        header, data : path-like
            YAML and CSV file.

        Raises
        ------
        ScenarioError
            If a file cannot be written.
        """
        from blis_simpy.trace_files.trace_v2 import write_trace

        write_trace(self.trace, header, data)

    def _column(self, name: str) -> NDArray[Any]:
        column = self.trace.columns[name]
        assert isinstance(column, np.ndarray)
        return column

    def _is_ok(self) -> NDArray[np.bool_]:
        return np.array([status == OK for status in self.trace.columns["status"]], dtype=np.bool_)

    def _latencies(self, until: str) -> NDArray[np.int64]:
        # A response without tokens has no time of a first or last token.
        with_tokens = self._is_ok() & (self._column(until) > 0)
        latencies: NDArray[np.int64] = (self._column(until) - self._column("send_time_us"))[with_tokens]
        return latencies

    def page(self) -> list[Line | TextTable]:
        """Describe the recording as lines and a table."""
        model = self.trace.header.server.model if self.trace.header.server else ""
        counts = ", ".join(f"{count:,} {status}" for status, count in self.statuses.items()) or "nothing recorded"
        page: list[Line | TextTable] = [
            (Strong(model), f" at {self.url}", "" if self.is_complete else ", interrupted"),
            (f"{len(self.trace):,} requests in {format_ticks(self.duration_us // 1000 * 1000)}: {counts}",),
        ]
        if tokens := int(self._column("output_tokens")[self._is_ok()].sum()):
            seconds = max(self.duration_us, 1) / SECOND
            page.append((f"{len(self.e2e_us) / seconds:,.2f} requests/s, {tokens / seconds:,.1f} output tokens/s",))
        if len(self.e2e_us):
            columns = [
                TextColumn("latency", "ms", align="left"),
                TextColumn("mean", spec=",.3f"),
                *(TextColumn(f"p{percent}", spec=",.3f") for percent in _PERCENTILES),
            ]
            names = {"TTFT, sent to first token": self.ttft_us, "E2E, sent to last token": self.e2e_us}
            rows = [
                (name, *(value / 1000 for value in (us.mean(), *np.percentile(us, _PERCENTILES))))
                for name, us in names.items()
            ]
            page.append(TextTable(columns, rows))
        page += [(f"{count:,} x {message}",) for message, count in list(self.failures.items())[:_SHOWN_FAILURES]]
        return [*page, *((line,) for line in self._slip_lines())]

    def _slip_lines(self) -> list[str]:
        slip = self.schedule_slip
        figures = ", ".join(
            f"{name} {value / 1000:,.3f}"
            for name, value in (("mean", slip.mean_us), ("p99", slip.p99_us), ("max", slip.max_us))
        )
        lines = [f"schedule slip (ms): {figures}"]
        if slip.num_held_back:
            lines.append(f"the concurrency limit held {slip.num_held_back:,} requests back")
        elif slip.p99_us > _LARGE_SLIP_US:
            lines.append("the client could not keep up with its schedule")
        return lines

    def __repr__(self) -> str:
        return self.render("text")
