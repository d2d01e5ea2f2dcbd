"""Reports in the formats of the reference: the sections of its text report, and its results files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.request import RequestOutcome

if TYPE_CHECKING:
    from blis_simpy.results.evaluation import Group
    from blis_simpy.results.fitness import Fitness
    from blis_simpy.results.requests import RequestTable

__all__ = ["metrics_rows", "number", "replay_results", "sections", "to_json"]


def number(value: float) -> str:
    """Return the shortest decimal that reads back as the value; integers without a point, exponents only if needed."""
    if value == int(value) and abs(value) < 1e21:
        return f"{Decimal(repr(float(value))):.0f}" if abs(value) > 2**53 else str(int(value))
    text = repr(value)
    if "e-" in text and abs(value) >= 1e-6:
        digits = len(text.split("e")[0].replace("-", "").replace(".", "")) - 1 + int(text.split("e-")[1])
        text = f"{value:.{digits}f}"
    return text


def to_json(value: Any, indent: str = "") -> str:
    """Return JSON with an indentation of two spaces and numbers in the format of `number`."""
    inner = indent + "  "
    if isinstance(value, Mapping):
        lines = [f"{inner}{json.dumps(key)}: {to_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}" if lines else "{}"
    if isinstance(value, list):
        lines = [inner + to_json(item, inner) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]" if lines else "[]"
    if isinstance(value, float):
        return number(value)
    return json.dumps(value)


def metrics_rows(requests: RequestTable) -> Iterator[dict[str, Any]]:
    """Yield rows of the results file of ``run``: requests that reached a replica and were not dropped, by arrival."""
    reached = requests.take((requests["replica"] >= 0) & ~requests.with_outcome(RequestOutcome.DROPPED))
    for r in reached.take(np.argsort(reached["arrived_at_us"], kind="stable")).rows():
        completed = r["outcome"] == "completed"
        row: dict[str, Any] = {
            "arrived_at": r["arrived_at_us"] / 1e6,
            "requestID": r["id"],
            "num_prefill_tokens": r["input_tokens"],
            "num_decode_tokens": r["output_tokens"],
            "ttft_ms": (r["ttft_us"] or 0) / 1000,
            "itl_ms": r["itl_mean_us"] / 1000 if completed else 0.0,
            "e2e_ms": r["e2e_us"] / 1000 if completed else 0.0,
            "scheduling_delay_ms": (r["scheduling_delay_us"] or 0) / 1000,
        }
        labels = {
            "slo_class": r["slo_class"],
            "tenant_id": r["tenant"],
            "handled_by": f"instance_{r['replica']}",
            "model": r["model"],
        }
        row.update((key, value) for key, value in labels.items() if value)
        if r["length_capped"]:
            row["length_capped"] = True
        yield row


_NUMBERED = re.compile(r"request_([+-]?[0-9]+)")


def replay_results(requests: RequestTable) -> str:
    """Return the results file of ``replay``: the completed requests by number."""
    completed = requests.take(requests.completed)
    columns = (completed[name].tolist() for name in ("id", "ttft_us", "e2e_us", "input_tokens", "output_tokens"))
    rows = [
        (int(numbered[1]), *figures)
        for name, *figures in zip(*columns, strict=True)
        if (numbered := _NUMBERED.fullmatch(name))
    ]
    if not rows:
        return "[]"
    # Formatted here: the standard encoder would take longer for these rows than some simulations.
    return (
        "[\n"
        + ",\n".join(
            f'  {{\n    "request_id": {number_},\n    "ttft_us": {ttft},\n    "e2e_us": {e2e},\n'
            f'    "input_tokens": {input_tokens},\n    "output_tokens": {output_tokens}\n  }}'
            for number_, ttft, e2e, input_tokens, output_tokens in sorted(rows)
        )
        + "\n]"
    )


def sections(
    *,
    command: str,
    blocks: Iterable[Mapping[str, Any]],
    anomaly: Mapping[str, int],
    kv: Mapping[str, float],
    slo: Mapping[str, Mapping[str, Any]],
    fitness: Fitness | None = None,
    models: Mapping[str, Group] | None = None,
    decisions: Mapping[str, Any] | None = None,
) -> str:
    """Return the text report of ``run`` or ``replay``; empty sections are left out.

    Parameters
    ----------
    command : str
        ``run`` or ``replay``, which name rejections differently.
    blocks : iterable of mapping
        Metrics blocks; those without completed requests are left out.
    anomaly, kv, slo : mapping
        As in `Result.anomalies`, `Result.kv_rates` and `Result.slo_classes`. Latencies of SLO classes and models are
        in ticks.
    fitness : Fitness, optional
        Score of the run; the reference's ``replay`` never shows one.
    models : mapping of str to Group, optional
        Figures by model; the reference's ``replay`` never shows them.
    decisions : mapping, optional
        Summary of the decision log.
    """
    lines: list[str] = []
    for block in blocks:
        if block["completed_requests"]:
            lines += ["=== Simulation Metrics ===", to_json(block)]
    if fitness is not None:
        lines += _fitness_lines(fitness)
    if any(anomaly.values()):
        lines.append("=== Anomaly Counters ===")
        lines.append(f"Priority Inversions: {anomaly['priority_inversions']}")
        lines.append(f"HOL Blocking Events: {anomaly['hol_blocking_events']}")
        if command == "replay":
            lines.append(f"Rejected Requests: {anomaly['rejected_requests_admission']}")
        else:
            lines.append(f"Rejected Requests (Admission): {anomaly['rejected_requests_admission']}")
            lines.append(f"Rejected Requests (Routing): {anomaly['rejected_requests_routing']}")
        lines.append(f"Dropped Unservable: {anomaly['dropped_unservable']}")
        lines.append(f"Length-Capped Requests: {anomaly['length_capped_requests']}")
    if any(kv.values()):
        lines.append("=== KV Cache Metrics ===")
        lines.append(f"Preemption Rate: {kv['preemption_rate']:.4f}")
        lines.append(f"Cache Hit Rate: {kv['cache_hit_rate']:.4f}")
        lines.append(f"KV Thrashing Rate: {kv['kv_thrashing_rate']:.4f}")
    if len(slo) > 1:
        lines.append("=== Per-SLO Metrics ===")
        for name, figures in slo.items():
            lines.append(f"  {name}:")
            for label, key in (("TTFT: ", "ttft"), ("E2E:  ", "e2e")):
                d = figures[key]
                lines.append(f"    {label}mean={d.mean:.2f} p99={d.percentile(99):.2f} (n={d.count})")
    if models:
        lines += _model_lines(models)
    if decisions is not None:
        lines += _decision_lines(decisions)
    return "\n".join(lines) + "\n" if lines else ""


def _fitness_lines(fitness: Fitness) -> Iterator[str]:
    yield "=== Fitness Evaluation ==="
    yield f"Score: {fitness.score:.6f}"
    for key, value in fitness.components.items():
        yield f"  {key}: {value:.6f}"


def _model_lines(models: Mapping[str, Group]) -> Iterator[str]:
    yield "=== Per-Model Metrics ==="
    for name, group in models.items():
        yield f"  {name}:"
        for label, d in (("TTFT: ", group.ttft), ("E2E:  ", group.e2e)):
            yield f"    {label}p50={d.percentile(50):.2f} p99={d.percentile(99):.2f} (n={d.count})"
        yield f"    Throughput: {group.requests_per_s:.2f} req/s, {group.tokens_per_s:.2f} tok/s"


def _decision_lines(decisions: Mapping[str, Any]) -> Iterator[str]:
    yield "=== Trace Summary ==="
    yield f"Total Decisions: {decisions['total_decisions']}"
    yield f"  Admitted: {decisions['admitted']}"
    yield f"  Rejected: {decisions['rejected']}"
    yield f"Unique Targets: {decisions['unique_targets']}"
    if decisions["target_distribution"]:
        yield "Target Distribution:"
        for name, count in decisions["target_distribution"].items():
            yield f"  {name}: {count}"
    yield f"Mean Regret: {decisions['mean_regret']:.6f}"
    yield f"Max Regret: {decisions['max_regret']:.6f}"
