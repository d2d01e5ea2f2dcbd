"""Measured decode times of vLLM at fixed loads, one row each, against those of the latency model ``kernels``.

A row says the mean time of an output token (TPOT) at a concurrency, for prompts and outputs of some length. Nothing is
simulated: the token time is that of a decode step of so many requests in the middle of their output, and what the
prompts in between add to it.
"""

from __future__ import annotations

import csv
from functools import cache
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from accuracy_servers import GPUS, SIZES, weights_of

from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.catalog.kernel_coefficients import kernel_coefficients
from blis_simpy.latency.base import StepBatch, StepMember
from blis_simpy.latency.kernel_shape import KernelShape
from blis_simpy.latency.kernels import KernelTimes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

LENGTH_SHARE = 0.9
"""Mean of the lengths against the nominal one: published benchmarks draw them evenly from 80 to 100 % of it."""
_OLD_VERSIONS = ("0.11.2", "0.12.0")
_ALL, _RECENT = "all rows", "all but vLLM 0.11 and 0.12"


def compare_rows(path: Path) -> list[dict[str, Any]]:
    """Errors by model, GPU and precision, and over all rows, of a file of measured rows."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    groups: dict[str, list[float]] = {}
    for row in rows:
        error = predicted_tpot_ms(row) / float(row["measured_tpot_ms"]) - 1.0
        names = [" ".join((row["model"], GPUS[row["system"]], row["prec"])), _ALL]
        for name in names if row["ver"] in _OLD_VERSIONS else (*names, _RECENT):
            groups.setdefault(name, []).append(error)
    in_order = sorted(groups, key=lambda name: (name in (_ALL, _RECENT), name))
    return [_summary(name, groups[name]) for name in in_order]


def predicted_tpot_ms(row: Mapping[str, str]) -> float:
    """Token time of a row, ms."""
    prompt, output = (LENGTH_SHARE * float(row[name]) for name in ("isl", "osl"))
    requests = round(float(row["concurrency"]))
    model = _kernel_times(row["model"], GPUS[row["system"]], int(row["tp"]), row["prec"])
    context = round(requests * (prompt + output / 2.0))
    length = round(prompt)
    decode = model.step_time(_batch([], requests, context))
    mixed = model.step_time(_batch([StepMember(length, 0, length, 1)], requests, context))
    return (decode + requests / output * (mixed - decode)) / 1000.0


@cache
def _kernel_times(model: str, gpu: str, tp: int, precision: str) -> KernelTimes:
    weights, experts = weights_of(model, precision)
    shape = KernelShape.uniform(**SIZES[model], weights=weights, expert_weights=experts)
    return KernelTimes(shape, kernel_coefficients(load_gpus()[gpu]), tp=tp)


def _batch(prefills: Sequence[StepMember], requests: int, context: int) -> StepBatch:
    return StepBatch(prefills, requests, context, lambda: [context // requests] * requests)


def _summary(name: str, errors: Iterable[float]) -> dict[str, Any]:
    signed = sorted(100.0 * error for error in errors)
    absolute = sorted(map(abs, signed))
    return {
        "group": name,
        "rows": len(absolute),
        "median": median(absolute),
        "mean": fmean(absolute),
        "p90": absolute[round(0.9 * (len(absolute) - 1))],
        "signed": median(signed),
    }
