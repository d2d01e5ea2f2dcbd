"""Which part may import which, and what an import costs."""

import json
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


def test_importing_the_library_does_not_load_the_heavy_ones():
    code = "import blis_simpy, blis_simpy.cli.program, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & {"scipy", "rich", "cattrs", "matplotlib", "pandas", "httpx", "IPython"}


def test_a_run_without_a_summary_does_not_load_display():
    code = (
        "import json, sys\n"
        "from blis_simpy.cli.main import main\n"
        "main(['run', 'quickstart', '--num-requests', '5', '--report', 'none', '--results-path', sys.argv[1]])\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, os.devnull], capture_output=True, text=True, check=True)
    assert not [name for name in json.loads(done.stdout) if name.startswith("blis_simpy.display")]


@pytest.mark.parametrize("path", sorted((ROOT / "blis_simpy").rglob("*.py")), ids=lambda path: path.name)
def test_modules_say_what_they_are_for(path):
    source = path.read_text(encoding="utf-8")
    assert not source or source.startswith('"""')
