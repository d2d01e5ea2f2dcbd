"""Pairing a recording with a simulation: the worked examples of the reference, and every rule of the pairing."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.trace_files.trace_columns import COLUMNS
from blis_simpy.trace_files.trace_v2 import read_trace

HEADER = "trace_version: 2\ntime_unit: us\nmode: real\n"
REAL_TTFT, REAL_E2E = (100, 120, 150, 200), (500, 600, 800, 1000)
SIM_TTFT, SIM_E2E = (90, 130, 150, 260), (450, 610, 700, 1100)


def row(number, first, last, *, send=1000, **fields):
    values = dict.fromkeys(COLUMNS, 0) | dict.fromkeys(
        ("client_id", "tenant_id", "slo_class", "session_id", "prefix_group", "model", "error_message"), ""
    )
    values |= {"request_id": number, "streaming": "true", "input_tokens": 10, "output_tokens": 5, "status": "ok"}
    values |= {"send_time_us": send, "first_chunk_time_us": first, "last_chunk_time_us": last, "finish_reason": "stop"}
    values |= fields
    return ",".join(str(values[name]) for name in COLUMNS)


def answered(number, ttft, e2e, **fields):
    send = 1_700_000_000_000_000 + number
    return row(number, send + ttft, send + e2e, send=send, **fields)


@pytest.fixture
def trace(tmp_path):
    def trace(*rows, header=HEADER):
        (tmp_path / "real.yaml").write_text(header)
        (tmp_path / "real.csv").write_text("\n".join([",".join(COLUMNS), *rows, ""]))
        return read_trace(tmp_path / "real.yaml", tmp_path / "real.csv")

    return trace


@pytest.fixture
def results(tmp_path):
    def results(*rows):
        keys = ("request_id", "ttft_us", "e2e_us", "input_tokens", "output_tokens")
        path = tmp_path / "sim.json"
        path.write_text(json.dumps([dict(zip(keys, (*row, 10, 5)[:5], strict=True)) for row in rows]))
        return path

    return results


@pytest.fixture
def four(trace, results):
    """The example with four requests."""
    rows = [answered(n, ttft, e2e) for n, (ttft, e2e) in enumerate(zip(REAL_TTFT, REAL_E2E, strict=True))]
    sims = [(n, ttft, e2e) for n, (ttft, e2e) in enumerate(zip(SIM_TTFT, SIM_E2E, strict=True))]
    return lambda header=HEADER: (trace(*rows, header=header), results(*sims))


def percentiles(report, kind):
    figures = report["metrics"][kind]
    return [(figures[f"Real{p}"], figures[f"Sim{p}"]) for p in ("P50", "P90", "P95", "P99")]


def test_worked_example_without_network(four):
    report = blis.calibrate(*four()).report()
    assert percentiles(report, "ttft") == [
        pytest.approx(pair, rel=1e-12) for pair in ((135, 140), (185, 227), (192.5, 243.5), (198.5, 256.7))
    ]
    ttft, e2e = report["metrics"]["ttft"], report["metrics"]["e2e"]
    assert (ttft["MAPE"], ttft["PearsonR"]) == pytest.approx((0.1208333333, 0.9824467958), abs=5e-11)
    assert (ttft["BiasDirection"], ttft["Quality"], ttft["Count"]) == ("over-predict", "good", 4)
    assert (e2e["MAPE"], e2e["PearsonR"]) == pytest.approx((0.0854166667, 0.9643214999), abs=5e-11)
    assert (e2e["BiasDirection"], e2e["Quality"]) == ("under-predict", "excellent")


def test_worked_example_with_round_trip_and_transfer(four):
    """Up 10 · 4 · 8 / 100 = 3.2 µs, down 5 · 4 · 8 / 100 = 1.6 µs."""
    report = blis.calibrate(*four(), network_rtt_us=10, network_bandwidth_mbps=100).report()
    assert percentiles(report, "ttft") == [
        pytest.approx(pair, rel=1e-12) for pair in ((135, 153.2), (185, 240.2), (192.5, 256.7), (198.5, 269.9))
    ]
    ttft, e2e = report["metrics"]["ttft"], report["metrics"]["e2e"]
    assert (ttft["MAPE"], ttft["PearsonR"]) == pytest.approx((0.1698333333, 0.9824467958), abs=5e-11)
    assert (ttft["BiasDirection"], ttft["Quality"]) == ("over-predict", "good")
    assert (e2e["MAPE"], e2e["PearsonR"]) == pytest.approx((0.0832583333, 0.9643214999), abs=5e-11)
    assert (e2e["BiasDirection"], e2e["Quality"]) == ("over-predict", "excellent")


def test_worked_example_with_warm_up(four):
    report = blis.calibrate(*four(), warm_up_requests=1).report()
    assert report["trace_info"] == {
        "num_requests": 4,
        "warm_up_excluded": 1,
        "matched_pairs": 3,
        "token_mismatches": 0,
    }
    ttft = report["metrics"]["ttft"]
    assert (ttft["MAPE"], ttft["PearsonR"]) == pytest.approx((0.1277777778, 0.9720693308), abs=5e-11)


def test_header_gives_warm_up_and_round_trip_cut_to_whole_microseconds(four):
    header = HEADER + "warm_up_requests: 1\nnetwork: {measured_rtt_ms: 0.0109}\n"
    from_header = blis.calibrate(*four(header))
    assert from_header.report() == blis.calibrate(*four(), warm_up_requests=1, network_rtt_us=10).report()
    assert blis.calibrate(*four(header), warm_up_requests=0, network_rtt_us=0).report() == (
        blis.calibrate(*four()).report()
    )


def test_worked_example_of_counting(trace, results):
    """Id 1 has a negative TTFT, id 2 other token counts, id 9 no counterpart; id 3 is simulated twice, never recorded.

    So ids 0, 1, 2 match, of which 1 counts as unmatched too: 3 + 2 requests.
    """
    calibration = blis.calibrate(
        trace(answered(0, 100, 500), answered(1, -1, 600), answered(2, 150, 800), answered(9, 200, 1000)),
        results((0, 90, 450), (1, 130, 610), (2, 150, 700, 11, 5), (3, 1, 1), (3, 2, 2)),
    )
    report = calibration.report()
    assert report["trace_info"] == {"num_requests": 5, "warm_up_excluded": 0, "matched_pairs": 3, "token_mismatches": 1}
    assert report["metrics"]["ttft"]["Count"] == report["metrics"]["e2e"]["Count"] == 2
    assert (calibration.unmatched_real, calibration.unmatched_sim) == (2, 2)


def test_second_worked_example(trace, results):
    """Round trip 2.5 ms: 2015 + 2500 = 4515 against 2500 and 3500; 4022 + 2500 = 6522 against 7000 and 7800."""
    header = HEADER + "warm_up_requests: 1\nnetwork: {measured_rtt_ms: 2.5}\n"
    recorded = [row(0, 2000, 9000), row(1, 3500, 8000), row(2, 4500, 8800), row(3, 500, 8800)]
    calibration = blis.calibrate(
        trace(*recorded, header=header), results(*((n, 2015, 4022) for n in (1, 2, 3)), (7, 1, 1))
    )
    assert calibration.report()["trace_info"] == {
        "num_requests": 5,
        "warm_up_excluded": 1,
        "matched_pairs": 3,
        "token_mismatches": 0,
    }
    assert (calibration.unmatched_real, calibration.unmatched_sim) == (1, 1)
    ttft, e2e = calibration.ttft, calibration.e2e
    assert (ttft.count, ttft.real[50], ttft.simulated[50], ttft.bias) == (2, 3000, 4515, "over-predict")
    assert ttft.mape == pytest.approx(0.548, abs=1e-15)
    assert (e2e.real[50], e2e.simulated[50], e2e.pearson_r, e2e.quality) == (7400, 6522, 0, "poor")
    assert e2e.mape == pytest.approx(0.11606593406593406, abs=1e-16)


def test_report_has_the_keys_of_the_reference_in_its_order(four, tmp_path):
    calibration = blis.calibrate(*four())
    calibration.write_report(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    assert text.startswith('{\n  "trace_info": {\n    "num_requests": 4,\n')
    assert text.endswith("\n}")
    written = json.loads(text)
    assert list(written) == ["trace_info", "metrics", "config_match", "known_limitations"]
    assert list(written["metrics"]) == ["e2e", "ttft"]
    assert list(written["metrics"]["e2e"]) == (
        [f"{side}P{p}" for p in (50, 90, 95, 99) for side in ("Real", "Sim")]
        + ["MAPE", "PearsonR", "BiasDirection", "Quality", "Count"]
    )
    assert written["config_match"] == {}
    assert [type(note) for note in written["known_limitations"]] == [str] * 3
    assert written["metrics"] == calibration.report()["metrics"]


def test_report_in_snake_case_has_the_same_values(four):
    calibration = blis.calibrate(*four())
    own = calibration.report(snake_case=True)["metrics"]["ttft"]
    assert list(own) == (
        [f"{side}_p{p}" for p in (50, 90, 95, 99) for side in ("real", "sim")]
        + ["mape", "pearson_r", "bias_direction", "quality", "count"]
    )
    assert list(own.values()) == list(calibration.report()["metrics"]["ttft"].values())


def test_pairs_hold_both_sides_of_every_request(four):
    pairs = blis.calibrate(*four(), network_rtt_us=10).pairs
    assert {name: column.tolist() for name, column in pairs.items()} == {
        "request_id": [0, 1, 2, 3],
        "input_tokens": [10] * 4,
        "output_tokens": [5] * 4,
        "real_ttft_us": list(REAL_TTFT),
        "sim_ttft_us": [100, 140, 160, 270],
        "real_e2e_us": list(REAL_E2E),
        "sim_e2e_us": [460, 620, 710, 1110],
    }


def test_the_last_of_several_entries_of_one_number_counts(trace, results):
    calibration = blis.calibrate(trace(answered(0, 100, 500)), results((0, 1, 1), (0, 90, 450)))
    assert calibration.pairs["sim_ttft_us"].tolist() == [90]
    assert calibration.unmatched_sim == 0


def test_rows_without_an_answer_fall_out(trace, results):
    """First and last chunk 0, sent at 1000."""
    calibration = blis.calibrate(trace(answered(0, 100, 500), row(1, 0, 0)), results((0, 90, 450), (1, 90, 450)))
    assert (calibration.matched, calibration.unmatched_real, calibration.ttft.count) == (2, 1, 1)


def test_rows_that_did_not_end_well_count_like_others_with_one_warning(trace, results, caplog):
    rows = [answered(0, 100, 500), answered(1, 120, 600, status="error"), answered(2, 150, 800, status="timeout")]
    with caplog.at_level(logging.WARNING):
        calibration = blis.calibrate(
            trace(*rows, row(3, 0, 0, status="error")), results(*((n, 1, 1) for n in range(4)))
        )
    assert calibration.ttft.count == 3
    assert [record.getMessage() for record in caplog.records] == [
        "requests without status ok are compared by their recorded times: 1 error, 1 timeout"
    ]


def test_negative_warm_up_leaves_nothing_out(four):
    assert blis.calibrate(*four(), warm_up_requests=-3).warm_up_excluded == 0


def test_bandwidth_below_zero_takes_no_time(four):
    slow = blis.calibrate(*four(), network_bandwidth_mbps=-1)
    assert slow.report() == blis.calibrate(*four()).report()


def test_a_path_stands_for_the_data_file_and_the_header_beside_it(four, tmp_path):
    trace, results = four()
    assert blis.calibrate(tmp_path / "real.csv", results).report() == blis.calibrate(trace, results).report()


def test_a_run_in_memory_gives_what_its_results_file_gives(serve, trace, tmp_path):
    """100 µs a step and 1 more a prompt token, 10 a decode token: TTFT 110, E2E 110 + 110 for two tokens out."""
    result = serve((10, 2, 0), (20, 2, 5000), (10, 2, 9000, {"deadline": 9001}), (9, 1, 0, {"id": "other"})).result
    result.write_replay_results(tmp_path / "sim.json")
    recorded = trace(*(answered(n, 100, 250, output_tokens=2) for n in range(3)))
    in_memory, from_file = blis.calibrate(recorded, result), blis.calibrate(recorded, tmp_path / "sim.json")
    assert in_memory.report() == from_file.report()
    assert in_memory.pairs["sim_ttft_us"].tolist() == result.requests["ttft_us"][:2].tolist()
    assert in_memory.token_mismatches == 1


def test_it_prints_as_a_line_and_as_a_table(four):
    calibration = blis.calibrate(*four())
    assert repr(calibration) == (
        "<Calibration of 4 requests: TTFT MAPE 12.1% r 0.982 good, E2E MAPE 8.5% r 0.964 excellent>"
    )
    lines = calibration.render("text").splitlines()
    assert lines[0] == "4 requests compared"
    assert lines[3].split() == ["TTFT", "measured", "0.135", "0.185", "0.193", "0.199", "-", "-", "-", "-"]
    assert lines[6].split()[1:6] == ["0.655", "0.980", "1.040", "1.088", "8.5%"]
    assert "<table" in calibration._repr_html_()


def line(excinfo):
    return str(excinfo.value).splitlines()


def test_wrong_network_is_refused_before_a_file_is_read(tmp_path):
    with pytest.raises(blis.CalibrationError) as refused:
        blis.calibrate(
            tmp_path / "no.csv", tmp_path / "no.json", network_rtt_us=-1, network_bandwidth_mbps=float("nan")
        )
    assert line(refused) == [
        "network_rtt_us must be a whole number of us >= 0, got -1",
        "network_bandwidth_mbps must be a finite number of Mbit/s, got nan",
    ]


def test_nothing_in_common_is_refused(trace, results):
    with pytest.raises(blis.CalibrationError) as refused:
        blis.calibrate(trace(answered(0, 100, 500)), results((1, 90, 450)))
    assert line(refused) == ["no request of the trace has a simulated request with the same number"]


def test_a_trace_without_answers_is_refused(trace, results):
    with pytest.raises(blis.CalibrationError) as refused:
        blis.calibrate(trace(row(0, 0, 0)), results((0, 90, 450)))
    assert line(refused) == ["no request of the trace can be compared: all its times give negative latencies"]


def test_a_run_in_which_nothing_completed_is_refused(trace):
    columns = {"id": np.array(["request_0"], object), "outcome": np.array(["running"], object)}
    columns |= dict.fromkeys(("ttft_us", "e2e_us", "input_tokens", "output_tokens"), np.array([5]))
    with pytest.raises(blis.CalibrationError) as refused:
        blis.calibrate(trace(answered(0, 100, 500)), SimpleNamespace(requests=columns))
    assert line(refused) == ["the run has no completed requests with names request_<number>"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "has no results: no request completed in the simulation"),
        ("null", "has no results: no request completed in the simulation"),
        ("{}", "must be a JSON array of results"),
        ("[1]", "[0] must be an object, got 1"),
        ("[\n{]", "cannot be read as JSON: Expecting property name enclosed in double quotes (line 2)"),
        ("[NaN]", "cannot be read as JSON: NaN is not a number of JSON"),
        ('[{"request_id": 1.5}]', "[0].request_id must be a 64-bit integer, got 1.5"),
        ('[{"request_id": true}]', "[0].request_id must be a 64-bit integer, got True"),
        ('[{}, {"input_tokens": 1e3}]', "[1].input_tokens must be a 64-bit integer, got 1000.0"),
        (f'[{{"request_id": {2**63}}}]', f"[0].request_id must be a 64-bit integer, got {2**63}"),
        ('[{"ttft_us": "90"}]', "[0].ttft_us must be a number of us, got '90'"),
        ('[{"E2E_US": 1e999}]', "[0].e2e_us must be a number of us, got inf"),
    ],
)  # fmt: skip
def test_every_mistake_of_a_results_file_is_named(text, message, trace, tmp_path):
    path = tmp_path / "sim.json"
    path.write_text(text)
    with pytest.raises(blis.CalibrationError) as refused:
        blis.calibrate(trace(answered(0, 100, 500)), path)
    assert line(refused) == [f"{path}: {message}"]


def test_keys_of_a_results_file_may_be_missing_unknown_or_in_capitals(trace, tmp_path):
    path = tmp_path / "sim.json"
    path.write_text('[{"TTFT_us": 90, "note": "?", "e2e_us": null}]')
    calibration = blis.calibrate(trace(answered(0, 100, 500)), path)
    assert calibration.pairs["sim_ttft_us"].tolist() == [90]
    assert calibration.pairs["sim_e2e_us"].tolist() == [0]
    assert calibration.token_mismatches == 1


def test_a_results_file_that_is_not_there_is_named(trace, tmp_path):
    with pytest.raises(blis.CalibrationError) as refused:
        blis.calibrate(trace(answered(0, 100, 500)), tmp_path / "no.json")
    assert line(refused) == [f"{tmp_path / 'no.json'}: cannot be read: No such file or directory"]
