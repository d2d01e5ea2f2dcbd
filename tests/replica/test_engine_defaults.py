"""Limits of a step as a vLLM server chooses them."""

import pytest

from blis_simpy.replica.engine_defaults import StepLimits, vllm_step_limits


@pytest.mark.parametrize(
    ("name", "memory", "slots", "budget"),
    [
        ("B200", 179.0, 1024, 16384),
        ("H200", 160.0, 1024, 16384),
        ("H200", 141.0, 1024, 8192),
        ("H100", 80.0, 1024, 8192),
        ("H100", 70.0, 1024, 8192),
        ("H100", 69.9, 256, 2048),
        ("A100-SXM", 80.0, 256, 2048),
        ("NVIDIA a100 80GB", 80.0, 256, 2048),
        ("L40S", 48.0, 256, 2048),
        ("H100", None, 256, 2048),
        (None, 80.0, 1024, 8192),
        (None, None, 256, 2048),
    ],
)
def test_limits_follow_the_memory_and_the_name_of_the_gpu(name, memory, slots, budget):
    assert vllm_step_limits(gpu_name=name, gpu_memory_gib=memory) == StepLimits(slots, budget)


def test_given_limits_are_kept():
    h100 = {"gpu_name": "H100", "gpu_memory_gib": 80.0}
    assert vllm_step_limits(**h100, max_num_seqs=64) == StepLimits(64, 8192)
    assert vllm_step_limits(**h100, max_num_batched_tokens=2048) == StepLimits(1024, 2048)
    assert vllm_step_limits(**h100, max_num_seqs=64, max_num_batched_tokens=32) == StepLimits(64, 32)


def test_default_slots_do_not_exceed_the_budget():
    assert vllm_step_limits(gpu_name="H100", gpu_memory_gib=80.0, max_num_batched_tokens=512) == StepLimits(512, 512)


def test_default_budget_does_not_exceed_what_the_slots_can_hold():
    """Four slots of at most 100 tokens; without a maximum length there is no such bound."""
    h100 = {"gpu_name": "H100", "gpu_memory_gib": 80.0}
    assert vllm_step_limits(**h100, max_num_seqs=4, max_model_len=100) == StepLimits(4, 400)
    assert vllm_step_limits(**h100, max_num_seqs=4) == StepLimits(4, 8192)
    assert vllm_step_limits(**h100, max_num_seqs=4, max_model_len=100, max_num_batched_tokens=9000) == StepLimits(
        4, 9000
    )
