"""The latency model of closed-form kernel times."""

import json
from pathlib import Path

import attrs
import pytest
from kernel_vectors import VECTORS, batch, kernel_times, shape_like

from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.base import LatencyInputs
from blis_simpy.latency.kernel_blocks import LatentAttention
from blis_simpy.latency.kernel_overheads import KernelOverheads
from blis_simpy.latency.kernel_shape import kernel_shape
from blis_simpy.latency.kernel_terms import windowed_pairs
from blis_simpy.latency.kernels import Kernels

OVERHEADS = Path(__file__).parents[3] / "shared" / "silicon" / "overheads.json"


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: "-".join(map(str, list(row.values())[:4])))
def test_step_times_and_their_parts_are_those_recorded(row):
    model = kernel_times(row["shape"], row["gpu"], row["weights"], tp=row["tp"])
    step = batch(row["prefills"], row["decodes"], row["decode_context_tokens"])
    terms = {term.name: term.value for term in model.explain(step)}
    rest = terms["layers"] + terms["requests"]
    found = [terms.get(name, 0.0) for name in ("decode attention", "prompt attention", "graph in pieces")]
    recorded = [row[f"{name}_us"] for name in ("decode_attention", "prompt_attention", "graph_in_pieces", "rest")]
    assert [*found, rest] == pytest.approx(recorded, rel=0, abs=0.001)
    assert sum(terms.values()) == pytest.approx(row["step_us"], rel=0, abs=0.001)
    assert model.step_time(step) == int(row["step_us"])


@pytest.fixture
def inputs():
    """Mixture of experts with two groups of a dense and an MoE layer, 8 heads, 2 KV heads."""
    model = ModelSpec(
        name="m",
        num_layers=4,
        hidden_size=1024,
        num_heads=8,
        num_kv_heads=2,
        intermediate_size=4096,
        vocab_size=1000,
        num_experts=8,
        experts_per_token=2,
        moe_intermediate_size=512,
        interleave_moe_layer_step=2,
        bytes_per_param=2.0,
    )
    return LatencyInputs(model=model, gpu=load_gpus()["H100"])


def test_shape_has_experts_in_every_second_layer_only(inputs):
    shape = Kernels(inputs).shape
    [experts], [dense] = shape.experts, shape.mlps
    assert (experts.layers, dense.layers, dense.width, experts.width) == (2, 2, 4096, 512)


@pytest.mark.parametrize(
    ("weight_bytes", "name", "stored"), [(0.0, "bf16", 2.0), (4.0, "bf16", 2.0), (1.0, "fp8", 1.0), (0.5, "int4", 0.53)]
)
def test_weight_type_follows_from_the_bytes_of_a_weight(inputs, weight_bytes, name, stored):
    spec = attrs.evolve(inputs.model, weight_bytes_per_param=weight_bytes)
    weights = kernel_shape(spec).attention[0].weights
    assert (weights.name, weights.weight_bytes) == (name, pytest.approx(stored))


def test_four_bit_weights_are_computed_in_bf16():
    """At 8,192 tokens arithmetic decides, and a quarter of the bytes is no help; for one token it is."""
    bf16, int4 = kernel_times("8b", "H100"), kernel_times("8b", "H100", "int4")
    prompt, decode = batch([(8192, 0, 8192, 1)]), batch(decodes=1, context=10)
    assert int4.step_time(prompt) == pytest.approx(bf16.step_time(prompt), rel=0.01)
    assert int4.step_time(decode) < 0.5 * bf16.step_time(decode)


def test_fp8_weights_on_a_gpu_without_fp8_save_memory_traffic_only():
    bf16, fp8 = kernel_times("8b", "A100-SXM"), kernel_times("8b", "A100-SXM", "fp8")
    prompt = batch([(8192, 0, 8192, 1)])
    assert 0.9 < fp8.step_time(prompt) / bf16.step_time(prompt) < 1


def test_windows_cap_what_a_layer_reads():
    read = {
        window: {
            term.name: term.value
            for term in kernel_times(shape_like("8b", window_layers=16, window=window), "H100").explain(
                batch(decodes=64, context=640_000)
            )
        }
        for window in (128, 10**6)
    }
    assert 0.5 < read[128]["decode attention"] / read[10**6]["decode attention"] < 0.55


def test_pairs_within_a_window_are_those_of_a_loop():
    for context, new, window in [(0, 10, 4), (3, 10, 4), (4, 10, 4), (50, 3, 4), (0, 4, 4), (2, 2, 4), (1, 1, 4)]:
        pairs = sum(min(position, window) for position in range(context + 1, context + new + 1))
        assert windowed_pairs(context, new, window) == 2 * pairs


def test_windows_cap_the_attention_of_prompts():
    """In half of the layers, 4,096 tokens attend to 128 each, rather than to 2,048 on average."""
    prompt = batch([(4096, 0, 4096, 1)])
    shapes = [shape_like("8b", window_layers=16, window=window) for window in (10**6, 128)]
    times = [kernel_times(shape, "H100").explain(prompt)[0].value for shape in shapes]
    assert 0.5 < times[1] / times[0] < 0.75


def test_host_decides_where_the_gpu_is_done_earlier():
    """One layer takes far less than the 2000 + 12 µs of the host for one request."""
    small = shape_like("8b", layers=1)
    model = kernel_times(small, "H100")
    decode = batch(decodes=1, context=10)
    assert model.step_time(decode) == 2012
    [term] = model.explain(decode)
    assert (term.name, term.value) == ("host", 2012)
    assert model.decode_step_times(decode, 100) == 2012


def test_estimated_kinds_of_attention_say_so():
    latent = shape_like("8b", latent=LatentAttention(rank=512, rotary=64), window_layers=3, window=128)
    [attention, *_] = kernel_times(latent, "H100").explain(batch(decodes=1, context=10))
    assert "; estimated: latent attention" in attention.meaning
    assert "sliding windows" in attention.meaning


def test_queueing_delay_is_that_of_the_api_server(inputs):
    assert Kernels(inputs).queueing_time(500) == 6134
    assert Kernels(attrs.evolve(inputs, tp=2)).queueing_time(500) == 7892
    assert Kernels(inputs, api=1000).queueing_time(500) == 1000


def test_factors_of_one_change_no_time(inputs):
    decode = batch(decodes=10, context=5000)
    assert Kernels(inputs, mem=1, comp=1.0, link=1).step_time(decode) == Kernels(inputs).step_time(decode)
    assert Kernels(inputs, mem=2, host=0).step_time(decode) > Kernels(inputs, host=0).step_time(decode)


def test_data_parallel_groups_wait_for_the_slowest(inputs):
    """Of four requests on two groups each decodes two; a lone prompt is computed by one group alone."""
    one, two = Kernels(inputs, host=0, host_seq=0), Kernels(inputs, dp=2, host=0, host_seq=0)
    terms = {t.name: t for t in two.explain(batch(decodes=4, context=4000))}
    alone = {t.name: t for t in one.explain(batch(decodes=2, context=2000))}
    assert terms["decode attention"].value == alone["decode attention"].value
    assert terms["requests"].value == alone["requests"].value
    prompt = batch([(5000, 0, 4096, 1)])
    attention = [model.explain(prompt)[0].value for model in (one, two)]
    assert attention[0] == attention[1]
    assert two.step_time(prompt) > one.step_time(prompt) / 2


@pytest.mark.parametrize(
    ("changes", "options", "problem"),
    [
        ({"model": None}, {}, "model must be known: its architecture figures are needed, got None"),
        ({"gpu": None}, {}, "hardware must be known: the figures of the GPU are needed, got None"),
        ({"alpha": (1.0, 2.0, 3.0)}, {}, "alpha must not be given with the kernels model, which has none"),
        (
            {"tp": 3},
            {},
            (
                "tp must divide the 8 attention heads of m, got 3\n"
                "tp must divide the 2 KV heads of m, or be a multiple of them, got 3"
            ),
        ),
        ({}, {"dp": 0}, "dp must be >= 1, got 0"),
        ({}, {"mem": 0}, "latency.backend.mem must be > 0, got 0"),
        ({}, {"mems": 1}, "latency.backend.mems is not a setting; did you mean mem?"),
    ],
)
def test_what_cannot_be_is_refused(inputs, changes, options, problem):
    with pytest.raises(ScenarioError) as caught:
        Kernels(attrs.evolve(inputs, **changes), **options)
    assert str(caught.value) == problem


def test_kv_heads_may_be_on_several_gpus(inputs):
    assert Kernels(attrs.evolve(inputs, tp=8)).step_time(batch(decodes=1, context=10)) > 0


@pytest.mark.skipif(not OVERHEADS.is_file(), reason="the corpus is not beside the checkout")
def test_overheads_round_to_those_of_the_corpus():
    """The corpus has four decimals; its step times, which the first test checks to a nanosecond, tell more."""
    recorded = json.loads(OVERHEADS.read_text())["overheads"]
    assert {name: round(getattr(KernelOverheads(), name), 4) for name in recorded} == recorded
