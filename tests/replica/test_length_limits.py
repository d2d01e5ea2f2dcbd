"""Limits on the length of a request."""

import pytest

from blis_simpy.core.request import Request
from blis_simpy.replica.length_limits import ClippedLengths, LengthLimits


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


def test_shortest_prompt_is_a_limit_of_its_own():
    for cls in (LengthLimits, ClippedLengths):
        assert cls(32, 4, 10).is_servable(Request("r", 0, 0, 5))
        assert not cls(32, 4, 10, min_input_tokens=1).is_servable(Request("r", 0, 0, 5))


@pytest.mark.parametrize(
    ("prompt", "budget", "max_model_len", "servable"),
    [
        (39, 0, 0, True),
        (40, 0, 0, True),  # 40 tokens fill 4 blocks; the one output is not stored
        (41, 0, 0, False),
        (31, 0, 32, True),  # room for one output
        (32, 0, 32, False),
        (20, 32, 32, True),  # prompt and budget together may exceed the cap: the output is clipped
        (20, 33, 32, False),  # the budget alone may not
        (10, -1, 0, False),
        (10, 999, 0, True),
    ],
)
def test_clipped_prompt_must_leave_room_for_an_output(prompt, budget, max_model_len, servable):
    limits = ClippedLengths(max_model_len, 4, 10)
    assert limits.is_servable(Request("r", 0, prompt, 5, max_output_tokens=budget)) is servable


@pytest.mark.parametrize(
    ("prompt", "output", "budget", "max_model_len", "progress"),
    [
        (20, 5, 0, 0, (24, False)),
        (20, 0, 0, 0, (20, False)),  # one output all the same
        (20, 5, 3, 0, (22, False)),  # the budget ends it
        (20, 12, 0, 32, (31, False)),
        (20, 13, 0, 32, (31, True)),
        (20, 30, 13, 32, (31, True)),
        (30, 30, 0, 0, (40, True)),  # 4 blocks of 10 hold the prompt and 10 outputs; the 11th is not stored
    ],
)
def test_clipped_request_ends_with_its_output_its_budget_or_at_the_cap(prompt, output, budget, max_model_len, progress):
    limits = ClippedLengths(max_model_len, 4, 10)
    assert limits.last_progress(Request("r", 0, prompt, output, max_output_tokens=budget)) == progress
