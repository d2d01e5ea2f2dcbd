"""Limits on the length of a request."""

import pytest

from blis_simpy.core.request import Request
from blis_simpy.replica.length_limits import LengthLimits


@pytest.mark.parametrize(
    ("prompt", "budget", "max_model_len", "servable"),
    [
        (40, 0, 0, True),
        (41, 0, 0, False),  # 4 blocks of 10 tokens
        (30, 10, 0, True),
        (30, 11, 0, False),
        (31, 0, 32, True),
        (32, 0, 32, False),
        (20, 12, 32, True),
        (20, 13, 32, False),
        (10, 0, 41, False),  # the output may reach the cap
        (10, -1, 0, False),
    ],
)
def test_prompt_and_budget_must_keep_the_cap_and_fit_the_blocks(prompt, budget, max_model_len, servable):
    limits = LengthLimits(max_model_len, 4, 10)
    assert limits.is_servable(Request("r", 0, prompt, 5, max_output_tokens=budget)) is servable


@pytest.mark.parametrize(
    ("prompt", "output", "max_model_len", "progress"),
    [
        (20, 5, 0, (24, False)),
        (20, 0, 0, (20, False)),
        (20, 12, 32, (31, False)),
        (20, 13, 32, (31, True)),
        (31, 1, 32, (31, False)),
    ],
)
def test_request_ends_with_its_output_or_one_token_short_of_the_cap(prompt, output, max_model_len, progress):
    assert LengthLimits(max_model_len, 100, 10).last_progress(Request("r", 0, prompt, output)) == progress
