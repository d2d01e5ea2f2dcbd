"""Figures written down at regular intervals while a simulation runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from blis_simpy.core.table import Table
from blis_simpy.errors import ScenarioError
from blis_simpy.units import ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from simpy.events import Event

    from blis_simpy.core.environment import Environment

__all__ = ["Sampler"]

T = TypeVar("T")


class Sampler(Generic[T]):
    """A process that looks at something again and again.

    Parameters
    ----------
    env : Environment
        Where it lives.
    subject : object
        What it looks at.
    every : int, µs, or str
        Interval between two looks, > 0; the first comes at once.
    figures : mapping of str to callable
        What to write down; each gets the subject and returns a number.

    Raises
    ------
    ScenarioError
        If the interval is no duration > 0, a figure is no function, or there is none.
    """

    def __init__(
        self, env: Environment, subject: T, every: int | str, figures: Mapping[str, Callable[[T], float]]
    ) -> None:
        self._every = ticks("every", every)
        if self._every <= 0:
            raise ScenarioError.at("every", "must be > 0", every)
        if not figures:
            raise ScenarioError.at("sample", "needs a figure to write down", hint="name=function")
        for name, figure in figures.items():
            if not callable(figure):
                raise ScenarioError.at(name, "must be a function, to be asked each time", figure)
        self._env = env
        self._subject = subject
        self._figures = figures
        self._at: list[int] = []
        self._seen: dict[str, list[float]] = {name: [] for name in figures}
        env.process(self.watch())

    def watch(self) -> Generator[Event, None, None]:
        """Look, and wait for the next time."""
        while True:
            self._at.append(self._env.now)
            for name, figure in self._figures.items():
                self._seen[name].append(figure(self._subject))
            yield self._env.timeout(self._every)

    def table(self) -> Table:
        """Return what was seen so far, a row a look: ``at_us`` and the figures."""
        figures = {name: np.array(values) for name, values in self._seen.items()}
        return Table.of({"at_us": np.array(self._at, dtype=np.int64), **figures})
