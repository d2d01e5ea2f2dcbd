"""HTML pages of reports: headings, text, tables, plots as inline SVG, and collapsible text.

A page fetches nothing, runs no script and contains no date: the same content gives the same bytes. Lines and labels of
plots have the colour of the surrounding text, so that they are readable on light pages, dark pages and paper.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.display import figure_style
from blis_simpy.display.text_table import Line, TextTable, page_html
from blis_simpy.errors import PluginError, printable
from blis_simpy.files.outputs import check_writable, write_text

if TYPE_CHECKING:
    import os

__all__ = ["Fold", "Picture", "ReportSection", "check_report_path", "report_html", "write_report"]

_log = logging.getLogger(__name__)

WIDTH_IN = 6.4
"""Width of a plot in inches; on wide pages, two are side by side."""


@attrs.frozen
class Picture:
    """A plot.

    Attributes
    ----------
    draw : callable
        Draws on the matplotlib Axes that are its argument.
    caption : str
        Text below the plot.
    alt : str
        Text alternative for screen readers.
    height : float, inches
        Height of the plot.
    """

    draw: Callable[[Any], object]
    caption: str
    alt: str
    height: float = 3.6


@attrs.frozen
class Fold:
    """Preformatted text that is collapsed at first.

    Attributes
    ----------
    summary : str
        Heading that expands it.
    text : str
        The text.
    """

    summary: str
    text: str


Part = Line | TextTable | Picture | Fold


@attrs.frozen
class ReportSection:
    """Section of a report.

    Attributes
    ----------
    title : str
        Heading.
    parts : sequence
        Lines, tables, plots and folds, in order; adjacent plots are side by side on wide pages.
    """

    title: str
    parts: Sequence[Part]


def check_report_path(path: str | os.PathLike[str]) -> None:
    """Check before an experiment that its report can be written.

    Raises
    ------
    ScenarioError
        If the file cannot be written.
    PluginError
        If matplotlib is not installed.
    """
    _figure_class()
    check_writable(path)


def write_report(
    path: str | os.PathLike[str], title: str, lead: Sequence[Line], sections: Sequence[ReportSection]
) -> None:
    """Write a report to a file, whole or not at all; the parameters are those of `report_html`.

    Raises
    ------
    ScenarioError
        If the file cannot be written; an older one is left as it was.
    PluginError
        If matplotlib is not installed.
    """
    write_text(path, report_html(title, lead, sections))


def report_html(title: str, lead: Sequence[Line], sections: Sequence[ReportSection]) -> str:
    """Render a report.

    Parameters
    ----------
    title : str
        Title of the page.
    lead : sequence of lines
        The findings in short.
    sections : sequence of ReportSection
        Sections, in order.

    Returns
    -------
    str
        HTML page; its footer has the version of the library.

    Raises
    ------
    PluginError
        If matplotlib is not installed.
    """
    from importlib.metadata import version

    blocks = [f"<h1>{escape(title)}</h1>", _html(lead)]
    num_pictures = 0
    for section in sections:
        blocks.append(f"<section>\n<h2>{escape(section.title)}</h2>")
        for run in _runs(section.parts):
            if isinstance(run[0], Picture):
                figures = [_figure(part, num_pictures + place) for place, part in enumerate(run)]  # type: ignore[arg-type]
                num_pictures += len(run)
                blocks.append('<div class="pictures">\n' + "\n".join(figures) + "\n</div>")
            else:
                blocks.append(_html(run))
        blocks.append("</section>")
    blocks.append(f"<footer>Simulated with blis_simpy {escape(version('blis-simpy'))}.</footer>")
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n"
    )
    return printable(head + "<body>\n<main>\n" + "\n".join(blocks) + "\n</main>\n</body>\n</html>\n")


def _runs(parts: Sequence[Part]) -> list[list[Part]]:
    """Group adjacent plots."""
    runs: list[list[Part]] = []
    for part in parts:
        if runs and isinstance(part, Picture) and isinstance(runs[-1][0], Picture):
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _html(parts: Sequence[Part]) -> str:
    return "\n".join(_fold(part) if isinstance(part, Fold) else page_html([part]) for part in parts)  # type: ignore[list-item]


def _fold(fold: Fold) -> str:
    return f"<details><summary>{escape(fold.summary)}</summary>\n<pre>{escape(fold.text)}</pre></details>"


def _figure(picture: Picture, number: int) -> str:
    try:
        svg = _svg(picture, salt=str(number))
    except PluginError:
        raise
    except Exception as error:
        _log.warning("the picture %r cannot be drawn: %r", picture.caption, error)
        return f"<figure>\n<figcaption>{escape(picture.caption)}: cannot be drawn</figcaption>\n</figure>"
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.alt)}" ', 1)
    return f"<figure>\n{svg}\n<figcaption>{escape(picture.caption)}</figcaption>\n</figure>"


def _svg(picture: Picture, salt: str) -> str:
    """Render a plot as SVG; its ids depend on the salt, because all plots of a page share one namespace."""
    import matplotlib as mpl

    style: dict[Any, Any] = {
        **figure_style.STYLE,
        **dict.fromkeys(_INKED, _INK),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "grid.alpha": 0.15,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        # Characters without a glyph, such as control characters, in a name.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure = _figure_class()(figsize=(WIDTH_IN, picture.height), layout="constrained")
        picture.draw(figure.subplots())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    # The style sheet of the page sets the size.
    svg = re.sub(r"^<svg[^>]*>", f'<svg viewBox="0 0 {size[1]} {size[2]}">', svg)
    # Would apply to the whole page, whose style sheet has the same rule.
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    return svg.replace("xlink:href", "href").replace(_INK, "currentColor")


def _figure_class() -> Any:
    # Without pyplot, which would keep the figure and show it in a notebook.
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PluginError.at("an HTML report", "needs matplotlib", hint="pip install blis-simpy[plot]") from error
    return Figure


# A colour that nothing else uses, and the parameters that are set to it.
_INK = "#010203"
_INKED = (
    "text.color",
    "axes.edgecolor",
    "axes.labelcolor",
    "axes.titlecolor",
    "grid.color",
    "xtick.color",
    "ytick.color",
)

_STYLE = """\
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --quiet: #57606a; --panel: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --paper: #15181c; --quiet: #a3abb5; --panel: #20252b; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 84rem; margin: 0 auto; padding: 1.5rem clamp(1rem, 3vw, 2.5rem); }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; }
table { font-size: .86rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 1rem 2rem; }
figure { margin: 0; max-width: 39rem; overflow-x: auto; break-inside: avoid; }
figure svg { display: block; width: 100%; min-width: 24rem; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: system-ui, sans-serif !important; }
figcaption, footer { color: var(--quiet); font-size: .9rem; }
details { margin: .4rem 0; }
summary { cursor: pointer; }
pre { margin: .4rem 0; padding: .8rem 1rem; background: var(--panel); border-radius: .4rem; overflow-x: auto; }
footer { margin-top: 2.5rem; }
@media print {
  :root { --ink: #000000; --paper: #ffffff; --quiet: #333333; --panel: #ffffff; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  table { font-size: .7rem; }
  td, th, caption { white-space: normal !important; }
  tr { break-inside: avoid; }
  .pictures { grid-template-columns: 1fr 1fr; }
  figure svg { min-width: 0; }
}
"""
