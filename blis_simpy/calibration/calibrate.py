"""Calibration: compares the latencies of measured requests with those of simulated ones.

The measured requests are a workload trace that was recorded on a real server, the simulated ones a replay of it. A
client measures from sending a request to receiving its chunks, a simulation the time on the server; the round trip and
the transfer of prompt and answer are therefore added to the simulated latencies.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.calibration.agreement import PERCENTS, Agreement
from blis_simpy.calibration.simulated import HasRequests, Simulated
from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.errors import CalibrationError, Problem
from blis_simpy.files.outputs import write_text
from blis_simpy.results.blis_report import to_json
from blis_simpy.trace_files.load_trace import load_trace
from blis_simpy.trace_files.trace import Trace

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Calibration", "calibrate", "check_network", "recorded_rtt_us"]

_log = logging.getLogger(__name__)

_BYTES_PER_TOKEN = 4
_LEAST_BANDWIDTH_MBPS = 1e-6
_LIMITATIONS = [
    "Steps are whole batches; a server that schedules iterations has other first tokens, most of all under high load.",
    "Prefixes are synthetic tokens of a fixed length; prefix cache hit rates may differ from the server's.",
    "Speculative decoding is not modelled.",
]


class Calibration(Rendered):
    """Comparison of simulated with measured latencies; made by `calibrate`.

    Attributes
    ----------
    pairs : dict of str to ndarray, shape (num_pairs,)
        One row per compared request, in the order of the trace: ``request_id``, ``input_tokens`` and ``output_tokens``
        (simulated), ``real_ttft_us``, ``sim_ttft_us``, ``real_e2e_us``, ``sim_e2e_us``, including the network.
    matched : int
        Number of rows of the trace with a simulated request, including those with negative latencies.
    warm_up_excluded : int
        Number of rows excluded as warm-up.
    unmatched_real : int
        Number of rows without a simulated request, or with a negative recorded latency.
    unmatched_sim : int
        Number of simulated requests without a row.
    token_mismatches : int
        Number of matched rows whose token counts differ from the simulated ones.
    """

    def __init__(
        self,
        *,
        pairs: Mapping[str, NDArray[Any]],
        matched: int,
        warm_up_excluded: int,
        unmatched_real: int,
        unmatched_sim: int,
        token_mismatches: int,
    ) -> None:
        self.pairs = dict(pairs)
        self.matched = matched
        self.warm_up_excluded = warm_up_excluded
        self.unmatched_real = unmatched_real
        self.unmatched_sim = unmatched_sim
        self.token_mismatches = token_mismatches

    @cached_property
    def ttft(self) -> Agreement:
        """Agreement of TTFT."""
        return Agreement.of(self.pairs["real_ttft_us"], self.pairs["sim_ttft_us"])

    @cached_property
    def e2e(self) -> Agreement:
        """Agreement of E2E."""
        return Agreement.of(self.pairs["real_e2e_us"], self.pairs["sim_e2e_us"])

    def report(self, *, snake_case: bool = False) -> dict[str, Any]:
        """Return the figures in the format of the reference's ``calibrate``.

        Parameters
        ----------
        snake_case : bool, default False
            Whether to write the keys of the metrics in snake case, ``real_p50`` and ``mape``, in place of the
            reference's ``RealP50`` and ``MAPE``.
        """
        metrics = {"e2e": _figures(self.e2e), "ttft": _figures(self.ttft)}
        if snake_case:
            metrics = {name: {_SNAKE_CASE[key]: of[key] for key in of} for name, of in metrics.items()}
        return {
            "trace_info": {
                "num_requests": self.matched + self.warm_up_excluded + self.unmatched_real,
                "warm_up_excluded": self.warm_up_excluded,
                "matched_pairs": self.matched,
                "token_mismatches": self.token_mismatches,
            },
            "metrics": metrics,
            "config_match": {},
            "known_limitations": list(_LIMITATIONS),
        }

    def write_report(self, path: str | os.PathLike[str], *, snake_case: bool = False) -> None:
        """Write the `report` as JSON.

        Raises
        ------
        ScenarioError
            If the file cannot be written; an existing one is left unchanged.
        """
        write_text(path, to_json(self.report(snake_case=snake_case)))

    @property
    def plot(self) -> Plots:
        """Draws simulated against measured latencies, one point a request: ``calibration.plot()``."""
        return Plots(self, "calibration.", default="latencies")

    def __repr__(self) -> str:
        parts = (
            f"{name} MAPE {of.mape:.1%} r {of.pearson_r:.3f} {of.quality}"
            for name, of in (("TTFT", self.ttft), ("E2E", self.e2e))
        )
        return f"<Calibration of {len(self.pairs['request_id'])} requests: {', '.join(parts)}>"


def calibrate(
    trace: Trace | str | os.PathLike[str],
    results: HasRequests | str | os.PathLike[str],
    *,
    warm_up_requests: int | None = None,
    network_rtt_us: int | None = None,
    network_bandwidth_mbps: float = 0.0,
) -> Calibration:
    """Compare a recording of a real server with a simulation of the same requests.

    Parameters
    ----------
    trace : Trace or path
        The recording: a trace, or a file that `load_trace` reads without options.
    results : Result or path
        The simulation: a `Result` of `replay`, or a file of ``blis replay --results-path``.
    warm_up_requests : int, optional
        Number of requests to leave out, by id from 0; default is that of the header.
    network_rtt_us : int, optional, µs
        Round trip between client and server, >= 0; default is that of the header.
    network_bandwidth_mbps : float, Mbit/s
        Bandwidth for prompt and answer at 4 bytes per token, at least 1 bit/s; 0 or less means no transfer time.

    Returns
    -------
    Calibration
        Latencies of the compared requests, and their agreement.

    Raises
    ------
    CalibrationError
        If a parameter is wrong, the results cannot be read, or no request can be compared.
    WorkloadTraceError
        If the trace cannot be read.
    """
    check_network(network_rtt_us, network_bandwidth_mbps)
    if not isinstance(trace, Trace):
        trace = load_trace(trace)
    simulated = Simulated.of(results)
    if warm_up_requests is None:
        warm_up_requests = trace.header.warm_up_requests
    if network_rtt_us is None:
        network_rtt_us = recorded_rtt_us(trace)
    return _paired(trace, simulated, warm_up_requests, network_rtt_us, network_bandwidth_mbps)


def recorded_rtt_us(trace: Trace) -> int:
    """Round trip between client and server in the header of a trace, µs; 0 if there is none.

    Raises
    ------
    CalibrationError
        If it is out of range.
    """
    if trace.header.network is None:
        return 0
    rtt_ms = trace.header.network.measured_rtt_ms
    if not rtt_ms * 1000 < 2**63:
        raise CalibrationError.at("network.measured_rtt_ms", "must be a number of us within 64 bits", rtt_ms)
    return int(max(rtt_ms * 1000, 0))


def check_network(rtt_us: object, bandwidth_mbps: object, names: tuple[str, str] | None = None) -> None:
    """Validate round trip and bandwidth.

    Parameters
    ----------
    rtt_us, bandwidth_mbps : object
        As for `calibrate`.
    names : tuple of two str, optional
        Names of the parameters in the error.

    Raises
    ------
    CalibrationError
        With one problem for each that is invalid.
    """
    rtt_name, bandwidth_name = names or ("network_rtt_us", "network_bandwidth_mbps")
    problems: list[Problem] = []
    if rtt_us is not None and (type(rtt_us) is not int or not 0 <= rtt_us < 2**63):
        problems.append(Problem(path=rtt_name, rule="must be a whole number of us >= 0", value=rtt_us))
    rule = ""
    if type(bandwidth_mbps) not in (int, float) or not abs(bandwidth_mbps) <= sys.float_info.max:  # type: ignore[arg-type]
        rule = "must be a finite number of Mbit/s"
    elif 0 < bandwidth_mbps < _LEAST_BANDWIDTH_MBPS:  # type: ignore[operator]
        rule = f"must be at least {_LEAST_BANDWIDTH_MBPS} Mbit/s, or 0"
    if rule:
        problems.append(Problem(path=bandwidth_name, rule=rule, value=bandwidth_mbps))
    if problems:
        raise CalibrationError(problems)


def _paired(trace: Trace, simulated: Simulated, warm_up: int, rtt_us: int, bandwidth_mbps: float) -> Calibration:
    columns: dict[str, Any] = dict(trace.columns)
    ids = columns["request_id"]
    warm = ids < warm_up
    # Of several entries with one number, the last one is used.
    entries = {number: index for index, number in enumerate(simulated.request_id.tolist())}
    entry = np.array([entries.get(number, -1) for number in ids.tolist()], np.int64)
    matched = ~warm & (entry >= 0)
    if not matched.any():
        raise CalibrationError("no request of the trace has a simulated request with the same number")
    real_ttft = columns["first_chunk_time_us"] - columns["send_time_us"]
    real_e2e = columns["last_chunk_time_us"] - columns["send_time_us"]
    possible = matched & (real_ttft >= 0) & (real_e2e >= 0)
    if not possible.any():
        raise CalibrationError("no request of the trace can be compared: all its times give negative latencies")
    _warn_of_failures(columns["status"], possible)
    used = entry[possible]
    inputs, outputs = simulated.input_tokens, simulated.output_tokens
    mismatched = (inputs[entry] != columns["input_tokens"]) | (outputs[entry] != columns["output_tokens"])
    sim_ttft = simulated.ttft_us[used] + rtt_us + _transfer_us(inputs[used], bandwidth_mbps)
    sim_e2e = simulated.e2e_us[used] + rtt_us + _transfer_us(inputs[used], bandwidth_mbps)
    sim_e2e = sim_e2e + _transfer_us(outputs[used], bandwidth_mbps)
    return Calibration(
        pairs={
            "request_id": ids[possible],
            "input_tokens": inputs[used],
            "output_tokens": outputs[used],
            "real_ttft_us": real_ttft[possible],
            "sim_ttft_us": sim_ttft,
            "real_e2e_us": real_e2e[possible],
            "sim_e2e_us": sim_e2e,
        },
        matched=int(matched.sum()),
        warm_up_excluded=int(warm.sum()),
        unmatched_real=int((~warm & ~possible).sum()),
        unmatched_sim=int((~np.isin(simulated.request_id, ids[matched])).sum()),
        token_mismatches=int((matched & mismatched).sum()),
    )


def _transfer_us(tokens: NDArray[np.int64], bandwidth_mbps: float) -> NDArray[np.float64]:
    if bandwidth_mbps <= 0:
        return np.zeros(len(tokens))
    return np.asarray((tokens * _BYTES_PER_TOKEN * 8) / (bandwidth_mbps * 1e6) * 1e6)


def _warn_of_failures(status: list[str], compared: NDArray[np.bool_]) -> None:
    failed = Counter(word for word, used in zip(status, compared.tolist(), strict=True) if used and word != "ok")
    if failed:
        words = ", ".join(f"{count} {word or 'without a status'}" for word, count in sorted(failed.items()))
        _log.warning("requests without status ok are compared by their recorded times: %s", words)


_SNAKE_CASE = {
    **{f"{of}P{percent}": f"{of.lower()}_p{percent}" for percent in PERCENTS for of in ("Real", "Sim")},
    "MAPE": "mape",
    "PearsonR": "pearson_r",
    "BiasDirection": "bias_direction",
    "Quality": "quality",
    "Count": "count",
}


def _figures(agreement: Agreement) -> dict[str, Any]:
    percentiles = {
        f"{of}P{percent}": values[percent]
        for percent in PERCENTS
        for of, values in (("Real", agreement.real), ("Sim", agreement.simulated))
    }
    return {
        **percentiles,
        "MAPE": agreement.mape,
        "PearsonR": agreement.pearson_r,
        "BiasDirection": agreement.bias,
        "Quality": agreement.quality,
        "Count": agreement.count,
    }
