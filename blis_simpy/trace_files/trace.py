"""A workload trace in memory: requests with all that was recorded of them, whatever file they came from.

A trace is replayed open loop: every row becomes one request that arrives at its recorded tick, whatever happened to it
when it was recorded. All times are µs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.core.call_graph import CallGraph
from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.settings.fields import setting
from blis_simpy.trace_files.column_names import PREFIX_LENGTH, PRIORITY, SLO_TARGETS
from blis_simpy.units import format_ticks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.core.request import Request
    from blis_simpy.core.request_rows import RequestRows
    from blis_simpy.trace_files.csv_columns import Columns  # noqa: TC004 - a name only: reading files needs much more

__all__ = ["NEWER_VERSION", "PREFIX_TOKENS", "NetworkInfo", "ServerInfo", "Trace", "TraceHeader", "default_horizon"]

PREFIX_TOKENS = 50
"""Length of the prefix that the rows of one prefix group share, where the layout does not record the real one."""
NEWER_VERSION = 3
"""Version of the layout that records the length of prefixes."""

_UNLIMITED = 2**63 - 1
_LEAST_WALL_CLOCK_US = 10**15
"""Instants from here on are µs since 1970, those before are ticks since the start of the recording."""
_IDLE_HORIZON = 600_000_000


@attrs.frozen(kw_only=True)
class ServerInfo:
    """The recorded server; for information only."""

    type: str = setting(default="", help="Kind of server, e.g. vllm.")
    model: str = setting(default="", help="Model it served.")
    tensor_parallel: int = setting(default=0, help="Tensor-parallel degree.", unit="GPUs")
    max_num_seqs: int = setting(default=0, help="Batch slots.")
    block_size: int = setting(default=0, help="KV block size.", unit="tokens")
    gpu_memory_utilization: float = setting(default=0.0, help="Fraction of GPU memory it may use.")
    max_model_len: int = setting(default=0, help="Longest context.", unit="tokens")


@attrs.frozen(kw_only=True)
class NetworkInfo:
    """The network between the recording client and the server."""

    measured_rtt_ms: float = setting(default=0.0, help="Round-trip time.", unit="ms")


@attrs.frozen(kw_only=True)
class TraceHeader:
    """Values of the header file; every key may be missing."""

    trace_version: int = setting(default=2, help="Version of the layout.", ge=2, le=NEWER_VERSION)
    time_unit: str = setting(default="microseconds", help="Unit of all times.", choices=("microseconds", "us"))
    created_at: str = setting(default="", help="When it was made, free text.")
    mode: str = setting(default="", help="'generated' by a simulation or 'real', recorded from a server.")
    warm_up_requests: int = setting(default=0, help="Requests, by id from 0, that a calibration leaves out.")
    workload_spec: str = setting(default="", help="File of the workload that it was generated from.")
    server: ServerInfo | None = setting(default=None, help="The recorded server.")
    network: NetworkInfo | None = setting(default=None, help="The network to it.")


@attrs.frozen(eq=False, repr=False)
class Trace:
    """A workload trace that has been read and checked.

    Attributes
    ----------
    header : TraceHeader
        Contents of the header file.
    columns : dict of str to list of str or ndarray of shape (num_requests,)
        All columns of `trace_columns.COLUMNS`, in file order; `column_names.PREFIX_LENGTH` too in the newer layout,
        `column_names.PRIORITY` and `column_names.SLO_TARGETS` too if requests have them.
    contents : sequence of Content or None, optional
        For each row what its prompt is made of, as far as others may share it; its prefix group is then a mere label.
    output_streams : sequence of str or None, optional
        For each row the stream that its output belongs to, if later prompts may contain it.
    not_kept : tuple of str
        What was in the file and is not in the trace.
    sessions : tuple of CallGraph
        Sessions of calls that the rows belong to, if the file records which call waits for which.
    has_default_horizon : bool
        Whether a replay without a horizon in the engine profile ``blis`` ends at `default_horizon`, as the reference
        does with its own layout, and not when all requests have ended.
    """

    header: TraceHeader
    columns: Columns
    contents: Sequence[TokenSpans | None] | None = None
    output_streams: Sequence[str | None] | None = None
    not_kept: tuple[str, ...] = ()
    sessions: tuple[CallGraph, ...] = ()
    has_default_horizon: bool = False

    def __repr__(self) -> str:
        arrivals = self.arrivals
        duration = format_ticks(max(arrivals) - min(arrivals)) if arrivals else "0s"
        return f"<Trace of {len(self):,} requests over {duration}>"

    def __len__(self) -> int:
        return len(self.columns["request_id"])

    @property
    def arrivals(self) -> list[int]:
        """When the requests of a replay arrive, ticks.

        In the newer layout that is when they were sent, if that is known; if it is known by the wall clock, the first
        one is sent at tick 0.
        """
        return self._replayed("arrival_time_us")

    @property
    def deadlines(self) -> list[int]:
        """When the clients of a replay give up, ticks; 0 = never."""
        return self._replayed("deadline_us")

    def _replayed(self, name: str) -> list[int]:
        """Arrivals or deadlines on the clock of the replay."""
        import numpy as np  # here and below: a scenario imports this module, and numpy takes longer than all of it

        planned, sent = (np.asarray(self.columns[column]) for column in ("arrival_time_us", "send_time_us"))
        is_sent = sent > 0
        if self.header.trace_version < NEWER_VERSION or not is_sent.any():
            return self._values(name)
        first = int(np.where(is_sent, sent, _UNLIMITED).argmin())
        # Tick 0 of the replay, on the clock of the plan and on that of the sends.
        origin, sent_origin = (planned[first], sent[first]) if sent[first] >= _LEAST_WALL_CLOCK_US else (0, 0)
        if name == "arrival_time_us":
            replayed = np.where(is_sent, sent - sent_origin, planned - origin)
        else:
            deadlines = np.asarray(self.columns[name])
            replayed = np.where(deadlines > 0, np.maximum(deadlines - origin, 1), 0)
        values: list[int] = replayed.tolist()
        return values

    def requests(self) -> list[Request]:
        """Make the requests anew, in file order, which decides among equal arrivals.

        Returns
        -------
        list of Request
            Named ``request_<request_id>``. The output budget is the recorded output length. Rows with a prefix group
            share a prefix that comes in front of, and on top of, their ``input_tokens``: `PREFIX_TOKENS` of it, or in
            the newer layout as many as it says.
        """
        return list(self.rows())

    def rows(self) -> RequestRows:
        """Return the same requests as rows, from which each is made when it is asked for."""
        import numpy as np

        from blis_simpy.core.request_rows import RequestRows

        num_rows = len(self)
        groups = self._values("prefix_group")
        lengths = self._values(PREFIX_LENGTH) if PREFIX_LENGTH in self.columns else repeat(PREFIX_TOKENS, num_rows)
        prompts = np.array(self._prompt_lengths([not group for group in groups]), dtype=np.int64)
        contents: list[TokenSpans | None] = [None] * num_rows if self.contents is None else list(self.contents)
        prefixes: dict[tuple[str, int], TokenSpans] = {}
        for row, key in enumerate(zip(groups, lengths, strict=True)):
            group, prefix_tokens = key
            if group and prefix_tokens and contents[row] is None:
                prompts[row] += prefix_tokens
                contents[row] = prefixes.get(key) or prefixes.setdefault(
                    key, (Span(f"prefix:{group}", 0, prefix_tokens),)
                )
        outputs = np.asarray(self.columns["output_tokens"], dtype=np.int64)
        numbers = self._values("request_id")
        columns: dict[str, Any] = {
            "arrived_at": np.array(self.arrivals, dtype=np.int64),
            "input_tokens": prompts,
            "output_tokens": outputs,
            "max_output_tokens": outputs,
            "deadline": np.array(self.deadlines, dtype=np.int64),
            "content": contents,
            **{name: self._values(column) for name, column in _LABELS.items()},
            "prefix_group": groups,
            **{name: np.asarray(self.columns[name]) for name in ("round_index", "streaming")},
        }
        if PRIORITY in self.columns:
            columns["priority"] = np.asarray(self.columns[PRIORITY])
        if self.output_streams is not None:
            columns["output_stream"] = self.output_streams
        targets = self._slo_targets()
        if targets is not None:
            columns["slo_targets"] = targets
        return RequestRows(lambda rows: (f"request_{numbers[row]}" for row in rows.tolist()), columns)

    def _slo_targets(self) -> list[SLOTargets | None] | None:
        """SLO targets of each request; None if all are those of its class."""
        names = [name for name in SLO_TARGETS if name in self.columns]
        if not names:
            return None
        made: dict[tuple[int, ...], SLOTargets | None] = {(0,) * len(names): None}
        rows = list(zip(*map(self._values, names), strict=True))
        for row in set(rows) - made.keys():
            made[row] = SLOTargets(**{SLO_TARGETS[name]: us for name, us in zip(names, row, strict=True) if us})
        return [made[row] for row in rows]

    def _values(self, name: str) -> list[Any]:
        """Values as plain Python objects: numpy scalars must not reach the clock."""
        column = self.columns[name]
        return column if isinstance(column, list) else column.tolist()

    def _prompt_lengths(self, alone: list[bool]) -> list[int]:
        """Lengths of prompts; in the newer layout, of those without a prefix, as the server counted them if it did."""
        if self.header.trace_version < NEWER_VERSION:
            return self._values("input_tokens")
        import numpy as np

        planned, counted = (np.asarray(self.columns[name]) for name in ("input_tokens", "server_input_tokens"))
        lengths: list[int] = np.where(np.asarray(alone, np.bool_) & (counted > 0), counted, planned).tolist()
        return lengths


_LABELS = {
    "slo_class": "slo_class",
    "tenant": "tenant_id",
    "model": "model",
    "client": "client_id",
    "session": "session_id",
}
"""Columns of labels by attributes of requests."""


def default_horizon(arrivals: Iterable[int]) -> int:
    """Horizon of a replay without a given one.

    Parameters
    ----------
    arrivals : iterable of int, ticks
        Arrivals of all requests.

    Returns
    -------
    int, ticks
        Twice the last arrival; 600 s if that is not after tick 0; 2**63 - 1, which is no limit, without any request
        or if twice were beyond it. As in the reference.
    """
    last = max(arrivals, default=_UNLIMITED)
    if last <= 0:
        return _IDLE_HORIZON
    return min(2 * last, _UNLIMITED)
