"""Settings of one replica: limits of a step, order of the queue, size of the KV cache."""

from __future__ import annotations

import attrs

from blis_simpy.settings.fields import Plugin, ReprMixin, setting

__all__ = ["EngineSettings", "KVSettings"]


@attrs.frozen(kw_only=True, repr=False)
class EngineSettings(ReprMixin):
    """How a replica forms its steps. What is not given is as in the profile."""

    profile: str = setting(
        "blis",
        help="Engine whose decisions are taken where no other setting says otherwise: that of the reference, or vLLM.",
        choices=("blis", "vllm"),
        flag="--engine-profile",
    )
    max_num_seqs: int | None = setting(
        None,
        help="Batch slots: the most requests that run at once. Unset: 256 with blis, by the GPU with vllm.",
        unit="requests",
        ge=1,
        flag="--max-num-running-reqs",
    )
    max_num_batched_tokens: int | None = setting(
        None,
        help="Token budget of one step. Unset: 2048 with blis, by the GPU with vllm.",
        unit="tokens",
        ge=1,
        flag="--max-num-scheduled-tokens",
    )
    long_prefill_token_threshold: int = setting(
        0,
        help="Most prompt tokens that one request gets in a step; 0 means no such limit.",
        unit="tokens",
        ge=0,
        flag="--long-prefill-token-threshold",
    )
    long_prefill_token_threshold_adaptive: bool = setting(
        False, help="Whether an equal share of the token budget is allowed, if that is more than the threshold."
    )
    long_prefill_threshold_if_alone: bool | None = setting(
        None, help="Whether the threshold limits a request that is alone. Unset: yes with blis, no with vllm."
    )
    max_model_len: int | None = setting(
        None,
        help="Most tokens of prompt and output together; 0 means unlimited, unset means derived from the model.",
        unit="tokens",
        ge=0,
        flag="--max-model-len",
    )
    over_length: str | None = setting(
        None,
        help="Request whose prompt and output budget exceed the maximum length: it is dropped, or its output is "
        "clipped. Unset: drop with blis, clip with vllm.",
        choices=("drop", "clip"),
    )
    step_effects: str | None = setting(
        None,
        help="When tokens, completions and freed blocks of a step count: from its start or from its end on. Unset: "
        "start with blis, end with vllm.",
        choices=("start", "end"),
    )
    async_scheduling: bool | None = setting(
        None,
        help="Whether a step is formed while the one before it runs; needs effects at the end. Unset: no with blis, "
        "yes with vllm.",
    )
    idle_pause: int = setting(
        1000,
        help="Pause of the engine after a round without a step, although there are requests; with effects at the end.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    reserve_full_sequence: bool | None = setting(
        None,
        help="Whether all tokens of a request must fit the free KV blocks at its admission, not only its first chunk. "
        "Unset: no with blis, yes with vllm.",
    )
    watermark: float = setting(
        0.0,
        help="Share of the KV blocks that stays free at an admission while other requests run.",
        unit="fraction",
        ge=0,
        lt=1,
    )
    victim: str | None = setting(
        None,
        help="Running request that is preempted if KV blocks run out: the latest, or the least urgent. Unset: the "
        "least urgent with vllm and the scheduler priority, else the latest.",
        choices=("latest", "least-urgent"),
    )
    resume: str | None = setting(
        None,
        help="Preempted request that comes back: it restarts from its prompt, or recomputes prompt and outputs. Unset: "
        "restart with blis, recompute with vllm.",
        choices=("restart", "recompute"),
    )
    scheduler: Plugin = setting("fcfs", help="Order of the wait queue.", kind="scheduler", flag="--scheduler")
    priority: Plugin = setting(
        "constant", help="Number by which a queue may be ordered.", kind="priority", flag="--priority-policy"
    )
    batching: Plugin = setting("continuous", help="Who joins a step.", kind="batching")
    macro_steps: bool = setting(
        True, help="Compute long stretches of decoding at once; changes the speed, never a figure."
    )


@attrs.frozen(kw_only=True, repr=False)
class KVSettings(ReprMixin):
    """KV cache of a replica. What is not given is as in the engine profile."""

    store: Plugin = setting(
        None,
        help="Where KV blocks are kept. Unset: single-tier with the engine profile blis, block-pool with vllm.",
        kind="kv_store",
        absent="",
    )
    prefix_caching: bool = setting(
        True, help="Whether prompts find blocks of earlier ones; the store block-pool can do without."
    )
    blocks: int | None = setting(
        None,
        help="KV blocks of a replica; unset means computed from the memory of the GPU.",
        unit="blocks",
        ge=1,
        flag="--total-kv-blocks",
    )
    block_size: int = setting(16, help="Tokens of one KV block.", unit="tokens", ge=1, flag="--block-size-in-tokens")
    reserved_blocks: int | None = setting(
        None,
        help="Blocks that the engine keeps of those that the memory of the GPU has room for. Unset: 0 with the engine "
        "profile blis, 1 with vllm.",
        unit="blocks",
        ge=0,
    )
    gpu_memory_utilization: float | None = setting(
        None,
        help="Share of the GPU's memory that the engine uses, for computing the number of blocks. Unset: 0.9 with the "
        "engine profile blis, 0.92 with vllm.",
        unit="fraction",
        gt=0,
        le=1,
        flag="--gpu-memory-utilization",
    )
    cpu_blocks: int = setting(
        0,
        help="KV blocks in host memory behind the GPU's; 0 means no second tier.",
        unit="blocks",
        ge=0,
        flag="--kv-cpu-blocks",
    )
    transfer_bandwidth: float = setting(
        100.0,
        help="Blocks that one microsecond brings back from host memory.",
        unit="blocks/us",
        gt=0,
        flag="--kv-transfer-bandwidth",
    )
    transfer_base_latency: int = setting(
        0,
        help="Fixed part of the time to bring back one block.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--kv-transfer-base-latency",
    )
    offload_threshold: float = setting(
        0.9,
        help="Accepted for compatibility; it has no effect.",
        unit="fraction",
        ge=0,
        le=1,
        flag="--kv-offload-threshold",
    )

    @property
    def chosen_store(self) -> Plugin:
        """The KV store with its options: the two-tier one where there are host blocks."""
        if self.store == "two-tier" or (self.store == "single-tier" and self.cpu_blocks):
            return {
                "policy": "two-tier",
                "cpu_blocks": self.cpu_blocks,
                "bandwidth": self.transfer_bandwidth,
                "base_latency": self.transfer_base_latency,
            }
        if self.store == "block-pool":
            return {"policy": "block-pool", "prefix_caching": self.prefix_caching}
        return self.store
