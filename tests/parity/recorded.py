"""Recorded cases in a clone without the corpus: their traces, outcomes of ours in their form, and a comparison."""

from __future__ import annotations

import csv
import gzip
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from blis_simpy.results.result import Result

COLUMNS = (
    "request_id",
    "client_id",
    "tenant_id",
    "slo_class",
    "session_id",
    "round_index",
    "prefix_group",
    "streaming",
    "input_tokens",
    "output_tokens",
    "text_tokens",
    "image_tokens",
    "audio_tokens",
    "video_tokens",
    "reason_ratio",
    "model",
    "deadline_us",
    "server_input_tokens",
    "arrival_time_us",
    "send_time_us",
    "first_chunk_time_us",
    "last_chunk_time_us",
    "num_chunks",
    "status",
    "error_message",
    "finish_reason",
)
TEXTS = {
    "client_id",
    "tenant_id",
    "slo_class",
    "session_id",
    "prefix_group",
    "model",
    "error_message",
    "finish_reason",
}
HEADER = "trace_version: 2\ntime_unit: microseconds\nmode: generated\nwarm_up_requests: 0\n"


def load_case(path: Path) -> dict[str, Any]:
    """Read one gzipped case."""
    with gzip.open(path, "rt") as file:
        case: dict[str, Any] = json.load(file)
    return case


def write_trace(case: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write header and rows of a case; columns it does not have are empty text, zero or a usual value."""
    columns = case["trace"]["columns"]
    count = len(columns["request_id"])
    usual: dict[str, Any] = {**dict.fromkeys(TEXTS, ""), "streaming": "false", "status": "ok"}
    header, data = folder / "trace.yaml", folder / "trace.csv"
    header.write_text(case["trace"].get("header_yaml", HEADER))
    with data.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(zip(*(columns.get(name, [usual.get(name, 0)] * count) for name in COLUMNS), strict=True))
    return header, data


def outcome_of(result: Result, results: list[dict[str, int]]) -> dict[str, Any]:
    """Figures of a run under the names of the recordings; `results` is what the results file says."""
    slo = result.slo_classes
    return {
        "results": results,
        "cluster": result.summary if result.summary["completed_requests"] else None,
        "instances": [],
        "anomaly": {
            "priority_inversions": result.anomalies["priority_inversions"],
            "hol_blocking_events": result.anomalies["hol_blocking_events"],
            "rejected_requests": result.anomalies["rejected_requests_admission"],
            "dropped_unservable": result.anomalies["dropped_unservable"],
            "length_capped_requests": result.anomalies["length_capped_requests"],
        },
        "kv": result.kv_rates,
        "slo": {
            name: {
                f"{figure}_{part}": value
                for figure in ("ttft", "e2e")
                for part, value in (
                    ("mean_us", classes[figure].mean),
                    ("p99_us", classes[figure].percentile(99)),
                    ("n", classes[figure].count),
                )
            }
            for name, classes in slo.items()
        }
        if len(slo) > 1
        else None,
        "handled_by": result.requests["replica"].tolist(),
        "sched_delay_us": result.requests["scheduling_delay_us"].tolist(),
        "preemptions": [list(row) for row in result.preemptions],
        "rejected": result.rejected,
    }


def same(want: Any, got: Any, digits: int | None) -> bool:
    """Whether two figures agree: integers and text exactly, floats but for their last bits or printed digits."""
    if not isinstance(want, float):
        return bool(want == got)
    if digits is not None and got is not None:
        return abs(got - want) <= 0.5000001 * 10.0**-digits + 1e-9 * abs(want)
    return got is not None and math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-12)


def compare(case: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """Differences between a recorded case and an outcome of ours, one line each."""
    want = case["expect"]
    lines: list[str] = []

    def check_map(where: str, wanted: Any, found: Any, digits: int | None = None) -> None:
        for key, value in (wanted or {}).items():
            other = (found or {}).get(key)
            if isinstance(value, dict):
                check_map(f"{where}.{key}", value, other, digits)
            elif f"{where}.{key}" not in case.get("ignore", ()) and not same(value, other, digits):
                lines.append(f"{where}.{key}: expected {value!r}, got {other!r}")

    ours = {row["request_id"]: row for row in got["results"]}
    recorded = want["results"]
    columns = (
        recorded if isinstance(recorded, dict) else {name: [row[name] for row in recorded] for name in recorded[0]}
    )
    if sorted(ours) != sorted(columns["request_id"]):
        lines.append(f"completed: expected {columns['request_id']}, got {sorted(ours)}")
    for index, number in enumerate(columns["request_id"]):
        row = {name: values[index] for name, values in columns.items()}
        check_map(f"results[{number}]", row, ours.get(number))
    if (want["cluster"] is None) != (got["cluster"] is None):
        lines.append(f"cluster: expected {want['cluster']}, got {got['cluster']}")
    check_map("cluster", want["cluster"], got["cluster"])
    check_map("anomaly", want["anomaly"] or dict.fromkeys(got["anomaly"], 0), got["anomaly"])
    check_map("kv", want["kv"] or dict.fromkeys(got["kv"], 0.0), got["kv"], 4)
    check_map("slo", want["slo"], got["slo"], 2)
    count = len(got["handled_by"])
    for name in ("handled_by", "sched_delay_us"):
        wanted = [0] * count if want[name] == "all_0" else want[name]
        lines += [
            f"{name}[{i}]: expected {w}, got {g}"
            for i, (w, g) in enumerate(zip(wanted, got[name], strict=True))
            if w != g
        ]
    wanted = want.get("preemptions", [])
    if isinstance(wanted, dict):
        check_map("preemptions", wanted, {"count": len(got["preemptions"])})
    elif [list(row) for row in wanted] != got["preemptions"]:
        lines.append(f"preemptions: expected {wanted}, got {got['preemptions']}")
    return lines
