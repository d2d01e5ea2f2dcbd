"""Pictures of several runs."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.display.comparisons import plot_differences, plot_saturation

pytestmark = pytest.mark.usefixtures("plt")


def legend_of(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_saturation_curve_is_drawn_in_the_order_of_rates_with_its_band():
    ax = plot_saturation([20, 10], [8, 5], [7, 4], [9, 6], ylabel="TTFT p99 (ms)", label="one")
    (line,) = ax.get_lines()
    assert line.get_xydata().tolist() == [[10, 5], [20, 8]]
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (4, 9)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("arrival rate (requests/s)", "TTFT p99 (ms)")
    assert legend_of(ax) == ["one"]
    assert ax.get_yscale() == "linear"
    ax.figure.canvas.draw()


def test_curves_on_the_same_axes_differ_in_colour():
    ax = plot_saturation([1, 2], [3, 4], ylabel="E2E (ms)", label="a", target=3.5)
    plot_saturation([1, 2], [4, 5], ylabel="E2E (ms)", label="b", ax=ax)
    assert legend_of(ax) == ["a", "b"]
    curves = [line for line in ax.get_lines() if line.get_label() in ("a", "b")]
    assert [curve.get_color() for curve in curves] == ["#0072B2", "#E69F00"]
    assert [text.get_text() for text in ax.texts] == ["target 3.5"]


def test_a_later_curve_may_be_higher():
    ax = plot_saturation([1, 2], [3, 4], ylabel="E2E (ms)")
    plot_saturation([1, 2], [30, 40], ylabel="E2E (ms)", ax=ax)
    bottom, top = ax.get_ylim()
    assert bottom == 0
    assert top > 40


def test_values_that_cover_much_have_a_logarithmic_axis():
    ax = plot_saturation([10, 20, 30], [50, 60, 8000], ylabel="TTFT p99 (ms)")
    assert ax.get_yscale() == "log"
    ax.figure.canvas.draw()


def test_equal_values_and_single_points_are_drawn():
    for rates, values in (([1, 2], [5, 5]), ([1], [0]), ([], [])):
        plot_saturation(rates, values, ylabel="TTFT p99 (ms)").figure.canvas.draw()


def test_differences_have_a_line_each_with_interval_and_verdict():
    ax = plot_differences(
        ["a", "b", "c"],
        [-5.0, 1.0, 4.0],
        [-6.0, -1.0, 2.0],
        [-4.0, 3.0, 6.0],
        xlabel="change of TTFT p99 (ms)",
        verdicts=["lower", "same", "lower"],
    )
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.texts] == ["lower", "same", "lower"]
    assert ax.get_xlabel() == "change of TTFT p99 (ms)"
    first, second = (container.lines for container in ax.containers)
    assert first[0].get_xydata().tolist() == [[-5, 0], [4, 2]]
    assert [segment[:, 0].tolist() for segment in first[2][0].get_segments()] == [[-6, -4], [2, 6]]
    assert first[0].get_color() != second[0].get_color()
    ax.figure.canvas.draw()


def test_differences_without_verdicts_or_rows_are_drawn():
    plot_differences(["a"], [1.0], [1.0], [1.0], xlabel="change (ms)", reference=None).figure.canvas.draw()
    plot_differences([], [], [], [], xlabel="change (ms)").figure.canvas.draw()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: plot_saturation([1, 2], [3], ylabel="E2E (ms)"),
            "values must have as many values as rates, 2, got 1",
        ),
        (
            lambda: plot_differences(["a"], [1, 2], [1], [1], xlabel="change (ms)"),
            "estimates must have as many values as names, 1, got 2",
        ),
        (
            lambda: plot_differences(["a"], [1], [1], [1], xlabel="change (ms)", verdicts=["x", "y"]),
            "verdicts must have as many values as names, 1, got 2",
        ),
    ],
)
def test_columns_of_unequal_length_are_refused(draw, message):
    with pytest.raises(blis.ScenarioError) as caught:
        draw()
    assert str(caught.value) == message


def test_bands_are_drawn_where_both_bounds_are_given():
    ax = plot_saturation([1, 2], [3, 4], low=[2, 3], ylabel="E2E (ms)")
    assert len(ax.collections) == 0
    assert np.isfinite(ax.dataLim.bounds).all()
