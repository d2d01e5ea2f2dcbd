"""The measured side of a fit: latencies of the requests of a trace with token times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.trace_files.trace import Trace

__all__ = ["Latencies", "Measured"]

Times = NDArray[np.float64]


@attrs.frozen(eq=False)
class Latencies:
    """Latencies of the same requests, measured or simulated; an array of shape (num_requests,) each, in µs.

    Attributes
    ----------
    ttft, e2e : ndarray of float64, µs
        From arrival to the first and to the last token.
    tpot : ndarray of float64, µs
        Mean time of an output token after the first; NaN for requests with one.
    """

    ttft: Times
    e2e: Times
    tpot: Times

    @classmethod
    def of(cls, ttft: NDArray[Any], e2e: NDArray[Any], output_tokens: NDArray[Any]) -> Latencies:
        """Take latencies in µs, and derive the time of an output token."""
        first, last = ttft.astype(np.float64), e2e.astype(np.float64)
        further = output_tokens - 1
        tpot = np.full(len(first), np.nan)
        np.divide(last - first, further, out=tpot, where=further > 0)
        return cls(first, last, tpot)

    def take(self, rows: NDArray[Any]) -> Latencies:
        """Pick some requests."""
        return Latencies(self.ttft[rows], self.e2e[rows], self.tpot[rows])


@attrs.frozen(eq=False)
class Measured:
    """Requests of a trace whose latencies can be compared.

    Attributes
    ----------
    rows : ndarray of int64, shape (num_requests,)
        Their rows in the trace, in order of arrival.
    latencies : Latencies
        What was measured.
    output_tokens : ndarray of int64
        Their output lengths.
    """

    rows: NDArray[np.int64]
    latencies: Latencies
    output_tokens: NDArray[np.int64]

    @classmethod
    def of(cls, trace: Trace, rtt_us: int = 0) -> Measured:
        """Take the requests that completed, without the warm-up requests of the header.

        Parameters
        ----------
        trace : Trace
            The recording.
        rtt_us : int, µs
            Round trip between client and server, which the latencies are to be without.

        Raises
        ------
        CalibrationError
            If the trace has no token times.
        """
        columns: Mapping[str, Any] = trace.columns
        sent, first, last = (columns[f"{name}_time_us"] for name in ("send", "first_chunk", "last_chunk"))
        output_tokens = np.asarray(columns["output_tokens"])
        usable = (first - sent > rtt_us) & (last >= first) & (output_tokens > 0)
        usable &= np.array([status == "ok" for status in columns["status"]], np.bool_)
        usable &= np.asarray(columns["request_id"]) >= trace.header.warm_up_requests
        rows = np.flatnonzero(usable)
        if not len(rows):
            raise CalibrationError(
                "no request of the trace has times of its first and last token: a fit needs a recording, "
                "such as that of blis observe, or of vLLM's benchmark with --save-detailed"
            )
        rows = rows[np.argsort(np.asarray(trace.arrivals)[rows], kind="stable")]
        ttft, e2e = (first - sent - rtt_us)[rows], (last - sent - rtt_us)[rows]
        latencies = Latencies.of(ttft, e2e, output_tokens[rows])
        return cls(rows, latencies, output_tokens[rows])

    def __len__(self) -> int:
        return len(self.rows)
