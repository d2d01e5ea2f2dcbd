"""The policies in `examples/` pass the conformance suites."""

import runpy
from pathlib import Path

import pytest
from broken_rules import failures

from blis_simpy.testing import AdmissionPolicyTests, RoutingPolicyTests, ScorerTests

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("suite", "file", "name"),
    [
        (RoutingPolicyTests, "router.py", "TwoChoices"),
        (ScorerTests, "scorer.py", "SameTenant"),
        (AdmissionPolicyTests, "admission.py", "ShedBatch"),
        (RoutingPolicyTests, "policy-tests/my_policies.py", "StickyTenant"),
    ],
)
def test_a_policy_of_an_example_passes_the_suite_of_its_kind(suite, file, name):
    policy = runpy.run_path(str(EXAMPLES / file))[name]
    assert failures(suite, lambda self: policy()) == {}
