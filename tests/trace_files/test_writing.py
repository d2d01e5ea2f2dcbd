"""What is written can be read back, and says what the reference would."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trace_text import HEADER, row, table

from blis_simpy.core.slo_targets import SLOTargets
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.trace_files.column_names import PREFIX_LENGTH
from blis_simpy.trace_files.trace import NetworkInfo, ServerInfo, Trace, TraceHeader
from blis_simpy.trace_files.trace_columns import COLUMNS, full_columns
from blis_simpy.trace_files.trace_v2 import read_trace, write_trace


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(header=None, **columns):
    num_requests = max(map(len, columns.values()), default=1)
    trace = Trace(header or TraceHeader(mode="generated"), full_columns(num_requests, **columns))
    write_trace(trace, "t.yaml", "t.csv")
    return Path("t.csv").read_bytes().decode()


def test_generated_trace_is_written_as_the_reference_does():
    text = written(input_tokens=np.array([10, 10]), output_tokens=np.array([5, 5]))
    assert text == table(row(), row(request_id=1))
    assert Path("t.yaml").read_text() == HEADER


def test_header_says_only_what_is_known():
    written(
        TraceHeader(
            time_unit="us",
            created_at="2025-03-01T12:00:00Z",
            mode="real",
            warm_up_requests=5,
            server=ServerInfo(model="m", gpu_memory_utilization=0.9),
            network=NetworkInfo(measured_rtt_ms=0.0109),
        )
    )
    assert Path("t.yaml").read_text().splitlines() == [
        "trace_version: 2",
        "time_unit: us",
        "created_at: '2025-03-01T12:00:00Z'",
        "mode: real",
        "warm_up_requests: 5",
        "server:",
        "  model: m",
        "  gpu_memory_utilization: 0.9",
        "network:",
        "  measured_rtt_ms: 0.0109",
    ]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("plain text ", "plain text "),
        ("a,b", '"a,b"'),
        ('say "hi"', '"say ""hi"""'),
        ("two\nlines", '"two\nlines"'),
        ("a\rb", '"a\rb"'),
        (" leading", '" leading"'),
        ("", ""),
    ],
)
def test_fields_are_quoted_only_where_it_is_needed(text, field):
    assert f"0,{field},,," in written(client_id=[text])


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "0"), (0.01, "0.01"), (1.0, "1"), (1e-7, "0.0000001"), (1 / 3, "0.3333333333333333")]
)
def test_fractions_are_the_shortest_decimals(ratio, text):
    assert written(reason_ratio=np.array([ratio])).splitlines()[1].split(",")[14] == text


def test_flags_are_words():
    assert [line.split(",")[7] for line in written(streaming=np.array([True, False])).splitlines()[1:]] == [
        "true",
        "false",
    ]


def test_what_no_reader_takes_is_replaced():
    assert "a\ufffdb\ufffd" in written(client_id=["a\0b\ud800"])


def test_lengths_of_prefixes_make_it_the_newer_layout():
    lines = written(
        **{PREFIX_LENGTH: np.array([64]), "prefix_group": ["g"], "input_tokens": np.array([7])}
    ).splitlines()
    assert lines[0].split(",")[5:9] == ["round_index", "prefix_group", "prefix_length", "streaming"]
    assert Path("t.yaml").read_text().startswith("trace_version: 3\n")
    (request,) = read_trace("t.yaml", "t.csv").requests()
    assert request.input_tokens == 71


def test_priorities_are_written_only_if_there_are_any():
    lengths = np.array([10, 10])
    assert "vllm_priority" not in written(input_tokens=lengths, vllm_priority=np.array([0, 0]))
    text = written(input_tokens=lengths, vllm_priority=np.array([2, 0]))
    assert text.splitlines()[0].endswith("finish_reason,vllm_priority")
    assert [request.priority for request in read_trace("t.yaml", "t.csv").requests()] == [2, 0]


def test_slo_targets_of_requests_are_written_only_if_there_are_any_and_survive():
    lengths = np.array([10, 10])
    assert "slo_" not in written(input_tokens=lengths).replace("slo_class", "")
    text = written(input_tokens=lengths, slo_ttft_us=np.array([0, 200]), slo_e2e_us=np.array([0, 5000]))
    assert text.splitlines()[0].endswith("finish_reason,slo_ttft_us,slo_e2e_us")
    targets = [request.slo_targets for request in read_trace("t.yaml", "t.csv").requests()]
    assert targets == [None, SLOTargets(ttft=200, e2e=5000)]


def test_contents_survive():
    contents = [(Span("a b", 0, 7), Span("c", 3, 2)), None]
    trace = Trace(TraceHeader(), full_columns(2, input_tokens=np.array([9, 4])), contents, ["out", None])
    write_trace(trace, "t.yaml", "t.csv")
    first, second = read_trace("t.yaml", "t.csv").requests()
    assert (first.content, first.output_stream, first.input_tokens) == (contents[0], "out", 9)
    assert (second.content, second.output_stream) == (None, None)
    assert Path("t.csv").read_text().splitlines()[1].endswith(",ok,,,a%20b+7 c@3+2 >out")


def test_wrong_content_is_named():
    contents = [(Span("a", 0, 7),)]
    write_trace(Trace(TraceHeader(), full_columns(1, input_tokens=np.array([9])), contents), "t.yaml", "t.csv")
    Path("t.csv").write_text(Path("t.csv").read_text().replace("a+7", "a+x"))
    with pytest.raises(WorkloadTraceError) as caught:
        read_trace("t.yaml", "t.csv")
    (problem,) = caught.value.problems
    assert (problem.file, problem.path, problem.value) == ("t.csv", "content_spans", "a+x")
    assert (problem.line, problem.column) == (2, 27)


def test_nothing_is_written_if_one_file_cannot_be(folder):
    trace = Trace(TraceHeader(), full_columns(1, input_tokens=np.array([1])))
    for header, data in (("absent/t.yaml", "t.csv"), ("t.yaml", "absent/t.csv"), ("t.yaml", "t.yaml")):
        with pytest.raises(ScenarioError):
            write_trace(trace, header, data)
    assert list(folder.iterdir()) == []


def test_a_failure_on_the_way_leaves_the_old_files(folder):
    written(input_tokens=np.array([1]))
    before = Path("t.csv").read_bytes()
    with pytest.raises(KeyError):
        write_trace(Trace(TraceHeader(mode="real"), {"request_id": np.array([1])}), "t.yaml", "t.csv")
    assert Path("t.csv").read_bytes() == before
    assert "real" not in Path("t.yaml").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["t.csv", "t.yaml"]


MAX = 2**63 - 1
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
ROWS = st.lists(
    st.tuples(TEXTS, st.integers(-(2**63), 2**62 - 1), st.integers(1, MAX), st.booleans(), st.floats(0, 1)), min_size=1
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_whatever_is_written_is_read_back(rows):
    texts, ticks, counts, flags, ratios = map(list, zip(*rows, strict=True))
    columns = full_columns(
        len(rows),
        client_id=texts,
        arrival_time_us=np.array(ticks),
        input_tokens=np.array(counts),
        streaming=np.array(flags),
        reason_ratio=np.array(ratios),
    )
    write_trace(Trace(TraceHeader(mode="real"), columns), "t.yaml", "t.csv")
    trace = read_trace("t.yaml", "t.csv")
    assert trace.header == TraceHeader(mode="real")
    assert {name: list(values) for name, values in trace.columns.items()} == {
        name: list(columns[name]) for name in COLUMNS
    }
