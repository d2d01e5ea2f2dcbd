"""Pictures of replications."""

import numpy as np
import pytest

from blis_simpy.display.plot_replications import plot_pairs, plot_points

pytestmark = pytest.mark.usefixtures("plt")


def test_every_run_is_a_mark_joined_with_those_of_its_seed_and_a_bar_is_the_mean():
    ax = plot_pairs({"a": [1, 3], "b": [2, 6]}, ylabel="TTFT p99 (ms)")
    first, second, marks_a, mean_a, marks_b, mean_b = (line.get_xydata().tolist() for line in ax.get_lines())
    assert (first, second) == ([[0, 1], [1, 2]], [[0, 3], [1, 6]])
    assert (marks_a, marks_b) == ([[0, 1], [0, 3]], [[1, 2], [1, 6]])
    assert [y for _, y in mean_a + mean_b] == [2, 2, 4, 4]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    assert ax.get_ylabel() == "TTFT p99 (ms)"


def test_points_have_their_intervals_where_there_are_any():
    ax = plot_points([4, 1], [10, 20], [8, 19], [14, 21], xlabel="replicas", ylabel="E2E (ms)")
    assert ax.get_lines()[0].get_xydata().tolist() == [[4, 10], [1, 20]]
    (bars,) = ax.collections
    assert [segment.tolist() for segment in bars.get_segments()] == [[[4, 8], [4, 14]], [[1, 19], [1, 21]]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("replicas", "E2E (ms)")
    assert not plot_points([1], [np.nan], xlabel="x", ylabel="y").collections
