"""A project of a user, in a folder of its own, whose policies note each run that they see."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from small_runs import three  # noqa: F401

import blis_simpy as blis
from blis_simpy.experiment.source_digest import source_of_module
from blis_simpy.testing.policy_experiment import PolicyExperiment

if TYPE_CHECKING:
    from pathlib import Path

SETTLED = ("-W", "error", "--strict-markers")
PLUGIN = "blis_simpy.testing.pytest_plugin"
POLICIES = """
    import helper

    class First:
        def start(self, context):
            with open("runs.log", "a") as log:
                log.write("x")

        def route(self, request, state):
            return helper.FIRST
"""
DEPLOYMENT = """
    import blis_simpy as blis
    from policies import First

    spread = blis.Scenario(
        model="any/model", hardware="H100", tp=1, engine_version="any", replicas=2,
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(5000.0, 1.0, 100.0)),
        engine=blis.EngineSettings(profile="blis", max_num_seqs=4), kv=blis.KVSettings(blocks=10_000),
        workload=blis.Workload(rate=40, num_requests=50, arrivals="poisson",
            prompt=blis.Gaussian(100, 30, 10, 200), output=blis.Constant(20)),
    )
    first = spread.with_(router=First)
"""


class Project:
    """Two replicas that can serve forty requests a second together, and one of them alone can not."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path: Path = pytester.path
        self.write("helper.py", "FIRST = 0")
        self.write("policies.py", POLICIES)
        self.write("deployment.py", DEPLOYMENT)

    def write(self, name: str, text: str) -> None:
        """Write a file, without the margin of the text."""
        (self.path / name).write_text(dedent(text).strip() + "\n", encoding="utf-8")

    def tests(self, text: str, name: str = "test_mine.py") -> None:
        """Write a file of tests."""
        self.write(name, "import pytest\nfrom deployment import first, spread\n" + dedent(text))

    def run(self, *options: str) -> pytest.RunResult:
        """Run its tests in this process, as if it had just begun."""
        source_of_module.cache_clear()
        return self.pytester.runpytest_inprocess(*SETTLED, *options)

    def run_workers(self, *options: str) -> pytest.RunResult:
        """Run its tests in two processes of their own."""
        return self.pytester.runpytest_subprocess(*SETTLED, "-p", "xdist", "-n2", *options)

    @property
    def runs(self) -> int:
        """How many runs the policy has seen."""
        log = self.path / "runs.log"
        return len(log.read_text()) if log.exists() else 0


@pytest.fixture(autouse=True)
def _no_foreign_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load our plug-in alone in the test runs that tests start, whatever plug-ins are installed beside it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", PLUGIN)


@pytest.fixture(scope="session")
def _everything_is_imported() -> None:
    """What a project would be the first one to import is taken away with it, and numpy cannot be imported twice."""
    scenario = blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        engine_version="any",
        replicas=2,
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(5000.0, 1.0, 100.0)),
        kv=blis.KVSettings(blocks=10_000),
        workload=blis.Workload(rate=40, num_requests=50, arrivals="poisson"),
    )
    experiment = PolicyExperiment(command_line={}, defaults={}, store=None, record=lambda verdict: None)
    experiment(baseline=scenario, candidate=scenario).assert_equivalent("e2e_mean_ms", by=0.1)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, _everything_is_imported: None) -> Project:
    """A project whose tests are still to be written."""
    monkeypatch.syspath_prepend(pytester.path)
    return Project(pytester)
