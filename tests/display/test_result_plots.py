"""Pictures of results: what is drawn, with which labels and units."""

import matplotlib as mpl
import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.display.plot_latencies import plot_ecdfs

pytestmark = pytest.mark.usefixtures("plt")

PICTURES = {
    "latencies": lambda plots: plots.latencies(),
    "latencies by class": lambda plots: plots.latencies(by="slo_class"),
    "ecdf": lambda plots: plots.ecdf("itl"),
    "ecdf by tenant": lambda plots: plots.ecdf("e2e", by="tenant"),
    "histogram": lambda plots: plots.histogram("scheduling_delay"),
    "histogram by replica": lambda plots: plots.histogram("e2e", by="replica"),
    "timeline": lambda plots: plots.timeline(),
    "gantt": lambda plots: plots.gantt(),
    "throughput": lambda plots: plots.throughput(),
    "links": lambda plots: plots.links(),
    "routing": lambda plots: plots.routing(),
    "routing by tenant": lambda plots: plots.routing(by="tenant"),
}


def legend_of(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("run", ["cluster", "alike", "unserved", "nothing"])
def test_every_picture_of_every_run_is_drawn_with_labels(picture, run, request):
    """Warnings are errors, so that nothing is drawn beside its place or without its letters."""
    drawn = np.ravel(PICTURES[picture](request.getfixturevalue(run).plot))
    figure = drawn[0].figure
    figure.canvas.draw()
    assert figure.get_size_inches()[0] == 9
    labelled = {ax.get_xlabel() for ax in drawn} | {ax.get_ylabel() for ax in drawn} - {""}
    assert any("(ms)" in label or "(s)" in label or label == "replica" for label in labelled)


@pytest.mark.parametrize("picture", PICTURES)
def test_every_picture_draws_where_it_is_told_to(picture, cluster, plt):
    plots = cluster.plot
    shape = np.shape(PICTURES[picture](plots))
    figure, axes = plt.subplots(*((shape or (1,)) if len(shape) != 1 else (1, *shape)))
    method = picture.split()[0]
    options = {"by": "tenant"} if "by" in picture else {}
    where = {"axes": axes} if shape else {"ax": axes}
    drawn = getattr(plots, method)(**options, **where)
    assert np.ravel(drawn).tolist() == np.ravel(axes).tolist()
    figure.canvas.draw()


def test_settings_of_matplotlib_stay_as_they_are(three):
    before = dict(mpl.rcParams)
    three.plot.timeline()
    three.plot.gantt()
    assert dict(mpl.rcParams) == before


def test_ecdf_steps_up_at_each_value_and_names_its_figures(three):
    """TTFT: 105, 110, 190 µs."""
    ax = three.plot.ecdf("ttft")
    (line,) = ax.get_lines()
    assert np.allclose(line.get_xdata(), [0.105, 0.105, 0.11, 0.19])
    assert np.allclose(line.get_ydata(), [0, 1 / 3, 2 / 3, 1])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("TTFT, time to first token (ms)", "share of requests")
    assert ax.get_title(loc="left") == "p50 0.1, p99 0.2 ms"


def test_ecdf_of_groups_has_a_legend_with_their_figures(three):
    assert legend_of(three.plot.ecdf("ttft", by="slo_class")) == [
        "default: p50 0.1, p99 0.1 ms",
        "batch: p50 0.2, p99 0.2 ms",
    ]


def test_a_group_has_one_colour_in_all_panels(serve):
    """Requests of class a have one token and so no gaps."""
    result = serve((10, 1, 0, {"slo_class": "a"}), (10, 3, 1000, {"slo_class": "b"})).result
    axes = result.plot.latencies(by="slo_class")
    assert [{line.get_label(): line.get_color() for line in ax.get_lines()} for ax in axes] == [
        {"a": "#0072B2", "b": "#E69F00"},
        {"b": "#E69F00"},
        {"a": "#0072B2", "b": "#E69F00"},
    ]
    assert [legend_of(ax) for ax in axes] == [[], [], ["a", "b"]]


def test_runs_are_compared_by_their_ecdfs(three, cluster, nothing):
    ax = plot_ecdfs({"three": three, "nothing": nothing, "cluster": cluster}, "e2e")
    assert legend_of(ax) == ["three: p50 0.3, p99 0.4 ms", "cluster: p50 0.3, p99 0.3 ms"]
    assert ax.get_xlabel() == "E2E, arrival to last token (ms)"
    assert texts_of(plot_ecdfs({"nothing": nothing})) == ["no values"]


def test_itl_is_a_share_of_gaps(three):
    assert three.plot.ecdf("itl").get_ylabel() == "share of gaps"
    assert [ax.get_ylabel() for ax in three.plot.latencies()] == [
        "share of requests",
        "share of gaps",
        "share of requests",
    ]


def test_histogram_bars_add_up_to_one_and_say_how_wide_they_are(three):
    """From 105 to 190 µs in 5 bins of 17 µs: two in the first, one in the last."""
    ax = three.plot.histogram("ttft", bins=5)
    assert np.allclose(ax.patches[0].get_data().values, [2 / 3, 0, 0, 0, 1 / 3])
    assert ax.get_ylabel() == "share of requests per 0.017 ms"


def test_timeline_of_one_replica_is_exact(three):
    """Steps from 0, 110 and 240 up to 360, and from 2000 to 2105."""
    ((queue, batch, kv),) = three.plot.timeline()
    data = batch.patches[0].get_data()
    assert np.allclose(data.edges, np.array([0, 110, 240, 360, 2000, 2105]) / 1e6)
    assert np.array_equal(data.values, [1, 2, 2, np.nan, 1], equal_nan=True)
    assert np.nanmax(kv.patches[0].get_data().values) == pytest.approx(3 / 10_000 * 100)
    assert [ax.get_ylabel() for ax in (queue, batch, kv)] == [
        "queue depth\n(requests)",
        "batch size\n(requests)",
        "KV in use\n(%)",
    ]
    assert kv.get_xlabel() == "time (s)"
    assert kv.figure.get_supxlabel() == ""


def test_timeline_marks_preemptions(preempted):
    ((_, _, kv),) = preempted.plot.timeline()
    (marks,) = kv.get_lines()
    assert np.allclose(marks.get_xdata(), np.arange(2052, 3941, 236) / 1e6)
    assert legend_of(kv) == ["preemption"]


def test_timeline_has_a_lane_a_replica(cluster):
    lanes = cluster.plot.timeline()
    assert lanes.shape == (2, 3)
    assert [ax.get_ylabel() for ax in lanes[:, 0]] == ["replica 0", "replica 1"]
    assert [ax.get_title(loc="left") for ax in lanes[0]] == [
        "queue depth (requests)",
        "batch size (requests)",
        "KV in use (%)",
    ]


def test_timeline_of_a_long_run_says_what_a_point_is(serve):
    """From 0 to 1500 steps of 110 µs and a prefill of 110: 1000 parts of 165 µs."""
    ((_, batch, _),) = serve((10, 1500, 0)).result.plot.timeline()
    assert len(batch.patches[0].get_data().values) == 1000
    assert batch.figure.get_supxlabel() == "largest value in each 165us"


def test_gantt_has_a_bar_a_phase(three):
    ax = three.plot.gantt()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["request_0", "request_1", "request_2"]
    assert legend_of(ax) == ["queue", "prefill", "decode"]
    waiting = ax.containers[0].patches[0]
    assert (waiting.get_x(), waiting.get_width()) == (pytest.approx(50e-6), pytest.approx(60e-6))
    assert ax.get_xlabel() == "time (s)"


def test_gantt_shows_the_first_requests_and_says_so(three):
    assert three.plot.gantt(most=2).get_ylabel() == "requests, the first 2 of 3"


def test_gantt_shows_chosen_requests(three):
    ax = three.plot.gantt(start="1ms")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["request_2"]
    ax = three.plot.gantt(slo_class="batch")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["request_1"]
    assert ax.get_ylabel() == "requests"


def test_gantt_of_many_requests_leaves_their_names_out(serve):
    ax = serve(*((10, 1, 1000 * i) for i in range(50))).result.plot.gantt(most=45)
    assert ax.get_yticklabels() == []
    assert ax.get_ylabel() == "requests, the first 45 of 50"


def test_gantt_marks_preemptions(preempted):
    ax = preempted.plot.gantt()
    assert set(legend_of(ax)) == {"preemption", "preempted", "prefill", "decode"}
    assert np.array_equal(ax.get_lines()[0].get_ydata(), [1] * 9)


def test_throughput_has_two_axes_with_units(three):
    upper, lower = three.plot.throughput(bins=3)
    assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == ("requests/s", "output tokens/s", "time (s)")
    assert legend_of(upper) == ["arrived", "completed"]
    assert upper.get_title(loc="left") == "counted every 702us"


def test_routing_over_time_has_a_line_a_replica(cluster):
    ax = cluster.plot.routing(bins=2)
    assert ax.collections[0].get_array().tolist() == [[1, 1], [1, 1]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "replica")
    assert ax.figure.axes[1].get_ylabel() == "requests in 1.5ms"


def test_routing_by_label_has_shares_as_colours_and_counts_as_text(cluster):
    ax = cluster.plot.routing(by="tenant")
    assert np.allclose(ax.collections[0].get_array(), [[0, 1], [2 / 3, 1 / 3]])
    assert texts_of(ax) == ["0", "1", "2", "1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("replica", "tenant")


def test_explanation_is_a_bar_with_its_times(three):
    ax = three.plot.explain("request_1")
    assert [bar.get_width() for bars in ax.containers for bar in bars] == pytest.approx([0.06, 0.13, 0.12])
    assert legend_of(ax) == ["queue 0.060 ms", "prefill 0.130 ms", "decode 0.120 ms"]
    assert ax.get_title(loc="left") == "request_1: completed, 0.310 ms"
    assert ax.get_xlabel() == "since its arrival (ms)"
    assert three.explain("request_1").plot().get_title(loc="left") == ax.get_title(loc="left")


def test_explanation_of_a_request_without_time_is_drawn(unserved):
    ax = unserved.plot.explain("request_0")
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left") == "request_0: rejected, 0.000 ms"


def test_pictures_of_nothing_say_why(nothing, unserved):
    assert texts_of(nothing.plot.ecdf()) == ["no values"]
    assert texts_of(nothing.plot.timeline()[0, 0]) == ["no step"]
    assert texts_of(nothing.plot.throughput()[0]) == ["no request arrived"]
    assert texts_of(unserved.plot.gantt()) == ["no request was served"]
    assert texts_of(unserved.plot.routing()) == ["no request was sent to a replica"]


def test_absent_matplotlib_is_named(three, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(blis.PluginError, match=r"plot needs matplotlib; pip install blis-simpy\[plot\]"):
        three.plot.timeline()


def transfers(simulation):
    """Two transfers of 25 GB over 25 GB/s, at 0 and at 2 s, in opposite directions."""
    simulation.network.send(0, 1, 25 * 10**9)
    yield simulation.env.timeout(2 * blis.SECOND)
    yield simulation.network.send(1, 0, 25 * 10**9)
    yield simulation.env.timeout(1 * blis.SECOND)


def test_links_show_their_mean_load_in_each_interval():
    scenario = blis.Scenario(
        model="qwen/qwen3-14b", tp=1, replicas=2, network={"nic_bandwidth": "25 GB/s"}, processes=[transfers]
    )
    result = scenario.run()
    assert result.record.observed_at == 4 * blis.SECOND
    axes = result.plot.links(links=["replica-0 nic out", "replica-0 nic in"], bins=8)
    assert [ax.get_title(loc="left") for ax in axes] == [
        "replica-0 nic out: mean 25.0%",
        "replica-0 nic in: mean 25.0%",
    ]
    values = [ax.patches[0].get_data().values.tolist() for ax in axes]
    assert values == [[100, 100, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 100, 100, 0, 0]]
    assert len(result.plot.links()) == 4
