"""Common rules of plug-ins that draw random numbers: arrival processes and length distributions."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.testing.conformance.suite import ConformanceSuite, require

__all__ = ["DrawingSuite"]

_SPLITS = ((1, 1), (1, 9), (64, 36), (500, 500))


class DrawingSuite(ConformanceSuite):
    """Tests of the common rules of arrival processes and length distributions."""

    method: ClassVar[str]
    least: ClassVar[int]

    def draw(self, plugin: Any, rng: np.random.Generator, n: int) -> Any:
        """Return the next `n` numbers."""
        raise NotImplementedError

    def stream(self, seed: int = 1) -> np.random.Generator:
        """Return a new random stream, determined by the seed."""
        return RandomStreams(seed).generator("client")

    def test_numbers_are_whole_and_in_range(self) -> None:
        """The returned array has dtype int64, shape (n,), and no number below the minimum."""
        plugin = self.make()
        for n in (1, 2, 1000):
            drawn = self.draw(plugin, self.stream(n), n)
            good = isinstance(drawn, np.ndarray) and drawn.shape == (n,) and drawn.dtype == np.int64
            shown = (getattr(drawn, "dtype", type(drawn)), getattr(drawn, "shape", None))
            require(good, plugin, f"{self.method} must return an int64 array of shape ({n},)", returned=shown)
            require(drawn.min() >= self.least, plugin, f"must draw numbers >= {self.least}", least_drawn=drawn.min())

    def test_equal_streams_give_equal_numbers(self) -> None:
        """The stream is the only source of randomness: two instances with equal streams draw equal numbers."""
        plugin = self.make()
        one, other = self._drawn(plugin, 100), self._drawn(self.make(), 100)
        rule = "must draw from the given stream alone, so that equal streams give equal numbers"
        require(one == other, plugin, rule, first=one[:8], second=other[:8])

    def test_one_instance_serves_several_clients(self) -> None:
        """The numbers of a client are independent of other clients that use the same instance."""
        if self._drawn(self.make(), 100) != self._drawn(self.make(), 100):
            return
        plugin, instance = self.make(), self.make()
        stream, mine, others = self.stream(), self.stream(), self.stream(2)
        alone: list[int] = []
        together: list[int] = []
        for n, between in ((30, 11), (30, 6), (40, 1)):
            alone += self._listed(instance, stream, n)
            together += self._listed(plugin, mine, n)
            self._listed(plugin, others, between)
        rule = "must keep no state between calls: an instance serves several clients in turn"
        require(together == alone, plugin, rule, alone=alone[:40], together=together[:40])

    def test_asking_twice_equals_asking_once(self) -> None:
        """The numbers do not depend on how many are drawn per call: n and then m equal n + m at once."""
        if self._drawn(self.make(), 100) != self._drawn(self.make(), 100):
            return
        plugin = self.make()
        for n, m in _SPLITS:
            once = self._drawn(self.make(), n + m)
            instance, rng = self.make(), self.stream()
            twice = self._listed(instance, rng, n) + self._listed(instance, rng, m)
            rule = f"drawing {n} and then {m} numbers must equal drawing {n + m} at once"
            position = next((i for i, pair in enumerate(zip(once, twice, strict=False)) if len(set(pair)) > 1), 0)
            found = {"first_difference_at": position, "at_once": once[position:][:8], "in_turn": twice[position:][:8]}
            require(once == twice, plugin, rule, **found)

    def _drawn(self, plugin: Any, n: int) -> list[int]:
        return self._listed(plugin, self.stream(), n)

    def _listed(self, plugin: Any, rng: np.random.Generator, n: int) -> list[int]:
        return list(np.asarray(self.draw(plugin, rng, n)).tolist())
