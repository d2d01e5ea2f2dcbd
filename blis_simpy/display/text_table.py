"""Lines and tables of text, rendered as text for a terminal and as HTML for a notebook.

A page is a sequence of lines and tables::

    TextTable([TextColumn("client", align="left"), TextColumn("TTFT", "ms", ",.3f")], [("a", 59.052)])

`TextTable.text` and `TextTable.html` render one table, `page_text`, `page_html` and `print_page` a page. The HTML needs
no style sheet or script, has colours for light and dark pages, and all content is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, TextIO

import attrs

from blis_simpy.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table as RichTable

__all__ = ["Bar", "Line", "Strong", "TextColumn", "TextTable", "page_html", "page_text", "print_page"]

_NOTHING = "-"
_WIDTH = 10_000
_BAR_WIDTH = 40
_LEAST_TEXT = 24
"""Width of a column that wraps, below which other columns are left out."""
_RULE = "1px solid rgba(128,128,128,.6)"


class Strong(str):
    """Emphasised part of a `Line`."""

    __slots__ = ()


@attrs.frozen
class Bar:
    """A cell that is drawn as a bar.

    Attributes
    ----------
    share : float, fraction
        Filled share of the width.
    """

    share: float

    def __str__(self) -> str:
        return "#" * round(_BAR_WIDTH * self.share)


@attrs.frozen
class TextColumn:
    """Heading and format of a column.

    Attributes
    ----------
    name : str
        Heading.
    unit : str
        Shown in parentheses after the name; empty = none.
    spec : str
        Format specification of its numbers.
    align : str
        ``left`` or ``right``.
    wraps : bool
        Whether its text continues on the next line where the terminal is too narrow.
    drop : int
        Order in which columns are left out where the terminal is too narrow for all: the highest number first, columns
        with 0 never.
    """

    name: str
    unit: str = ""
    spec: str = ","
    align: Literal["left", "right"] = "right"
    wraps: bool = False
    drop: int = 0

    @property
    def heading(self) -> str:
        """Name and unit."""
        return printable(f"{self.name} ({self.unit})" if self.unit else self.name)

    def show(self, value: object) -> str:
        """Format a value: numbers by the specification, text unchanged, None and NaN as ``-``."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return _NOTHING
        if isinstance(value, str | Bar):
            return printable(str(value))
        if isinstance(value, bool):
            return "yes" if value else "no"
        return format(value, self.spec)


@attrs.frozen(repr=False)
class TextTable:
    """A table with units.

    Attributes
    ----------
    columns : sequence of TextColumn
        Columns from left to right. The first one names the rows.
    rows : sequence of sequences
        One value per column: a number, text, a `Bar`, or None for a missing value.
    title : str
        Line above the table; empty = none.

    Examples
    --------
    >>> columns = [TextColumn("policy", align="left"), TextColumn("TTFT", "ms", ",.1f")]
    >>> print(TextTable(columns, [("weighted", 1234.56)]))
     policy     TTFT (ms)
     ────────────────────
     weighted     1,234.6
    """

    columns: Sequence[TextColumn]
    rows: Sequence[Sequence[Any]]
    title: str = ""

    def text(self) -> str:
        """Render as aligned text without colours, as wide as its content."""
        return page_text([self])

    def html(self) -> str:
        """Render as HTML that needs no style sheet."""
        title = f'<caption style="{_CAPTION}">{escape(self.title)}</caption>' if self.title else ""
        head = "".join(
            f'<th scope="col" style="text-align:{column.align};border-bottom:{_RULE};{_CELL}">'
            f"{escape(column.heading)}</th>"
            for column in self.columns
        )
        body = "".join(f"<tr>{''.join(self._html_cells(row))}</tr>\n" for row in self.rows)
        return (
            f'<div style="overflow-x:auto"><table style="{_TABLE}">{title}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}</tbody></table></div>"
        )

    def _html_cells(self, row: Sequence[Any]) -> Iterable[str]:
        for index, (column, value) in enumerate(zip(self.columns, row, strict=True)):
            style = f"text-align:{column.align};{_CELL}"
            if isinstance(value, Bar):
                yield f'<td style="{style}"><div style="{_BAR};width:{20 * value.share:.2f}em"></div></td>'
            elif index == 0:
                yield f'<th scope="row" style="{style};font-weight:normal">{escape(column.show(value))}</th>'
            else:
                yield f'<td style="{style}">{escape(column.show(value))}</td>'

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return self.text()


_TABLE = "border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums;color:inherit"
_CAPTION = "caption-side:top;text-align:left;padding:.2em 0;font-weight:bold;color:inherit;white-space:nowrap"
_CELL = "padding:.2em .8em .2em 0;white-space:nowrap"
# Blue of the palette of the plots, readable on light and dark backgrounds.
_BAR = "height:.8em;background:#0072B2"

Line = tuple[str, ...]
"""A line of text in parts, of which those that are `Strong` are emphasised."""


def print_page(parts: Iterable[Line | TextTable], file: TextIO | None = None) -> None:
    """Print a page.

    Parameters
    ----------
    parts : iterable
        Lines and tables.
    file : text stream, optional
        Default is standard output.
    """
    from rich.console import Console

    terminal = Console(file=file, highlight=False)
    # In a pipe as wide as the content, so that output can be compared and nothing is cut.
    console = terminal if terminal.is_terminal else Console(file=file, width=_WIDTH, highlight=False, soft_wrap=True)
    console.on_broken_pipe = _reraise  # type: ignore[method-assign]
    for part in parts:
        _print(console, part)


def _reraise() -> None:
    """Let a broken pipe be an exception, not the end of the program with status 1 as in rich."""
    raise


def page_text(parts: Iterable[Line | TextTable], width: int | None = None) -> str:
    """Render a page as text without colours.

    Parameters
    ----------
    parts : iterable
        Lines and tables.
    width : int, characters, optional
        Maximum width: text is continued on the next line, and tables lack less important columns. Unset means as wide
        as the content.
    """
    from rich.console import Console

    # Not to Jupyter, where rich would make an output cell of its own.
    console = Console(width=width or _WIDTH, color_system=None, highlight=False, force_jupyter=False)
    with console.capture() as capture:
        for part in parts:
            _print(console, part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())


def page_html(parts: Iterable[Line | TextTable]) -> str:
    """Render a page as HTML that needs no style sheet."""
    blocks = [part.html() if isinstance(part, TextTable) else _html_line(part) for part in parts]
    return "\n".join(["<div>", *blocks, "</div>"])


def _html_line(line: Line) -> str:
    pieces = (f"<strong>{escape(part)}</strong>" if isinstance(part, Strong) else escape(part) for part in line)
    return f'<div style="margin:.2em 0">{"".join(pieces)}</div>'


def _print(console: Console, part: Line | TextTable) -> None:
    from rich.text import Text

    if not isinstance(part, TextTable):
        pieces = ((printable(piece), "bold" if isinstance(piece, Strong) else "") for piece in part)
        console.print(Text.assemble(*pieces))
        return
    if part.title:
        console.print(Text(printable(part.title), "bold"))
    console.print(_fitted(console, part))


def _fitted(console: Console, table: TextTable) -> RichTable:
    """Return a table for a console, without those of its columns for which there is no room."""
    shown = list(range(len(table.columns)))
    made = _rich_table(table, shown)
    order = sorted((index for index in shown if table.columns[index].drop), key=lambda i: -table.columns[i].drop)
    while order and console.measure(made).minimum > console.width:
        shown.remove(order.pop(0))
        made = _rich_table(table, shown)
    return made


def _rich_table(table: TextTable, shown: Sequence[int]) -> RichTable:
    # Text objects, because rich reads `[word]` in plain strings as markup.
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for index in shown:
        column = table.columns[index]
        widest = max((len(column.show(row[index])) for row in table.rows), default=0)
        least = min(widest, _LEAST_TEXT) if column.wraps else None
        made.add_column(Text(column.heading), justify=column.align, no_wrap=not column.wraps, min_width=least)
    for row in table.rows:
        made.add_row(*(Text(table.columns[index].show(row[index])) for index in shown))
    return made
