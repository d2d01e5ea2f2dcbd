"""Random scenarios with a host tier behind the GPU's blocks, and with every latency model."""

import attrs
from hypothesis import strategies as st

import blis_simpy as blis
from scenarios import MODEL, PRIORITIES, SCHEDULERS, Case, RequestSpec

BANDWIDTHS = (100.0, 1.0, 0.3, 0.01, 1e9)
BASE_LATENCIES = (0, 1, 100, 1000)
DEPLOYMENTS = (
    ("Qwen/Qwen3-14B", (1, 2, 4, 8), {}),
    ("RedHatAI/Qwen2.5-7B-Instruct-quantized.w4a16", (1, 2, 4), {}),
    ("mistralai/Mixtral-8x7B-v0.1", (1, 2, 4, 8), {"dp": 2}),
    ("deepseek-ai/DeepSeek-V2-Lite", (1, 2, 4, 8), {"dp": 4, "moe_comm_backend": "pplx"}),
    ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", (1, 2, 4, 8), {"dp": 2, "moe_comm_backend": "naive"}),
)
"""Dense, quantised, mixture of experts, latent attention, interleaved layers: model, possible TP, group options."""
ARCHITECTURAL = ("roofline", "crossmodel", "trained-roofline", "trained-physics", "kernels")


@attrs.frozen(kw_only=True)
class TieredCase(Case):
    """A case with host memory (`cpu_blocks` > 0) and a backend of its own."""

    cpu_blocks: int = 0
    bandwidth: float = 100.0
    base_latency: int = 0
    model: str = MODEL
    hardware: str = "H100"
    tp: int = 1
    options: dict | None = None

    def scenario(self, *, macro_steps):
        scenario = super().scenario(macro_steps=macro_steps)
        if self.latency in ARCHITECTURAL:
            latency = {"type": self.latency, **self.options} if self.options else self.latency
            scenario = attrs.evolve(
                scenario,
                model=self.model,
                hardware=self.hardware,
                tp=self.tp,
                latency=blis.LatencySettings(backend=latency),
            )
        kv = attrs.evolve(
            scenario.kv,
            cpu_blocks=self.cpu_blocks,
            transfer_bandwidth=self.bandwidth,
            transfer_base_latency=self.base_latency,
        )
        return attrs.evolve(scenario, kv=kv)


def host_tiers(blocks):
    """Draw the host tier of a case: smaller than the GPU's, as large, or larger than all there is to keep."""
    return st.fixed_dictionaries(
        {
            "cpu_blocks": st.one_of(st.integers(1, max(blocks, 1)), st.integers(1, 4 * blocks), st.just(1000)),
            "bandwidth": st.sampled_from(BANDWIDTHS),
            "base_latency": st.sampled_from(BASE_LATENCIES),
        }
    )


@st.composite
def tiered(draw, cases):
    """Put a host tier behind the GPU of drawn cases."""
    case = draw(cases)
    plain = attrs.asdict(case, recurse=False)
    return TieredCase(**plain, **draw(host_tiers(case.blocks)))


@st.composite
def pressed(draw, *, scale=1, long_outputs=False):
    """Draw a case with too little memory for prompts that have much in common: reloads, evictions, failed chunks."""
    block_size = draw(st.integers(1, 8))
    blocks = draw(st.integers(4, 16))
    capacity = block_size * blocks
    groups = draw(st.lists(st.integers(1, capacity * 3 // 4), min_size=1, max_size=3))
    lasting = min(capacity, 60) if long_outputs else 12

    @st.composite
    def requests(draw):
        output = draw(st.one_of(st.integers(0, 3), st.integers(1, max(1, min(capacity // 2, lasting)))))
        group = draw(st.integers(0, len(groups) - 1))
        shared = max(1, draw(st.sampled_from([groups[group], groups[group] // 2, groups[group] * 4 // 5])))
        length = min(shared + draw(st.integers(0, max(1, capacity // 3))), capacity - output)
        content = draw(st.sampled_from([((f"group_{group}", 0, min(shared, length)),), ()])) if length else ()
        arrived_at = draw(st.integers(0, 30 if not long_outputs else 60)) * 100 * scale
        deadline = draw(st.sampled_from([0, 0, 0, 0, arrived_at + 700 * scale]))
        return RequestSpec(
            arrived_at=arrived_at,
            input_tokens=length,
            output_tokens=max(output, 1 - length),
            max_output_tokens=draw(st.sampled_from([output, 0])),
            deadline=deadline,
            content=content,
        )

    case = Case(
        requests=draw(st.lists(requests(), min_size=3, max_size=14)),
        max_num_seqs=draw(st.sampled_from([1, 2, 3, 8])),
        max_num_batched_tokens=draw(st.one_of(st.integers(1, capacity), st.just(2 * capacity))),
        long_prefill_token_threshold=draw(st.one_of(st.just(0), st.integers(1, 2 * block_size + 1))),
        blocks=blocks,
        block_size=block_size,
        scheduler=draw(st.sampled_from(("fcfs", *SCHEDULERS))),
        priority=draw(st.sampled_from(PRIORITIES)),
        beta=draw(st.sampled_from([(100.0, 1.0, 10.0), (100.0, 0.0, 0.0)])),
        horizon=draw(st.sampled_from([None, None, 3000 * scale])),
    )
    return TieredCase(**attrs.asdict(case, recurse=False), **draw(host_tiers(blocks)))


@st.composite
def deployed(draw, cases):
    """Give drawn cases a latency model that knows model and GPU, on deployments of all kinds."""
    case = draw(cases)
    model, degrees, options = draw(st.sampled_from(DEPLOYMENTS))
    backend = draw(st.sampled_from(ARCHITECTURAL))
    plain = attrs.asdict(case, recurse=False) | {
        "latency": backend,
        "model": model,
        "tp": draw(st.sampled_from(degrees)),
        "hardware": draw(st.sampled_from(["H100", "A100-SXM", "L40S"])),
        "options": draw(st.sampled_from([{}, options_of(backend, options)])),
    }
    return TieredCase(**plain)


def options_of(backend, options):
    """Those of the options of a deployment that a latency model takes."""
    known = {"trained-physics": options.keys(), "kernels": {"dp"}}.get(backend, ())
    return {name: value for name, value in options.items() if name in known}
