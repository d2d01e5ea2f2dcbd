"""Random clusters, moved about by a user's process: many steps at once against one at a time, and what is conserved."""

import pytest
from hypothesis import HealthCheck, given, settings
from random_clusters import cases, check, runs_of_steps_everywhere

__all__ = ["runs_of_steps_everywhere"]


@pytest.mark.equivalence
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_random_clusters_step_by_step_and_many_steps_at_once(case):
    check(case)
