import gzip
import logging

import pytest
from call_counter import calls
from trace_text import HEADER, row, table

from blis_simpy.core.token_spans import Span
from blis_simpy.errors import WorkloadTraceError
from blis_simpy.trace_files.trace import NetworkInfo, ServerInfo, TraceHeader, default_horizon
from blis_simpy.trace_files.trace_v2 import read_trace


def read(files, *rows):
    files(t=table(*rows))
    return read_trace("header.yaml", "t.csv")


def test_header_of_a_generated_trace(files):
    assert read(files, row()).header == TraceHeader(mode="generated")


def test_header_of_a_recording(files):
    files(
        header=(
            "trace_version: 2\ntime_unit: us\ncreated_at: 2025-03-01T12:00:00Z\nmode: real\nwarm_up_requests: 5\n"
            "workload_spec: chat.yaml\n"
            "server: {type: vllm, model: qwen/qwen3-14b, tensor_parallel: 2, max_num_seqs: 256, block_size: 16,"
            " gpu_memory_utilization: 0.9, max_model_len: 40960}\n"
            "network: {measured_rtt_ms: 0.5}\n"
        )
    )
    assert read(files, row()).header == TraceHeader(
        time_unit="us",
        created_at="2025-03-01T12:00:00Z",
        mode="real",
        warm_up_requests=5,
        workload_spec="chat.yaml",
        server=ServerInfo(
            type="vllm",
            model="qwen/qwen3-14b",
            tensor_parallel=2,
            max_num_seqs=256,
            block_size=16,
            gpu_memory_utilization=0.9,
            max_model_len=40960,
        ),
        network=NetworkInfo(measured_rtt_ms=0.5),
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("trace_version: 4\n", "header.yaml: trace_version must be <= 3, got 4 (line 1)"),
        ("trace_version: 3\n", "t.csv: prefix_length must be among the columns of version 3"),
        ("mode: real\ntrace_version: 1\n", "header.yaml: trace_version must be >= 2, got 1 (line 2)"),
        ("trace_version: '2'\n", "header.yaml: trace_version must be an integer, got '2' (line 1)"),
        (
            "time_unit: ms\n",
            "header.yaml: time_unit is unknown, got 'ms' (line 1); known: microseconds, us",
        ),
        (
            "mode: real\nwarmup_requests: 1\n",
            "header.yaml: warmup_requests is not a setting (line 2); did you mean warm_up_requests?",
        ),
        (
            "server:\n  type: vllm\n  blocksize: 16\n",
            "header.yaml: server.blocksize is not a setting (line 3); did you mean block_size?",
        ),
        ("mode: real\nmode: real\n", "header.yaml: mode is given twice (line 2); first on line 1"),
        ("", "header.yaml: is empty"),
        ("\0", "header.yaml: must not contain NUL bytes (line 1)"),
        (table(row()), None),
    ],
)
def test_wrong_header_is_one_line(files, header, expected):
    files(header=header)
    with pytest.raises(WorkloadTraceError) as caught:
        read(files, row())
    assert "\n" not in str(caught.value)
    assert expected is None or str(caught.value) == expected


def test_missing_header_is_one_line(files):
    files(t=table(row()))
    with pytest.raises(WorkloadTraceError) as caught:
        read_trace("absent.yaml", "t.csv")
    assert str(caught.value) == "absent.yaml: cannot be read: No such file or directory"


def test_both_files_may_be_gzipped(files):
    files(header=gzip.compress(HEADER.encode()), t=gzip.compress(table(row()).encode()))
    assert len(read_trace("header.yaml", "t.csv")) == 1


def test_row_becomes_a_request(files):
    (request,) = read(
        files,
        row(
            request_id=17,
            client_id="c",
            tenant_id="t",
            slo_class="batch",
            session_id="s",
            round_index=3,
            streaming="true",
            input_tokens=100,
            output_tokens=20,
            model="M",
            deadline_us=9000,
            arrival_time_us=1000,
            send_time_us=1001,
            status="error",
        ),
    ).requests()
    assert (request.id, request.arrived_at, request.deadline) == ("request_17", 1000, 9000)
    assert (request.input_tokens, request.output_tokens, request.max_output_tokens) == (100, 20, 20)
    assert (request.client, request.tenant, request.slo_class, request.session) == ("c", "t", "batch", "s")
    assert (request.round_index, request.streaming, request.model) == (3, True, "M")
    assert (request.content, request.prefix_group, request.output_stream) == (None, "", None)


def test_figures_are_plain_python(files):
    (request,) = read(files, row(streaming="t")).requests()
    fields = ("arrived_at", "input_tokens", "output_tokens", "max_output_tokens", "deadline", "round_index")
    assert {type(getattr(request, field)) for field in fields} == {int}
    assert request.streaming is True


def test_prefix_group_adds_fifty_shared_tokens_in_front(files):
    first, plain, second, other = read(
        files,
        row(request_id=0, prefix_group="g"),
        row(request_id=1),
        row(request_id=2, prefix_group="g", input_tokens=7),
        row(request_id=3, prefix_group="h"),
    ).requests()
    assert [r.input_tokens for r in (first, plain, second, other)] == [60, 10, 57, 60]
    assert first.content == (Span("prefix:g", 0, 50),)
    assert first.content is second.content
    assert plain.content is None
    assert other.content == (Span("prefix:h", 0, 50),)
    assert [r.prefix_group for r in (first, plain, second, other)] == ["g", "", "g", "h"]


def test_requests_keep_file_order_whatever_they_arrive(files):
    trace = read(files, row(request_id=2, arrival_time_us=50), row(request_id=1, arrival_time_us=-5))
    assert [(r.id, r.arrived_at) for r in trace.requests()] == [("request_2", 50), ("request_1", -5)]


def test_requests_are_made_anew_each_time(files):
    trace = read(files, row())
    (before,) = trace.requests()
    before.admitted_at = 5
    assert trace.requests()[0].admitted_at == -1


@pytest.mark.parametrize(
    ("arrivals", "horizon"),
    [
        ([1000], 2000),
        ([7, 3], 14),
        ([0], 600_000_000),
        ([-5, -1], 600_000_000),
        ([], 2**63 - 1),
        ([2**62 - 1], 2**63 - 2),
        ([2**62], 2**63 - 1),
        ([2**63 - 1], 2**63 - 1),
    ],
)
def test_default_horizon_is_twice_the_last_arrival(arrivals, horizon):
    assert default_horizon(arrivals) == horizon


def test_a_large_trace_is_read_by_columns(files):
    """A pass over the rows in Python calls several functions for each cell; a row has more than twenty cells."""

    def read_rows(number):
        files(t=table(*(row(request_id=i, arrival_time_us=37 * i, input_tokens=i % 977 + 1) for i in range(number))))
        return calls(lambda: read_trace("header.yaml", "t.csv").requests())

    read_rows(10)  # the first one imports modules
    assert read_rows(4_000) - read_rows(2_000) < 8 * 2_000


NEWER = "prefix_length,vllm_priority,adapter,think_time_us"


def newer_table(*rows):
    """Text of a file of the newer layout: each row with its length of prefix and what is optional."""
    heading, *lines = table(*(text for text, *_ in rows)).splitlines()
    ends = [NEWER, *(",".join(map(str, extra)) for _, *extra in rows)]
    return "\n".join(f"{end},{line}" for end, line in zip(ends, [heading, *lines], strict=True))


def read_newer(files, *rows, header="trace_version: 3\n"):
    files(header=header, t=newer_table(*rows))
    return read_trace("header.yaml", "t.csv")


def test_newer_layout_records_the_length_of_prefixes(files):
    trace = read_newer(
        files, (row(prefix_group="g"), 64, 0, "", 5), (row(request_id=1, prefix_group="g"), 32, "", "", 0)
    )
    first, second = trace.requests()
    assert (first.input_tokens, first.content) == (74, (Span("prefix:g", 0, 64),))
    assert (second.input_tokens, second.content) == (42, (Span("prefix:g", 0, 32),))


def test_newer_layout_is_replayed_as_it_was_measured(files):
    """Without a prefix, the server's count of the prompt; and from when the client really sent it."""
    trace = read_newer(
        files,
        (row(server_input_tokens=12, arrival_time_us=100, send_time_us=130), 0, "", "", 0),
        (row(request_id=1, server_input_tokens=90, prefix_group="g", arrival_time_us=200), 64, "", "", 0),
    )
    assert [(r.input_tokens, r.arrived_at) for r in trace.requests()] == [(12, 130), (74, 200)]


def test_older_layout_is_replayed_as_it_was_planned(files):
    (request,) = read(files, row(server_input_tokens=12, arrival_time_us=100, send_time_us=130)).requests()
    assert (request.input_tokens, request.arrived_at) == (10, 100)


def test_what_a_replay_leaves_out_of_the_newer_layout_is_told(files, caplog):
    header = "trace_version: 3\nworkload_seed: 7\nkv_offload: {cpu_bytes_to_use: 5}\n"
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        read_newer(files, (row(), 0, 3, "lora-1", 0), header=header)
    assert caplog.messages == [
        "header.yaml: workload_seed, kv_offload not used in a replay",
        "t.csv: adapter is not simulated",
    ]


@pytest.mark.parametrize("with_header", [True, False])
def test_newer_layout_without_adapters_causes_no_warning(files, caplog, with_header):
    files(header="trace_version: 3\n", t=newer_table((row(), 0, 0, "", 0)))
    with caplog.at_level(logging.WARNING, "blis_simpy"):
        assert len(read_trace("header.yaml" if with_header else None, "t.csv")) == 1
    assert caplog.messages == []


def test_priorities_are_read_in_both_layouts(files):
    trace = read_newer(
        files, (row(), 0, 3, "", 0), (row(request_id=1), 0, "", "", 0), (row(request_id=2), 0, -1, "", 0)
    )
    assert [request.priority for request in trace.requests()] == [3, 0, -1]
    heading, line = table(row()).splitlines()
    files(header=HEADER, t=f"{heading},vllm_priority\n{line},7\n")
    (request,) = read_trace("header.yaml", "t.csv").requests()
    assert request.priority == 7


def test_slo_targets_are_read_in_any_order_and_an_empty_field_is_none(files):
    heading, line = table(row()).splitlines()
    files(header=HEADER, t=f"{heading},slo_tpot_us,slo_ttft_us\n{line},,300\n")
    (request,) = read_trace("header.yaml", "t.csv").requests()
    assert (request.slo_targets.ttft, request.slo_targets.tpot) == (300, None)
    files(header=HEADER, t=f"{heading},slo_ttft_us\n{line},-3\n")
    with pytest.raises(WorkloadTraceError, match=r"slo_ttft_us must be a 64-bit integer >= 0, got '-3'"):
        read_trace("header.yaml", "t.csv")


def test_priority_that_is_no_integer_is_named_with_its_place(files):
    with pytest.raises(WorkloadTraceError) as caught:
        read_newer(files, (row(), 0, "high", "", 0))
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.column) == ("vllm_priority", 2, 2)


def test_layouts_are_not_mixed_up(files):
    with pytest.raises(WorkloadTraceError) as caught:
        read_newer(files, (row(), 0, 0, "", 0), header=HEADER)
    assert str(caught.value) == "t.csv: prefix_length must not be among the columns of version 2"


def test_newer_layout_needs_its_columns(files):
    files(header="trace_version: 3\n", t=newer_table((row(), 0, 0, "", 0)).replace("deadline_us", "deadline"))
    with pytest.raises(WorkloadTraceError) as caught:
        read_trace("header.yaml", "t.csv")
    assert str(caught.value).startswith(
        "t.csv: deadline_us is missing among the columns (line 1); there are: prefix_len"
    )


def test_wrong_value_of_the_newer_layout_is_named_with_its_place(files):
    with pytest.raises(WorkloadTraceError) as caught:
        read_newer(files, (row(input_tokens="x"), 0, 0, "", 0), (row(request_id=1), -1, 0, "", 0))
    assert [(p.path, p.line, p.column) for p in caught.value.problems] == [
        ("input_tokens", 2, 13),
        ("prefix_length", 3, 1),
    ]
