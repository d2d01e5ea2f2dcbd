"""The notebooks run without a warning and show what they are kept with."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
for needed in ("ipykernel", "matplotlib", "nbclient", "pandas"):
    pytest.importorskip(needed)

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 2_000_000
WORDS_OF_THE_FIRST_CELL = "**Question.**"


def execute_module():
    spec = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(notebook):
    """What each cell shows, in order: text as it is, of pictures that there is one, since fonts differ."""
    return [
        (cell.id, [shown_output(output) for output in cell.outputs])
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def shown_output(output):
    if output.output_type == "stream":
        return output.name, output.text
    if "image/png" in output.data:
        return "picture", output.data["text/plain"]
    return "text", output.data["text/plain"], output.data.get("text/html")


def markdown(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def kept(path):
    return nbformat.read(path, as_version=4)


@pytest.mark.notebook
@pytest.mark.skipif(sys.platform == "win32", reason="kernels are reached over Unix sockets")
def test_a_notebook_gives_again_what_it_was_kept_with(path, kept, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no settings of whoever runs this
    assert shown(execute_module().executed(path)) == shown(kept)


def test_no_cell_warns_or_fails(kept):
    outputs = [output for cell in kept.cells for output in cell.get("outputs", ())]
    assert outputs
    assert all(output.output_type != "error" for output in outputs)
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


def test_a_notebook_is_kept_executed_in_order_and_clean(path, kept):
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert path.read_text(encoding="utf-8") == nbformat.writes(execute_module().cleaned(kept)) + "\n"


def test_a_notebook_asks_expects_learns_and_suggests(kept):
    text = markdown(kept)
    assert text[0].startswith("# ")
    assert WORDS_OF_THE_FIRST_CELL in text[0]
    headings = [line for cell in text for line in cell.splitlines() if line.startswith("## ")]
    assert {"## Learned", "## To try"} <= set(headings)
    assert re.search(r"\bexpectation\b", "\n".join(text), re.IGNORECASE)


def test_a_notebook_states_its_expectation_before_the_first_result(kept):
    order = [
        "expectation"
        if cell.cell_type == "markdown" and "expectation" in cell.source.lower()
        else "picture"
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))
        else ""
        for cell in kept.cells
    ]
    assert order.index("expectation") < order.index("picture")


def test_links_of_a_notebook_lead_somewhere(kept):
    targets = re.findall(r"\]\(([^)#]+)\)", "\n".join(markdown(kept)))
    assert all((FOLDER / target).exists() for target in targets if "://" not in target)


def test_notebooks_together_are_small():
    files = [*NOTEBOOKS, *(FOLDER / "data").iterdir()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_the_guide_lists_every_notebook():
    page = (FOLDER.parent / "docs" / "how-to" / "notebooks.md").read_text(encoding="utf-8")
    assert [path.stem for path in NOTEBOOKS] == re.findall(r"^\| `(\S+)`", page, re.MULTILINE)
