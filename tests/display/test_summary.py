"""What a run came to, in a terminal and in a notebook."""

import io

import numpy as np

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.core.table import Table
from blis_simpy.display.summary import column_table, label_table, summary_page
from blis_simpy.display.text_table import print_page
from blis_simpy.results.phases import PHASES


def printed(result):
    file = io.StringIO()
    print_page(summary_page(result), file)
    return [" ".join(line.split()) for line in file.getvalue().splitlines() if line.strip()]


def test_summary_says_what_happened(three):
    """TTFT 105, 110 and 190 µs; gaps of 120, 120 and 130 µs; E2E 105, 310 and 360 µs."""
    lines = printed(three)
    assert lines[:4] == [
        "any/model on H100 tp 1, latency model blackbox",
        "3 of 3 requests completed",
        "2.105ms simulated: 1,425.18 requests/s, 2,850.4 output tokens/s",
        "5.0% of the run lies after the last arrival: 1,500.00 requests/s arrived until then",
    ]
    assert lines[6] == "TTFT, time to first token 0.135 0.110 0.174 0.182 0.188"
    assert lines[7] == "TPOT, time per output token 0.122 0.122 0.124 0.125 0.125"
    assert lines[9] == "E2E, arrival to last token 0.258 0.310 0.350 0.355 0.359"
    assert lines[-1] == "KV cache: prefix hit rate 0.0%, 0 preemptions"


def test_the_usual_deployment_of_a_model_is_named_where_the_scenario_leaves_it_open():
    scenario = blis.Scenario(model="qwen/qwen3-14b", workload=blis.Workload(num_requests=1, output=1))
    assert printed(scenario.run())[0] == "qwen/qwen3-14b on H100 tp 1, latency model kernels"


def test_latencies_that_nobody_has_are_dashes(unserved):
    lines = printed(unserved)
    assert lines[1] == "0 of 2 requests completed, 2 rejected at admission"
    assert lines[6] == "TTFT, time to first token - - - - -"


def test_html_has_the_lines_of_the_text(three, read):
    html = three._repr_html_()
    read(html)
    assert "<strong>any/model</strong> on H100 tp 1, latency model blackbox" in html
    assert "3 of 3 requests completed" in html
    assert {"latency (ms)", "TTFT, time to first token", "0.135"} <= set(read(html).cells)
    assert three.render("html") == html


def test_html_has_tables_of_what_there_are_several_of(three, cluster, read):
    """The first run has two SLO classes, the second two replicas and two tenants with labels that need escaping."""
    cells = read(three.render("html")).cells
    assert "SLO class" in cells
    assert "replica" not in cells
    html = cluster.render("html")
    assert {"replica", "tenant", "<b>"} <= set(read(html).cells)
    assert "<b>" not in html


def test_replicas_have_their_figures(cluster):
    """Each serves two requests of 10 + 3 tokens: 110 µs to the first token, two more after 110 µs each."""
    rows = [line.split() for line in label_table(cluster, "replica").text().splitlines()[2:]]
    assert [row[:3] + row[5:] for row in rows] == [
        ["0", "2", "2", "0.110", "0.110", "0.330", "0.330", "0"],
        ["1", "2", "2", "0.110", "0.110", "0.330", "0.330", "0"],
    ]


def test_classes_and_tenants_have_their_figures(three, cluster):
    rows = [line.split() for line in label_table(three, "slo_class").text().splitlines()[2:]]
    assert [row[:3] for row in rows] == [["default", "2", "2"], ["batch", "1", "1"]]
    assert rows[1][:3] + rows[1][5:] == ["batch", "1", "1", "0.190", "0.190", "0.310", "0.310"]
    rows = [line.split() for line in label_table(cluster, "tenant").text().splitlines()[2:]]
    assert [row[:3] for row in rows] == [["<b>", "1", "1"], ["a", "3", "3"]]


def test_a_section_counts_failed_and_open_requests(prepare):
    """Of three requests one can never fit, and one has not ended at the horizon; the second replica serves none."""
    requests = [Request("a", 0, 10, 2), Request("b", 0, 900, 2), Request("c", 200, 10, 50)]
    scenario = prepare(blocks=5, horizon=400).scenario.with_(replicas=2, router=First())
    result = blis.Simulation(scenario, requests=requests).run()
    lines = [line.split() for line in label_table(result, "replica").text().splitlines()]
    assert lines[0][:5] == ["replica", "requests", "completed", "failed", "open"]
    assert [line[:5] for line in lines[2:]] == [["0", "3", "1", "1", "1"], ["1", "0", "0", "0", "0"]]


class First:
    """Routes every request to the first replica."""

    def route(self, request, state):
        return 0


def test_print_shows_the_summary_and_repr_one_line(cluster, capsys):
    print(cluster)
    assert capsys.readouterr().out.strip() == cluster.render("text").strip() != repr(cluster)


def test_text_fits_the_terminal(cluster, monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, str(cluster).splitlines())) <= 60 < max(map(len, cluster.render("text").splitlines()))


class Terminal(io.StringIO):
    """Standard output of a terminal."""

    def isatty(self):
        return True


def test_a_selection_shows_its_own_figures(cluster, read):
    html = cluster.where(tenant="a")._repr_html_()
    read(html)
    assert "3 requests, 3 completed" in html


class Visits(Table):
    _NEVER = frozenset({"ttft_us"})


def test_table_shows_first_and_last_rows():
    columns = {"id": np.array([f"r{i}" for i in range(100)], dtype=object), "ttft_us": np.arange(100) * 1000 - 1}
    lines = column_table(Visits.of(columns), max_rows=5).text().splitlines()
    assert lines[0] == "100 rows, 2 columns"
    assert [line.split() for line in lines[3:]] == [
        ["0", "r0", "-"],
        ["1", "r1", "999"],
        ["2", "r2", "1,999"],
        ["…", "…", "…"],
        ["98", "r98", "97,999"],
        ["99", "r99", "98,999"],
    ]


def test_short_tables_are_shown_whole():
    columns = {"n": np.arange(10), "share": np.full(10, 0.5), "flag": np.ones(10, dtype=bool)}
    lines = column_table(Table.of(columns)).text().splitlines()
    assert len(lines) == 3 + 10
    assert lines[-1].split() == ["9", "9", "0.500", "yes"]


def test_tables_without_rows_or_columns_are_shown():
    assert column_table(Table.of({"n": np.arange(0)})).text().splitlines()[0] == "0 rows, 1 columns"
    assert column_table(Table.of({})).text().splitlines()[0] == "0 rows, 0 columns"


def test_labels_in_tables_are_escaped(cluster, read):
    html = cluster.requests._repr_html_()
    assert "<b>" in read(html).cells
    assert "<b>" not in html


def test_explanation_is_a_table_with_bars(preempted):
    explanation = preempted.explain("request_1")
    assert explanation.preempted_at == list(range(2052, 3941, 236))
    lines = str(explanation).splitlines()
    assert lines[0] == "request_1: completed, 9 preemptions"
    assert lines[1].split() == ["phase", "time", "(ms)", "share"]
    assert [line.split()[0] for line in lines[3 : 4 + len(PHASES)]] == [*PHASES, "total"]
    assert lines[6].split()[-3:] == ["4.710", "51.7%", "#" * 21]
    assert lines[3 + len(PHASES)].split() == ["total", "9.116", "100.0%"]
    assert "51.7%" in explanation._repr_html_()
