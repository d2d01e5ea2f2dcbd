"""The table of formats on the page about traces is the one that the formats describe."""

from pathlib import Path

import attrs

from blis_simpy import registry
from blis_simpy.trace_files.load_trace import KIND

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "traces.md"


def rows():
    for name in registry.names(KIND):
        cls = registry.get(KIND, name)
        about = cls.__doc__.partition("\n")[0].removesuffix(".").partition("; ")[0]
        options = ", ".join(f"`{attribute.name}`" for attribute in attrs.fields(cls))
        yield f"| `{name}` | {about} | {cls.fields} | {cls.times} | {options} | {cls.not_kept} |"


def test_table_of_formats_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    found = [line for line in page.splitlines() if line.startswith("| `")]
    assert found == list(rows())
