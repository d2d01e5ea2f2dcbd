"""What was simulated is not simulated again, unless something in it may have changed."""

import pytest

CLAIM = """
    def test_claim(policy_experiment{fixtures}):
        policy_experiment(baseline=first, candidate=spread, replications=4{options}).assert_lower("ttft_mean_ms")
"""


def claim(options="", fixtures=""):
    return CLAIM.format(options=options, fixtures=fixtures)


@pytest.fixture
def kept(project):
    """A project whose runs, four with the policy, were done and kept."""
    project.tests(claim())
    project.run().assert_outcomes(passed=1)
    assert project.runs == 4
    return project


def test_an_experiment_that_did_not_change_is_not_run_again(kept):
    kept.run().assert_outcomes(passed=1)
    assert kept.runs == 4
    assert len(list((kept.path / ".pytest_cache" / "d" / "blis_simpy").glob("*.json"))) == 8


def test_another_claim_about_the_same_runs_is_no_new_experiment(kept):
    kept.tests(claim().replace("ttft_mean_ms", "e2e_p99_ms"))
    kept.run().assert_outcomes(passed=1)
    assert kept.runs == 4


def test_more_replications_are_added_to_those_that_there_are(kept):
    kept.run("--blis-replications=6").assert_outcomes(passed=1)
    assert kept.runs == 6


def test_a_policy_that_was_edited_is_run_again(kept):
    """Now it sends everything to the second replica, as well as its log tells."""
    text = (kept.path / "policies.py").read_text().replace("return helper.FIRST", "return 1 - helper.FIRST")
    kept.write("policies.py", text)
    kept.run().assert_outcomes(passed=1)
    assert kept.runs == 8


def test_what_a_policy_imports_counts_too(kept):
    kept.write("helper.py", "FIRST = 1")
    kept.run().assert_outcomes(passed=1)
    assert kept.runs == 8


def test_another_seed_is_another_experiment(kept):
    kept.run("--blis-seed=1").assert_outcomes(passed=1)
    assert kept.runs == 8


def test_the_cache_can_be_cleared_and_done_without(kept):
    kept.run("--cache-clear").assert_outcomes(passed=1)
    assert kept.runs == 8
    kept.run("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert kept.runs == 12


def test_one_experiment_can_do_without(kept):
    kept.tests(claim(options=", store=None"))
    result = kept.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*not cached*")
    assert kept.runs == 8


def test_a_test_that_may_patch_something_is_always_run(kept):
    """In its source, the policy is what it was."""
    kept.tests(
        """
        import helper

        def test_claim(policy_experiment, monkeypatch):
            monkeypatch.setattr(helper, "FIRST", 1)
            policy_experiment(baseline=first, candidate=spread, replications=4).assert_lower("ttft_mean_ms")
        """
    )
    kept.run().assert_outcomes(passed=1)
    kept.run().assert_outcomes(passed=1)
    assert kept.runs == 12


def test_a_policy_that_cannot_be_identified_is_always_run_and_the_reason_is_told(project):
    project.tests(
        """
        from policies import First

        def test_claim(policy_experiment):
            class Mine(First):
                pass

            outcome = policy_experiment(baseline=spread.with_(router=Mine), candidate=spread, replications=4)
            outcome.assert_lower("ttft_mean_ms")
            outcome.assert_lower("ttft_p99_ms")
        """
    )
    for runs in (4, 8):
        result = project.run()
        result.assert_outcomes(passed=1)
        assert project.runs == runs
    reason = (
        "test_mine.test_claim.<locals>.Mine cannot be identified: it is defined inside a function; move it to a module"
    )
    assert [line for line in result.stdout.lines if "not cached" in line] == [f"  not cached: {reason}"]


def test_workers_keep_what_they_run_for_all(project):
    """Two of them simulate the same at the same time."""
    project.tests(claim() + claim().replace("test_claim", "test_more"))
    project.run_workers().assert_outcomes(passed=2)
    runs = project.runs
    project.run().assert_outcomes(passed=2)
    assert project.runs == runs


def test_a_session_simulates_a_scenario_once_a_seed(project):
    project.tests(
        """
        def test_one(simulate):
            assert simulate(first) is simulate(first) is simulate(first, seed=42)
            assert simulate(first, seed=3).seed == 3

        def test_other(simulate):
            assert simulate(first).metric("completed") == 50
        """
    )
    project.run().assert_outcomes(passed=2)
    assert project.runs == 2


def test_a_session_keeps_no_more_than_the_latest_results(project):
    """Seventeen others push the first one out."""
    project.tests(
        """
        def test_claim(simulate):
            early = simulate(first)
            late = [simulate(first, seed=seed) for seed in range(17)][-1]
            assert simulate(first, seed=16) is late
            assert simulate(first) is not early
        """
    )
    project.run().assert_outcomes(passed=1)


def test_a_session_simulates_what_cannot_be_identified_each_time(project):
    project.tests(
        """
        from policies import First

        def test_claim(simulate):
            class Mine(First):
                pass

            mine = spread.with_(router=Mine)
            assert simulate(mine) is not simulate(mine)
        """
    )
    project.run().assert_outcomes(passed=1)
    assert project.runs == 2
