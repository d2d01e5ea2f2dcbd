"""What step times imply of the hardware, with round figures: 1 TFLOP/s and 1 GB/s for 16 million weights a layer."""

import attrs
import pytest

from blis_simpy.catalog.hardware import Gpu
from blis_simpy.catalog.models import ModelSpec
from blis_simpy.latency.peak import PROMPT_TOKENS, peak_use

MODEL = ModelSpec(
    num_layers=2, hidden_size=1024, num_heads=8, intermediate_size=4096, vocab_size=0, bytes_per_param=2.0
)
GPU = Gpu("g", tflops=1.0, bandwidth_tb_s=0.001)
WEIGHTS = 2 * (4 * 1024**2 + 3 * 1024 * 4096)
"""Four square matrices of attention and three of the MLP, in both layers."""


class Fixed:
    """Takes so long for a prompt and for a decode step, µs."""

    def __init__(self, prompt_us, decode_us):
        self.prompt_us, self.decode_us = prompt_us, decode_us

    def step_time(self, batch):
        return self.prompt_us if batch.prefills else self.decode_us


def test_shares_are_those_of_the_least_possible_times():
    """Attention: 4 FLOP for each pair of tokens and each number of the hidden size, in both layers."""
    pairs = PROMPT_TOKENS * (PROMPT_TOKENS + 1) / 2
    prompt_us = (2 * PROMPT_TOKENS * WEIGHTS + 2 * 4 * 1024 * pairs) / 1e6
    decode_us = 2 * WEIGHTS / 1e3
    use = peak_use(Fixed(prompt_us, decode_us), MODEL, GPU, tp=1)
    assert (use.arithmetic, use.bandwidth) == (pytest.approx(1.0), pytest.approx(1.0))
    use = peak_use(Fixed(2 * prompt_us, decode_us / 4), MODEL, GPU, tp=2)
    assert (use.arithmetic, use.bandwidth) == (pytest.approx(0.25), pytest.approx(2.0))


def test_one_byte_weights_are_judged_by_the_fp8_rate():
    fp8 = attrs.evolve(MODEL, weight_bytes_per_param=1.0)
    gpu = Gpu("g", tflops=1.0, fp8_tflops=2.0, bandwidth_tb_s=0.001)
    plain, quantised = (peak_use(Fixed(10**6, 10**6), model, gpu, tp=1) for model in (MODEL, fp8))
    assert quantised.bandwidth == plain.bandwidth / 2
    assert plain.arithmetic / 2 < quantised.arithmetic < plain.arithmetic
