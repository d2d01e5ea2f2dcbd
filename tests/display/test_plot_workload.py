"""Pictures: what is drawn, not how it looks."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.display.plot_workload import plot_preview

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


@pytest.fixture
def preview():
    return blis.Workload(rate=10, num_requests=200, prompt=blis.Constant(100), output=blis.Constant(20)).preview()


def test_preview_draws_rate_lengths_and_clients_with_their_units(preview):
    rate, lengths, clients = preview.plot()
    assert [axes.get_xlabel() for axes in (rate, lengths, clients)] == ["time (s)", "tokens", "share of requests"]
    assert np.allclose(rate.patches[0].get_data().values, 10, atol=1)
    assert [patch.get_data().values.sum() for patch in lengths.patches] == [200, 200]
    assert [bar.get_width() for bar in clients.patches] == [1.0]


def test_preview_draws_on_axes_that_are_given(preview):
    figure, axes = matplotlib.pyplot.subplots(3)
    assert tuple(plot_preview(preview, axes)) == tuple(axes)
    assert len(figure.axes) == 3


def test_absent_matplotlib_is_named(preview, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(blis.PluginError, match=r"plot needs matplotlib; pip install blis-simpy\[plot\]"):
        preview.plot()
