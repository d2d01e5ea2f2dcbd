"""README and documentation pages are programs: every block of code in them runs, and gives what they say.

On a page, blocks run in order, in one empty folder and one namespace: ``python`` is executed, ``pycon`` is a doctest,
``yaml``, ``csv`` and ``python`` with a title are files, ``console`` holds commands with their output, and ``text`` is
what the Python block before it printed.
"""

import contextlib
import doctest
import importlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from blis_simpy import registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^```(\w+)(?: +title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
TITLED = {"yaml", "csv", "python"}
PROGRAMS = Path(sys.executable).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page):
    return [(kind, title, code) for kind, title, code in BLOCK.findall(page.read_text(encoding="utf-8"))]


def run_console(text):
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        words = shlex.split(command)
        if words[0] == "make":
            words = recipe(words)
            if words[0] != "blis":
                continue  # a target that would run this very test, or install and build
        assert words[0] == "blis", f"only blis and make are known here: {command}"
        done = subprocess.run(
            [PROGRAMS / "blis", *words[1:]], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        found = done.stdout + done.stderr
        if expected.strip():
            assert doctest.OutputChecker().check_output(expected, found, FLAGS), f"$ {command}\n{found}"
        else:
            assert done.returncode == 0, f"$ {command}\n{found}"


def recipe(words):
    """Last command that a make target would carry out."""
    done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    last = shlex.split(done.stdout.strip().splitlines()[-1])
    return [Path(last[0]).name, *last[1:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_on_the_page_runs_and_gives_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_added", registry.additions())  # what a page registers ends with it
    names = {}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    printed = None
    for kind, title, code in blocks(page):
        if title and kind in TITLED:
            Path(title).write_text(code, encoding="utf-8")
            importlib.invalidate_caches()
        elif kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, str(page), "exec"), names)
        elif kind == "text" and printed is not None:
            assert doctest.OutputChecker().check_output(code, printed.getvalue(), FLAGS), printed.getvalue()
            printed = None
        elif kind == "pycon":
            test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), 0)
            runner.run(test, clear_globs=False)
            names.update(test.globs)
        elif kind == "console":
            run_console(code)
    assert not runner.failures


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_is_one_the_page_runner_knows(page):
    fences = re.findall(r"^ *```(\w*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences) <= {"python", "pycon", "yaml", "csv", "toml", "text", "console", ""}
    assert len(fences) % 2 == 0


@pytest.mark.parametrize("page", PAGES[:1])
def test_links_of_the_readme_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert targets
    assert all((ROOT / target).exists() for target in targets if "://" not in target)
