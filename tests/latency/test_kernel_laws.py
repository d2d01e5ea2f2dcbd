"""What holds for any model, GPU and batch: runs are single steps, nothing beats the hardware, more takes longer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_vectors import SHAPES, WEIGHTS, batch, coefficients

from blis_simpy.catalog.hardware import Gpu, load_gpus
from blis_simpy.catalog.kernel_coefficients import kernel_coefficients
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.latency.base import StepMember
from blis_simpy.latency.explain import total_time
from blis_simpy.latency.kernel_blocks import LatentAttention
from blis_simpy.latency.kernel_overheads import KernelOverheads
from blis_simpy.latency.kernel_rates import Rates
from blis_simpy.latency.kernel_shape import KernelShape, kernel_shape
from blis_simpy.latency.kernel_work import attention_products
from blis_simpy.latency.kernels import KernelTimes

RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))
GPUS = sorted(load_gpus())
FASTER_THAN_ITS_PEAK = {("RTX-PRO-6000", "gemm", "fp8"): 1.05, ("GB300", "experts", "mxfp4"): 1.22}
"""Kernels that were measured to beat the peak rate that their coefficients refer to, and by how much."""
UNKNOWN_GPU = kernel_coefficients(Gpu("unknown", tflops=200.0, fp8_tflops=400.0, bandwidth_tb_s=1.0))


@st.composite
def shapes(draw):
    heads = draw(st.sampled_from([8, 16, 32, 64, 128]))
    layers = draw(st.integers(1, 100))
    moe_layers = draw(st.sampled_from([0, layers, layers // 2]))
    experts = draw(st.sampled_from([8, 64, 256]))
    window_layers = draw(st.sampled_from([0, 0, layers // 2]))
    linear_layers = draw(st.sampled_from([0, 0, (layers - window_layers) // 2]))
    latent = draw(st.sampled_from([None, None, LatentAttention(rank=512, rotary=64, query_rank=1536)]))
    types = st.sampled_from(list(WEIGHTS.values()))
    return KernelShape.uniform(
        layers=layers,
        moe_layers=moe_layers,
        hidden=draw(st.sampled_from([1024, 4096, 8192])),
        heads=heads,
        kv_heads=draw(st.sampled_from([1, 2, 8, heads])),
        head_dim=draw(st.sampled_from([64, 128])),
        dense_width=draw(st.sampled_from([2048, 14336, 28672])),
        gated=draw(st.booleans()),
        vocabulary=draw(st.sampled_from([0, 32_000, 200_000])),
        experts=experts if moe_layers else 0,
        experts_per_token=draw(st.integers(1, 8)) if moe_layers else 0,
        expert_width=draw(st.sampled_from([768, 2048])) if moe_layers else 0,
        shared_width=draw(st.sampled_from([0, 2048])) if moe_layers else 0,
        weights=draw(types),
        expert_weights=draw(types),
        kv_bytes=draw(st.sampled_from([1.0, 2.0])),
        window_layers=window_layers,
        window=128 if window_layers else 0,
        linear_layers=linear_layers,
        linear_state=65_536 if linear_layers else 0,
        latent=latent,
    )


QUANTISATIONS = [
    None,
    {"quant_method": "fp8", "weight_block_size": [128, 128], "kv_cache_scheme": {"num_bits": 8}},
    {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]},
    {"quant_method": "gptq", "bits": 8, "group_size": 64},
    {"quant_method": "awq", "bits": 4, "group_size": 128},
]
MIXERS = {
    "full": {},
    "window": {
        "model_type": "gemma3_text",
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 4,
        "sliding_window": 512,
    },
    "latent": {
        "model_type": "deepseek_v3",
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "index_n_heads": 8,
        "index_head_dim": 64,
    },
    "compressed": {
        "model_type": "deepseek_v4",
        "o_lora_rank": 256,
        "o_groups": 2,
        "q_lora_rank": 512,
        "compress_ratios": [0, 4, 128] * 4,
        "sliding_window": 128,
        "qk_rope_head_dim": 64,
        "index_n_heads": 8,
        "index_head_dim": 64,
    },
    "linear": {
        "model_type": "qwen3_next",
        "layer_types": ["linear_attention", "linear_attention", "full_attention"] * 4,
        "linear_num_key_heads": 8,
        "linear_num_value_heads": 16,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
    },
    "mamba": {
        "model_type": "nemotron_h",
        "hybrid_override_pattern": "M-M*M-" * 2,
        "mamba_num_heads": 64,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
        "conv_kernel": 4,
    },
}
EXPERTS = {
    "num_experts": 64,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1024,
    "shared_expert_intermediate_size": 512,
    "first_k_dense_replace": 2,
}


@st.composite
def checkpoints(draw):
    """Shapes as they follow from configurations of layers that differ, in all weight formats."""
    config = {
        "model_type": "llama",
        "num_hidden_layers": 12,
        "hidden_size": draw(st.sampled_from([1024, 4096])),
        "num_attention_heads": 16,
        "num_key_value_heads": draw(st.sampled_from([1, 4, 16])),
        "head_dim": draw(st.sampled_from([64, 192])),
        "intermediate_size": 8192,
        "vocab_size": 32_000,
        "hidden_act": draw(st.sampled_from(["silu", "relu2"])),
        "torch_dtype": "bfloat16",
        **draw(st.sampled_from(list(MIXERS.values()))),
    }
    if draw(st.booleans()):
        config |= EXPERTS
    quantisation = draw(st.sampled_from(QUANTISATIONS))
    shape = kernel_shape(ModelSpec.from_hf_config({**config, "quantization_config": quantisation}, "m"))
    assert not shape.unread
    return shape


@st.composite
def models(draw, *, dp=True):
    shape = draw(st.sampled_from(list(SHAPES.values())) | shapes() | checkpoints())
    gpu = draw(st.sampled_from([*GPUS, "unknown"]))
    overheads = draw(st.sampled_from([KernelOverheads(), KernelOverheads(host=0.0, host_seq=0.0)]))
    return KernelTimes(
        shape,
        UNKNOWN_GPU if gpu == "unknown" else coefficients(gpu),
        tp=draw(st.sampled_from([1, 2, 4, 8])),
        dp=draw(st.sampled_from([1, 2, 8])) if dp and shape.moe_layers else 1,
        overheads=overheads,
    )


chunks = st.builds(
    lambda context, new, rest: StepMember(context + new + rest, 0, new, 1, context),
    st.integers(0, 100_000),
    st.integers(1, 8192),
    st.integers(0, 10),
)
batches = st.builds(
    lambda prefills, decodes, context: batch(prefills, decodes, context if decodes else 0),
    st.lists(chunks, max_size=4),
    st.integers(0, 512),
    st.integers(0, 10**6) | st.integers(0, 10**8),
)


@RANDOM
@given(models(), st.integers(1, 600), st.integers(0, 10**7), st.integers(1, 40) | st.integers(1, 3000))
def test_runs_of_decode_steps_are_single_steps(model, decodes, context, steps):
    times = model.decode_step_times(batch(decodes=decodes, context=context), steps)
    times = [times] * steps if isinstance(times, int) else list(times)
    single = [model.step_time(batch(decodes=decodes, context=context + decodes * step)) for step in range(steps)]
    assert times == single


def test_a_run_equals_single_steps_where_times_are_nearly_whole_microseconds(monkeypatch):
    """Doubled or not, the margin within which the definition decides must show in no time."""
    model = KernelTimes(SHAPES["8b"], coefficients("H100"))
    asked = []
    exact = model._attention.decode_us
    monkeypatch.setattr(model._attention, "decode_us", lambda *args: asked.append(args) or exact(*args))
    start = batch(decodes=200, context=10_000)
    before = list(model.decode_step_times(start, 5000))
    assert len(asked) < 10
    asked.clear()
    monkeypatch.setattr("blis_simpy.latency.kernels._ROUNDING", 2.0**-24)
    assert list(model.decode_step_times(start, 5000)) == before
    assert len(asked) > 5


@RANDOM
@given(models(), batches)
def test_terms_add_up_to_the_step_time_bit_for_bit(model, step):
    terms = model.explain(step)
    assert total_time(terms) == model.step_time(step)
    assert all(part.value >= 0.0 for term in terms for part in (term, *term.parts))
    for term in terms:
        if term.parts and term.name != "host":
            assert sum(part.value for part in term.parts) == pytest.approx(term.value)


def hardware_floor_us(model, step):
    """Time of the weights, KV data and arithmetic of a step at full memory bandwidth and at peak rate."""
    shape, tp = model.shape, model.tp
    gpu = model.coefficients
    rates = Rates.of(gpu, KernelOverheads())
    tokens = step.num_decodes + sum(member.new_tokens for member in step.prefills)
    memory = arithmetic = 0.0

    def product(kind, weights, num_weights, times, reached=None):
        nonlocal memory, arithmetic
        kernel = getattr(gpu, kind).get(weights.name)
        native = kernel is not None and rates.flops(kernel.arithmetic) > 0
        flops = rates.flops(kernel.arithmetic) if native else rates.bf16
        name = next((n for n in GPUS if coefficients(n) is gpu), "")
        flops *= FASTER_THAN_ITS_PEAK.get((name, kind, weights.name), 1.0)
        memory += (num_weights if reached is None else reached) * weights.weight_bytes / tp / rates.memory
        arithmetic += 2.0 * times * num_weights / tp / flops

    hidden = shape.hidden
    decoded = step.decode_context_tokens + step.num_decodes
    for block in shape.attention:
        if block.latent is None:
            kv_heads = max(block.kv_heads, tp)
            entry = kv_heads / tp * block.entry_numbers * shape.kv_bytes + block.entry_bytes
        else:
            entry = block.entry_numbers * shape.kv_bytes + block.entry_bytes
        products = attention_products(block, hidden, 1)
        product("gemm", block.weights, block.layers * sum(of.columns * of.depth for of in products), tokens)
        if not block.tokens_per_entry:
            continue
        entry /= block.tokens_per_entry
        read = decoded + sum(m.progress + m.cached_tokens for m in step.prefills)
        memory += block.layers * read * entry / rates.memory
        if block.latent is None:
            pairs = decoded
            pairs += sum(m.new_tokens * (m.progress + m.cached_tokens + m.new_tokens / 2) for m in step.prefills)
            widths = block.head_dim + block.value_dim
            flops = 2 * block.heads / tp * widths / block.tokens_per_entry
            arithmetic += block.layers * pairs * flops / rates.bf16
    for block in shape.recurrent:
        inner = hidden * (block.input_columns + block.inner)
        product("gemm", block.weights, block.layers * inner, tokens)
        memory += block.layers * 2 * step.num_decodes * block.state_bytes / tp / rates.memory
    for block in shape.mlps:
        product("gemm", block.weights, block.layers * block.matrices * hidden * block.width, tokens)
    for block in shape.experts:
        shared = block.layers * block.shared_matrices * hidden * block.shared_width
        product("gemm", block.shared_weights, shared, tokens)
        one = block.layers * block.matrices * block.input_width * block.width
        # Whatever the routing, the tokens reach at least as many experts as one of them.
        product("experts", block.weights, one, tokens * block.experts_per_token, one * block.experts_per_token)
    product("gemm", shape.output_weights, shape.vocabulary * hidden, step.size)
    return max(memory, arithmetic)


@RANDOM
@given(models(dp=False), batches)
def test_no_step_is_faster_than_the_hardware(model, step):
    if step.size:
        assert model.step_time(step) + 1 >= hardware_floor_us(model, step)


def test_kernels_that_beat_their_peak_are_those_that_were_measured_to():
    found = {}
    for name in GPUS:
        gpu, over = coefficients(name), KernelOverheads()
        factors = {"gemm": {"fp8": over.gemm8, "nvfp4": over.gemm4}, "experts": {}}
        for kind, own in (("gemm", over.gemm), ("experts", over.moe)):
            for weights, kernel in getattr(gpu, kind).items():
                factor = own * factors[kind].get(weights, 1.0)
                if kind == "experts" and weights != "bf16":
                    factor *= over.moe8
                assert kernel.memory_efficiency / factor < 1
                if kernel.compute_efficiency / factor > 1:
                    found[name, kind, weights] = kernel.compute_efficiency / factor
        assert all(kernel.memory_efficiency / over.kv < 1 for kernel in gpu.decode_attention.values())
    assert found.keys() == FASTER_THAN_ITS_PEAK.keys()
    assert all(found[key] < FASTER_THAN_ITS_PEAK[key] for key in found)


@RANDOM
@given(models(), batches, chunks, st.integers(1, 1000))
def test_more_takes_longer(model, step, chunk, extra):
    """Further requests, tokens and context; but not the first decoding request beside prompts, see `KernelTimes`."""
    time = model.step_time(step)
    prefills, decodes, context = list(step.prefills), step.num_decodes, step.decode_context_tokens
    assert model.step_time(batch([*prefills, chunk], decodes, context)) >= time
    if decodes:
        assert model.step_time(batch(prefills, decodes, context + extra)) >= time
        assert model.step_time(batch(prefills, decodes + 1, context)) >= time
    if prefills:
        first, *others = prefills
        longer = first._replace(input_tokens=first.input_tokens + extra)
        for more in ("new_tokens", "cached_tokens"):
            grown = longer._replace(**{more: getattr(first, more) + extra})
            assert model.step_time(batch([grown, *others], decodes, context)) >= time


def test_context_found_in_the_cache_counts_like_context_computed():
    model = KernelTimes(SHAPES["8b"], coefficients("H100"))
    found, computed = StepMember(4096, 0, 512, 1, 3584), StepMember(4096, 3584, 512, 1)
    assert model.step_time(batch([found])) == model.step_time(batch([computed]))
    assert model.step_time(batch([found])) > model.step_time(batch([StepMember(512, 0, 512, 1)]))
