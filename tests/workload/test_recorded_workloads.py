"""Recorded workloads that involve no chance, where the corpus is at hand (BLIS_PARITY, or beside the checkout)."""

import csv
import os
from pathlib import Path

import pytest

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.workload.load_workload import load_workload
from blis_simpy.workload.request_builders import RequestDetails

CORPUS = Path(os.environ.get("BLIS_PARITY") or Path(__file__).parents[3] / "shared" / "parity") / "workloads"
pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of recordings is not here"),
]


def row(request, details, sessions):
    """A request in the columns of a trace; the recording leaves the prefix group out."""
    return {
        "client_id": request.client,
        "tenant_id": request.tenant,
        "slo_class": request.slo_class,
        "session_id": sessions.setdefault(request.session, f"s{len(sessions)}") if request.session else "",
        "round_index": str(request.round_index),
        "streaming": str(request.streaming).lower(),
        "input_tokens": str(request.input_tokens),
        "output_tokens": str(request.output_tokens),
        "text_tokens": str(details.text_tokens),
        "image_tokens": str(details.image_tokens),
        "audio_tokens": str(details.audio_tokens),
        "video_tokens": str(details.video_tokens),
        "reason_ratio": f"{details.reason_ratio:g}",
        "model": request.model,
        "deadline_us": str(request.deadline),
        "arrival_time_us": str(request.arrived_at),
    }


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in sorted(CORPUS.glob("exact_*.yaml"))])
@pytest.mark.parametrize("seed", [1, 987654321])
def test_generated_requests_are_those_recorded(path, seed):
    """Rounds of closed-loop sessions after the first are left out: they come about in the simulation."""
    workload = load_workload(path).as_in_blis().generate(RandomStreams(seed))
    names = {}
    found = [row(request, workload.details.get(request.id, RequestDetails()), names) for request in workload.requests]
    with path.with_suffix(".exact.csv").open(newline="") as file:
        recorded = list(csv.DictReader(file))
    if workload.sessions:
        recorded = [line for line in recorded if line["round_index"] == "0"]
    renamed = {}
    for line in recorded:
        line["session_id"] = renamed.setdefault(line["session_id"], f"s{len(renamed)}") if line["session_id"] else ""
    assert found == [{name: line[name] for name in found[0]} for line in recorded]
