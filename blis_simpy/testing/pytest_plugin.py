"""The pytest plug-in: fixtures, a mark, options, and a list of all verdicts at the end of a run.

Verdicts are properties of test reports, so they are contained in JUnit files and work with pytest-xdist. pytest loads
this module in every run where the library is installed, so it imports the rest of the library on first use.
"""

from __future__ import annotations

import argparse
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

    from blis_simpy.testing.policy_experiment import PolicyExperiment, Simulate

MARK = "policy_experiment"
_FAILED = pytest.StashKey[bool]()
_LEAST = {"replications": 2, "seed": 0}
_ABOUT = {
    "replications": "runs of each scenario in a policy experiment; overrides the tests",
    "seed": "seed of policy experiments; overrides the tests",
}
_PROPERTY = re.compile(rf"{MARK}\[(\d+)\]\.(\w+)")
_COLOURS = {"shown": "green", "refuted": "red", "not decided": "yellow"}


def _whole_number(least: int) -> Any:
    def whole_number(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
        return int(text)

    return whole_number


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options, and the configuration settings that they override."""
    group = parser.getgroup("blis_simpy", "policy experiments (blis_simpy)")
    for name, least in _LEAST.items():
        group.addoption(f"--blis-{name}", type=_whole_number(least), metavar="N", help=_ABOUT[name])
        parser.addini(f"blis_{name}", f"default {name} of policy experiments")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark and the collector of verdicts."""
    line = f"{MARK}(replications=, seed=): options of the policy experiments of a test"
    config.addinivalue_line("markers", line)
    _configured(config)
    config.pluginmanager.register(_Verdicts(), "blis_simpy_verdicts")


def _configured(config: pytest.Config) -> dict[str, int]:
    """Return the settings of the configuration file."""
    found = {}
    for name, least in _LEAST.items():
        text = config.getini(f"blis_{name}")
        if text:
            try:
                found[name] = _whole_number(least)(text)
            except argparse.ArgumentTypeError as error:
                raise pytest.UsageError(f"blis_{name} {error}") from None
    return found


def _marked(node: Any) -> dict[str, int]:
    """Return the arguments of the marks of a test; the closest mark has precedence."""
    found: dict[str, int] = {}
    for mark in node.iter_markers(MARK):
        strange = [*mark.args, *(mark.kwargs.keys() - _LEAST.keys())]
        if strange:
            pytest.fail(f"the mark {MARK} takes replications= and seed=, got {strange[0]!r}", pytrace=False)
        found = {**mark.kwargs, **found}
    return found


def _store(request: pytest.FixtureRequest) -> Path | None:
    """Return the cache folder for the runs of a test; None with `monkeypatch`."""
    # The key of a cached run is the digest of its source code, which does not contain the changes of `monkeypatch`.
    cache = getattr(request.config, "cache", None)
    if cache is None or "monkeypatch" in request.fixturenames:
        return None
    try:
        folder: Path = cache.mkdir("blis_simpy")
    except OSError:  # not writable: pytest works without its cache as well
        return None
    return folder


@pytest.fixture
def policy_experiment(request: pytest.FixtureRequest) -> Iterator[PolicyExperiment]:
    """Compare scenarios in paired replications; returns an outcome with assertions."""
    from blis_simpy.testing.policy_experiment import PolicyExperiment

    properties: list[tuple[str, object]] = request.node.user_properties

    def record(verdict: Mapping[str, Any]) -> None:
        number = 1 + max((int(match[1]) for name, _ in properties if (match := _PROPERTY.match(name))), default=-1)
        properties.extend((f"{MARK}[{number}].{name}", value) for name, value in verdict.items())

    options = {name: request.config.getoption(f"blis_{name}") for name in _LEAST}
    experiment = PolicyExperiment(
        command_line={name: value for name, value in options.items() if value is not None},
        defaults={**_configured(request.config), **_marked(request.node)},
        store=_store(request),
        record=record,
    )
    yield experiment
    if not all(outcome.is_used for outcome in experiment.outcomes) and not request.node.stash.get(_FAILED, False):
        message = f"{request.node.nodeid}: nothing is asserted about the outcome of policy_experiment"
        warnings.warn(pytest.PytestWarning(message), stacklevel=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Note whether a test has failed before its fixtures end."""
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Simulate scenarios, with a cache for the test session."""
    from blis_simpy.testing.policy_experiment import Simulate

    return Simulate()


class _Verdicts:
    """Collects the verdicts of all tests and lists them at the end."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, str], dict[str, dict[str, Any]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the verdicts of a test from the report of its teardown."""
        verdicts: dict[str, dict[str, Any]] = {}
        for name, value in report.user_properties if report.when == "teardown" else ():
            match = _PROPERTY.fullmatch(name)
            if match:
                verdicts.setdefault(match[1], {})[match[2]] = value
        if verdicts:
            file, line, _ = report.location
            self._found[file, line or 0, report.nodeid] = verdicts

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """List the verdicts in the order of the source, independent of the number of workers."""
        if not self._found:
            return
        terminalreporter.write_sep("=", "policy experiments")
        for (*_, test), verdicts in sorted(self._found.items()):
            terminalreporter.write_line(test)
            for verdict in verdicts.values():
                found = verdict["verdict"]
                terminalreporter.write(f"  {found:<12}", **{_COLOURS[found]: True})
                scale = f"{verdict['confidence']}, {verdict['replications']:,} replications"
                terminalreporter.write_line(f"{verdict['claim']}: {verdict['interval']}, {scale}")
            for reason in dict.fromkeys(v["not_cached"] for v in verdicts.values() if "not_cached" in v):
                terminalreporter.write_line(f"  not cached: {reason}")
