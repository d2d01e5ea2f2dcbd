"""Runs recorded cases of the reference on the public API, and gives the outcome in the form of the recordings."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import blis_simpy as blis
from blis_simpy.catalog.capacity import kv_block_capacity
from blis_simpy.catalog.hardware import Gpu, find_gpu, load_gpus
from blis_simpy.catalog.models import ModelSpec, derive_max_model_len, load_model_config
from blis_simpy.errors import BlisError
from blis_simpy.formats.trace_v2 import read_trace
from blis_simpy.latency.base import LatencyInputs, StepBatch, StepMember
from blis_simpy.simulation import Simulation, replay  # noqa: F401

logging.getLogger("blis_simpy").setLevel(logging.ERROR)

BUILT_BACKENDS = {"roofline", "blackbox"}
SETTINGS = {
    "model": "model",
    "hardware": "hardware",
    "tp": "tp",
    "vllm-version": "engine_version",
    "horizon": "horizon",
    "num-instances": "replicas",
    "latency-model": "latency.backend",
    "alpha-coeffs": "latency.alpha",
    "beta-coeffs": "latency.beta",
    "max-num-running-reqs": "engine.max_num_seqs",
    "max-num-scheduled-tokens": "engine.max_num_batched_tokens",
    "long-prefill-token-threshold": "engine.long_prefill_token_threshold",
    "max-model-len": "engine.max_model_len",
    "scheduler": "engine.scheduler",
    "priority-policy": "engine.priority",
    "total-kv-blocks": "kv.blocks",
    "block-size-in-tokens": "kv.block_size",
    "kv-cpu-blocks": "kv.cpu_blocks",
    "kv-transfer-bandwidth": "kv.transfer_bandwidth",
    "kv-transfer-base-latency": "kv.transfer_base_latency",
    "kv-offload-threshold": "kv.offload_threshold",
    "gpu-memory-utilization": "kv.gpu_memory_utilization",
}


def _scenario(case: dict[str, Any], parity: Path, folder: Path) -> blis.Scenario:
    flags = dict(case["flags"])
    settings = {SETTINGS[name]: value for name, value in flags.items() if name in SETTINGS}
    missing = set(flags) - set(SETTINGS)
    if missing or case["mode"] != "replay" or settings.get("replicas", 1) != 1 or case.get("policy_config_yaml"):
        raise NotImplementedError(f"needs what is not built yet: {sorted(missing) or case['mode']}")
    for name in ("latency.alpha", "latency.beta"):
        if name in settings:
            settings[name] = tuple(map(float, settings[name]))
    # The recordings know nothing of our default backend, nor of our catalog.
    settings.setdefault("latency.backend", "blackbox" if "latency.beta" in settings else "roofline")
    if settings["latency.backend"] not in BUILT_BACKENDS:
        raise NotImplementedError(f"latency model {settings['latency.backend']} is not built yet")
    if case.get("model_config"):
        settings["model_config"] = str(parity / "model_configs" / case["model_config"])
    return blis.Scenario(
        model=settings.pop("model"),
        defaults=str(folder / "no-defaults.yaml"),
        hardware_config=str(parity / "hardware.json"),
    ).with_(**settings)


def replay_case(case: dict[str, Any]) -> dict[str, Any]:
    """Outcome of one recorded simulation."""
    import check

    parity = Path(check.HERE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = _scenario(case, parity, folder)
        header, data = check.write_trace(case, name)
        trace = read_trace(header, data)
        results = folder / "results.json"
        result = replay(scenario, header=header, data=data)
        result.write_replay_results(results)
        outcome: dict[str, Any] = check.from_files(
            case, result.blis_report("replay"), json.loads(results.read_text())
        )
    assert len(trace) == result.requests.num_rows
    outcome["handled_by"] = result.requests["replica"].tolist()
    outcome["sched_delay_us"] = result.requests["scheduling_delay_us"].tolist()
    outcome["preemptions"] = [list(row) for row in result.preemptions]
    outcome["rejected"] = []
    return outcome


def _model(config: dict[str, Any], kv: dict[str, Any] | None = None, name: str = "test/model") -> ModelSpec:
    figures: dict[str, Any] = {
        "name": name,
        "num_layers": config["num_hidden_layers"],
        "hidden_size": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config["num_key_value_heads"],
        "vocab_size": config["vocab_size"],
        "bytes_per_param": float(config["bytes_per_param"]),
        "intermediate_size": config["intermediate_size"],
        "num_experts": config["num_local_experts"],
        "experts_per_token": config["num_experts_per_tok"],
        "moe_intermediate_size": config["moe_intermediate_size"],
        "shared_expert_intermediate_size": config["shared_expert_intermediate_size"],
        "hidden_act": config["hidden_act"],
        "weight_bytes_per_param": float(config.get("weight_bytes_per_param", 0)),
    }
    if kv is not None:
        figures["hidden_act"] = kv["hidden_act"]
        figures["tie_word_embeddings"] = kv["tie_word_embeddings"]
    return ModelSpec(**figures)


def _gpu(figures: dict[str, Any]) -> Gpu:
    return Gpu(
        name="test",
        tflops=float(figures["TFlopsPeak"]),
        fp8_tflops=float(figures["TFlopsFP8"]),
        bandwidth_tb_s=float(figures["BwPeakTBs"]),
        mfu_prefill=float(figures["mfuPrefill"]),
        mfu_decode=float(figures["mfuDecode"]),
        memory_gib=float(figures["MemoryGiB"]),
    )
