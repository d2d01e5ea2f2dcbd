"""Run the notebooks anew and keep what they show, without what differs from run to run; `make notebooks` calls it.

Edit a notebook in Jupyter or in a text editor, then run ``python notebooks/execute.py`` or, for some of them,
``python notebooks/execute.py 04-kv-pressure``. The tests execute with the same function and compare.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).parent
TIMEOUT_S = 300

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebooks() -> list[Path]:
    """All notebooks, in the order in which they are to be read."""
    return sorted(FOLDER.glob("[0-9]*.ipynb"))


def executed(path: Path) -> NotebookNode:
    """Execute a notebook in a kernel of its own, in this folder; the file stays as it is.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        # Not over TCP: kernels that start at the same time would compete for ports.
        config = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
        NotebookClient(
            notebook,
            config=config,
            kernel_name=_KERNEL["name"],
            timeout=TIMEOUT_S,
            resources={"metadata": {"path": str(FOLDER)}},
            record_timing=False,
        ).execute()
    return cleaned(notebook)


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Take out what says when and by what a notebook was run, and join what was printed in pieces."""
    notebook.metadata = NotebookNode(kernelspec=_KERNEL, language_info={"name": "python"})
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Make one output of neighbours of one stream: where it is cut depends on how busy the machine is."""
    joined: list[NotebookNode] = []
    for output in outputs:
        output.pop("metadata", None)
        if output.output_type != "stream":
            output.metadata = NotebookNode()
        elif joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
            continue
        joined.append(output)
    return joined


def main(names: list[str]) -> None:
    """Execute notebooks, by default all, and write them with their outputs."""
    for path in notebooks():
        if not names or path.stem in names:
            print(path.stem, flush=True)
            nbformat.write(executed(path), path)


if __name__ == "__main__":
    main(sys.argv[1:])
