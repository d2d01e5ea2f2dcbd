import attrs
import pytest
from trained_vectors import batch_of, decodes, delays, of_backend, published, recorded_delays, recorded_model

from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.base import LatencyInputs
from blis_simpy.latency.explain import total_time
from blis_simpy.latency.trained_physics import MOE_COMM_BACKENDS, TrainedPhysics

PUBLISHED = Catalog.load().global_coefficients("trained-physics")
MIXED = [(512, 0, 512, 100)] + [(300, 400, 1, 200)] * 8
SCOUT = "llama-4-scout-17b-16e-instruct-fp8-dynamic"


def physics(model="llama-3.1-8b-instruct", gpu="H100", tp=1, **options):
    return published("trained-physics", model, gpu, tp, **options)


def with_beta(beta, model="llama-3.1-8b-instruct", tp=1, **options):
    spec, gpu = Catalog.load().model(model), load_gpus()["H100"]
    return TrainedPhysics(LatencyInputs(alpha=PUBLISHED.alpha, beta=beta, model=spec, gpu=gpu, tp=tp), **options)


def terms_of(model, batch):
    return {term.name: term for term in model.explain(batch)}


@pytest.mark.parametrize("step", of_backend("steps", "trained-physics"), ids=lambda step: step["deployment"])
def test_recorded_steps_are_exact_and_explained(step):
    model = recorded_model("trained-physics", step["deployment"])
    batch = batch_of(step["batch"])
    assert model.step_time(batch) == step["step_time"]["trained-physics"]
    assert total_time(model.explain(batch)) == step["step_time"]["trained-physics"]
    assert delays(model, step["batch"][0][0]) == recorded_delays(step, "trained-physics")


@pytest.mark.parametrize(
    ("model", "tp", "dp", "batch", "figures", "time"),
    [
        ("llama-3.1-8b-instruct", 1, 1, [(512, 0, 512, 100)], (7431.0096116745835, 0, 4166.759317014926, 0, 0), 7965),
        (
            "llama-3.1-8b-instruct",
            1,
            1,
            [(1000, 1000 + 10 * i, 1, 999) for i in range(16)],
            (0, 673.5927020895523, 4166.759317014926, 0, 0),
            8212,
        ),
        (
            "llama-3.1-8b-instruct",
            1,
            1,
            [(4096, 2048, 2048, 10)],
            (34446.54922794947, 0, 4166.759317014926, 0, 0),
            12075,
        ),
        (
            "mixtral-8x7b-v0.1",
            2,
            1,
            MIXED,
            (6632.349700139464, 62.75805611940299, 13862.487727761194, 81.38201791044776, 0),
            21273,
        ),
        (
            "mixtral-8x7b-v0.1",
            2,
            2,
            MIXED,
            (3316.174850069732, 31.379028059701493, 7131.568831044776, 20.34550447761194, 30.51825671641791),
            11513,
        ),
        (SCOUT, 2, 1, MIXED, (3222.8531756240527, 94.13708417910448, 8563.892346268656, 152.59128358208955, 0), 25727),
    ],
)
def test_worked_examples_term_by_term(model, tp, dp, batch, figures, time):
    model = physics(model, tp=tp, dp=dp)
    terms = terms_of(model, batch_of(batch))
    shown = (
        terms["prefill"].parts[0],
        terms["decode"].parts[1],
        terms["weight load"].parts[0],
        terms["all-reduce"].parts[0],
        terms["expert dispatch"].parts[0],
    )
    assert tuple(part.value for part in shown) == figures
    assert model.step_time(batch_of(batch)) == time


def test_terms_of_a_prefill_add_up_by_hand():
    """0.152128 * 7431.01 + 1.36252915 * 4166.76 + 32.09546717 * 32 + 4.41684444 + 126.024825 = 7965.29."""
    terms = physics().explain(batch_of([(512, 0, 512, 100)]))
    assert [(term.name, round(term.value, 2)) for term in terms if term.value] == [
        ("prefill", 1130.46),
        ("weight load", 5677.33),
        ("layers", 1027.05),
        ("requests", 4.42),
        ("step", 126.02),
    ]
    assert {term.unit for term in terms} == {"us"}


def test_delays_are_truncated_one_by_one():
    assert delays(physics(), 1) == delays(physics(), 9999) == (15563, 45, 777)


def test_number_of_coefficients_chooses_between_the_slower_and_the_sum():
    """With 7 or 8 the KV traffic hides behind the arithmetic; the 9th adds that of prefill, the 10th that of decode."""
    batch = batch_of(MIXED)
    beta = (1.0,) * 11
    shown = {}
    for count in (7, 8, 9, 10, 11):
        terms = terms_of(with_beta(beta[:count]), batch)
        shown[count] = [
            terms[kind].value == sum(part.value for part in terms[kind].parts) for kind in ("prefill", "decode")
        ]
    assert shown == {7: [False] * 2, 8: [False] * 2, 9: [True, False], 10: [True] * 2, 11: [True] * 2}


def test_dispatch_costs_as_much_as_the_all_reduce_unless_it_has_a_coefficient():
    batch = batch_of(MIXED)
    beta = (1.0, 1.0, 1.0, 3.0, *(1.0,) * 6)
    for given, coefficient in ((beta, 3.0), ((*beta, 2.0), 2.0)):
        term = terms_of(with_beta(given, "mixtral-8x7b-v0.1", 2, dp=2), batch)["expert dispatch"]
        assert term.value == coefficient * term.parts[0].value > 0


def test_all_to_all_sends_a_token_to_each_of_its_experts():
    def dispatched(name):
        model = physics("mixtral-8x7b-v0.1", tp=2, dp=2, moe_comm_backend=name)
        return terms_of(model, batch_of(MIXED))["expert dispatch"].value

    once = dispatched("allgather_reducescatter")
    assert {name: dispatched(name) / once for name in MOE_COMM_BACKENDS} == {
        "allgather_reducescatter": 1.0,
        "naive": 1.0,
        "pplx": 2.0,
        "deepep_high_throughput": 2.0,
        "deepep_low_latency": 2.0,
        "mori": 2.0,
        "flashinfer_all2allv": 2.0,
    }


def test_experts_communicate_once_by_all_reduce_or_by_dispatch():
    def communication(tp, dp):
        terms = terms_of(physics("mixtral-8x7b-v0.1", tp=tp, dp=dp), batch_of(MIXED))
        return terms["all-reduce"].value > 0, terms["expert dispatch"].value > 0

    assert communication(1, 1) == (False, False)
    assert communication(2, 1) == (True, False)
    assert communication(1, 2) == (False, True)


def test_only_interleaved_mixtures_pay_for_their_layers():
    """Half of the 48 layers of Llama-4-Scout are mixtures; all 32 of Mixtral are, and pay nothing."""
    batch = decodes([100])
    assert terms_of(physics(SCOUT, tp=2), batch)["MoE layers"].value == PUBLISHED.beta[7] * 24
    assert terms_of(physics("mixtral-8x7b-v0.1", tp=2), batch)["MoE layers"].value == 0


def test_one_byte_weights_run_at_the_fp8_rate_where_the_gpu_has_one():
    def arithmetic(model, gpu):
        return terms_of(physics(model, gpu), batch_of([(512, 0, 512, 9)]))["prefill"].parts[0].value

    catalog = Catalog.load()
    spec = attrs.evolve(catalog.model("qwen3-14b"), weight_bytes_per_param=1.0)
    for gpu, gain in (("H100", 2.0), ("A100-80", 1.0)):
        inputs = LatencyInputs(alpha=PUBLISHED.alpha, beta=PUBLISHED.beta, model=spec, gpu=load_gpus()[gpu])
        fp8 = terms_of(TrainedPhysics(inputs), batch_of([(512, 0, 512, 9)]))["prefill"].parts[0].value
        assert arithmetic("qwen3-14b", gpu) == pytest.approx(gain * fp8)


def test_data_parallelism_is_for_mixtures_of_experts():
    with pytest.raises(ScenarioError) as caught:
        physics(dp=2)
    assert str(caught.value) == (
        "dp must be 1 without a mixture of experts, got 2; add replicas to scale a dense model"
    )


def test_unknown_communication_is_refused_with_the_nearest_name():
    with pytest.raises(ScenarioError) as caught:
        physics(moe_comm_backend="deepep_low_latencey")
    assert str(caught.value).startswith(
        "moe_comm_backend is unknown, got 'deepep_low_latencey'; did you mean 'deepep_low_latency'? known: allgather"
    )
