"""A conformance suite in a project of a user, with plain pytest."""

import subprocess
import sys

import pytest

from blis_simpy import testing

ROUTERS = """
    class Position:
        def route(self, request, state):
            return len(state.snapshots) - 1

    class Last:
        def route(self, request, state):
            return state.snapshots[-1].replica
"""
TESTS = """
    from routers import Last, Position
    from blis_simpy.testing import RoutingPolicyTests

    class TestLast(RoutingPolicyTests):
        def make(self):
            return Last()

    class TestPosition(RoutingPolicyTests):
        def make(self):
            return Position()
"""


def test_pytest_collects_the_tests_of_a_subclass_and_shows_which_rule_is_violated(project):
    project.write("routers.py", ROUTERS)
    project.write("test_routers.py", TESTS)
    result = project.run()
    result.assert_outcomes(passed=13, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*TestPosition.test_route_returns_the_index_of_a_shown_replica*",
            "E   *AssertionError: Position: route must return the index of a replica that it is shown, or *",
            "E  * returned: 1",
            "E  * shown: [[]0, 4[]]",
            "E  * request: 'request_0'",
            "E  * tick: 0",
        ]
    )
    result.stdout.no_fnmatch_line("*suite.py*")


def test_the_suites_need_no_library_for_tests():
    code = (
        "import sys, blis_simpy.testing as testing\n"
        "assert not any(name.startswith(('numpy', 'attrs', 'blis_simpy.testing.')) for name in sys.modules)\n"
        "[getattr(testing, name) for name in testing.__all__]\n"
        "print(sorted({'pytest', 'hypothesis', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match=r"^module 'blis_simpy\.testing' has no attribute 'RouterTests'$"):
        _ = testing.RouterTests


def test_all_names_are_listed():
    assert set(testing.__all__) <= set(dir(testing))
