"""What is measured: loads, each as the words of a `blis` command and as a simulation that can be counted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from conversations import write_conversations
from yaml import safe_load

from blis_simpy.cli.common import COMMON_FLAGS, base_scenario, overlaid, setting_flags
from blis_simpy.cli.flags import read_flags
from blis_simpy.load_files import load_scenario
from blis_simpy.simulation import Simulation
from blis_simpy.trace_files.trace_v2 import read_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    series, point : str
        The growth series that it belongs to and its place in it; empty if to none.
    digest : str
        Of the recorded latencies of all requests; empty if they are not recorded.
    reference_cpu_s, reference_calibration_s : float
        CPU seconds of the reference, and of the corpus' calibration beside it; 0 if not recorded.
    """

    name: str
    command: tuple[str, ...]
    series: str = ""
    point: str = ""
    digest: str = ""
    reference_cpu_s: float = 0.0
    reference_calibration_s: float = 0.0

    def simulation(self) -> Simulation:
        """Build what the command simulates."""
        if self.command[0] == "run":
            file, *settings = self.command[1:]
            changes = dict(word.removeprefix("--set=").split("=", 1) for word in settings)
            return Simulation(load_scenario(file).with_(**{name: safe_load(text) for name, text in changes.items()}))
        words = dict(word.split("=", 1) for word in self.command[1:])
        requests = read_trace(words.pop("--trace-header"), words.pop("--trace-data")).requests()
        flags = (*COMMON_FLAGS, *setting_flags(workload=False))
        argv = [f"{name}={text}" for name, text in words.items()]
        given = read_flags(argv, flags, command="replay", about="")
        return Simulation(
            overlaid(base_scenario(None, given), given, {"plain_steps": None, "policy_config": None}), requests=requests
        )


def changed(name: str, file: str | Path, changes: dict[str, Any], **labels: str) -> Load:
    """Traffic of a scenario file, in this folder unless the path is absolute, with some settings changed."""
    settings = (f"--set={setting}={value}" for setting, value in changes.items())
    return Load(name=name, command=("run", str(HERE / file), *settings), **labels)


def generated(name: str, num_requests: int, profile: str) -> Load:
    """Traffic of a scenario file in this folder, to an engine of a profile."""
    changes = {"workload.num_requests": num_requests, "engine.profile": profile}
    return changed(f"{name} {num_requests:,}, {profile}", f"{name}.yaml", changes)


def conversations(folder: Path, num_requests: int) -> Load:
    """Long conversations on four replicas: a trace with the statistics of Mooncake's, written into a folder."""
    trace, scenario = folder / "conversations.jsonl", folder / "conversations.yaml"
    write_conversations(trace, num_requests)
    scenario.write_text(
        "model: qwen/qwen3-14b\nhardware: H100\ntp: 1\nreplicas: 4\nrouter: {policy: round-robin}\n"
        "latency: {backend: roofline}\nkv: {blocks: 200000, block_size: 16}\nengine: {max_model_len: 0}\n"
        f"workload: {{trace: {trace}, format: mooncake}}\n"
    )
    return changed(f"conversations {num_requests:,}, 4 replicas", scenario, {})


def growth(*, full: bool) -> Iterator[Load]:
    """Return loads in which one quantity grows: the first two points of each series, or all."""
    for series, (file, points) in _growth().items():
        for point, changes in list(points.items())[: None if full else 2]:
            yield changed(f"{series} {point}", f"{file}.yaml", changes, series=series, point=point)


def _growth() -> dict[str, tuple[str, dict[str, dict[str, Any]]]]:
    """Series by name: a scenario file, and the settings of each point."""
    requests, rate = "workload.num_requests", "workload.rate"
    near, lengths = "near-saturation", ("prompt", "output")

    def sized(part: str, tokens: int) -> dict[str, Any]:
        other = next(name for name in lengths if name != part)
        return {
            f"workload.{part}": f"{{type: constant, value: {tokens}}}",
            f"workload.{other}": "{type: constant, value: 256}",
        }

    found: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
        "requests": (near, {f"{n:,}": {requests: n} for n in (2_000, 20_000, 200_000, 1_000_000)})
    }
    for policy in ("round-robin", "least-loaded", "weighted"):
        points = {
            f"{n:,}": {"replicas": n, "router.policy": policy, rate: f"{15 * n}/s", requests: max(2_000, 40 * n)}
            for n in (1, 16, 256, 1_024)
        }
        found[f"replicas, {policy}"] = ("fleet", points)
    found["batch"] = (
        near,
        {f"{n:,}": {"engine.max_num_seqs": n, rate: "60/s", requests: 4_000} for n in (8, 64, 256, 1_024)},
    )
    # A rate in proportion to the work of a request, so that the batch stays about the same.
    outputs = ((16, 40), (256, 20), (2_048, 3), (16_384, 0.3))
    found["output tokens"] = (
        near,
        {f"{n:,}": {**sized("output", n), rate: f"{per_s}/s", requests: 2_000} for n, per_s in outputs},
    )
    prompts = ((512, 15), (2_048, 5), (8_192, 1.5), (32_768, 0.3))
    found["prompt tokens"] = (
        near,
        {f"{n:,}": {**sized("prompt", n), rate: f"{per_s}/s", requests: 2_000} for n, per_s in prompts},
    )
    found["rounds of a session"] = (
        "rounds",
        {
            f"{n}": {
                "workload.clients[0].reasoning.multi_turn.max_rounds": n,
                "workload.aggregate_rate": 20 / n,
                requests: 4_000,
            }
            for n in (1, 20, 200)
        },
    )
    found["KV blocks"] = (near, {f"{n:,}": {"kv.blocks": n, requests: 4_000} for n in (20_000, 4_000, 1_000)})
    return found


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
        # The random choices of the reference's router are not replayed here.
        digest="" if load["router_rng"] == "needed" else load["sha256_id_ttft_e2e"],
        reference_cpu_s=load["reference"]["cpu_s_median"],
        reference_calibration_s=load["reference"]["calibration_cpu_s"],
    )


def digest(results: Path) -> str:
    """Digest of the latencies in a results file of `blis replay`."""
    rows = sorted(json.loads(results.read_text()), key=lambda row: row["request_id"])
    lines = (f"{row['request_id']},{row['ttft_us']},{row['e2e_us']}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
