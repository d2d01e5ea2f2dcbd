"""The pages about tests of policies and plug-ins: pytest prints what they say."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def write_files(page, folder):
    for name, text in re.findall(r'^```python title="(.*?)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "num_commands", "default"),
    [("test-policies.md", 2, "test_routing.py"), ("test-a-plugin.md", 3, ""), ("recipes.md", 1, "")],
)
def test_commands_print_what_the_page_says(name, num_commands, default, tmp_path):
    page = (PAGES / name).read_text(encoding="utf-8")
    write_files(page, tmp_path)
    commands = re.findall(r"^```\n\$ pytest (.*?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(commands) == num_commands
    for options, expected in commands:
        files = [] if "test_" in options else [default]
        argv = [sys.executable, "-m", "pytest", "-W", "error", *options.split(), *files]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert doctest.OutputChecker().check_output(expected, done.stdout, FLAGS), done.stdout


def test_the_other_tests_on_the_page_about_policies_pass(tmp_path):
    write_files((PAGES / "test-policies.md").read_text(encoding="utf-8"), tmp_path)
    argv = [sys.executable, "-m", "pytest", "-q", "-W", "error", "test_more.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
