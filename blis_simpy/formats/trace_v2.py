"""Workload traces in the TraceV2 layout: a YAML header beside a CSV file with one request a row.

A trace is replayed open loop: every row becomes one request that arrives at its recorded tick, whatever happened to it
when it was recorded. All times are µs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.core.content import Content, Span
from blis_simpy.core.request import Request
from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.formats.files import read_text
from blis_simpy.formats.trace_columns import Columns, read_columns
from blis_simpy.settings.convert import structure
from blis_simpy.settings.fields import setting
from blis_simpy.settings.loader import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "PREFIX_TOKENS",
    "NetworkInfo",
    "ServerInfo",
    "Trace",
    "TraceHeader",
    "default_horizon",
    "read_trace",
]

PREFIX_TOKENS = 50
"""Length of the prefix that the rows of one prefix group share; the layout does not record the real one."""

_UNLIMITED = 2**63 - 1
_IDLE_HORIZON = 600_000_000


@attrs.frozen(kw_only=True)
class ServerInfo:
    """The recorded server; for information only."""

    type: str = setting("", help="Kind of server, e.g. vllm.")
    model: str = setting("", help="Model it served.")
    tensor_parallel: int = setting(0, help="Tensor-parallel degree.", unit="GPUs")
    max_num_seqs: int = setting(0, help="Batch slots.")
    block_size: int = setting(0, help="KV block size.", unit="tokens")
    gpu_memory_utilization: float = setting(0.0, help="Fraction of GPU memory it may use.")
    max_model_len: int = setting(0, help="Longest context.", unit="tokens")


@attrs.frozen(kw_only=True)
class NetworkInfo:
    """The network between the recording client and the server."""

    measured_rtt_ms: float = setting(0.0, help="Round-trip time.", unit="ms")


@attrs.frozen(kw_only=True)
class TraceHeader:
    """What the header file says; every key may be missing."""

    trace_version: int = setting(2, help="Version of the layout.", ge=2, le=2)
    time_unit: str = setting("microseconds", help="Unit of all times.", choices=("microseconds", "us"))
    created_at: str = setting("", help="When it was made, free text.")
    mode: str = setting("", help="'generated' by a simulation or 'real', recorded from a server.")
    warm_up_requests: int = setting(0, help="Requests, by id from 0, that a calibration leaves out.")
    workload_spec: str = setting("", help="File of the workload that it was generated from.")
    server: ServerInfo | None = setting(None, help="The recorded server.")
    network: NetworkInfo | None = setting(None, help="The network to it.")


@attrs.frozen(eq=False)
class Trace:
    """A workload trace that has been read and checked.

    Attributes
    ----------
    header : TraceHeader
        Contents of the header file.
    columns : dict of str to list of str or ndarray of shape (num_requests,)
        All columns of `trace_columns.COLUMNS`, in file order.
    """

    header: TraceHeader
    columns: Columns

    def __len__(self) -> int:
        return len(self.columns["request_id"])

    def requests(self) -> list[Request]:
        """Make the requests anew, in file order, which decides among equal arrivals.

        Returns
        -------
        list of Request
            Named ``request_<request_id>``. The output budget is the recorded output length. Rows with a prefix group
            share `PREFIX_TOKENS` tokens, which come in front of, and on top of, their ``input_tokens``.
        """
        prefixes: dict[str, Content | None] = {
            group: (Span(f"prefix:{group}", 0, PREFIX_TOKENS),) if group else None
            for group in self._values("prefix_group")
        }
        return [
            Request(
                id=f"request_{number}",
                arrived_at=arrived_at,
                input_tokens=input_tokens + PREFIX_TOKENS if group else input_tokens,
                output_tokens=output_tokens,
                max_output_tokens=output_tokens,
                deadline=deadline,
                content=prefixes[group],
                slo_class=slo_class,
                tenant=tenant,
                model=model,
                client=client,
                session=session,
                prefix_group=group,
                round_index=round_index,
                streaming=streaming,
            )
            for (
                number,
                arrived_at,
                input_tokens,
                output_tokens,
                deadline,
                slo_class,
                tenant,
                model,
                client,
                session,
                group,
                round_index,
                streaming,
            ) in zip(*map(self._values, _REQUEST_COLUMNS), strict=True)
        ]

    def _values(self, name: str) -> list[Any]:
        """Values as plain Python objects: numpy scalars must not reach the clock."""
        column = self.columns[name]
        return column if isinstance(column, list) else column.tolist()


_REQUEST_COLUMNS = (
    "request_id",
    "arrival_time_us",
    "input_tokens",
    "output_tokens",
    "deadline_us",
    "slo_class",
    "tenant_id",
    "model",
    "client_id",
    "session_id",
    "prefix_group",
    "round_index",
    "streaming",
)


def read_trace(header_path: str | os.PathLike[str], data_path: str | os.PathLike[str]) -> Trace:
    """Read and check a workload trace.

    Parameters
    ----------
    header_path : path-like
        YAML header file.
    data_path : path-like
        CSV data file. Both may be gzipped.

    Raises
    ------
    WorkloadTraceError
        If a file cannot be read or breaks a rule of the layout; names file, line and column.
    """
    text = read_text(header_path, WorkloadTraceError)
    try:
        header = structure(parse(text, os.fspath(header_path)), TraceHeader)
    except ScenarioError as error:
        raise WorkloadTraceError(error.problems) from None
    return Trace(header, read_columns(data_path))


def default_horizon(arrivals: Iterable[int]) -> int:
    """Horizon of a replay for which none was asked.

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
