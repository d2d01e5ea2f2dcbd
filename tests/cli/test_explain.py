"""How step times come about: the terms that are printed add up to the step time of the latency model."""

import re

import pytest

from blis_simpy.catalog.hardware import Gpu
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.cli.main import main
from blis_simpy.latency.base import LatencyInputs, StepBatch, StepMember
from blis_simpy.latency.blackbox import Blackbox
from blis_simpy.latency.explain import total_time
from blis_simpy.latency.roofline import Roofline
from blis_simpy.registry import added

EXPLAIN = ["explain", "latency", "--model", "qwen/qwen3-14b", "--hardware", "H100", "--tp", "1"]
BACKENDS = ["roofline", "blackbox", "crossmodel", "trained-roofline", "trained-physics", "kernels"]


def explained(capsys, *words):
    assert main([*EXPLAIN, *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("backend", BACKENDS)
def test_terms_of_a_step_add_up_to_it(backend, capsys):
    text = explained(capsys, "--latency-model", backend)
    assert text.startswith(
        f"qwen/qwen3-14b on H100 tp 1, latency model {backend}\n\nprefill step: one prompt of 512 tokens"
    )
    for step in text.split("\n\n")[1:3]:
        title, *rows = step.splitlines()
        total = int(title.rpartition(": ")[2].removesuffix(" us").replace(",", ""))
        terms = [float(row.split(" us")[0].split()[-1].replace(",", "")) for row in rows if re.match(r"  \S", row)]
        assert abs(sum(terms) - total) < 1.01


def test_a_blackbox_step_is_printed_term_by_term(capsys):
    text = explained(capsys, "--alpha-coeffs", "100,1,2", "--beta-coeffs", "1000,10,5", "--decodes", "3")
    assert text == (
        "qwen/qwen3-14b on H100 tp 1, latency model blackbox\n"
        "\n"
        "prefill step: one prompt of 512 tokens: 6,120 us\n"
        "  step                1,000 us  beta[0]\n"
        "  prefill             5,120 us  beta[1] * prefill tokens\n"
        "    prefill tokens  512 tokens  tokens of prompts in the step\n"
        "\n"
        "decode step: 3 requests with 512 tokens behind each: 1,015 us\n"
        "  step             1,000 us  beta[0]\n"
        "  decode              15 us  beta[2] * decode tokens\n"
        "    decode tokens  3 tokens  one for each decoding request\n"
        "\n"
        "delays outside the steps\n"
        "  queueing      612 us  from arrival to the queue, 512 tokens\n"
        "  output token    2 us  until each token is out\n"
        "  completion      0 us  after the last token\n"
    )


def test_the_steps_are_those_that_the_flags_describe(capsys):
    text = explained(capsys, "--prefill-tokens", "100", "--decodes", "8", "--context", "2000")
    assert "prefill step: one prompt of 100 tokens: " in text
    assert "decode step: 8 requests with 2000 tokens behind each: " in text


def test_a_scenario_file_may_say_what_is_deployed(capsys):
    assert main(["explain", "latency", "quickstart", "--tp", "2"]) == 0
    assert capsys.readouterr().out.startswith("qwen/qwen3-14b on H100 tp 2, latency model ")


def test_help_lists_the_flags_that_a_step_time_depends_on(capsys):
    for words in (["explain", "latency", "--help"], ["explain", "--help"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        assert "--decodes N" in text
        assert "--latency-model" in text
        assert "--scheduler" not in text


def test_a_latency_model_that_explains_nothing_still_has_a_step_time(capsys):
    class Silent:
        def __init__(self, inputs):
            pass

        def step_time(self, batch):
            return 1000 + batch.size

        def queueing_time(self, input_tokens):
            return 0

        def output_token_processing_time(self):
            return 0

        def post_decode_overhead(self):
            return 0

    with added("latency", "silent", Silent):
        text = explained(capsys, "--latency-model", "silent")
    assert "tokens behind each: 1,064 us\n  this latency model does not list its terms\n" in text


def test_roofline_explains_the_slower_side_to_the_last_bit():
    """100 GB/s, 1 TFLOP/s at full use: a lone decode waits for memory, a long prompt for arithmetic."""
    model = ModelSpec(
        name="m", num_layers=3, hidden_size=96, num_heads=3, intermediate_size=200, bytes_per_param=2.0, vocab_size=10
    )
    gpu = Gpu("g", tflops=1, bandwidth_tb_s=0.1, mfu_prefill=1, mfu_decode=1)
    roofline = Roofline(LatencyInputs(alpha=(0, 0, 0), model=model, gpu=gpu, tp=1))
    decode, prompt = StepMember(5, 7, 1, 4), StepMember(5000, 0, 5000, 1)
    for members, slower in (
        ([decode], "memory traffic"),
        ([prompt], "arithmetic"),
        ([prompt, decode, decode], "arithmetic"),
    ):
        batch = StepBatch.of(members)
        terms = roofline.explain(batch)
        assert total_time(terms) == roofline.step_time(batch)
        assert max(terms[0].parts, key=lambda part: part.value).name == slower
        for side in terms[0].parts:
            assert sum(part.value for part in side.parts) == pytest.approx(side.value, rel=1e-9)


def test_an_empty_step_has_no_terms_of_a_roofline():
    model = ModelSpec(name="m", num_layers=1, hidden_size=8, num_heads=1, bytes_per_param=2.0)
    gpu = Gpu("g", tflops=1, bandwidth_tb_s=1, mfu_prefill=1, mfu_decode=1)
    roofline = Roofline(LatencyInputs(alpha=(0, 0, 0), model=model, gpu=gpu, tp=1))
    assert roofline.explain(StepBatch.of([])) == []


def test_blackbox_explains_to_the_last_bit():
    blackbox = Blackbox(LatencyInputs(alpha=(0, 0, 0), beta=(0.1, 0.7, 0.3)))
    batch = StepBatch.of([StepMember(50, 0, 50, 1), StepMember(5, 7, 1, 4)])
    assert total_time(blackbox.explain(batch)) == blackbox.step_time(batch) == 35
