"""The programs in examples/ run and print what stands beside them."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_prints_what_it_says(program, capsys):
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out == program.with_suffix(".out").read_text()


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(program):
    assert len(program.read_text().splitlines()) < 60


def test_there_is_an_example_for_each_kind_of_policy_and_for_a_fault():
    assert {path.stem for path in EXAMPLES.glob("*.py")} >= {"router", "scorer", "admission", "outage"}
