"""``blis schema``: a JSON Schema of scenario files or workload specifications, for editors."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.files.outputs import write_text
from blis_simpy.load_files import scenario_schema
from blis_simpy.workload.load_workload import workload_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["schema"]

_SCHEMAS = {"scenario": scenario_schema, "workload": workload_schema}
_FLAGS = (
    Flag(name="--kind", target="kind", choices=tuple(_SCHEMAS), help="Kind of files to describe.", default="scenario"),
    Flag(name="--output", target="output", help="Write the schema to this file instead of stdout."),
)


def schema(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``schema``.
    """
    about = "Print a JSON Schema of scenario files or workload specifications, with the plug-ins that are installed."
    given = read_flags(argv, _FLAGS, command="schema", about=about)
    text = json.dumps(_SCHEMAS[given.get("kind", "scenario")](), indent=2, ensure_ascii=False) + "\n"
    if "output" in given:
        write_text(given["output"], text)
    else:
        sys.stdout.write(text)
