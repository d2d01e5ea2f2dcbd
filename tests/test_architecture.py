"""Which part may import which, and what an import costs."""

import json
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
    code = "import blis_simpy, blis_simpy.cli.main, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & {"scipy", "rich", "cattrs", "matplotlib", "pandas", "httpx", "IPython"}


@pytest.mark.parametrize("path", sorted((ROOT / "blis_simpy").rglob("*.py")), ids=lambda path: path.name)
def test_modules_say_what_they_are_for(path):
    source = path.read_text(encoding="utf-8")
    assert not source or source.startswith('"""')
