"""Fits to recordings whose truth is known: they are simulations with other options of the latency model."""

import attrs
import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.calibration.least_squares import posterior_mode
from blis_simpy.calibration.measured import Latencies, Measured
from blis_simpy.calibration.parameters import PARAMETERS, as_options, parameters_for
from blis_simpy.experiment.fit import _residuals
from blis_simpy.latency.kernel_overheads import KernelOverheads
from blis_simpy.settings.loader import parse
from blis_simpy.trace_files.run_trace import trace_of_run

TRUTH = {"mem": 1.2, "step": 900.0, "api": 3000.0}
SCENARIO = blis.Scenario(
    model="qwen/qwen3-14b",
    hardware="H100",
    tp=1,
    kv=blis.KVSettings(blocks=10_000),
    engine=blis.EngineSettings(max_num_seqs=64),
)


def recording(rate=8, num_requests=160, **options):
    """Requests as a server with such options serves them, in rising load."""
    lengths = {"prompt": blis.Gaussian(600, 400), "output": blis.Gaussian(100, 50)}
    scenario = attrs.evolve(SCENARIO, workload=blis.Workload(rate=rate, num_requests=num_requests, **lengths))
    result = scenario.with_(**{"latency.backend": {"type": "kernels", **options}}).run()
    return trace_of_run(result.requests)


@pytest.fixture(scope="module")
def found():
    return blis.fit(recording(**TRUTH), SCENARIO)


def test_prediction_of_unseen_requests_is_right_after_the_fit(found):
    before, after = found.errors["before"], found.errors["held out"]
    assert before.e2e < -0.08
    assert abs(after.e2e) < 0.01
    assert after.e2e_mape < 0.015
    assert abs(after.tpot) < 0.01


def test_truth_lies_within_the_standard_errors(found):
    for estimate in found.estimates:
        name = estimate.parameter.name
        true = TRUTH.get(name, getattr(KernelOverheads(), name))
        assert abs(estimate.value - true) < 2.5 * estimate.standard_error, name
    assert found.estimates[0].sd_ratio < 0.7


def test_one_gpu_has_no_link_to_estimate(found):
    assert "link" not in found.options
    assert "link" in [parameter.name for parameter in parameters_for(2)]


def test_options_reach_the_scenario_and_its_snippet(found):
    backend = found.scenario.latency.backend
    assert backend == {"type": "kernels", **found.options}
    text = found.snippet()
    assert text.startswith("latency:\n  backend:\n    type: kernels\n    mem: ")
    assert parse(text).data["latency"]["backend"] == {"type": "kernels", **found.options}


def test_held_out_errors_are_those_of_the_fitted_scenario(found):
    trace = recording(**TRUTH)
    result = blis.replay(attrs.evolve(found.scenario, horizon=10**12), trace)
    measured = trace.columns["last_chunk_time_us"] - trace.columns["send_time_us"]
    later = slice(found.num_fitted, None)
    error = result.requests["e2e_us"][later].mean() / measured[later].mean() - 1
    assert found.errors["held out"].e2e == pytest.approx(error)
    assert found.simulated.e2e.tolist() == result.requests["e2e_us"].tolist()


def test_what_the_data_do_not_tell_is_named(found):
    """The delay before the queue is hidden behind queueing and prefill, whose errors are counted in 15 % and 20 ms."""
    assert "api" in found.not_identified
    one, other, correlation = found.largest_correlation
    assert one != other
    assert abs(correlation) == np.abs(found.correlation - np.eye(len(found.estimates))).max()


def test_it_shows_itself_as_text_html_and_picture(found):
    pytest.importorskip("matplotlib")
    text = repr(found)
    assert "Estimates from 80 requests" in text
    assert "held out, before the fit" in text
    assert "<table" in found._repr_html_()
    axes = found.plot()
    assert axes.get_xlabel() == "measured E2E (s)"
    assert len(axes.figure.axes) == 2
    assert found.plot(axes) is axes


def test_a_fit_is_the_same_every_time():
    trace = recording(num_requests=60, mem=1.1)
    one, other = (blis.fit(trace, SCENARIO) for _ in range(2))
    assert one.options == other.options
    assert one.snippet() == other.snippet()


def test_other_options_of_the_scenario_stay():
    trace = recording(num_requests=60, gemm=0.9)
    found = blis.fit(trace, SCENARIO.with_(**{"latency.backend": {"type": "kernels", "gemm": 0.9}}))
    assert found.scenario.latency.backend["gemm"] == 0.9
    assert "    gemm: 0.9\n" in found.snippet()


def test_a_warning_of_the_scenario_is_logged_once(caplog):
    trace = recording(num_requests=60)
    blis.fit(trace, SCENARIO.with_(**{"engine.max_model_len": 10**6}))
    assert [message.partition(" needs ")[0] for message in caplog.messages] == ["max_model_len 1000000"]


def test_round_trip_is_part_of_what_was_measured():
    trace = recording(num_requests=60)
    rtt_us = 200_000
    late = attrs.evolve(
        trace,
        columns={
            **trace.columns,
            **{name: trace.columns[name] + rtt_us for name in ("first_chunk_time_us", "last_chunk_time_us")},
        },
    )
    assert blis.fit(late, SCENARIO, network_rtt_us=rtt_us).options == blis.fit(trace, SCENARIO).options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"held_out": 0.95}, "held_out must be from 0.1 to 0.9, got 0.95"),
        ({"held_out": "half"}, "held_out must be from 0.1 to 0.9, got 'half'"),
        ({"network_rtt_us": -2}, "network_rtt_us must be a whole number of us >= 0, got -2"),
    ],
)
def test_bad_options_are_refused(options, problem):
    with pytest.raises(blis.CalibrationError) as caught:
        blis.fit(recording(num_requests=60), SCENARIO, **options)
    assert str(caught.value) == problem


def test_a_recording_needs_times_of_tokens_and_enough_requests():
    trace = recording(num_requests=30)
    with pytest.raises(blis.CalibrationError) as caught:
        blis.fit(trace, SCENARIO)
    assert str(caught.value) == "trace must have at least 20 requests with times in either part, got 30"
    blank = attrs.evolve(trace, columns={**trace.columns, "first_chunk_time_us": np.zeros(30, np.int64)})
    with pytest.raises(blis.CalibrationError, match="no request of the trace has times of its first and last token"):
        blis.fit(blank, SCENARIO)


def test_another_latency_model_is_refused():
    with pytest.raises(blis.CalibrationError) as caught:
        blis.fit(recording(num_requests=60), SCENARIO.with_(**{"latency.backend": "roofline"}))
    assert str(caught.value) == "latency.backend must be kernels: its options are fitted, got 'roofline'"


def test_a_scenario_that_drops_requests_is_refused():
    trace = recording(num_requests=60)
    with pytest.raises(blis.CalibrationError, match="requests do not complete in the simulation, 60 of 60"):
        blis.fit(trace, SCENARIO.with_(**{"engine.max_model_len": 8}))


def test_failed_and_warm_up_requests_are_left_out():
    trace = recording(num_requests=60)
    status = ["ok"] * 60
    status[10] = "error"
    header = attrs.evolve(trace.header, warm_up_requests=5)
    measured = Measured.of(attrs.evolve(trace, header=header, columns={**trace.columns, "status": status}))
    assert measured.rows.tolist() == [*range(5, 10), *range(11, 60)]


def test_residuals_are_softened_deviations_that_count_as_twelve():
    """E2E 5 % too long is one deviation: softened 3 ** 0.5 - 1, and of one request 12 ** 0.5 times as much."""
    output = np.array([1])
    measured = Latencies.of(np.array([10**6]), np.array([10**6]), output)
    simulated = Latencies.of(np.array([10**6]), np.array([10**6 * np.exp(0.05)]), output)
    tpot, e2e, ttft = [], *_residuals(simulated, measured)
    assert e2e == pytest.approx((3**0.5 - 1) * 12**0.5)
    assert (tpot, ttft) == ([], 0.0)


def test_factors_are_exponentials_and_times_are_not_negative():
    values = as_options(PARAMETERS, [np.log(1.5)] * 4 + [-3.0, 2.0, 12.3456, 0.0])
    assert values == {
        **dict.fromkeys(("mem", "comp", "link", "kv"), 1.5),
        "step": 0.0,
        "seq": 2.0,
        "mixed_layer": 12.35,
        "api": 0.0,
    }


def test_least_squares_stop_at_the_bound():
    found = posterior_mode(lambda x: (x + 5) * 3, np.array([1.0]), np.array([1.0]), np.array([0.0]))
    assert found.mode.tolist() == [0.0]


def test_least_squares_follow_a_curve():
    """The square of 3 is 9: measured with a standard deviation of 0.01, it tells x within 0.01 / 6."""
    found = posterior_mode(lambda x: (x**2 - 9.0) / 0.01, np.array([2.0]), np.array([10.0]), np.array([0.0]))
    assert found.mode[0] == pytest.approx(3.0, abs=0.01)
    assert found.covariance[0, 0] ** 0.5 == pytest.approx(0.01 / 6, rel=0.35)
