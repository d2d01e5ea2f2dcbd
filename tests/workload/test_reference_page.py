"""The page of the workload specification, made from the settings classes."""

import sys
from pathlib import Path

import attrs
import pytest

from blis_simpy import registry
from blis_simpy.workload.workload_spec import WorkloadSpec

DOCS = Path(__file__).parents[2] / "docs"
CLASSES = {"WorkloadSpec", "Client", "Cohort", "Arrival", "LengthDistribution", "MultiTurn", "Reasoning", "Multimodal"}
CLASSES |= {"ActivityWindows", "Window", "Diurnal", "Spike", "Drain", "InferencePerf", "Stage", "SharedPrefix"}
CLASSES |= {"ServegenData", "Network", "Workload"}


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import workload_hook

    yield workload_hook
    sys.modules.pop("workload_hook")


def test_every_class_and_every_field_has_a_row_with_a_meaning(page):
    sections = "\n".join(page.tables()).split("\n## ")
    by_title = {section.split("\n", 1)[0]: section for section in sections}
    assert by_title.keys() >= CLASSES
    for cls in page.settings_classes(WorkloadSpec):
        rows = [line.split(" | ") for line in by_title[cls.__name__].splitlines() if line.startswith("| `")]
        assert [row[0] for row in rows] == [f"| `{field.alias}`" for field in attrs.fields(cls)]
        assert all(row[1] and row[-1].endswith(". |") for row in rows)


def test_every_plugin_is_listed_with_its_options(page):
    text = "\n".join(page.tables())
    for kind in ("arrivals", "lengths"):
        for name in registry.names(kind):
            assert f"### `{name}`" in text
    assert "| `std_dev` | number | *required* | tokens (≥ 0) |" in text


def test_units_ranges_and_defaults_are_shown(page):
    text = "\n".join(page.tables())
    assert "| `population` | integer | *required* | clients (≥ 1, ≤ 100,000) | Number of members. |" in text
    assert "| `aggregate_rate` | number or text like `20/s` | `0.0` | 1/s (≥ 0) |" in text


def test_the_mark_is_on_the_page_and_replaced(page):
    text = (DOCS / "reference" / "workload.md").read_text()
    assert page.MARK in text
    assert page.MARK not in page.on_page_markdown(text)
    assert page.on_page_markdown("# Other\n") == "# Other\n"
