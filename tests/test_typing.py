"""What users write passes a strict type checker, and what is wrong does not.

README, the documentation and the idioms beside this file are checked as a user would check them: by themselves, against
the installed library.
"""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^```(\w+)(?: +title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)

# Examples leave out annotations and what cannot be None there, and use a name twice.
LOOSE = ("no-untyped-def", "no-untyped-call", "union-attr", "var-annotated", "assignment", "import-untyped")

WRONG = """\
import blis_simpy as blis

class NoRouter:
    def rout(self) -> int:
        return 0

blis.Scenario()
blis.Scenario(model="m", horizn="2s")
blis.Workload(rate=[1])
blis.Scenario(model="m", router=NoRouter())
blis.Scenario(model="m").horizon = 3
"""


def source_of(page: Path) -> str:
    parts = []
    for kind, title, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python" and not title:
            parts.append(code)
        elif kind == "pycon":
            parts += [example.source for example in doctest.DocTestParser().get_examples(code)]
    return "\n".join(parts)


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """Errors of one run of the type checker, by the name of the file."""
    folder = tmp_path_factory.mktemp("typed")
    sources = {re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix(""))): source_of(page) for page in PAGES}
    sources["idioms"] = (Path(__file__).parent / "data" / "idioms.py").read_text(encoding="utf-8")
    sources["wrong"] = WRONG
    for page in PAGES:
        for kind, title, code in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == "python" and title:
                (folder / title).write_text(code, encoding="utf-8")
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    options = ["--strict", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'user'}"]
    files = [f"{name}.py" for name in sources]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    found = re.findall(r"^(\w+)\.py:\d+: error: (.*)$", done.stdout, re.MULTILINE)
    return {name: [message for file, message in found if file == name] for name in sources}


def test_the_examples_of_the_documentation_are_typed(errors):
    pages = {name: messages for name, messages in errors.items() if name not in ("idioms", "wrong")}
    assert len(pages) > 20
    strict = [
        f"{name}: {message}"
        for name, messages in pages.items()
        for message in messages
        if not message.endswith(tuple(f"[{code}]" for code in LOOSE))
    ]
    assert not strict


def test_the_readme_and_the_documented_idioms_are_strictly_typed(errors):
    assert errors["README"] == errors["idioms"] == []


def test_mistakes_are_found_by_the_type_checker(errors):
    assert [re.sub(r" expected .*", "", message) for message in errors["wrong"]] == [
        'Missing named argument "model" for "Scenario"  [call-arg]',
        'Unexpected keyword argument "horizn" for "Scenario"; did you mean "horizon"?  [call-arg]',
        'Argument "rate" to "Workload" has incompatible type "list[int]";',
        'Argument "router" to "Scenario" has incompatible type "NoRouter";',
        'Property "horizon" defined in "ScenarioSettings" is read-only  [misc]',
    ]
