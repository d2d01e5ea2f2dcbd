"""Fits the latency model ``kernels`` to a recording of a real server.

The recorded requests are simulated repeatedly with different options of the latency model, until their latencies agree
best with the measured ones. Options that the recording does not identify stay close to their priors. The later requests
are held out: their errors show how well the fit predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.calibration.calibrate import check_network, recorded_rtt_us
from blis_simpy.calibration.fitted import Errors, Estimate, Fit
from blis_simpy.calibration.least_squares import posterior_mode
from blis_simpy.calibration.measured import Latencies, Measured
from blis_simpy.calibration.parameters import as_options, parameters_for
from blis_simpy.errors import CalibrationError
from blis_simpy.experiment.run_warnings import captured, deferred, log_summaries
from blis_simpy.settings.fields import evolved
from blis_simpy.simulation import Simulation
from blis_simpy.trace_files.load_trace import load_trace
from blis_simpy.trace_files.trace import Trace

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from blis_simpy.scenario import Scenario

__all__ = ["Fit", "fit"]

_BACKEND = "kernels"
_FEWEST_REQUESTS = 20
_EFFECTIVE_REQUESTS = 12.0
"""Weight of all requests together: they share batches, so they are not independent."""
_RELATIVE_SD = 0.05
_TTFT_SD = 0.15
_TTFT_SD_US = 20_000.0


def fit(
    trace: Trace | str | PathLike[str],
    scenario: Scenario,
    *,
    held_out: float = 0.5,
    network_rtt_us: int | None = None,
) -> Fit[Scenario]:
    """Estimate options of the latency model ``kernels`` from a recording.

    Parameters
    ----------
    trace : Trace or path
        The recording, with times of first and last tokens: from `load_trace`, or a file that it reads without options.
    scenario : Scenario
        The server that was recorded: model, GPUs, limits. Its workload is not used.
    held_out : float, fraction
        Share of the requests, the last to arrive, that are predicted and not fitted; from 0.1 to 0.9.
    network_rtt_us : int, optional, µs
        Round trip between client and server, >= 0, which is measured but not simulated; the header's unless given.

    Returns
    -------
    Fit
        Estimates with standard errors, options that the data do not identify, errors, and the fitted scenario.

    Raises
    ------
    CalibrationError
        If a parameter is wrong, too few requests have times, the scenario has another latency model, or requests do not
        complete in the simulation.
    ScenarioError
        If the scenario cannot be simulated.
    WorkloadTraceError
        If the trace cannot be read.

    Notes
    -----
    The fit minimises a sum of squares: deviations of log TPOT and log E2E with a standard deviation of 5 %, of TTFT
    with 15 % plus 20 ms, and of the options from their priors. Large deviations are softened. Requests share batches
    and are not independent: all together they have the weight of twelve. Source: docs, "Fit the latency model".
    """
    if type(held_out) not in (int, float) or not 0.1 <= held_out <= 0.9:
        raise CalibrationError.at("held_out", "must be from 0.1 to 0.9", held_out)
    check_network(network_rtt_us, 0.0)
    if not isinstance(trace, Trace):
        trace = load_trace(trace)
    backend = _backend_of(scenario)
    measured = Measured.of(trace, recorded_rtt_us(trace) if network_rtt_us is None else network_rtt_us)
    num_fitted = len(measured) - round(len(measured) * held_out)
    if min(num_fitted, len(measured) - num_fitted) < _FEWEST_REQUESTS:
        rule = f"must have at least {_FEWEST_REQUESTS} requests with times in either part"
        raise CalibrationError.at("trace", rule, len(measured))
    replay = _Replay(trace, scenario, measured)
    earlier, later = np.arange(num_fitted), np.arange(num_fitted, len(measured))
    before = replay.latencies(backend)
    parameters = parameters_for(replay.tp * int(backend.get("dp", 1)))
    true = measured.latencies.take(earlier)

    def residuals(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        options = as_options(parameters, coordinates.tolist())
        return _residuals(replay.latencies({**backend, **options}).take(earlier), true)

    found = posterior_mode(
        residuals,
        center=np.array([parameter.center for parameter in parameters]),
        sd=np.array([parameter.prior_sd for parameter in parameters]),
        lowest=np.array([-np.inf if parameter.is_factor else 0.0 for parameter in parameters]),
    )
    options = as_options(parameters, found.mode.tolist())
    after = replay.latencies({**backend, **options})
    sd = np.sqrt(np.diag(found.covariance))
    return Fit(
        scenario=scenario.with_(**{"latency.backend": {**backend, **options}}),
        estimates=tuple(
            Estimate(
                parameter=parameter,
                value=options[parameter.name],
                coordinate=coordinate,
                standard_error=parameter.standard_error(coordinate, deviation),
                sd_ratio=deviation / parameter.prior_sd,
            )
            for parameter, coordinate, deviation in zip(parameters, found.mode.tolist(), sd.tolist(), strict=True)
        ),
        correlation=found.covariance / np.outer(sd, sd),
        num_fitted=num_fitted,
        num_held_out=len(later),
        errors={
            name: Errors.of(simulated.take(rows), measured.latencies.take(rows))
            for name, simulated, rows in (
                ("before", before, later),
                ("fitted", after, earlier),
                ("held out", after, later),
            )
        },
        measured=measured.latencies,
        simulated=after,
        num_simulations=replay.num_simulations,
    )


def _backend_of(scenario: Scenario) -> Mapping[str, Any]:
    """Latency model of the scenario with its options; a scenario that names none gets the one that is fitted."""
    backend = scenario.latency.backend
    if backend is None or backend == _BACKEND:
        return {"type": _BACKEND}
    if not isinstance(backend, Mapping) or backend.get("type") != _BACKEND:
        raise CalibrationError.at("latency.backend", f"must be {_BACKEND}: its options are fitted", backend)
    return dict(backend)


class _Replay:
    """Simulates the requests of a trace with different latency models; warnings of the first simulation are logged."""

    def __init__(self, trace: Trace, scenario: Scenario, measured: Measured) -> None:
        self._trace, self._measured = trace, measured
        self._scenario = evolved(scenario, workload=None)
        self.num_simulations = 0
        self.tp = 0

    def latencies(self, backend: Mapping[str, Any]) -> Latencies:
        """Latencies of the measured requests."""
        self.num_simulations += 1
        scenario = self._scenario.with_(**{"latency.backend": backend})
        with deferred(), captured() as warnings:
            simulation = Simulation(scenario, requests=self._trace.requests())
            requests = simulation.run().requests
        self.tp = simulation.deployment.tp
        if self.num_simulations == 1:
            log_summaries(warnings)
        rows = self._measured.rows
        lost = int((requests["outcome"][rows] != "completed").sum())
        if lost:
            rule = f"do not complete in the simulation, {lost} of {len(rows)}: its limits are not those of the server"
            raise CalibrationError.at("requests", rule)
        return Latencies.of(requests["ttft_us"][rows], requests["e2e_us"][rows], self._measured.output_tokens)


def _residuals(simulated: Latencies, measured: Latencies) -> NDArray[np.float64]:
    """Deviations in their standard deviations, of which large ones are softened."""
    with_tpot = np.isfinite(measured.tpot) & (measured.tpot > 0)
    tpot = np.maximum(simulated.tpot[with_tpot], 1.0)  # 0 where the maximum length cut the output
    deviations = np.concatenate(
        [
            np.log(tpot / measured.tpot[with_tpot]) / _RELATIVE_SD,
            np.log(simulated.e2e / measured.e2e) / _RELATIVE_SD,
            (simulated.ttft - measured.ttft) / (_TTFT_SD * measured.ttft + _TTFT_SD_US),
        ]
    )
    softened = np.sign(deviations) * (np.sqrt(1.0 + 2.0 * np.abs(deviations)) - 1.0)
    return np.asarray(softened * np.sqrt(_EFFECTIVE_REQUESTS / len(measured.e2e)))
