"""Objects as pages: the lines and tables that describe them, whatever the format.

`describe` knows the objects, a renderer only lines and tables, so a new format is one function::

    def markdown(thing: object) -> str:
        return "".join(as_markdown(part) for part in describe(thing))

A type that it does not know is added with ``describe.register(type, function)``.
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING

from blis_simpy.calibration.calibrate import Calibration
from blis_simpy.core.table import Table
from blis_simpy.display.calibration_page import calibration_page
from blis_simpy.display.summary import explanation_page, result_page, subset_page, table_page
from blis_simpy.display.text_table import TextTable, page_html, page_text
from blis_simpy.display.workload_page import preview_page
from blis_simpy.errors import PluginError
from blis_simpy.results.phases import Explanation
from blis_simpy.results.result import Result
from blis_simpy.results.subset import RequestSubset
from blis_simpy.workload.preview import Preview

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.display.text_table import Line

__all__ = ["describe", "html", "text"]


@singledispatch
def describe(thing: object) -> Sequence[Line | TextTable]:
    """Describe an object as lines and tables.

    Raises
    ------
    PluginError
        If objects of its type have no description.
    """
    raise PluginError.at("renderer", f"cannot render objects of type {type(thing).__name__}")


describe.register(Calibration, calibration_page)
describe.register(Explanation, explanation_page)
describe.register(Preview, preview_page)
describe.register(RequestSubset, subset_page)
describe.register(Result, result_page)
describe.register(Table, table_page)
describe.register(TextTable, lambda table: [table])


def html(thing: object) -> str:
    """Render an object as HTML that stands alone, for a notebook."""
    return page_html(describe(thing))


def text(thing: object) -> str:
    """Render an object as aligned text without colours."""
    return page_text(describe(thing))
