"""A length distribution as a workload specification writes it: a type and its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from blis_simpy import registry
from blis_simpy.errors import ScenarioError, joined
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from blis_simpy.workload.lengths import Empirical, Gaussian, LengthSampler

__all__ = ["LengthDistribution"]

_LONGEST = 2**31 - 1
_PARETO_LOGNORMAL = ("alpha", "xm", "mu", "sigma", "mix_weight")


def _with_text_keys(params: Any) -> Any:
    """Token counts are text in a file and may be numbers in Python; what is no mapping is for the field to judge."""
    return {str(name): value for name, value in params.items()} if isinstance(params, Mapping) else params


@settings_class(kw_only=False)
class LengthDistribution:
    """Law of token counts, by name.

    The built-in types read their parameters as the reference does: ``constant`` takes `value`, ``gaussian`` takes
    `mean`, `std_dev`, `min` and `max`, ``exponential`` takes `mean`, ``pareto_lognormal`` takes `alpha`, `xm`, `mu`,
    `sigma` and `mix_weight`, and ``empirical`` a weight for each token count. Any other registered law takes its
    options under their names. An empty type stands for no distribution, where there may be none.

    Raises
    ------
    ScenarioError
        If the type is unknown, or a parameter missing or wrong.

    Examples
    --------
    >>> LengthDistribution("gaussian", {"mean": 512, "std_dev": 64, "min": 1, "max": 4096}).law()
    Gaussian(mean=512, std_dev=64, max=4096)
    """

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"type"})

    type: str = setting(default="", help="Law of the lengths; empty means none.", kind="lengths", absent="")
    params: Mapping[str, float] = setting(
        factory=dict, help="Its parameters, by name or token count.", convert=_with_text_keys
    )
    file: str | None = setting(default=None, help="Accepted for compatibility and never read.")

    def __attrs_post_init__(self) -> None:
        for name, value in self.params.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ScenarioError.at(f"params.{name}", "must be a number", value)
            if not abs(value) < 1e308:
                raise ScenarioError.at(f"params.{name}", "must be a finite number", value)
        if self.type:
            self.law()

    def __bool__(self) -> bool:
        return bool(self.type)

    def law(self) -> LengthSampler:
        """Make the law that draws the lengths.

        Raises
        ------
        ScenarioError
            As construction does.
        """
        from blis_simpy.workload import lengths

        try:
            match self.type:
                case "constant":
                    return lengths.Constant(max(int(self._param("value")), 1))
                case "gaussian":
                    return self._gaussian()
                case "exponential":
                    # Below zero the reference's draws all end at its floor.
                    mean = self._param("mean")
                    return lengths.Exponential(mean) if mean > 0 else lengths.Constant(1)
                case "pareto_lognormal":
                    return lengths.ParetoLognormal(**{name: self._param(name) for name in _PARETO_LOGNORMAL})
                case "empirical":
                    return self._empirical()
        except ScenarioError as error:
            problems = error.problems
            raise ScenarioError(
                [p if p.path.startswith("params") else attrs.evolve(p, path=joined("params", p.path)) for p in problems]
            ) from None
        law: LengthSampler = registry.build("lengths", self.type, **self.params)
        return law

    def _param(self, name: str) -> float:
        if name not in self.params:
            raise ScenarioError.at(f"params.{name}", "is required")
        return self.params[name]

    def _gaussian(self) -> Gaussian:
        from blis_simpy.workload.lengths import Gaussian

        mean, std_dev, low, high = (self._param(name) for name in ("mean", "std_dev", "min", "max"))
        least, most = int(low), int(high)
        if least != most:
            # What is clamped to 0 or below is raised to 1 anyway. Bounds the wrong way round always give the upper.
            most = min(max(most, 1), _LONGEST)
            least = most if least > most else max(least, 0)
        return Gaussian(mean, abs(std_dev), least, most)

    def _empirical(self) -> Empirical:
        from blis_simpy.workload.lengths import Empirical

        if not self.params:
            raise ScenarioError.at("params", "must have at least one token count")
        counts: dict[int, float] = {}
        for key, weight in self.params.items():
            leading = re.match(r"\s*([+-]?[0-9]{1,18})", str(key))
            if leading is None:
                raise ScenarioError.at(f"params.{key}", "must be named by an integer token count")
            count = int(leading[1])
            if not 0 <= count <= _LONGEST:
                raise ScenarioError.at(f"params.{key}", f"must be named by a token count from 0 to {_LONGEST}")
            if count in counts:
                raise ScenarioError.at(f"params.{key}", f"names the token count {count} once more")
            counts[count] = weight
        return Empirical(tuple(counts), tuple(counts.values()))
