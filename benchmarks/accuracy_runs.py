"""Recordings of single requests of real servers, against simulations: with the figures of the GPU, and after a fit.

The fit sees the first half of the requests; errors are those of the second half, before and after. Those of a run with
the factors of its GPU that were fitted to another run show how far such a fit carries.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from accuracy_servers import SERVERS, Server

import blis_simpy as blis
from blis_simpy.calibration.fitted import Errors
from blis_simpy.calibration.measured import Latencies, Measured
from blis_simpy.core.token_spans import Span
from blis_simpy.trace_files.trace_builder import build_trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blis_simpy.core.token_spans import TokenSpans
    from blis_simpy.trace_files.trace import Trace

_BLOCK_TOKENS = 16
_SEQUENCES, _TOKENS = 128, 2048
"""Limits of a step of one engine."""
_GPU_FACTORS = ("mem", "comp")
"""Options that would be properties of a GPU."""
_GPU_MEMORY_UTILIZATION = 0.9
"""Share of the memory that vLLM 0.19 uses unless told otherwise."""


def compare_run(path: Path, folder: str) -> dict[str, Any]:
    """Errors of a run as it was simulated beforehand and after a fit, in per cent; `folder` takes a ``config.json``."""
    if path.stem not in SERVERS:
        raise SystemExit(f"{path}: its server is not known; known: {', '.join(SERVERS)}")
    fit = blis.fit(read_run(path), scenario_of(SERVERS[path.stem], folder))
    return {
        "run": path.stem,
        "simulations": fit.num_simulations,
        "options": fit.options,
        "not_identified": fit.not_identified,
        **{
            name: {key: 100.0 * error for key, error in attrs.asdict(fit.errors[name]).items()}
            for name in ("before", "held out")
        },
    }


def transfer(path: Path, other: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Errors of a run with the factors of its GPU that were fitted to another run, a result of `compare_run`."""
    options = {name: other["options"][name] for name in _GPU_FACTORS}
    trace = read_run(path)
    measured = Measured.of(trace)
    requests = blis.replay(scenario_of(SERVERS[path.stem], folder, **options), trace).requests
    rows = measured.rows
    simulated = Latencies.of(requests["ttft_us"][rows], requests["e2e_us"][rows], measured.output_tokens)
    later = np.arange(len(measured) // 2, len(measured))
    errors = Errors.of(simulated.take(later), measured.latencies.take(later))
    return {
        "run": path.stem,
        "fitted to": other["run"],
        "options": options,
        "errors": {key: 100.0 * error for key, error in attrs.asdict(errors).items()},
    }


def scenario_of(server: Server, folder: str, **options: float) -> blis.Scenario:
    """Scenario of a server with options of its latency model; its ``config.json`` is written to `folder`."""
    config = Path(folder) / "config.json"
    config.write_text(json.dumps(server.model), encoding="utf-8")
    backend: dict[str, Any] = {"type": "kernels", **options}
    if server.dp > 1:
        backend["dp"] = server.dp
    return blis.Scenario(
        model=str(folder),
        hardware=server.gpu,
        tp=server.tp,
        latency=blis.LatencySettings(backend=backend),
        engine=blis.EngineSettings(
            profile="vllm", max_num_seqs=_SEQUENCES * server.dp, max_num_batched_tokens=_TOKENS * server.dp
        ),
        kv=blis.KVSettings(blocks=server.kv_blocks, gpu_memory_utilization=_GPU_MEMORY_UTILIZATION),
    )


def read_run(path: Path) -> Trace:
    """Read a recording: arrival, lengths, first and last token in seconds, and what its prompt shares with another."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def micros(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([round(float(row[name]) * blis.SECOND) for row in rows])

    return build_trace(
        str(path),
        arrivals=micros("arrival_s"),
        input_tokens=[int(row["input_tokens"]) for row in rows],
        output_tokens=[int(row["output_tokens"]) for row in rows],
        contents=_contents(rows),
        first_chunk_time_us=micros("first_token_s"),
        last_chunk_time_us=micros("last_token_s"),
    )


def _contents(rows: Sequence[Mapping[str, str]]) -> list[TokenSpans]:
    """Prompts: leading blocks of an earlier one, where they are the same, then tokens of their own."""
    contents: list[TokenSpans] = []
    for number, row in enumerate(rows):
        length = int(row["input_tokens"])
        shared = min(int(row["shared_blocks"]) * _BLOCK_TOKENS, length)
        spans = list(_first(contents[int(row["shared_with"])], shared)) if shared else []
        own = length - sum(span.tokens for span in spans)
        contents.append((*spans, Span(f"own {number}", 0, own)) if own else tuple(spans))
    return contents


def _first(content: TokenSpans, tokens: int) -> TokenSpans:
    """First tokens of a prompt."""
    spans = []
    for span in content:
        taken = min(span.tokens, tokens)
        if taken:
            spans.append(Span(span.stream, span.start, taken))
        tokens -= taken
    return tuple(spans)
