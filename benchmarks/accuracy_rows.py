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

from accuracy_servers import GPUS, model_config, weights_name

from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.latency.base import LatencyInputs, StepBatch, StepMember
from blis_simpy.latency.kernels import Kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

LENGTH_SHARE = 0.9
"""Mean of the lengths against the nominal one: published benchmarks draw them evenly from 80 to 100 % of it."""
_OLD_VERSIONS = ("0.11.2", "0.12.0")
_CONCURRENCIES = (1, 8, 32, 128, 512)
"""Where the groups of rows by load begin, requests at once."""
_ALL, _RECENT = "all rows", "all but vLLM 0.11 and 0.12"


def compare_rows(path: Path) -> list[dict[str, Any]]:
    """Errors by model, GPU and weights, by load, by TP and over all rows, of a file of measured rows."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    groups: dict[tuple[int, float, str], list[float]] = {}
    for row in rows:
        error = predicted_tpot_ms(row) / float(row["measured_tpot_ms"]) - 1.0
        for group in _groups(row):
            groups.setdefault(group, []).append(error)
    return [_summary(name, groups[rank, number, name]) for rank, number, name in sorted(groups)]


def _groups(row: Mapping[str, str]) -> Iterator[tuple[int, float, str]]:
    """Name the groups of a row, each with its place among them: kind of the group, and number within the kind."""
    name = ", ".join((row["model"], GPUS[row["system"]], weights_name(row["model"], row["prec"])))
    yield 5, 0, _ALL
    if row["ver"] in _OLD_VERSIONS:
        yield 1, 0, f"{name}, vLLM 0.11 and 0.12"
        return
    yield 0, 0, name
    lowest = max(bound for bound in _CONCURRENCIES if float(row["concurrency"]) >= bound)
    highest = min((bound - 1 for bound in _CONCURRENCIES if bound > lowest), default=None)
    yield 2, lowest, f"{lowest} to {highest} requests at once" if highest else f"{lowest} or more requests at once"
    yield 3, float(row["tp"]), f"tp {row['tp']}"
    yield 4, 0, _RECENT


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
def _kernel_times(model: str, gpu: str, tp: int, precision: str) -> Kernels:
    spec = ModelSpec.from_hf_config(model_config(model, precision), model)
    return Kernels(LatencyInputs(model=spec.as_deployed(tp), gpu=load_gpus()[gpu], tp=tp))


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
