"""The engine profile ``vllm`` takes the decisions of vLLM: the recorded ones, and those of the plain model."""

import plain_adapter
import profile_engine
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from plain_model import EndlessCaseError
from random_cases import random_case
from recordings import NAMES, VARIANTS, recorded
from timeline import summary

SEEDS = st.integers(0, 2**32)
RANDOM = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_recorded_decisions_are_reproduced(name, variant):
    """Step by step; with macro-steps and with unnamed contents, which show no steps, `vllm_case` compares the rest."""
    case = recorded(name)
    assert summary(profile_engine.vllm_case(case, variant)) == case[variant]


@pytest.mark.equivalence
@pytest.mark.parametrize("variant", VARIANTS)
@RANDOM
@given(seed=SEEDS)
def test_random_cases_are_served_as_by_the_plain_model(variant, seed):
    """In each case slots, budget, threshold, policy, prefix caching, watermark, maximum length, aborts may be drawn."""
    case = random_case(seed)
    try:
        expected = plain_adapter.vllm_case(case, variant)
    except EndlessCaseError:
        assume(False)
    assert profile_engine.vllm_case(case, variant) == expected
