"""The picture of a calibration: what is drawn, and in which units."""

import numpy as np
import pytest

from blis_simpy.calibration.calibrate import Calibration
from blis_simpy.errors import PluginError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


@pytest.fixture
def calibration():
    pairs = {"request_id": np.arange(3), "input_tokens": np.ones(3), "output_tokens": np.ones(3)}
    pairs |= {"real_ttft_us": np.array([0, 2000, 4000]), "sim_ttft_us": np.array([1000.0, 2500.0, 4000.0])}
    pairs |= {"real_e2e_us": np.array([10_000, 20_000, 90_000]), "sim_e2e_us": np.array([9000.0, 22_000.0, 80_000.0])}
    counts = dict.fromkeys(("warm_up_excluded", "unmatched_real", "unmatched_sim", "token_mismatches"), 0)
    return Calibration(pairs=pairs, matched=3, **counts)


def test_dots_are_measured_and_simulated_milliseconds_beside_the_diagonal(calibration):
    """A measured latency of 0 cannot be drawn on logarithmic axes."""
    axes = calibration.plot()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("measured (ms)", "simulated (ms)")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    ttft, e2e = axes.collections
    assert ttft.get_offsets().tolist() == [[2.0, 2.5], [4.0, 4.0]]
    assert e2e.get_offsets().tolist() == [[10.0, 9.0], [20.0, 22.0], [90.0, 80.0]]
    (diagonal,) = axes.lines
    assert diagonal.get_xdata().tolist() == diagonal.get_ydata().tolist()
    assert axes.get_xlim() == axes.get_ylim()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[0].startswith("TTFT: MAPE 12.5%")


def test_it_draws_on_axes_that_are_given(calibration):
    figure, axes = matplotlib.pyplot.subplots()
    assert calibration.plot(axes) is axes
    assert len(figure.axes) == 1


def test_absent_matplotlib_is_named(calibration, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(PluginError, match=r"plot needs matplotlib; pip install blis-simpy\[plot\]"):
        calibration.plot()
