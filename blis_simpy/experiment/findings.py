"""What experiments find, as a table that shows itself, plots and a report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.display.pages import describe
from blis_simpy.files.text_files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from blis_simpy.display.text_table import Line, TextTable

__all__ = ["ExperimentFindings", "Findings"]


class Findings(Rendered, ABC):
    """Figures of several runs, shown as a table."""

    @abstractmethod
    def table(self) -> TextTable:
        """Return the figures as a table."""

    def page(self) -> Sequence[Line | TextTable]:
        """Return the lines and tables that a notebook shows."""
        return [self.table()]

    def __repr__(self) -> str:
        return self.table().text()


describe.register(Findings, lambda findings: findings.page())


class ExperimentFindings(Findings):
    """Findings that have plots and a report."""

    _kind: ClassVar[str]
    """Start of the names of their plots."""
    _default_plot: ClassVar[str]

    @property
    def plot(self) -> Plots:
        """Plots of the findings: a call draws the default one, attributes draw the others by name."""
        return Plots(self, f"{self._kind}.", default=self._default_plot)

    def write_html(self, path: str | PathLike[str]) -> None:
        """Write a report with plots, settings and seeds: one HTML file that needs no other.

        Raises
        ------
        ScenarioError
            If the file cannot be written; an existing one is left unchanged.
        PluginError
            If matplotlib is not installed.
        """
        write_text(path, self.render("report"))
