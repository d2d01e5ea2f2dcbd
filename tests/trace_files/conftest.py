from pathlib import Path

import pytest
from trace_text import HEADER


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write files into an empty working directory, so that they have short names in messages."""
    monkeypatch.chdir(tmp_path)

    def write(**contents: str | bytes) -> None:
        for name, content in contents.items():
            path = Path(name + (".yaml" if name == "header" else ".csv"))
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    write(header=HEADER)
    return write
