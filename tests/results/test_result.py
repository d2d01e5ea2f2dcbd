import json

import numpy as np
import pytest


def test_summary_has_the_reference_s_keys_in_its_order(serve):
    assert list(serve((10, 2, 0)).result.summary) == [
        "instance_id",
        "completed_requests",
        "still_queued",
        "still_running",
        "injected_requests",
        "total_input_tokens",
        "total_output_tokens",
        "vllm_estimated_duration_s",
        "responses_per_sec",
        "tokens_per_sec",
        *(f"{kind}_{figure}_ms" for kind in ("e2e", "ttft", "itl") for figure in ("mean", "p90", "p95", "p99")),
        "scheduling_delay_p99_ms",
        "preemption_count",
        "dropped_unservable",
        "length_capped_requests",
        "timed_out_requests",
    ]


def test_latencies_are_zero_when_nothing_completed_though_first_tokens_came(serve):
    summary = serve((10, 50, 0), horizon=300).result.summary
    assert (summary["completed_requests"], summary["still_running"], summary["ttft_mean_ms"]) == (0, 1, 0.0)


def test_table_has_a_row_a_request_in_the_order_of_the_workload(serve):
    table = serve((10, 2, 50, {"id": "late"}), (10, 2, 0, {"id": "early"})).result.requests
    assert table["id"].tolist() == ["late", "early"]
    assert table["arrived_at_us"].dtype == np.int64
    row = next(table.rows())
    assert set(row) == set(table)
    assert (row["outcome"], row["e2e_us"], row["length_capped"]) == ("completed", 290, False)
    with pytest.raises(KeyError):
        table["no_such_column"]


def test_steps_follow_each_other_and_add_up(serve):
    served = serve((100, 9, 0), (50, 70, 30), (20, 1, 900), max_num_batched_tokens=64)
    steps = served.result.steps
    assert steps["prefill_tokens"].sum() == 170
    assert steps["decode_tokens"].sum() == 8 + 69
    assert (np.diff(steps["start_us"]) >= steps["duration_us"][:-1]).all()
    assert served.result.aggregate.itl.count == 8 + 69


def test_metrics_file_is_the_summary_with_rows(serve, tmp_path):
    result = serve((10, 2, 0)).result
    result.write_metrics(tmp_path / "metrics.json")
    written = json.loads((tmp_path / "metrics.json").read_text())
    rows = written.pop("requests")
    assert written == pytest.approx(result.summary)
    assert [row["requestID"] for row in rows] == ["request_0"]


def test_result_prints_as_one_line(serve):
    assert repr(serve((10, 2, 0)).result) == (
        "<Result: 1 of 1 requests completed in 0.000 s, mean TTFT 0.110 ms, mean E2E 0.220 ms>"
    )
