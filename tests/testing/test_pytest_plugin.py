"""The plug-in, used by a project of its own."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points

import pytest

import blis_simpy
from blis_simpy.testing import pytest_plugin

SHOWN = """
    def test_shown(policy_experiment):
        outcome = policy_experiment(baseline=first, candidate=spread, replications=5)
        outcome.assert_lower("ttft_mean_ms", by=0.5)
        outcome.assert_equivalent("completed", by=0.01, confidence=0.99)
"""
SHOWN_LINES = [
    "*= policy experiments =*",
    "test_mine.py::test_shown",
    "  shown       ttft_mean_ms of candidate is at least 50 % lower than that of baseline: -9*, 95 %, 5 replications",
    "  shown       completed of candidate differs from that of baseline by at most 1 %: 0 % [[]0 %, 0 %[]], 99 %, *",
]


def test_mine_that_are_shown_pass_and_are_listed(project):
    project.tests(SHOWN)
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(SHOWN_LINES, consecutive=True)
    assert project.runs == 5


def test_an_experiment_without_an_assertion_is_a_warning(project):
    project.tests(
        """
        def test_nothing(policy_experiment):
            policy_experiment(baseline=first, candidate=spread, replications=2)

        def test_looked_at(policy_experiment):
            assert len(policy_experiment(baseline=first, candidate=spread, replications=2).comparison) == 2

        def test_failed(policy_experiment):
            policy_experiment(baseline=first, candidate=spread, replications=2)
            assert False
        """
    )
    result = project.run()
    result.assert_outcomes(passed=2, failed=1, errors=1)  # warnings are errors in this project
    result.stdout.fnmatch_lines(["*PytestWarning: test_mine.py::test_nothing: nothing is asserted about the outcome*"])


def test_a_claim_that_is_refuted_fails_with_its_figures(project):
    project.tests(
        """
        def test_refuted(policy_experiment):
            outcome = policy_experiment({"one": first, "both": spread}, replications=5)
            outcome.assert_higher("ttft_mean_ms", by=0.2)
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>   *outcome.assert_higher("ttft_mean_ms", by=0.2)',
            "E   *AssertionError: refuted that ttft_mean_ms of both is at least 20 % higher than that of one",
            "E  * one     99.73 on average",
            "E  * both    7.975 on average",
            "E  * change  -92.0 % [[]-93.8 %, -88.4 %[]], each end with 95 % confidence, claimed at least +20 %",
            "E  * 5 paired replications, seed 42; enough to refute it",
            "",
            "test_mine.py:6: AssertionError",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(["  refuted     ttft_mean_ms of both is at least 20 % higher than that of one: -9*"])
    result.stdout.no_fnmatch_line("*policy_experiment.py*")


def test_a_claim_that_is_not_decided_fails_and_says_what_would_decide(project):
    project.tests(
        """
        def test_open(policy_experiment):
            outcome = policy_experiment(baseline=first, candidate=spread, replications=5)
            outcome.assert_lower("ttft_mean_ms", by=0.9)
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E  *not decided whether ttft_mean_ms of candidate is at least 90 % lower than that of baseline",
            "E  * baseline   99.73 on average",
            "E  * candidate  7.975 on average",
            "E  * change     -92.0 % [[]-93.8 %, -88.4 %[]], each end with 95 % confidence, claimed at most -90 %",
            "E  * 5 paired replications, seed 42; about 40 replications would probably decide",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(
        ["  not decided ttft_mean_ms of candidate is at least 90 % lower than that of baseline: *"]
    )


def test_nothing_is_listed_where_nothing_was_claimed(project):
    project.tests("def test_claim(policy_experiment): pass")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*policy experiments*")


def test_verdicts_of_fixtures_are_listed_with_the_test(project):
    project.tests(
        """
        @pytest.fixture
        def outcome(policy_experiment):
            outcome = policy_experiment(baseline=first, candidate=spread, replications=3)
            outcome.assert_lower("ttft_mean_ms")
            yield outcome
            outcome.assert_lower("ttft_p99_ms")

        def test_claim(outcome):
            pass
        """
    )
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_mine.py::test_claim", "  shown *ttft_mean_ms*", "  shown *ttft_p99_ms*"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            'policy_experiment(baseline=first, candidate=spread).assert_lower("ttft_men_ms")',
            "metric was not measured, got 'ttft_men_ms'; did you mean 'ttft_mean_ms'[?] known: *",
        ),
        (
            'policy_experiment(baseline=first, candidate=spread).assert_lower("ttft_p99.9_ms")',
            "metric was not measured, got 'ttft_p99.9_ms'; ask for it: metrics=[[]'ttft_p99.9_ms'[]]",
        ),
        (
            'policy_experiment(baseline=first, candidate=spread).assert_lower("ttft_p99_ms", by=20)',
            "by must be >= 0 and < 1, as a fraction of the baseline's mean, got 20; *",
        ),
        (
            'policy_experiment({"a": first, "b": spread, "c": spread}).assert_lower("ttft_p99_ms")',
            "candidate must be one of b, c, got None",
        ),
        (
            'policy_experiment({"a": first, "b": spread}).assert_lower("ttft_p99_ms", candidate="a")',
            "candidate must be one of b, got 'a'",
        ),
        ("policy_experiment(baseline=first)", "candidate must be a Scenario, got None"),
        ('policy_experiment(baseline="first", candidate=spread)', "baseline must be a Scenario, got 'first'"),
        ("policy_experiment(first, candidate=spread)", "scenarios must be a mapping of two names or more to *"),
        ('policy_experiment({"a": first})', "scenarios must be a mapping of two names or more to scenarios, got *"),
        ('policy_experiment({"a": first, 2: spread})', "scenarios must have names that are text, got 2"),
        ('policy_experiment({"a": first, "b": spread}, baseline="c")', "baseline must be one of a, b, got 'c'"),
        (
            'policy_experiment({"a": first, "b": spread}, candidate=spread)',
            "candidate must be one of the scenarios, or there must be none",
        ),
        (
            "policy_experiment(baseline=first, candidate=spread, replications=1)",
            "replications must be an integer >= 2, got 1",
        ),
        ("policy_experiment(baseline=first, candidate=spread, seed=-1)", "seed must be an integer >= 0, got -1"),
        ('policy_experiment(baseline=first, candidate=spread, executor="moon")', "executor is unknown, got 'moon'*"),
        ('simulate("first")', "scenario must be a Scenario, got 'first'"),
    ],
)
def test_mistakes_are_named_at_the_line_of_the_user(project, call, message):
    project.tests(
        f"""
        @pytest.mark.policy_experiment(replications=2)
        def test_claim(policy_experiment, simulate):
            {call}
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    # A long line is wrapped in the source, and marked below.
    result.stdout.fnmatch_lines([f">   *{call.split('(')[0]}*", f"E   *ScenarioError: {message}"])
    result.stdout.fnmatch_lines(["test_mine.py:6: ScenarioError"])


def test_a_policy_that_breaks_shows_its_own_line(project):
    project.write(
        "policies.py",
        """
        class First:
            def route(self, request, state):
                return state.snapshots["first"].replica
        """,
    )
    project.tests(SHOWN)
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">   *return state.snapshots*",
            "policies.py:3: TypeError",
            ">   *policy_experiment(baseline=first, candidate=spread, replications=5)",
            "E  *PluginError: baseline: policy First raised TypeError(*) in route (request *, tick *); seed *",
        ]
    )
    result.stdout.no_fnmatch_line("*cannot be identified*")


SETTINGS = """
    @pytest.mark.policy_experiment(replications=4, seed=40)
    class TestMarked:
        def test_mark(self, policy_experiment):
            self.check(policy_experiment(baseline=first, candidate=spread), {mark})

        @pytest.mark.policy_experiment(seed=50)
        def test_closest_mark(self, policy_experiment):
            self.check(policy_experiment(baseline=first, candidate=spread), {closest})

        def test_call(self, policy_experiment):
            self.check(policy_experiment(baseline=first, candidate=spread, replications=3, seed=30), {call})

        def check(self, outcome, expected):
            assert (len(outcome.comparison), outcome.seed) == expected

    def test_default(policy_experiment):
        TestMarked().check(policy_experiment(baseline=first, candidate=spread), {default})
"""


@pytest.mark.parametrize(
    ("ini", "options", "expected"),
    [
        ("", [], {"mark": (4, 40), "closest": (4, 50), "call": (3, 30), "default": (20, 42)}),
        (
            "blis_replications = 6\nblis_seed = 0",
            [],
            {"mark": (4, 40), "closest": (4, 50), "call": (3, 30), "default": (6, 0)},
        ),
        ("blis_seed = 60", ["--blis-seed=0"], {"mark": (4, 0), "closest": (4, 0), "call": (3, 0), "default": (20, 0)}),
        (
            "blis_replications = 6",
            ["--blis-replications=2"],
            {"mark": (2, 40), "closest": (2, 50), "call": (2, 30), "default": (2, 42)},
        ),
    ],
)
def test_the_command_line_beats_the_call_the_mark_the_configuration(project, ini, options, expected):
    project.write("pytest.ini", "[pytest]\n" + ini)
    project.tests(SETTINGS.format(**expected))
    project.run(*options).assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--blis-replications=1", "argument --blis-replications: must be an integer >= 2, got '1'"),
        ("--blis-replications=ten", "argument --blis-replications: must be an integer >= 2, got 'ten'"),
        ("--blis-seed=-1", "argument --blis-seed: must be an integer >= 0, got '-1'"),
        ("-oblis_replications=1", "blis_replications must be an integer >= 2, got '1'"),
        ("-oblis_seed=x", "blis_seed must be an integer >= 0, got 'x'"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(project, option, message):
    project.tests(SHOWN)
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}"])
    assert project.runs == 0


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("seeds=3", "the mark policy_experiment takes replications= and seed=, got 'seeds'"),
        ("10", "the mark policy_experiment takes replications= and seed=, got 10"),
    ],
)
def test_a_wrong_mark_is_an_error_of_the_test(project, mark, message):
    project.tests(f"@pytest.mark.policy_experiment({mark})\ndef test_claim(policy_experiment): pass\n")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_wrong_values_of_a_mark_are_named(project):
    project.tests(
        """
        @pytest.mark.policy_experiment(replications="many")
        def test_claim(policy_experiment):
            policy_experiment(baseline=first, candidate=spread)
        """
    )
    project.run().stdout.fnmatch_lines(["E  *ScenarioError: replications must be an integer >= 2, got 'many'"])


def test_junit_files_have_the_verdicts_as_properties(project):
    project.tests(SHOWN)
    project.run("--junit-xml=found.xml")
    properties = ET.parse(project.path / "found.xml").iter("property")
    found = {each.get("name"): each.get("value") for each in properties}
    interval = found.pop("policy_experiment[0].interval")
    assert interval.startswith("-9")
    names = {"candidate": "candidate", "baseline": "baseline", "replications": "5", "seed": "42", "verdict": "shown"}
    claims = [
        {
            "metric": "ttft_mean_ms",
            "claim": "ttft_mean_ms of candidate is at least 50 % lower than that of baseline",
            "confidence": "95 %",
        },
        {
            "metric": "completed",
            "claim": "completed of candidate differs from that of baseline by at most 1 %",
            "confidence": "99 %",
            "interval": "0 % [0 %, 0 %]",
        },
    ]
    assert found == {
        f"policy_experiment[{number}].{name}": value
        for number, claim in enumerate(claims)
        for name, value in {**names, **claim}.items()
    }


def test_verdicts_of_all_workers_are_listed_once_in_the_order_of_the_source(project):
    one = """
    def test_{name}(policy_experiment):
        policy_experiment(baseline=first, candidate=spread, replications=2).assert_lower("ttft_mean_ms")
    """
    project.tests("".join(one.format(name=name) for name in "cab"), "test_one.py")
    project.tests("".join(one.format(name=name) for name in "zy"), "test_more.py")
    result = project.run_workers("--junit-xml=found.xml")
    result.assert_outcomes(passed=5)
    text = result.stdout.str()
    assert text.count("= policy experiments =") == 1
    listed = [line.partition("::")[2] for line in text.splitlines() if "::test_" in line]
    assert listed == ["test_z", "test_y", "test_c", "test_a", "test_b"]
    assert text.count("  shown ") == 5
    verdicts = [
        each.get("value")
        for each in ET.parse(project.path / "found.xml").iter("property")
        if each.get("name").endswith(".verdict")
    ]
    assert verdicts == ["shown"] * 5


def test_pytest_finds_it_where_the_library_is_installed():
    (entry,) = entry_points(group="pytest11", name="blis_simpy")
    assert entry.load() is pytest_plugin


def test_plugins_of_other_packages_do_not_affect_the_test_runs_of_this_folder(project):
    project.write("other.py", "raise RuntimeError('not for this project')")
    (project.path / "other-1.dist-info").mkdir()
    project.write("other-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1")
    project.write("other-1.dist-info/entry_points.txt", "[pytest11]\nother = other")
    project.tests("def test_claim(): pass")
    project.run().assert_outcomes(passed=1)


def test_it_costs_nothing_until_a_fixture_is_asked_for(project):
    project.write("test_plain.py", "def test_plain(): pass")
    code = (
        "import sys, pytest; pytest.main(['-q', '--collect-only']);"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('blis_simpy', 'numpy', 'scipy', 'attrs')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(["blis_simpy", "blis_simpy.testing", "blis_simpy.testing.pytest_plugin"])


def test_pytest_does_not_mind_that_the_library_was_imported_before():
    """Installed from a wheel, it would rewrite it, and warns where that is too late, unless the docstring says no."""
    assert "PYTEST_DONT_REWRITE" in blis_simpy.__doc__


def test_its_options_and_its_mark_and_its_fixtures_are_documented(project):
    project.run("--help").stdout.fnmatch_lines(["policy experiments (blis_simpy):", "  --blis-replications=N*"])
    project.run("--markers").stdout.fnmatch_lines(["@pytest.mark.policy_experiment(replications=*): options of *"])
    project.run("--fixtures").stdout.fnmatch_lines(["simulate [[]session scope[]] *", "policy_experiment *"])
