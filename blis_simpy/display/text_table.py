"""Tables and lines of text, described once and rendered twice: as text for a terminal and as HTML for a notebook.

A page is a sequence of lines and tables::

    Table([Column("client", align="left"), Column("TTFT", "ms", ",.3f")], [("a", 59.052)])

`TextTable.text` and `TextTable.html` render one table, `page_text`, `page_html` and `print_page` several parts
below each other. The HTML stands alone: no style sheet, no script, colours that suit a light and a dark page, all
content escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, TextIO

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

__all__ = ["Bar", "Line", "Strong", "TextColumn", "TextTable", "page_html", "page_text", "print_page"]

_NOTHING = "-"
_WIDTH = 10_000
_BAR_WIDTH = 40
_RULE = "1px solid rgba(128,128,128,.6)"


class Strong(str):
    """Words of a `Line` that stand out."""

    __slots__ = ()


@attrs.frozen
class Bar:
    """A cell that is drawn as a bar.

    Attributes
    ----------
    share : float, fraction
        How much of the width is filled.
    """

    share: float

    def __str__(self) -> str:
        return "#" * round(_BAR_WIDTH * self.share)


@attrs.frozen
class TextColumn:
    """What stands in a column.

    Attributes
    ----------
    name : str
        Heading.
    unit : str
        Shown in parentheses behind the name; empty = none.
    spec : str
        Format of its numbers.
    align : str
        ``left`` or ``right``.
    """

    name: str
    unit: str = ""
    spec: str = ","
    align: Literal["left", "right"] = "right"

    @property
    def heading(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def show(self, value: object) -> str:
        """Write a value: numbers by the format, text as it is, what is not there (None, NaN) as ``-``."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return _NOTHING
        if isinstance(value, str | Bar):
            return str(value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return format(value, self.spec)


@attrs.frozen(repr=False)
class TextTable:
    """A table with units.

    Attributes
    ----------
    columns : sequence of TextColumn
        From left to right. The first one names the rows.
    rows : sequence of sequences
        One value a column: a number, text, a `Bar`, or None for what is not there.
    title : str
        Line above it; empty = none.

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
        """Render as HTML that stands alone."""
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
# Blue of the palette of the pictures, in between light and dark backgrounds.
_BAR = "height:.8em;background:#0072B2"

Line = tuple[str, ...]
"""A line of text in pieces, of which those that are `Strong` stand out."""


def print_page(parts: Iterable[Line | TextTable], file: TextIO | None = None) -> None:
    """Print lines and tables below each other.

    Parameters
    ----------
    parts : iterable
        What to print.
    file : text stream, optional
        Where to; standard output unless given.
    """
    from rich.console import Console

    # Whether a terminal or a pipe, text is as wide as its content, so that output can be compared and nothing is cut.
    console = Console(file=file, width=_WIDTH, highlight=False, soft_wrap=True)
    for part in parts:
        _print(console, part)


def page_text(parts: Iterable[Line | TextTable]) -> str:
    """Render lines and tables below each other as text without colours, as wide as its content."""
    from rich.console import Console

    # In a notebook, too, the text is all that is wanted, and not an output of its own.
    console = Console(width=_WIDTH, color_system=None, highlight=False, force_jupyter=False)
    with console.capture() as capture:
        for part in parts:
            _print(console, part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())


def page_html(parts: Iterable[Line | TextTable]) -> str:
    """Render lines and tables below each other as HTML that stands alone."""
    blocks = [part.html() if isinstance(part, TextTable) else _html_line(part) for part in parts]
    return "\n".join(["<div>", *blocks, "</div>"])


def _html_line(line: Line) -> str:
    pieces = (f"<strong>{escape(part)}</strong>" if isinstance(part, Strong) else escape(part) for part in line)
    return f'<div style="margin:.2em 0">{"".join(pieces)}</div>'


def _print(console: Console, part: Line | TextTable) -> None:
    # Text objects, for in plain strings rich would take `[word]` for markup.
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    if not isinstance(part, TextTable):
        console.print(Text.assemble(*((piece, "bold" if isinstance(piece, Strong) else "") for piece in part)))
        return
    table = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for column in part.columns:
        table.add_column(Text(column.heading), justify=column.align, no_wrap=True)
    for row in part.rows:
        table.add_row(*(Text(column.show(value)) for column, value in zip(part.columns, row, strict=True)))
    if part.title:
        console.print(Text(part.title, "bold"))
    console.print(table)
