"""``blis calibrate``: the flags, the report, and the errors in their order."""

import json
from pathlib import Path

import pytest

from blis_simpy.cli.main import main
from blis_simpy.trace_files.trace_columns import COLUMNS

HEADER = "trace_version: 2\nmode: real\nwarm_up_requests: 1\nnetwork: {measured_rtt_ms: 2.5}\n"


def row(number, first, last):
    values = dict.fromkeys(COLUMNS, 0) | {"request_id": number, "streaming": "true", "input_tokens": 10}
    values |= {
        "status": "ok",
        "output_tokens": 5,
        "send_time_us": 1000,
        "first_chunk_time_us": first,
        "last_chunk_time_us": last,
    }
    return ",".join(str(values[name]) for name in COLUMNS)


@pytest.fixture
def files(tmp_path):
    """The worked example: id 0 is warm-up, id 3 has a negative TTFT, simulated id 7 was never recorded."""
    (tmp_path / "t.yaml").write_text(HEADER)
    rows = [row(0, 2000, 9000), row(1, 3500, 8000), row(2, 4500, 8800), row(3, 500, 8800)]
    (tmp_path / "t.csv").write_text("\n".join([",".join(COLUMNS), *rows, ""]))
    latencies = {"ttft_us": 2015, "e2e_us": 4022, "input_tokens": 10, "output_tokens": 5}
    (tmp_path / "sim.json").write_text(json.dumps([{"request_id": n, **latencies} for n in (1, 2, 3, 7)]))
    flags = {"--trace-header": "t.yaml", "--trace-data": "t.csv", "--sim-results": "sim.json", "--report": "out.json"}
    return {flag: str(tmp_path / name) for flag, name in flags.items()}


def words(files, *more):
    return ["calibrate", *(word for pair in files.items() for word in pair), *more]


def report(files):
    return json.loads(Path(files["--report"]).read_text())


def test_worked_example_goes_into_the_report_and_a_summary_to_stderr(files, capsys):
    assert main(words(files)) == 0
    found = report(files)
    assert found["trace_info"] == {
        "num_requests": 5,
        "warm_up_excluded": 1,
        "matched_pairs": 3,
        "token_mismatches": 0,
    }
    assert found["metrics"]["ttft"]["MAPE"] == pytest.approx(0.548, abs=1e-15)
    assert found["metrics"]["e2e"]["MAPE"] == pytest.approx(0.11606593406593406, abs=1e-16)
    out, err = capsys.readouterr()
    assert out == ""
    counts, *latencies = err.splitlines()
    assert counts == (
        "info: 2 requests compared; 1 excluded as warm-up, 0 with other token counts; "
        "unmatched: 1 recorded, 1 simulated"
    )
    assert latencies == [
        "info: TTFT: p50 3.000 ms measured, 4.515 ms simulated; MAPE 54.8%, r 0.000, over-predict, poor",
        "info: E2E: p50 7.400 ms measured, 6.522 ms simulated; MAPE 11.6%, r 0.000, under-predict, poor",
    ]


def test_log_level_silences_the_summary(files, capsys):
    assert main(words(files, "--log", "error")) == 0
    assert capsys.readouterr() == ("", "")


def test_flags_win_over_the_header_and_minus_one_asks_for_it(files):
    assert main(words(files, "--warmup-requests", "0", "--network-rtt-us", "0")) == 0
    assert report(files)["trace_info"]["warm_up_excluded"] == 0
    assert report(files)["metrics"]["ttft"]["SimP50"] == 2015
    assert main(words(files, "--warmup-requests=-1", "--network-rtt-us=-1")) == 0
    assert report(files)["trace_info"]["warm_up_excluded"] == 1
    assert report(files)["metrics"]["ttft"]["SimP50"] == 4515


def test_bandwidth_adds_the_transfer(files):
    """10 tokens are 320 bit, at 320 Mbit/s 1 µs."""
    assert main(words(files, "--network-bandwidth-mbps", "320")) == 0
    assert report(files)["metrics"]["ttft"]["SimP50"] == 4516


def test_snake_case_spells_the_keys_like_the_others(files):
    assert main(words(files, "--snake-case")) == 0
    assert report(files)["metrics"]["ttft"]["sim_p50"] == 4515


def problems(argv, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_all_four_files_are_required_and_asked_for_in_order(files, capsys):
    assert problems(["calibrate"], capsys) == [f"{flag} is required" for flag in files]
    del files["--sim-results"]
    assert problems(words(files), capsys) == ["--sim-results is required"]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--network-rtt-us", "-2"], "--network-rtt-us must be a whole number of us >= 0, got -2"),
        (["--network-rtt-us", "1.5"], "--network-rtt-us must be a whole number of us >= 0, got '1.5'"),
        (["--network-bandwidth-mbps", "NaN"], "--network-bandwidth-mbps must be a finite number of Mbit/s, got nan"),
        (["--network-bandwidth-mbps", "x"], "--network-bandwidth-mbps must be a finite number of Mbit/s, got 'x'"),
        (
            ["--network-bandwidth-mbps", "1e-9"],
            "--network-bandwidth-mbps must be at least 1e-06 Mbit/s, or 0, got 1e-09",
        ),
        (["--warmup-requests", "few"], "--warmup-requests must be an integer, got 'few'"),
        (["--sim-result=x"], "--sim-result is not a flag; did you mean --sim-results?"),
    ],
)
def test_a_wrong_flag_is_one_line_before_any_file_is_read(more, line, files, capsys):
    assert problems(words({**files, "--trace-data": "not/there.csv"}, *more), capsys) == [line]


def test_a_report_that_cannot_be_written_is_found_out_first(files, capsys, tmp_path):
    path = str(tmp_path / "no" / "out.json")
    assert problems(words({**files, "--report": path, "--trace-data": "not/there.csv"}), capsys) == [
        f"{path}: cannot be written: there is no directory {tmp_path / 'no'}"
    ]


def test_the_report_does_not_replace_what_is_read(files, capsys):
    [line] = problems(words({**files, "--report": files["--trace-data"]}), capsys)
    assert line.startswith("--report must be another file than --trace-data, got ")


def test_the_trace_is_read_before_the_results(files, capsys):
    wrong = {**files, "--trace-data": "not/there.csv", "--sim-results": "not/there.json"}
    assert problems(words(wrong), capsys) == ["not/there.csv: cannot be read: No such file or directory"]
    wrong = {**files, "--sim-results": "not/there.json"}
    assert problems(words(wrong), capsys) == ["not/there.json: cannot be read: No such file or directory"]


def test_nothing_is_written_if_nothing_can_be_compared(files, capsys, tmp_path):
    assert problems(words(files, "--warmup-requests", "9"), capsys) == [
        "no request of the trace has a simulated request with the same number"
    ]
    assert not (tmp_path / "out.json").exists()


def test_help_names_the_defaults(capsys):
    assert main(["calibrate", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "--warmup-requests N Number of requests to exclude, by id from 0; -1 means that of the header. Default: -1."
        in text
    )
    assert "Default: info." in text


def test_figures_beyond_64_bits_are_one_line(files, capsys):
    Path(files["--sim-results"]).write_text(json.dumps([{"request_id": 1, "ttft_us": 10**400}]))
    [line] = problems(words(files), capsys)
    assert line.startswith(f"{files['--sim-results']}: [0].ttft_us must be a number of us, got 1000")
    Path(files["--sim-results"]).write_text('[{"request_id": 1}]')
    Path(files["--trace-header"]).write_text("network: {measured_rtt_ms: 1.0e+306}")
    assert problems(words(files), capsys) == [
        f"{files['--trace-header']}: network.measured_rtt_ms must be <= 1e+18, got 1e+306 (line 1)"
    ]
