"""Runs recorded cases of the reference on the public API, and gives the outcome in the form of the recordings.

The corpus of recordings brings a checker of its own, ``check.py``, which calls the functions here. Where it cannot be
imported, the cases beside this file are enough, and `recorded.compare` takes its place.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from recorded import outcome_of, write_trace

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.catalog.files import parse_json_object
from blis_simpy.catalog.hardware import Gpu, find_gpu, load_gpus
from blis_simpy.catalog.kv_capacity import reference_kv_blocks
from blis_simpy.catalog.models import ModelSpec, derive_max_model_len, load_model_config
from blis_simpy.cli.common import setting_flags
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.policy_flags import effective_changes
from blis_simpy.cluster.policy_bundle import load_policy_bundle
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import BlisError, PluginError, ScenarioError
from blis_simpy.latency.base import LatencyInputs, LatencyModel, StepBatch, StepMember
from blis_simpy.latency.validation import check_alpha
from blis_simpy.simulation import Simulation, replay
from blis_simpy.trace_files.trace_v2 import read_trace
from blis_simpy.workload.load_workload import load_workload
from blis_simpy.workload.request_builders import RequestDetails

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import check  # type: ignore[import-not-found]  # the corpus brings its own checker
except ImportError:
    check = None
PARITY = Path(check.HERE) if check is not None else Path(__file__).parent / "data"

DEFAULT_BACKEND = "roofline"
PROFILE = "blis"
"""Engine profile of the reference."""
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
    "admission-policy": "admission.policy",
    "admission-latency": "admission.delay",
    "token-bucket-capacity": "admission.capacity",
    "token-bucket-refill-rate": "admission.refill_rate",
    "routing-policy": "router.policy",
    "routing-latency": "router.delay",
    "routing-scorers": "router.scorers",
    "snapshot-refresh-interval": "router.snapshot_interval",
    "trace-level": "router.decision_log",
    "counterfactual-k": "router.decision_alternatives",
}
REPORT_FLAGS = {"summarize-trace", "fitness-weights", "num-requests"}


class RecordedDraws:
    """Outcomes of the router's random ties as recorded, in order."""

    def __init__(self, outcomes: list[int]) -> None:
        self._outcomes = iter(outcomes)

    def integers(self, high: int) -> int:
        """Return the next outcome, below `high`."""
        outcome = next(self._outcomes)
        assert 0 <= outcome < high
        return outcome


def _scenario(case: dict[str, Any], folder: Path) -> blis.Scenario:
    flags = dict(case["flags"])
    settings = {SETTINGS[name]: value for name, value in flags.items() if name in SETTINGS}
    missing = set(flags) - set(SETTINGS) - REPORT_FLAGS
    if missing:
        raise NotImplementedError(f"needs what is not built yet: {sorted(missing)}")
    if case.get("policy_config_yaml"):
        bundle = folder / "bundle.yaml"
        bundle.write_text(case["policy_config_yaml"])
        settings = {**load_policy_bundle(bundle), **settings}
    for name in ("latency.alpha", "latency.beta"):
        if name in settings:
            settings[name] = tuple(map(float, settings[name]))
    # The recordings know nothing of our defaults, nor of our catalog.
    settings.setdefault("latency.backend", "blackbox" if "latency.beta" in settings else DEFAULT_BACKEND)
    if case.get("model_config"):
        settings["model_config"] = str(PARITY / "model_configs" / case["model_config"])
    if "router.decision_log" in settings:
        settings["router.decision_log"] = settings["router.decision_log"] == "decisions"
    if "router_draws" in case and settings.get("router.policy") in ("least-loaded", "weighted"):
        settings["router.stream"] = RecordedDraws(case["router_draws"])
    base = blis.Scenario(
        model=settings.pop("model"),
        engine={"profile": PROFILE},
        defaults=str(folder / "no-defaults.yaml"),
        hardware_config=str(PARITY / "hardware.json"),
    )
    return base.with_(**effective_changes(base, settings))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings about the recorded scenarios back, for as long as one runs."""
    log = logging.getLogger("blis_simpy")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def replay_case(case: dict[str, Any]) -> dict[str, Any]:
    """Outcome of one recorded simulation."""
    with _quiet(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = _scenario(case, folder)
        if case["mode"] == "run":
            return _run(case, scenario, folder)
        header, data = write_trace(case, folder)
        result = replay(scenario, read_trace(header, data))
        result.write_replay_results(folder / "results.json")
        results = json.loads((folder / "results.json").read_text())
    if check is None:
        return outcome_of(result, results)
    return {**outcome_of(result, results), **check.from_files(case, _report(case, result), results)}


def _run(case: dict[str, Any], scenario: blis.Scenario, folder: Path) -> dict[str, Any]:
    """Outcome of a case whose traffic comes from a workload specification."""
    (folder / "workload.yaml").write_text(case["workload_spec_yaml"])
    workload = load_workload(folder / "workload.yaml")
    if "num-requests" in case["flags"]:
        workload = attrs.evolve(workload, num_requests=case["flags"]["num-requests"])
    result = scenario.with_(workload=workload).run()
    result.write_metrics(folder / "results.json")
    outcome: dict[str, Any] = check.from_files(
        case, _report(case, result), json.loads((folder / "results.json").read_text())
    )
    return {
        **outcome,
        "preemptions": [[check.request_key(row)[0], tick] for row, tick in result.preemptions],
        "rejected": [check.request_key(row)[0] for row in result.rejected],
    }


def _report(case: dict[str, Any], result: blis.Result) -> str:
    flags = case["flags"]
    return result.blis_report(
        case["mode"],
        fitness_weights=flags.get("fitness-weights"),
        summarize_trace=bool(flags.get("summarize-trace")),
    )


_FIGURES = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "vocab_size": "vocab_size",
    "bytes_per_param": "bytes_per_param",
    "intermediate_size": "intermediate_size",
    "num_experts": "num_local_experts",
    "experts_per_token": "num_experts_per_tok",
    "moe_intermediate_size": "moe_intermediate_size",
    "shared_expert_intermediate_size": "shared_expert_intermediate_size",
    "hidden_act": "hidden_act",
    "weight_bytes_per_param": "weight_bytes_per_param",
    "interleave_moe_layer_step": "interleave_moe_layer_step",
    "intermediate_size_mlp": "intermediate_size_mlp",
}


def _model(config: dict[str, Any]) -> ModelSpec:
    figures = {ours: config[theirs] for ours, theirs in _FIGURES.items() if theirs in config}
    for name in ("bytes_per_param", "weight_bytes_per_param"):
        figures[name] = float(figures.get(name, 0))
    return ModelSpec(name="acme/m", **figures)


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


def _latency(row: dict[str, Any], backend: str, coefficients: dict[str, Any]) -> LatencyModel:
    inputs = LatencyInputs(
        alpha=tuple(map(float, coefficients["alpha"])),
        beta=tuple(map(float, coefficients["beta"])),
        model=_model(row["model_config"]),
        gpu=_gpu(row["hardware"]),
        tp=row["tp"],
    )
    options = {name: row[name] for name in ("dp", "moe_comm_backend") if row.get(name)}
    model: LatencyModel = registry.build("latency", backend, inputs, **options)
    return model


def kernel_step(config: dict[str, Any], backend: str, batch: list[list[int]]) -> dict[str, int]:
    """Answers of a latency model to one batch; the queueing time is that of its first request."""
    model = _latency(config, backend, config["backends"][backend])
    return {
        "step_time": max(1, model.step_time(StepBatch.of([StepMember(*row) for row in batch]))),
        "queueing_time": model.queueing_time(batch[0][0] if batch else 0),
        "output_token_processing_time": model.output_token_processing_time(),
        "post_decode_overhead": model.post_decode_overhead(),
    }


def kernel_decode_run(config: dict[str, Any], backend: str, context: list[int], k: int) -> list[int]:
    """Durations of decode-only steps of one batch."""
    model: Any = _latency(config, backend, config["backends"][backend])
    times = model.decode_step_times(StepBatch((), len(context), sum(context), lambda: context), k)
    return [times] * k if isinstance(times, int) else [int(time) for time in times]


def kv_capacity(row: dict[str, str]) -> int | str:
    """Blocks of a row of either capacity table, or the error code."""
    entry: Any = row.get("kv_model")
    try:
        if entry is None:
            model = load_model_config(PARITY / "model_configs" / row["config"], row["model"])
        else:
            kv = entry["kv_params"]
            model = attrs.evolve(
                _model(entry["model_config"]),
                hidden_act=kv["hidden_act"],
                tie_word_embeddings=kv["tie_word_embeddings"],
                capacity_shared_expert_size=kv["shared_expert_ffn_dim"],
            )
        gpu = find_gpu(load_gpus(PARITY / "hardware.json"), row["gpu"], "hardware.json")
        return reference_kv_blocks(
            model,
            gpu_memory_gib=gpu.memory_gib,
            tp=int(row["tp"]),
            gpu_memory_utilization=float(row["gpu_memory_utilization"]),
            block_size=int(row["block_size_tokens"]),
            dp=int(row.get("dp") or 1),
        )
    except ScenarioError as error:
        return error.code


def hf_config(case: dict[str, Any]) -> dict[str, Any]:
    """Return what is read from one published configuration, and what it leads to on an H100."""
    try:
        text = case["config_text"] if "config_text" in case else json.dumps(case["config"])
        model = ModelSpec.from_hf_config(parse_json_object(text, "config.json"), case["model"])
    except ScenarioError:
        return {"parse_error": True}
    figures: dict[str, Any] = {theirs: getattr(model, ours) for ours, theirs in list(_FIGURES.items())[:12]}
    if model.weight_bytes_per_param:
        figures["weight_bytes_per_param"] = model.weight_bytes_per_param
    out: dict[str, Any] = {"model_config": figures, "max_model_len_before_kv_cap": derive_max_model_len(model)}
    gpu = find_gpu(load_gpus(PARITY / "hardware.json"), "H100", "hardware.json")
    try:
        out["kv_blocks_h100_tp1"] = reference_kv_blocks(model, gpu_memory_gib=gpu.memory_gib, tp=1)
    except ScenarioError as error:
        out["kv_params_error" if error.code == "moe_expert_count_missing" else "kv_blocks_h100_tp1_error"] = error.code
    if "kv_params_error" not in out:
        shared = model.capacity_shared_expert_size
        out["kv_params"] = {
            "hidden_act": model.hidden_act,
            "is_moe": model.num_experts > 1,
            "moe_expert_ffn_dim": model.moe_intermediate_size,
            "num_local_experts": model.num_experts,
            "shared_expert_ffn_dim": model.shared_expert_intermediate_size if shared is None else shared,
            "tie_word_embeddings": model.tie_word_embeddings,
        }
    try:
        registry.build("latency", "roofline", LatencyInputs(alpha=(0.0, 0.0, 0.0), model=model, gpu=gpu, tp=1))
        out["roofline_valid"] = True
    except ScenarioError as roofline_error:
        out["roofline_valid"] = False
        out["roofline_problem_count"] = len(roofline_error.problems)
    return out


def construct_backend(row: dict[str, Any]) -> str:
    """``ok``, or how building a latency model was refused: the code, or only that it was."""
    try:
        if "backends" in row:
            ((backend, coefficients),) = row["backends"].items()
            _latency(row, backend, coefficients)
        else:
            check_alpha(row["alpha"])  # the reference does so before it looks at the name
            _latency(row, row["backend"] or DEFAULT_BACKEND, row)
    except BlisError as error:
        if "backends" in row:
            return "rejected"
        return "unknown_backend" if isinstance(error, PluginError) else error.code
    return "ok"


def replay_trained_physics(case: dict[str, Any]) -> list[dict[str, int]]:
    """Latencies of the requests of a newer recording, whose traces state the length of each shared prefix."""
    config = case["config"]
    latency = _latency(
        config, config["latency_model"], {"alpha": config["alpha_coeffs"], "beta": config["beta_coeffs"]}
    )
    scenario = blis.Scenario(
        model=config["model"],
        horizon=config["horizon_us"],
        latency=blis.LatencySettings(backend=latency),
        engine=blis.EngineSettings(
            profile=PROFILE,
            max_num_seqs=config["max_num_seqs"],
            max_num_batched_tokens=config["max_num_batched_tokens"],
            long_prefill_token_threshold=config["long_prefill_token_threshold"],
            max_model_len=config["max_model_len"],
        ),
        kv=blis.KVSettings(blocks=config["total_kv_blocks"], block_size=config["block_size_tokens"]),
        defaults="/nonexistent",
    )
    requests = []
    for row in csv.DictReader(io.StringIO(case["trace_csv"])):
        prefix, group = int(row["prefix_length"]), row["prefix_group"]
        requests.append(
            Request(
                id=f"request_{row['request_id']}",
                arrived_at=int(row["send_time_us"]),
                input_tokens=prefix + int(row["input_tokens"]),
                output_tokens=int(row["output_tokens"]),
                max_output_tokens=int(row["output_tokens"]),
                deadline=int(row["deadline_us"]),
                content=(Span(f"prefix:{group}", 0, prefix),) if group and prefix else None,
            )
        )
    with _quiet():
        table = Simulation(scenario, requests=requests).run().requests
    return [
        {"request_id": int(row["id"].removeprefix("request_")), "ttft_us": row["ttft_us"], "e2e_us": row["e2e_us"]}
        for row in table.rows()
        if row["outcome"] == "completed"
    ]


_PRESET = Flag(name="--workload", target="workload.preset")


def generate_trace(
    spec: str | None, cli_flags: list[str], engine_flags: list[str] | None, seed: int
) -> list[dict[str, Any]]:
    """Rows of the trace that a workload generates or, with flags of the engine, that its simulation leaves behind."""
    flags = (_PRESET, *setting_flags(workload=True))
    settings = read_flags([*cli_flags, *(engine_flags or ())], flags, command="run", about="")
    with _quiet():
        workload = blis.Workload() if spec is None else load_workload(spec)
        scenario = blis.Scenario(model="any/model", engine={"profile": PROFILE}, workload=workload).with_(**settings)
        steps: dict[str, Any] = {}
        traffic = scenario.traffic()
        assert traffic is not None
        generated = traffic.generate(RandomStreams(seed), scenario.end, defaults=scenario.defaults)
        requests = generated.requests
        if engine_flags:
            simulation = Simulation(scenario, seed=seed)
            steps = simulation.run().steps
            requests = sorted(simulation.requests, key=lambda request: request.arrived_at)
    return [
        _trace_row(number, request, generated.details.get(request.id, RequestDetails()), steps)
        for number, request in enumerate(requests)
    ]


def _trace_row(number: int, request: Request, details: RequestDetails, steps: dict[str, Any]) -> dict[str, Any]:
    first, last = _chunk_times(request, steps)
    ratio = details.reason_ratio
    return {
        "request_id": number,
        "client_id": request.client,
        "tenant_id": request.tenant,
        "slo_class": request.slo_class,
        "session_id": request.session,
        "round_index": request.round_index,
        "prefix_group": "",  # the recorded exports leave it out
        "streaming": str(request.streaming).lower(),
        "input_tokens": request.input_tokens,
        "output_tokens": request.output_tokens,
        "text_tokens": details.text_tokens,
        "image_tokens": details.image_tokens,
        "audio_tokens": details.audio_tokens,
        "video_tokens": details.video_tokens,
        "reason_ratio": int(ratio) if ratio == int(ratio) else ratio,
        "model": request.model,
        "deadline_us": request.deadline,
        "server_input_tokens": 0,
        "arrival_time_us": request.arrived_at,
        "send_time_us": request.arrived_at,
        "first_chunk_time_us": first,
        "last_chunk_time_us": last,
        "num_chunks": 0,
        "status": _STATUS.get(request.outcome, "incomplete"),
        "error_message": "",
        "finish_reason": "",
    }


_STATUS = {RequestOutcome.COMPLETED: "ok", RequestOutcome.TIMED_OUT: "timeout"}


def _chunk_times(request: Request, steps: dict[str, Any]) -> tuple[int, int]:
    """First and last token; what is cut off has its last one from the last step that began before its end.

    That holds for the recorded workloads, where everybody who runs is in every step.
    """
    if request.ttft < 0:
        return 0, 0
    first = request.arrived_at + request.ttft
    if request.outcome is RequestOutcome.COMPLETED:
        return first, first + request.itl_sum
    assert request.outcome is RequestOutcome.TIMED_OUT
    starts = steps["start_us"]
    at = int(starts.searchsorted(request.finished_at, side="right")) - 1
    return first, int(starts[at] + steps["duration_us"][at])
