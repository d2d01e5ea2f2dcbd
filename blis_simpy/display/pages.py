"""Descriptions of objects as pages, that is lines and tables, and the renderers for HTML and text.

`describe` knows the objects; a renderer needs to know lines and tables only, so a new format is one function::

    def markdown(thing: object) -> str:
        return "".join(as_markdown(part) for part in describe(thing))

Types below display are registered here; an object of any other type describes itself by a method ``page``.
"""

from __future__ import annotations

import sys
from functools import singledispatch
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from blis_simpy.calibration.calibrate import Calibration
from blis_simpy.calibration.fitted import Fit
from blis_simpy.core.table import Table
from blis_simpy.display.calibration_page import calibration_page
from blis_simpy.display.fits import fit_page
from blis_simpy.display.slo_page import slo_page
from blis_simpy.display.summary import explanation_page, result_page, subset_page, table_page
from blis_simpy.display.text_table import TextTable, page_html, page_text
from blis_simpy.display.workload_page import preview_page
from blis_simpy.errors import PluginError
from blis_simpy.results.phases import Explanation
from blis_simpy.results.result import Result
from blis_simpy.results.slo import SLOReport
from blis_simpy.results.subset import RequestSubset
from blis_simpy.workload.preview import Preview

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.display.text_table import Line

__all__ = ["describe", "html", "terminal", "text"]


@singledispatch
def describe(thing: object) -> Sequence[Line | TextTable]:
    """Describe an object as lines and tables.

    Raises
    ------
    PluginError
        If objects of its type have no description.
    """
    page = getattr(thing, "page", None)
    if page is None:
        raise PluginError.at("renderer", f"cannot render objects of type {type(thing).__name__}")
    described: Sequence[Line | TextTable] = page()
    return described


describe.register(Calibration, calibration_page)
describe.register(Explanation, explanation_page)
describe.register(Fit, fit_page)
describe.register(Preview, preview_page)
describe.register(RequestSubset, subset_page)
describe.register(Result, result_page)
describe.register(SLOReport, slo_page)
describe.register(Table, table_page)
describe.register(TextTable, lambda table: [table])


def html(thing: object) -> str:
    """Render an object as HTML for a notebook, without style sheet or script."""
    return page_html(describe(thing))


def terminal(thing: object) -> str:
    """Render an object as text that fits the terminal, if standard output is one; else as `text` does."""
    width = get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None
    return page_text(describe(thing), width)


def text(thing: object) -> str:
    """Render an object as aligned text without colours."""
    return page_text(describe(thing))
