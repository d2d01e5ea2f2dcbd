"""From a run to a trace and back: the worked examples of the layout, with a step that always takes 100 µs."""

import json
from pathlib import Path

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.cli.main import main
from blis_simpy.trace_files.run_trace import trace_of_run
from blis_simpy.trace_files.trace import Trace, TraceHeader
from blis_simpy.trace_files.trace_columns import COLUMNS, full_columns
from blis_simpy.trace_files.trace_v2 import read_trace

ENGINE = ["--engine-profile", "blis", "--model", "my/model", "--total-kv-blocks", "10000", "--alpha-coeffs", "0,0,0"]
STEP = [*ENGINE, "--beta-coeffs", "100,0,0"]
HEADER = "trace_version: 2\ntime_unit: microseconds\nmode: generated\nwarm_up_requests: 0\n"
CLIENT = """- id: {name}
  rate_fraction: 0.5
  arrival: {{process: constant}}
  input_distribution: {{type: constant, params: {{value: {prompt}}}}}
  output_distribution: {{type: constant, params: {{value: {output}}}}}
"""
SESSIONS = """  reasoning:
    reason_ratio_distribution: {type: constant, params: {value: 25}}
    multi_turn: {max_rounds: 2, think_time_us: 300000}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("header.yaml").write_text(HEADER)
    return tmp_path


def workload(*clients, rate, num_requests):
    text = f"version: '2'\naggregate_rate: {rate}\nnum_requests: {num_requests}\nclients:\n{''.join(clients)}"
    Path("workload.yaml").write_text(text)
    return ["--workload-spec", "workload.yaml"]


def client(name="a", prompt=10, output=5):
    return CLIENT.format(name=name, prompt=prompt, output=output)


def blis_ok(capsys, *words, warning=""):
    assert main(list(words)) == 0
    captured = capsys.readouterr()
    assert captured.err == (f"warning: {warning}\n" if warning else "")
    return captured.out


def replayed(capsys, *flags, header="t.yaml", data="t.csv", warning=""):
    """Rows of the results of a replay."""
    words = ["replay", "--trace-header", header, "--trace-data", data, "--results-path", "results.json"]
    blis_ok(capsys, *words, "--report", "none", *flags, warning=warning)
    return json.loads(Path("results.json").read_text())


def column(rows, name):
    return [row[name] for row in rows]


def trace_rows(**fields):
    """Write `t.csv` with some columns, the others as in an ordinary trace."""
    columns = {name: np.array(values) if isinstance(values[0], int) else values for name, values in fields.items()}
    blis.write_trace(
        Trace(TraceHeader(mode="generated"), full_columns(len(fields["arrival_time_us"]), **columns)), "t.yaml", "t.csv"
    )


def test_run_writes_what_it_served_by_arrival(capsys):
    """Rounds that followed stand where they arrived, 300 ms after the end of the round before."""
    spec = workload(client("a") + SESSIONS, client("b", 7, 2), rate=4, num_requests=4)
    blis_ok(capsys, "run", *STEP, *spec, "--trace-output", "t", "--results-path", "run.json")
    assert Path("t.yaml").read_text() == HEADER
    heading, *lines = Path("t.csv").read_text().splitlines()
    assert heading == ",".join(COLUMNS)
    assert lines == [
        "0,a,,,a-0,0,,false,10,5,0,0,0,0,0.25,,300500000,0,500000,500000,500100,500500,0,ok,,",
        "1,b,,,,0,,false,7,2,0,0,0,0,0,,0,0,500000,500000,500100,500200,0,ok,,",
        "2,a,,,a-0,1,,false,10,5,0,0,0,0,0,,300800500,0,800500,800500,800600,801000,0,ok,,",
        "3,a,,,a-1,0,,false,10,5,0,0,0,0,0.25,,301000000,0,1000000,1000000,1000100,1000500,0,ok,,",
        "4,a,,,a-1,1,,false,10,5,0,0,0,0,0,,301300500,0,1300500,1300500,1300600,1301000,0,ok,,",
    ]
    ids = column(json.loads(Path("run.json").read_text())["requests"], "requestID")
    assert ids == ["request_0", "request_1", "session_a-0_round_1_1", "request_2", "session_a-1_round_1_2"]


def test_replay_of_a_run_without_shared_prefixes_gives_the_same_latencies(capsys):
    laws = "{type: exponential, params: {mean: 90}}"
    clients = [
        client(name).replace("{type: constant, params: {value: 10}}", laws) + "  timeout: 2000000\n" for name in "ab"
    ]
    spec = workload(*clients, rate=200, num_requests=50)
    flags = [*ENGINE, "--beta-coeffs", "1000,10,5"]
    blis_ok(capsys, "run", *flags, *spec, "--trace-output", "t", "--results-path", "run.json", "--report", "none")
    before = json.loads(Path("run.json").read_text())["requests"]
    after = replayed(capsys, *flags)
    assert len(after) == 50
    assert [round(ms * 1000) for ms in column(before, "ttft_ms")] == column(after, "ttft_us")
    assert [round(ms * 1000) for ms in column(before, "e2e_ms")] == column(after, "e2e_us")


def test_replay_of_a_run_does_not_share_its_prefixes(capsys):
    """1000 + 10 * 128 for a whole prompt; 64 tokens less once the prefix is in the cache."""
    shared = client("a", 64) + "  prefix_group: p\n  prefix_length: 64\n"
    spec = workload(shared, rate=100, num_requests=50)
    flags = [*ENGINE, "--beta-coeffs", "1000,10,5"]
    out = blis_ok(capsys, "run", *flags, *spec, "--trace-output", "t", "--results-path", "run.json", "--report", "blis")
    before = json.loads(Path("run.json").read_text())["requests"]
    assert column(before, "ttft_ms") == [2.28] + 49 * [1.64]
    assert "Cache Hit Rate: 0.4356\n" in out
    after = replayed(capsys, *flags)
    assert column(after, "ttft_us") == 50 * [2280]
    assert column(after, "input_tokens") == column(before, "num_prefill_tokens") == 50 * [128]
    assert "prefix_group" in Path("t.csv").read_text()
    assert ",p," not in Path("t.csv").read_text()


def test_replay_of_a_saturated_run_ends_before_anything_is_done(capsys):
    """Arrivals end at tick 100,000, so the replay ends at 200,000; the prompts alone take 100 * 640 * 10."""
    spec = workload(client("a", 640, 50), rate=1000, num_requests=100)
    flags = [*ENGINE, "--beta-coeffs", "1000,10,5"]
    blis_ok(capsys, "run", *flags, *spec, "--trace-output", "t", "--report", "none")
    cut = "the default horizon of a replay, 200ms, cut 100 of 100 requests; set a longer one, such as 1h"
    assert replayed(capsys, *flags, warning=cut) == []
    assert Path("results.json").read_text() == "[]"


def test_replay_of_two_rows(capsys):
    trace_rows(arrival_time_us=[1000, 2000], input_tokens=[10, 10], output_tokens=[5, 5])
    rows = replayed(capsys, *STEP)
    assert rows == [
        {"request_id": number, "ttft_us": 100, "e2e_us": 500, "input_tokens": 10, "output_tokens": 5}
        for number in (0, 1)
    ]
    assert Path("results.json").read_text() == json.dumps(rows, indent=2)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prefix_group": ["g"]}, [{"ttft_us": 100, "e2e_us": 500, "input_tokens": 60, "output_tokens": 5}]),
        ({"output_tokens": [0]}, [{"ttft_us": 100, "e2e_us": 100, "input_tokens": 10, "output_tokens": 0}]),
        ({"deadline_us": [1000]}, []),
        ({"output_tokens": [10]}, [{"ttft_us": 100, "e2e_us": 1000, "input_tokens": 10, "output_tokens": 10}]),
        ({"output_tokens": [12]}, []),
    ],
    ids=["prefix", "no output", "deadline at arrival", "done at the horizon", "beyond the horizon"],
)
def test_replay_of_one_row_ends_at_twice_its_arrival(capsys, fields, expected):
    trace_rows(**{"arrival_time_us": [1000], "input_tokens": [10], "output_tokens": [5], **fields})
    cut = "the default horizon of a replay, 2ms, cut 1 of 1 requests; set a longer one, such as 1h"
    is_cut = fields.get("output_tokens") == [12]
    rows = replayed(capsys, *STEP, warning=cut if is_cut else "")
    assert rows == [{"request_id": 0, **row} for row in expected]


def test_header_of_a_replay_is_required_without_a_format(capsys):
    trace_rows(arrival_time_us=[1000], input_tokens=[10], output_tokens=[5])
    assert main(["replay", *STEP, "--trace-data", "t.csv"]) == 2
    assert capsys.readouterr().err == "--trace-header is required\n"
    blis_ok(capsys, "replay", *STEP, "--trace-data", "t.csv", "--trace-format", "trace-v2")


def test_replay_of_another_format(capsys):
    Path("a.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,10,5\n")
    words = ["replay", *STEP, "--trace-data", "a.csv", "--trace-format", "azure", "--results-path", "r.json"]
    blis_ok(capsys, *words)
    assert column(json.loads(Path("r.json").read_text()), "e2e_us") == [500]


def test_trace_that_cannot_be_written_ends_the_run_before_it_begins(capsys):
    spec = workload(client(), rate=1000, num_requests=100)
    assert main(["run", *STEP, *spec, "--trace-output", "absent/t"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        "absent/t.yaml: cannot be written: there is no directory absent\n",
    )


def test_outcomes_and_chunks_of_requests_that_did_not_complete(serve):
    """Batch of one, steps of 100, 1 a prompt token and 10 a decode token: prompts take 110, further tokens 110 each.

    Request 0 completes at 330. Request 1 starts then, has its first token at 440 and gives up at 500, in the step that
    ends at 550. Request 2 starts at 550, has its first token at 660; the last step that begins before the horizon of
    700 ends at 770. Request 3 waits.
    """
    served = serve((10, 3, 0), (10, 9, 0, {"deadline": 500}), (10, 9, 0), (10, 9, 0), max_num_seqs=1, horizon=700)
    columns = trace_of_run(served.result.requests).columns
    assert columns["status"] == ["ok", "timeout", "incomplete", "incomplete"]
    assert columns["first_chunk_time_us"].tolist() == [110, 440, 660, 0]
    assert columns["last_chunk_time_us"].tolist() == [330, 550, 770, 0]
    assert columns["output_tokens"].tolist() == [3, 9, 9, 9]


def test_large_trace_is_read_back_as_it_was_written():
    """Not one row is lost or moved at the borders of the pieces that are written and read at once."""
    num_requests = 20_000
    rng = np.random.default_rng(1)
    fields = {
        "arrival_time_us": np.cumsum(rng.integers(0, 500, num_requests)),
        "input_tokens": rng.integers(1, 5000, num_requests),
        "output_tokens": rng.integers(1, 900, num_requests),
    }
    blis.write_trace(Trace(TraceHeader(), full_columns(num_requests, **fields)), "t.yaml", "t.csv")
    columns = read_trace("t.yaml", "t.csv").columns
    assert all(np.array_equal(columns[name], values) for name, values in fields.items())
    assert columns["request_id"].tolist() == list(range(num_requests))


def test_format_without_a_header_refuses_one(capsys):
    Path("a.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,4,1\n")
    words = ["--trace-format", "azure", "--trace-data", "a.csv", "--trace-header", "h.yaml"]
    assert main(["replay", "--model", "qwen/qwen3-14b", *words]) == 2
    assert capsys.readouterr().err == "--trace-header is not an option of the format azure\n"
