"""What is measured: loads, each as the words of a `blis` command and as a simulation that can be counted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import attrs

from blis_simpy.cli.common import COMMON_FLAGS, base_scenario, overlaid, setting_flags
from blis_simpy.cli.flags import read_flags
from blis_simpy.load_files import load_scenario
from blis_simpy.simulation import Simulation
from blis_simpy.trace_files.trace_v2 import read_trace

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent.parent / "shared" / "parity"
"""Recorded loads of the reference, beside the checkout; absent in most places."""


@attrs.frozen(kw_only=True)
class Load:
    """One load.

    Attributes
    ----------
    name : str
        For the table.
    command : tuple of str
        Words after ``blis``.
    digest : str
        Of the recorded latencies of all requests; empty if they are not recorded.
    reference_cpu_s, reference_calibration_s : float
        CPU seconds of the reference, and of the corpus' calibration beside it; 0 if not recorded.
    """

    name: str
    command: tuple[str, ...]
    digest: str = ""
    reference_cpu_s: float = 0.0
    reference_calibration_s: float = 0.0

    def simulation(self) -> Simulation:
        """Build what the command simulates."""
        if self.command[0] == "run":
            _, file, _, num_requests, _, profile = self.command
            changes = {"workload.num_requests": int(num_requests), "engine.profile": profile}
            return Simulation(load_scenario(file).with_(**changes))
        words = dict(word.split("=", 1) for word in self.command[1:])
        requests = read_trace(words.pop("--trace-header"), words.pop("--trace-data")).requests()
        flags = (*COMMON_FLAGS, *setting_flags(workload=False))
        argv = [f"{name}={text}" for name, text in words.items()]
        given = read_flags(argv, flags, command="replay", about="")
        return Simulation(
            overlaid(base_scenario(None, given), given, {"plain_steps": None, "policy_config": None}), requests=requests
        )


def generated(name: str, num_requests: int, profile: str) -> Load:
    """Traffic of a scenario file in this folder, to an engine of a profile."""
    words = ("run", str(HERE / f"{name}.yaml"), "--num-requests", str(num_requests), "--engine-profile", profile)
    return Load(name=f"{name} {num_requests:,}, {profile}", command=words)


def recorded(key: str, profile: str) -> Load | None:
    """Load of the corpus, to an engine of a profile; None where the corpus is absent."""
    index = CORPUS / "perf" / "perf.json"
    if not index.is_file():
        return None
    load: dict[str, Any] = json.loads(index.read_text())[key]
    folder = CORPUS / "perf"
    words = {
        "trace-header": folder / load["trace_header"],
        "trace-data": folder / load["trace_data"],
        "hardware-config": CORPUS / "hardware.json",
        "engine-profile": profile,
        **{
            name: ",".join(map(str, value)) if isinstance(value, list) else value
            for name, value in load["flags"].items()
        },
    }
    if load["model_config"]:
        words["model-config-folder"] = CORPUS / "model_configs" / load["model_config"]
    plain = Load(
        name=f"recorded load {key}, {profile}",
        command=("replay", *(f"--{name}={value}" for name, value in words.items())),
    )
    if profile != "blis":
        return plain
    return attrs.evolve(
        plain,
        digest=load["sha256_id_ttft_e2e"],
        reference_cpu_s=load["reference"]["cpu_s_median"],
        reference_calibration_s=load["reference"]["calibration_cpu_s"],
    )


def digest(results: Path) -> str:
    """Digest of the latencies in a results file of `blis replay`."""
    rows = sorted(json.loads(results.read_text()), key=lambda row: row["request_id"])
    lines = (f"{row['request_id']},{row['ttft_us']},{row['e2e_us']}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
