"""The page `docs/validity.md` names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "validity.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_each_row_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Statement")]
    assert len(NAMED) == len(rows) > 20


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_named_test_exists(file, test):
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
