"""Settings of one replica: limits of a step, policies of the engine, KV cache."""

from __future__ import annotations

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.replica.tier_settings import KVTierSettings
from blis_simpy.settings.field_types import Duration, OptionalDuration, Parts, Plugin
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.plugin_options import option_names

__all__ = ["DEFAULT_STORE", "OFFLOADING_STORE", "EngineSettings", "KVSettings"]

DEFAULT_STORE = "single-tier"
"""Default KV store."""
OFFLOADING_STORE = "two-tier"
"""Default KV store with `cpu_blocks`."""


@settings_class
class EngineSettings:
    """Limits and policies of the engine of a replica. The profile sets defaults of unset fields."""

    profile: str = setting(
        default="vllm",
        help="Engine profile: defaults of the settings in which engines differ.",
        choices=("blis", "vllm"),
        flag="--engine-profile",
    )
    max_num_seqs: int | None = setting(
        default=None,
        help="Batch slots: maximum number of requests that run at once; unset means 256 in the profile blis, and what "
        "a vLLM server chooses for the GPU in the profile vllm.",
        unit="requests",
        ge=1,
        flag="--max-num-running-reqs",
    )
    max_num_batched_tokens: int | None = setting(
        default=None,
        help="Token budget of one step; unset means 2048 in the profile blis, and what a vLLM server chooses for the "
        "GPU in the profile vllm.",
        unit="tokens",
        ge=1,
        flag="--max-num-scheduled-tokens",
    )
    long_prefill_token_threshold: int = setting(
        default=0,
        help="Maximum number of prompt tokens of one request in a step; 0 means unlimited.",
        unit="tokens",
        ge=0,
        flag="--long-prefill-token-threshold",
    )
    long_prefill_token_threshold_adaptive: bool = setting(
        default=False, help="Raise the threshold to an equal share of the token budget."
    )
    long_prefill_threshold_if_alone: bool | None = setting(
        default=None,
        help="Apply the threshold to a request that is alone; unset means true in the profile blis, false in vllm.",
    )
    max_model_len: int | None = setting(
        default=None,
        help="Maximum number of prompt and output tokens; 0 means unlimited, unset means derived from the model.",
        unit="tokens",
        ge=0,
        flag="--max-model-len",
    )
    over_length: str | None = setting(
        default=None,
        help="Treatment of requests whose prompt and output budget exceed the maximum length: drop them, or clip their "
        "output; unset means drop in the profile blis, clip in vllm.",
        choices=("drop", "clip"),
    )
    step_effects: str | None = setting(
        default=None,
        help="When tokens, completions and freed blocks of a step take effect: at its start or at its end; unset means "
        "start in the profile blis, end in vllm.",
        choices=("start", "end"),
    )
    async_scheduling: bool | None = setting(
        default=None,
        help="Form a step while the previous one runs; requires effects at the end; unset means false in the profile "
        "blis, true in vllm.",
    )
    idle_pause: Duration = setting(
        default=1000,
        help="Pause of the engine after an iteration without a step while there are requests; with effects at the end.",
        unit="us",
        ge=1,
        dimension="duration",
    )
    reserve_full_sequence: bool | None = setting(
        default=None,
        help="Admit a request only if all its tokens fit the free KV blocks, not just its first chunk; unset means "
        "false in the profile blis, true in vllm.",
    )
    watermark: float = setting(
        default=0.0,
        help="Fraction of the KV blocks that an admission leaves free while other requests run.",
        unit="fraction",
        ge=0,
        lt=1,
    )
    victim: str | None = setting(
        default=None,
        help="Running request that is preempted when KV blocks run out: the latest one, or the least urgent one; unset "
        "means the least urgent in the profile vllm with the scheduler priority, else the latest.",
        choices=("latest", "least-urgent"),
    )
    resume: str | None = setting(
        default=None,
        help="How a preempted request resumes: restart from its prompt, or recompute prompt and output; unset means "
        "restart in the profile blis, recompute in vllm.",
        choices=("restart", "recompute"),
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
        default="continuous", help="Batch policy: decides which requests join a step.", kind="batching"
    )
    macro_steps: bool = setting(
        default=True, help="Simulate runs of decode steps as single events; affects the speed, not the results."
    )


@settings_class
class KVSettings:
    """KV cache of a replica. The engine profile sets defaults of unset fields."""

    store: Plugin | None = setting(
        default=None,
        help=f"KV store; unset means block-pool in the engine profile vllm, in blis {DEFAULT_STORE}, or "
        f"{OFFLOADING_STORE} with blocks in host memory.",
        kind="kv_store",
    )
    prefix_caching: bool = setting(
        default=True, help="Share KV blocks between prompts; false requires the KV store block-pool."
    )
    blocks: int | None = setting(
        default=None,
        help="Number of KV blocks of a replica; unset means computed from the GPU memory.",
        unit="blocks",
        ge=1,
        flag="--total-kv-blocks",
    )
    block_size: int = setting(
        default=16, help="Number of tokens per KV block.", unit="tokens", ge=1, le=2**20, flag="--block-size-in-tokens"
    )
    reserved_blocks: int | None = setting(
        default=None,
        help="Computed KV blocks that requests cannot use; unset means 0 in the engine profile blis, 1 in vllm.",
        unit="blocks",
        ge=0,
    )
    capacity_rules: str | None = setting(
        default=None,
        help="Rules to compute the number of blocks: vllm from the contents of the checkpoint and the share of each "
        "GPU, blis as BLIS does; unset means those of the engine profile.",
        choices=("blis", "vllm"),
        flag="--kv-capacity-rules",
    )
    gpu_memory_utilization: float | None = setting(
        default=None,
        help="Fraction of the GPU memory that the engine uses, to compute the number of KV blocks; unset means 0.9 in "
        "the engine profile blis, 0.92 in vllm.",
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

    bytes_per_token: float | None = setting(
        default=None,
        help="Size of the KV cache of a token on all GPUs of a replica, for transfers; unset means that of the model.",
        unit="bytes",
        gt=0,
    )
    tiers: Parts[KVTierSettings] = setting(
        default=(),
        help="Tiers below the memory of the GPU, from the first to the last; they need the engine profile vllm.",
    )
    chunk: int = setting(
        default=1,
        help="Number of KV blocks that are moved to and from tiers together.",
        unit="blocks",
        ge=1,
        le=2**20,
    )
    load_if: str = setting(
        default="faster",
        help="When a request loads blocks from a tier: faster, if the estimated time of the transfer is below that of "
        "a recomputation; always.",
        choices=("faster", "always"),
    )
    max_loading: int | None = setting(
        default=None, help="Maximum number of requests that load at a time; unset means unlimited.", ge=1
    )
    prefetch: bool = setting(
        default=False, help="Copy blocks from lower tiers to the first one when a request is routed to the replica."
    )
    prefetch_after: OptionalDuration = setting(
        default=None,
        help="Time from the end of a request of a session until its blocks are copied from lower tiers to the first "
        "one, because the session is expected to return; unset means that they are not.",
        unit="us",
        ge=0,
        dimension="duration",
    )

    def __attrs_post_init__(self) -> None:
        names = [tier.name for tier in self.tiers]
        for number, tier in enumerate(self.tiers):
            if tier.name in names[:number]:
                raise ScenarioError.at(f"tiers[{number}].name", "must be unique", tier.name)
        if self.tiers and self.tiers[0].write_on == "eviction" and self.chunk > 1:
            rule = "must be 1 if the first tier is written on eviction from the GPU, which evicts single blocks"
            raise ScenarioError.at("chunk", rule, self.chunk)

    @property
    def chosen_store(self) -> Plugin:
        """The KV store: `store` or the default; a store given by name gets its options from these settings."""
        store = self.store or (DEFAULT_STORE if self.cpu_blocks == 0 else OFFLOADING_STORE)
        if not isinstance(store, str):
            return store
        if store == DEFAULT_STORE:
            return {"type": store}
        known = option_names("kv_store", registry.get("kv_store", store)) or ()
        options = {
            "cpu_blocks": self.cpu_blocks,
            "bandwidth": self.transfer_bandwidth,
            "base_latency": self.transfer_base_latency,
            "prefix_caching": self.prefix_caching,
        }
        return {"type": store, **{name: value for name, value in options.items() if name in known}}
