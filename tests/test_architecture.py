"""Which part may import which, and what an import costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sys.executable).parent


def test_imports_keep_their_contracts():
    """The contracts stand in pyproject.toml; `make lint` checks them too."""
    checker = PROGRAMS / "lint-imports"
    if not checker.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([checker, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


HEAVY = {"numpy", "scipy", "simpy", "pandas", "matplotlib", "cattrs", "yaml", "rich", "httpx", "IPython"}


def modules_after(code):
    """Names of the modules that a new interpreter has after running some code."""
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def imported_by(code):
    """Top-level names of the modules that a new interpreter has after running some code."""
    return {name.partition(".")[0] for name in modules_after(code)}


def test_importing_the_library_imports_no_other_library():
    assert not imported_by("import blis_simpy") & {*HEAVY, "attrs"}


def test_a_scenario_is_described_without_the_libraries_that_simulate_it():
    code = (
        "import blis_simpy as b; b.Scenario(model='qwen/qwen3-14b', workload=b.Workload(rate='5/s'), router='weighted')"
    )
    assert not imported_by(code) & (HEAVY - {"numpy"})  # distributions of lengths and arrivals need numpy


def test_the_class_of_scenarios_imports_settings_alone():
    modules = modules_after("import blis_simpy; blis_simpy.Scenario")
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    # Each takes a hundredth of the time of the import, and is for what a user has written: quantities, files, mistakes.
    assert not modules & {"decimal", "difflib", "fractions", "importlib.metadata", "json", "pathlib"}
    own = {name.removeprefix("blis_simpy.") for name in modules if name.startswith("blis_simpy.")}
    packages = {"cluster", "core", "latency", "network", "replica", "settings", "workload", "workload.spec"}
    settings = {
        *("scenario", "scenario_settings", "cluster.settings", "latency.settings", "network.settings"),
        *("replica.settings", "replica.tier_settings", "workload.settings", "core.slo_targets"),
        *("workload.traffic", "workload.spec.arrival", "workload.spec.length_distribution"),
    }
    of_types = {"cluster.policies", "latency.base", "replica.tier_eviction"}
    leaves = {"errors", "plain_values", "registry", "units"}
    assert {name for name in own - packages - settings - of_types - leaves if not name.startswith("settings.")} == set()
    assert len(own) <= 40


@pytest.mark.parametrize(
    "words", [["--help"], ["version"], ["list", "scenarios"], ["run", "--help"], ["fit", "--help"]]
)
def test_a_command_that_simulates_nothing_imports_neither_numpy_nor_simpy(words):
    assert not imported_by(f"from blis_simpy.cli.main import main; main({words})") & (HEAVY - {"yaml"})


def test_a_run_of_generated_requests_without_a_summary_loads_neither_display_nor_traces():
    words = ["run", "quickstart", "--num-requests", "5", "--report", "none", "--results-path", os.devnull]
    modules = modules_after(f"from blis_simpy.cli.main import main; main({words})")
    assert not [name for name in modules if name.startswith("blis_simpy.display")]
    assert not modules & {"blis_simpy.recorded_workloads", "blis_simpy.trace_files.trace"}


@pytest.mark.parametrize("path", sorted((ROOT / "blis_simpy").rglob("*.py")), ids=lambda path: path.name)
def test_modules_say_what_they_are_for(path):
    source = path.read_text(encoding="utf-8")
    assert not source or source.startswith('"""')
