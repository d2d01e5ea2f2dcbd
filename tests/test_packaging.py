"""What gets installed: metadata, data files, and a program that runs away from the checkout."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

from blis_simpy import registry

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = PROJECT["entry-points"]


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_installed_plugins_are_those_declared(group):
    found = {entry.name: entry.value for entry in entry_points(group=group) if entry.dist.name == PROJECT["name"]}
    assert found == GROUPS[group], "install again: pip install --editable ."


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (group.removeprefix(registry.GROUP_PREFIX), name)
        for group, names in GROUPS.items()
        if group.startswith(registry.GROUP_PREFIX)
        for name in names
    ],
)
def test_declared_plugins_load(kind, name):
    assert registry.get(kind, name) is not None


def test_installed_version_is_the_declared_one():
    assert distribution(PROJECT["name"]).version == PROJECT["version"], "install again: pip install --editable ."


def test_lowest_versions_are_the_declared_ones():
    """`make test-lowest` tests what pyproject.toml promises."""
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    lowest = {line for line in lines if line and not line.startswith("#")}
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = re.search(r'"\.\[([a-z,]+)\]" --constraint', recipe)[1].split(",")
    declared = PROJECT["dependencies"] + [one for extra in extras for one in PROJECT["optional-dependencies"][extra]]
    assert lowest == {dependency.partition(",")[0].replace(">=", "==") for dependency in declared}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", folder], check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_is_pure_python_unless_compilation_is_requested(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".pyd", ".c"))]


@pytest.mark.slow
def test_wheel_contains_the_data_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "blis_simpy/py.typed",
        "blis_simpy/data/defaults.yaml",
        "blis_simpy/data/hardware_config.json",
        "blis_simpy/data/scenarios/quickstart.yaml",
    } <= names
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/")) for name in names)


@pytest.mark.slow
def test_wheel_runs_in_an_environment_of_its_own_and_an_empty_folder(wheel, tmp_path):
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    # The dependencies come from the environment under test, so that nothing is fetched.
    sites = [path for path in sys.path if path.endswith("site-packages")]
    target = next((home / "lib").glob("python*")) / "site-packages"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (target / "dependencies.pth").write_text("\n".join(sites), encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))}
    where = [python, "-c", "import blis_simpy; print(blis_simpy.__file__)"]
    here = subprocess.run(where, cwd=empty, env=clean, capture_output=True, text=True, check=True).stdout
    assert Path(here.strip()).is_relative_to(target)
    command = [home / "bin" / "blis", "run", "quickstart", "--num-requests", "20", "--report", "summary"]
    done = subprocess.run(command, cwd=empty, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 of 20 requests completed" in done.stdout
