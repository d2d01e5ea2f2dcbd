"""Admission policies."""

from __future__ import annotations

import pytest
from policy_views import context, request, state

from blis_simpy.cluster.admission import AlwaysAdmit, RejectAll, TokenBucket
from blis_simpy.cluster.policies import AdmissionDecision
from blis_simpy.errors import ScenarioError


def outcomes(bucket, *asked):
    return [bucket.admit(request(tokens=cost), state(now=now)).admitted for now, cost in asked]


def test_always_admit_gives_no_reason():
    assert AlwaysAdmit().admit(request(), state()) == AdmissionDecision(True, "")


def test_reject_all_says_so():
    assert RejectAll().admit(request(), state()) == AdmissionDecision(False, "reject-all")


def test_token_bucket_admits_as_it_refills():
    """1000 tokens/s: 50 are there after 10 ms, exactly the 60 needed after 20 ms; 101 never fit into 100."""
    asked = ((0, 60), (0, 60), (10_000, 60), (20_000, 60), (20_001, 60), (200_000, 101), (200_000, 100))
    assert outcomes(TokenBucket(100, 1000), *asked) == [True, False, False, True, False, False, True]


def test_token_bucket_gives_a_reason_only_for_a_rejection():
    bucket = TokenBucket(10, 1)
    assert bucket.admit(request(tokens=10), state()).reason == ""
    assert bucket.admit(request(tokens=1), state()).reason == "insufficient tokens"


def test_token_bucket_always_admits_an_empty_prompt():
    assert outcomes(TokenBucket(1, 1e-9), (0, 1), (0, 0)) == [True, True]


def test_token_bucket_refills_by_multiplying_first():
    """3 µs at 0.7 tokens/µs are 3.0 * 700000 / 1e6 = 2.1 tokens, to the last bit; 3 * 0.7 would be less."""
    bucket = TokenBucket(10, 700_000)
    bucket.admit(request(tokens=10), state())
    bucket.admit(request(tokens=10), state(now=3))
    assert bucket._tokens == 3.0 * 700_000 / 1e6


def test_token_bucket_is_full_again_in_another_run():
    bucket = TokenBucket(10, 1)
    assert outcomes(bucket, (1_000_000, 10), (1_000_000, 10)) == [True, False]
    bucket.start(context())
    assert outcomes(bucket, (0, 10), (0, 1)) == [True, False]


def test_token_bucket_refuses_numbers_that_make_no_bucket():
    with pytest.raises(ScenarioError) as caught:
        TokenBucket(capacity=0)
    assert str(caught.value) == "capacity must be > 0, got 0"
    with pytest.raises(ScenarioError) as caught:
        TokenBucket(refill_rate=float("nan"))
    assert str(caught.value) == "refill_rate must be a finite number, got nan"
