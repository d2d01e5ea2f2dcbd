"""The same scenario and seed give the same bytes, whatever the process that runs it.

Other versions of Python are tried if there are virtual environments of them in the checkout, such as ``.venv-3.13``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.equivalence

SCRIPT = Path(__file__).with_name("determinism.py")
ROOT = SCRIPT.parents[1]
PYTHONS = sorted(ROOT.glob(".venv-[0-9]*/bin/python"))
PROCESSES = {
    "hash seed 1": (["python"], {"PYTHONHASHSEED": "1"}),
    "random hash seed": (["python"], {"PYTHONHASHSEED": "random"}),
    "-O": (["python", "-O"], {}),
    "-OO": (["python", "-OO"], {}),
    "another time zone, locale and width": (["python"], {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "COLUMNS": "200"}),
    "step by step": (["python"], {}),
}


def digests(command, variables, *words):
    command = [sys.executable if word == "python" else word for word in command]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "COLUMNS": "200", **variables}
    done = subprocess.run([*command, SCRIPT, *words], capture_output=True, text=True, check=True, env=environment)
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def expected():
    return digests(["python"], {})


@pytest.mark.parametrize("name", PROCESSES)
def test_processes_give_the_same_bytes(expected, name):
    found = digests(*PROCESSES[name], *(["plain"] if name == "step by step" else []))
    assert found == {key: expected[key] for key in found}
    assert len(found) >= 18


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parts[-3])
def test_versions_of_python_give_the_same_bytes(expected, python):
    assert digests([python], {}) == expected
