"""What experiments find: a table, rows and runs as columns, plots and a report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.errors import PluginError
from blis_simpy.experiment.design_points import setting_label
from blis_simpy.files.outputs import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    import pandas as pd
    from numpy.typing import NDArray

    from blis_simpy.display.text_table import Line, TextTable

__all__ = ["ExperimentFindings", "Findings", "columns_of"]


class Findings(Rendered, ABC):
    """Figures of several runs."""

    @abstractmethod
    def table(self) -> TextTable:
        """Return the figures as a table."""

    @property
    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """The figures as rows with the same keys."""

    @property
    @abstractmethod
    def runs(self) -> dict[str, NDArray[Any]]:
        """One row a run, one array a column."""

    def page(self) -> Sequence[Line | TextTable]:
        """Return the lines and tables that a notebook shows."""
        return [self.table()]

    def to_pandas(self, *, runs: bool = False) -> pd.DataFrame:
        """Return a DataFrame.

        Parameters
        ----------
        runs : bool
            Whether it has the `runs`; else it has the `rows`.

        Raises
        ------
        PluginError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise PluginError("to_pandas needs pandas; pip install blis-simpy[tables]") from None
        return pd.DataFrame(self.runs if runs else columns_of(self.rows))

    def __repr__(self) -> str:
        return self.table().text()


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


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Turn rows with the same keys into columns: numbers where all values are, with NaN for None, else text."""
    return {name: column_of([row[name] for row in rows]) for name in rows[0]}


def column_of(values: Sequence[Any]) -> NDArray[Any]:
    """Turn values into an array: of flags or numbers where all are, with NaN for None, else of text."""
    kinds = {type(value) for value in values}
    if kinds == {bool} or kinds == {int}:
        return np.array(values)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array([value if isinstance(value, str) else setting_label(value) for value in values], dtype=object)
