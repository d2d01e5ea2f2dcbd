"""Sampling of a simulation at regular intervals while it runs."""

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
    """A process that samples an object at regular intervals.

    Parameters
    ----------
    env : Environment
        Environment of the process.
    subject : object
        Object to sample.
    every : int, µs, or str
        Interval between samples, > 0; the first is taken immediately.
    figures : mapping of str to callable
        Functions of the subject that return the numbers to record, by name of the column.

    Raises
    ------
    ScenarioError
        If the interval is not a duration > 0, a figure is not a function, or there is no figure.
    """

    def __init__(
        self, env: Environment, subject: T, every: int | str, figures: Mapping[str, Callable[[T], float]]
    ) -> None:
        self._every = ticks("every", every)
        if self._every <= 0:
            raise ScenarioError.at("every", "must be > 0", every)
        if not figures:
            raise ScenarioError.at("sample", "needs at least one figure", hint="name=function")
        for name, figure in figures.items():
            if not callable(figure):
                raise ScenarioError.at(name, "must be a function", figure)
        self._env = env
        self._subject = subject
        self._figures = figures
        self._at: list[int] = []
        self._seen: dict[str, list[float]] = {name: [] for name in figures}
        env.process(self.watch())

    def watch(self) -> Generator[Event, None, None]:
        """Take a sample and wait for the next one."""
        while True:
            self._at.append(self._env.now)
            for name, figure in self._figures.items():
                self._seen[name].append(figure(self._subject))
            yield self._env.timeout(self._every)

    def table(self) -> Table:
        """Return the samples so far, one row each: ``at_us`` and the figures."""
        figures = {name: np.array(values) for name, values in self._seen.items()}
        return Table.of({"at_us": np.array(self._at, dtype=np.int64), **figures})
