"""The page about tests of policies: pytest prints what it says."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test-policies.md").read_text(encoding="utf-8")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def folder(tmp_path):
    for name, text in re.findall(r'^```python title="(.*?)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_commands_print_what_the_page_says(folder):
    commands = re.findall(r"^```\n\$ pytest (.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(commands) == 2
    for options, expected in commands:
        files = [] if "test_" in options else ["test_routing.py"]
        argv = [sys.executable, "-m", "pytest", "-W", "error", *options.split(), *files]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        assert doctest.OutputChecker().check_output(expected, done.stdout, FLAGS), done.stdout


def test_the_other_tests_on_the_page_pass(folder):
    argv = [sys.executable, "-m", "pytest", "-q", "-W", "error", "test_more.py"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
