# ruff: noqa: E501 - the tables hold whole lines as users read them
import json
import logging

import pytest
from workloads import from_text

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError
from blis_simpy.units import SECOND
from blis_simpy.workload.arrivals import GammaArrivals, PoissonArrivals, WeibullArrivals
from blis_simpy.workload.lengths import Empirical
from blis_simpy.workload.spec.servegen import ServegenData

TABLES = {"0": {"input_tokens": "{100: 0.5, 200.0: 5e-1,}", "output_tokens": "{10: 1}"}}


@pytest.fixture
def chunk(tmp_path):
    """Write the two files of a chunk."""

    def write(name, trace, tables=TABLES):
        (tmp_path / f"chunk-{name}-trace.csv").write_text(trace)
        if tables is not None:
            text = tables if isinstance(tables, str) else json.dumps(tables)
            (tmp_path / f"chunk-{name}-dataset.json").write_text(text)

    return write


def clients(folder, **span):
    return ServegenData(path=str(folder), **span).clients()


def test_row_with_the_highest_rate_counts_the_first_of_equal_ones(tmp_path, chunk):
    chunk("0", "0,5.0,1.0,Gamma,9\n600,20.0,2.0,GAMMA ,9\n1200,20.0,1.5,Weibull,9\n")
    (client,) = clients(tmp_path)
    assert (client.id, client.tenant, client.rate_fraction) == ("servegen-chunk-0", "chunk-0", 20.0)
    assert client.arrival == GammaArrivals(2.0)
    assert client.input_distribution == Empirical((100, 200), (0.5, 0.5))
    assert client.output_distribution == Empirical((10,), (1.0,))


def test_span_limits_rows_and_tables(tmp_path, chunk):
    late = {"input_tokens": "{7: 1}", "output_tokens": "{8: 1}"}
    chunk("0", "0,5.0,1.0,x\n600,20.0,2.0,x\n1200,8.0,1.5,x\n", {**TABLES, "1000": late})
    (client,) = clients(tmp_path, span_start=1, span_end=600 + 601)
    assert (client.rate_fraction, client.arrival) == (20.0, PoissonArrivals())
    assert client.input_distribution == Empirical((7,), (1.0,))
    assert clients(tmp_path, span_end=600)[0].rate_fraction == 5.0


def test_names_and_windows_are_sorted_as_text(tmp_path, chunk):
    window = {"input_tokens": "{%d: 1}", "output_tokens": "{1: 1}"}
    tables = {s: {k: v.replace("%d", s) for k, v in window.items()} for s in ("200", "1000")}
    for name in ("2", "10", "1"):
        chunk(name, "0,1,1,\n", tables)
    found = clients(tmp_path)
    assert [client.tenant for client in found] == ["chunk-1", "chunk-10", "chunk-2"]
    assert found[0].input_distribution == Empirical((1000,), (1.0,))


def test_unreadable_rows_and_windows_are_skipped_with_a_warning(tmp_path, chunk, caplog):
    chunk("0", "start,rate,cv,pattern\n0,9.0,1.2,Weibull\n\n", {"-x": TABLES["0"], **TABLES})
    with caplog.at_level(logging.WARNING):
        (client,) = clients(tmp_path)
    assert client.arrival == WeibullArrivals(1.2)
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "1 rows without start, rate, cv and pattern skipped",
        "window '-x' is not a number of seconds; skipped",
    ]


def test_chunk_without_traffic_is_left_out_unread(tmp_path, chunk):
    chunk("0", "0,0,0,\n", None)
    chunk("1", "0,2,1,\n")
    assert [client.tenant for client in clients(tmp_path)] == ["chunk-1"]


@pytest.mark.parametrize(
    ("trace", "tables", "line"),
    [
        ("0,1,1,\n0,1,1\n", TABLES, "trace.csv: must have as many columns in each row as in the first (4), got 3"),
        ("0,1,-2,gamma\n", TABLES, "trace.csv: arrival.cv must be > 0, got -2.0"),
        ("0,inf,1,\n", TABLES, "trace.csv: rate_fraction must be a finite number, got inf"),
        ("0,1,1,\n", None, "dataset.json: cannot be read: No such file or directory"),
        ("0,1,1,\n", "[]", "dataset.json: must be a JSON object of objects of text"),
        ("0,1,1,\n", {"0": {"input_tokens": 5}}, "dataset.json: must be a JSON object of objects of text"),
        ("0,1,1,\n", {"0": {"input_tokens": "1: 1", "output_tokens": "{1: 1}"}}, "dataset.json: 0.input_tokens must be a table in braces, got '1: 1'"),
        ("0,1,1,\n", {"0": {"input_tokens": "{1 1}", "output_tokens": "{1: 1}"}}, "dataset.json: 0.input_tokens must have entries of the form tokens: weight, got '1 1'"),
        ("0,1,1,\n", {"0": {"input_tokens": "{1: x}", "output_tokens": "{1: 1}"}}, "dataset.json: 0.input_tokens must have entries of the form tokens: weight, got '1: x'"),
    ],
)  # fmt: skip
def test_broken_file_is_named(tmp_path, chunk, trace, tables, line):
    chunk("0", trace, tables)
    with pytest.raises(ScenarioError) as caught:
        clients(tmp_path)
    assert str(caught.value) == f"{tmp_path}/chunk-0-{line}"


def test_text_that_is_no_json_is_named(tmp_path, chunk):
    chunk("0", "0,1,1,\n", "{")
    with pytest.raises(ScenarioError, match=r"chunk-0-dataset\.json: is not valid JSON: Expecting"):
        clients(tmp_path)


def test_folder_without_chunks_or_traffic_is_refused(tmp_path, chunk):
    with pytest.raises(
        ScenarioError, match=r"^servegen_data\.path must be a folder with chunk-\*-trace\.csv files, got "
    ):
        clients(tmp_path)
    chunk("0", "0,0,0,\n")
    with pytest.raises(
        ScenarioError,
        match=r"^servegen_data\.path has no chunk with a positive rate and length tables in the span, got ",
    ):
        clients(tmp_path)


def test_chunks_share_the_aggregate_rate(tmp_path, chunk):
    chunk("a", "0,3,1,\n")
    chunk("b", "0,1,1,\n")
    found = from_text(f"aggregate_rate: 400\nnum_requests: 2000\nservegen_data: {{path: {tmp_path}}}\n")
    requests = found.generate(RandomStreams(1)).requests
    assert sum(request.client == "servegen-chunk-a" for request in requests) == pytest.approx(1500, abs=100)


def measured(folder, **span):
    """Chunk, first and last second, and rate of each client."""
    found = ServegenData(path=str(folder), **span).measured_clients()
    return [
        (client.tenant, window.start_us // SECOND, window.end_us // SECOND, window.rate)
        for client in found
        for window in client.lifecycle.windows
    ]


@pytest.mark.parametrize("empty", ["{}", "", "{ , }", " { } "])
def test_window_with_an_empty_table_is_passed_over(tmp_path, chunk, empty):
    later = {"input_tokens": "{7: 1}", "output_tokens": "{8: 1}"}
    chunk("0", "0,2,1,\n", {"0": {**later, "output_tokens": empty}, "21600": later})
    (client,) = clients(tmp_path)
    assert client.input_distribution == Empirical((7,), (1.0,))


@pytest.mark.parametrize(
    "tables", [{}, {"0": {"input_tokens": "{1: 1}"}}, {"0": {"input_tokens": "{}", "output_tokens": "{1: 1}"}}]
)
def test_client_without_tables_is_left_out_with_a_warning(tmp_path, chunk, tables, caplog):
    chunk("0", "0,2,1,\n", tables)
    chunk("1", "0,3,1,\n")
    with caplog.at_level(logging.WARNING):
        assert [client.tenant for client in clients(tmp_path)] == ["chunk-1"]
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "has no window with tables of prompts and outputs; left out"
    ]


@pytest.mark.parametrize(
    ("pattern", "cv", "taken"),
    [
        ("weibull", 20, WeibullArrivals(10.4)),
        ("weibull", 0.001, WeibullArrivals(0.01)),
        ("gamma", 0, GammaArrivals(0.01)),
    ],
)
def test_cv_that_no_law_has_is_clamped_with_one_warning(tmp_path, chunk, caplog, pattern, cv, taken):
    for name in "01":
        chunk(name, f"0,1,{cv},{pattern}\n")
    with caplog.at_level(logging.WARNING):
        assert {client.arrival for client in clients(tmp_path)} == {taken}
    assert [message.rpartition(": ")[2] for message in caplog.messages] == [
        "2 clients have a cv beyond 0.01 to 10.4, taken as the nearest bound"
    ]


def test_gamma_may_be_as_bursty_as_measured(tmp_path, chunk):
    chunk("0", "0,1,20,Gamma\n")
    assert clients(tmp_path)[0].arrival == GammaArrivals(20)


def test_measured_rates_hold_until_the_next_row(tmp_path, chunk):
    """The last window is as long as the one before."""
    chunk("0", "0,5,1,\n600,0,1,\n1200,2,1,\n")
    chunk("1", "0,1,1,\n600,1.5,1,\n")
    assert measured(tmp_path) == [
        ("chunk-0", 0, 600, 5.0),
        ("chunk-0", 1200, 1800, 2.0),
        ("chunk-1", 0, 600, 1.0),
        ("chunk-1", 600, 1200, 1.5),
    ]
    assert measured(tmp_path, span_start=300, span_end=1300) == [
        ("chunk-0", 0, 300, 5.0),
        ("chunk-0", 900, 1000, 2.0),
        ("chunk-1", 0, 300, 1.0),
        ("chunk-1", 300, 900, 1.5),
    ]


def test_measured_windows_have_the_tables_of_their_time(tmp_path, chunk):
    tables = {s: {"input_tokens": f"{{{s}: 1}}", "output_tokens": "{1: 1}"} for s in ("200", "1000")}
    chunk("0", "0,1,1,\n500,1,1,\n1000,1,1,\n", tables)
    found = ServegenData(path=str(tmp_path)).measured_clients()
    assert [client.input_distribution.lengths for client in found] == [(200,), (200,), (1000,)]


def test_load_of_a_folder_is_its_own(tmp_path, chunk):
    """Peaks of 10/s follow each other: never more than 11/s, and 5.5/s a client on average."""
    chunk("0", "0,10,1,Poisson\n100,1,1,Poisson\n")
    chunk("1", "0,1,1,Gamma\n100,10,1,Gamma\n")
    spec = from_text(f"servegen_data: {{path: {tmp_path}}}\n")
    arrivals = [request.arrived_at for request in spec.generate(RandomStreams(1), horizon=300 * SECOND).requests]
    seconds = [sum(100 * SECOND * n <= tick < 100 * SECOND * (n + 1) for tick in arrivals) / 100 for n in range(3)]
    assert seconds == pytest.approx([11, 11, 0], abs=1.5)


def test_measured_load_is_the_same_however_far_it_is_drawn(tmp_path, chunk):
    chunk("0", "0,10,1,Poisson\n100,1,1,Gamma\n")
    short, long = (
        from_text(f"num_requests: {number}\nservegen_data: {{path: {tmp_path}}}\n").generate(RandomStreams(1)).requests
        for number in (50, 1010)
    )
    assert [r.arrived_at for r in long[:50]] == [r.arrived_at for r in short]
    assert long[-1].arrived_at > 100 * SECOND


def test_multimodal_chunk_has_the_parts_of_prompts(tmp_path, chunk):
    """100 of text, two images of 500, and one video of 7, as its number is not given; no audio."""
    tables = {
        "text_tokens": "{100: 1.0}",
        "image_tokens": "{500: 1.0}",
        "image_count": "{2: 1.0}",
        "audio_tokens": "{}",
        "video_tokens": "{7: 1.0}",
        "output_tokens": "{10: 1.0}",
    }
    chunk("0", "0,1,1,\n", {"0": tables})
    spec = from_text(f"num_requests: 3\nservegen_data: {{path: {tmp_path}}}\n")
    workload = spec.generate(RandomStreams(1))
    assert [request.input_tokens for request in workload.requests] == [1107] * 3
    assert {(d.text_tokens, d.image_tokens, d.audio_tokens, d.video_tokens) for d in workload.details.values()} == {
        (100, 1000, 0, 7)
    }
