"""Settings of one replica: limits of a step, policies of the engine, KV cache."""

from __future__ import annotations

from blis_simpy import registry
from blis_simpy.settings.field_types import Duration, Plugin
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.plugin_options import option_names

__all__ = ["DEFAULT_STORE", "OFFLOADING_STORE", "EngineSettings", "KVSettings"]

DEFAULT_STORE = "single-tier"
"""KV store of a scenario that says nothing about it."""
OFFLOADING_STORE = "two-tier"
"""KV store of a scenario that gives CPU blocks only."""


@settings_class
class EngineSettings:
    """Limits and policies of the engine of a replica. Defaults are those of the reference."""

    max_num_seqs: int = setting(
        default=256,
        help="Batch slots: maximum number of requests that run at once.",
        unit="requests",
        ge=1,
        flag="--max-num-running-reqs",
    )
    max_num_batched_tokens: int = setting(
        default=2048, help="Token budget of one step.", unit="tokens", ge=1, flag="--max-num-scheduled-tokens"
    )
    long_prefill_token_threshold: int = setting(
        default=0,
        help="Maximum number of prompt tokens of one request in a step; 0 means unlimited.",
        unit="tokens",
        ge=0,
        flag="--long-prefill-token-threshold",
    )
    max_model_len: int | None = setting(
        default=None,
        help="Maximum number of prompt and output tokens; 0 means unlimited, unset means derived from the model.",
        unit="tokens",
        ge=0,
        flag="--max-model-len",
    )
    scheduler: Plugin = setting(
        default="fcfs", help="Scheduler: orders the wait queue.", kind="scheduler", flag="--scheduler"
    )
    priority: Plugin = setting(
        default="constant",
        help="Priority policy: computes the priorities that a scheduler may sort by.",
        kind="priority",
        flag="--priority-policy",
    )
    batching: Plugin = setting(
        default="continuous", help="Batch former: decides which requests join a step.", kind="batching"
    )
    macro_steps: bool = setting(
        default=True, help="Simulate runs of decode steps as single events; affects the speed, not the results."
    )


@settings_class
class KVSettings:
    """KV cache of a replica. Defaults are those of the reference."""

    store: Plugin | None = setting(
        default=None,
        help=f"KV store; unset means {DEFAULT_STORE}, or {OFFLOADING_STORE} where there are CPU blocks.",
        kind="kv_store",
    )
    blocks: int | None = setting(
        default=None,
        help="Number of KV blocks of a replica; unset means computed from the GPU memory.",
        unit="blocks",
        ge=1,
        flag="--total-kv-blocks",
    )
    block_size: int = setting(
        default=16, help="Number of tokens per KV block.", unit="tokens", ge=1, flag="--block-size-in-tokens"
    )
    capacity_rules: str = setting(
        default="blis",
        help="Rules for the number of blocks: blis as the reference, vllm from the actual contents of the checkpoint "
        "and the share of each GPU.",
        choices=("blis", "vllm"),
        flag="--kv-capacity-rules",
    )
    gpu_memory_utilization: float = setting(
        default=0.9,
        help="Fraction of the GPU memory that the engine uses, to compute the number of KV blocks.",
        unit="fraction",
        gt=0,
        le=1,
        flag="--gpu-memory-utilization",
    )
    cpu_blocks: int = setting(
        default=0,
        help="Number of KV blocks in host memory; 0 means no second tier.",
        unit="blocks",
        ge=0,
        flag="--kv-cpu-blocks",
    )
    transfer_bandwidth: float = setting(
        default=100.0,
        help="KV blocks that are reloaded from host memory per microsecond.",
        unit="blocks/us",
        gt=0,
        flag="--kv-transfer-bandwidth",
    )
    transfer_base_latency: Duration = setting(
        default=0,
        help="Fixed part of the time to reload one KV block.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--kv-transfer-base-latency",
    )
    offload_threshold: float = setting(
        default=0.9,
        help="Accepted for compatibility; without effect.",
        unit="fraction",
        ge=0,
        le=1,
        flag="--kv-offload-threshold",
    )

    @property
    def chosen_store(self) -> Plugin:
        """The KV store to use: `store`, else the default; one named without options has those of these settings."""
        store = self.store or (DEFAULT_STORE if self.cpu_blocks == 0 else OFFLOADING_STORE)
        if not isinstance(store, str):
            return store
        known = option_names("kv_store", registry.get("kv_store", store)) or ()
        options = {
            "cpu_blocks": self.cpu_blocks,
            "bandwidth": self.transfer_bandwidth,
            "base_latency": self.transfer_base_latency,
        }
        return {"type": store, **{name: value for name, value in options.items() if name in known}}
