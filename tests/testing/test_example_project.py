"""The project in examples/policy-tests/, copied as a user would."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "examples" / "policy-tests"


def test_it_passes_and_prints_what_its_readme_says(tmp_path):
    copy = shutil.copytree(PROJECT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    (listed,) = re.findall(r"```text\n(.*?)```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert listed in done.stdout


def test_its_policy_fits_on_a_page_and_imports_nothing_of_the_library():
    source = (PROJECT / "my_policies.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 40
    assert "import" not in source
