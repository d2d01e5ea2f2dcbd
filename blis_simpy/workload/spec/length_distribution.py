"""Fields that keep a length distribution, and its form in files of BLIS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

import attrs

from blis_simpy import registry
from blis_simpy.errors import ScenarioError, joined
from blis_simpy.settings.convert import structure
from blis_simpy.settings.description import PluginForms
from blis_simpy.settings.field_types import Accepts, Plugin
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from blis_simpy.workload.lengths import LengthSampler

__all__ = ["LENGTHS", "OPTIONAL_LENGTHS", "LengthDistribution", "LengthField", "OptionalLengthField", "default_lengths"]

_LONGEST = 2**31 - 1
_PARETO_LOGNORMAL = ("alpha", "xm", "mu", "sigma", "mix_weight")


def _with_text_keys(params: Any) -> Any:
    """Turn token counts into text, as in a file; return anything but a mapping unchanged, for the field to check."""
    return {str(name): value for name, value in params.items()} if isinstance(params, Mapping) else params


@settings_class(kw_only=False)
class LengthDistribution:
    """Length distribution by name and parameters, as files of BLIS write it.

    The built-in types read their parameters as the reference does: ``constant`` takes `value`, ``gaussian`` takes
    `mean`, `std_dev`, `min` and `max`, ``exponential`` takes `mean`, ``pareto_lognormal`` takes `alpha`, `xm`, `mu`,
    `sigma` and `mix_weight`, and ``empirical`` a weight for each token count. ``uniform`` takes `min` and `max`, and
    ``lognormal`` `mu`, `sigma` and, optionally, `min` and `max`. Any other registered distribution takes its options
    under their names.

    Raises
    ------
    ScenarioError
        If the type is unknown, or a parameter missing or wrong.

    Examples
    --------
    >>> LengthDistribution("gaussian", {"mean": 512, "std_dev": 64, "min": 1, "max": 4096}).build()
    Gaussian(mean=512, std_dev=64, max=4096)
    """

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"type"})

    type: str = setting(default="", help="Length distribution; empty means none.", kind="lengths", absent="")
    params: Mapping[str, float] = setting(
        factory=dict, help="Parameters by name; for empirical, weights by token count.", convert=_with_text_keys
    )
    file: str | None = setting(default=None, help="Accepted for compatibility and never read.")

    def __attrs_post_init__(self) -> None:
        for name, value in self.params.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ScenarioError.at(f"params.{name}", "must be a number", value)
            if not abs(value) < 1e308:
                raise ScenarioError.at(f"params.{name}", "must be a finite number", value)
        if self.type:
            self.build()

    def build(self) -> LengthSampler:
        """Make the distribution.

        Parameters out of range have the meaning that they have in the reference.

        Raises
        ------
        ScenarioError
            As construction does, or if the type is empty.
        """
        from blis_simpy.workload import lengths  # imports numpy, which a command line's --help need not load

        try:
            match self.type:
                case "constant":
                    return lengths.Constant(max(int(self._param("value")), 1))
                case "gaussian":
                    return lengths.Gaussian(self._param("mean"), abs(self._param("std_dev")), *self._bounds())
                case "exponential":
                    # With a mean below zero all draws of the reference are raised to 1.
                    mean = self._param("mean")
                    return lengths.Exponential(mean) if mean > 0 else lengths.Constant(1)
                case "pareto_lognormal":
                    return lengths.ParetoLognormal(**{name: self._param(name) for name in _PARETO_LOGNORMAL})
                case "empirical":
                    weights = self._weights()
                    return lengths.Empirical(tuple(weights), tuple(weights.values()))
                case "uniform":
                    return lengths.Uniform(int(self._param("min")), int(self._param("max")))
                case "lognormal":
                    bounds = {name: int(self.params[name]) for name in ("min", "max") if name in self.params}
                    return lengths.Lognormal(self._param("mu"), self._param("sigma"), **bounds)
            plugin = registry.get("lengths", self.type)
            is_settings = isinstance(plugin, type) and attrs.has(plugin)
            distribution: LengthSampler = (
                structure(self.params, cast("type[LengthSampler]", plugin))
                if is_settings
                else registry.build("lengths", plugin, **self.params)
            )
        except ScenarioError as error:
            raise ScenarioError(attrs.evolve(p, path=joined("params", p.path)) for p in error.problems) from None
        return distribution

    @classmethod
    def describing(cls, name: str, distribution: Any) -> LengthDistribution:
        """Describe a distribution; the opposite of `build`.

        Parameters
        ----------
        name : str
            Name that it is registered under.
        distribution : LengthSampler or class
            An attrs instance is described by its fields; any other object has no parameters.
        """
        params: dict[Any, Any] = {}
        if not isinstance(distribution, type) and attrs.has(type(distribution)):
            params = attrs.asdict(distribution)
        if name == "empirical" and params:
            params = dict(zip(params["lengths"], params["weights"], strict=True))
        return cls(name, params)

    def _param(self, name: str) -> float:
        if name not in self.params:
            raise ScenarioError.at(name, "is required")
        return self.params[name]

    def _bounds(self) -> tuple[int, int]:
        low, high = int(self._param("min")), int(self._param("max"))
        if low != high:
            # Lengths clamped to 0 or below are raised to 1; with reversed bounds all lengths are the upper one.
            high = min(max(high, 1), _LONGEST)
            low = high if low > high else max(low, 0)
        return low, high

    def _weights(self) -> dict[int, float]:
        if not self.params:
            raise ScenarioError.at("", "must have at least one token count")
        weights: dict[int, float] = {}
        for key, weight in self.params.items():
            leading = re.match(r"\s*([+-]?[0-9]{1,18})", str(key))
            if leading is None:
                raise ScenarioError.at(key, "must be named by an integer token count")
            count = int(leading[1])
            if not 0 <= count <= _LONGEST:
                raise ScenarioError.at(key, f"must be named by a token count from 0 to {_LONGEST}")
            if count in weights:
                raise ScenarioError.at(key, f"repeats the token count {count}")
            weights[count] = weight
        return weights


Lengths: TypeAlias = Plugin | int | LengthDistribution | Mapping[str, Any]
"""Every form of a length distribution: an instance or a class, a constant length in tokens, a type with parameters."""
LengthField: TypeAlias = Accepts[Plugin, Lengths]
"""Type of a field that holds a length distribution, made from any form that `LENGTHS` takes."""
OptionalLengthField: TypeAlias = Accepts[Plugin | None, Lengths | None]


def _to_lengths(value: Any) -> Any:
    """Make a length distribution from one of its forms.

    Parameters
    ----------
    value : object
        An integer for a constant length, a `LengthDistribution`, or a mapping with its keys, as in files of BLIS. Any
        other value is returned unchanged, and the field checks it: an instance, a class, or a mapping of type and
        options. A `LengthDistribution` without a type is None.

    Raises
    ------
    ScenarioError
        If a length or a mapping is wrong; the paths start below the field.
    """
    if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer()):
        from blis_simpy.workload.lengths import Constant

        try:
            return Constant(int(value))
        except ScenarioError as error:
            raise ScenarioError(attrs.evolve(problem, path="") for problem in error.problems) from None
    if isinstance(value, Mapping) and _is_described(value):
        value = structure(value, LengthDistribution)
    if isinstance(value, LengthDistribution):
        return value.build() if value.type else None
    return value


def _to_required_lengths(value: Any) -> Any:
    """Make a required length distribution, as `_to_lengths` does.

    Raises
    ------
    ScenarioError
        As `_to_lengths` does, or if the type is empty.
    """
    made = _to_lengths(value)
    if made is None and value is not None:
        raise ScenarioError.at("type", "is required")
    return made


def _is_described(value: Mapping[str, Any]) -> bool:
    """Whether a mapping has the keys of a `LengthDistribution`, not the options of a distribution beside its type."""
    keys = {str(key) for key in value}
    names = {"type", "params", "file"}
    if value.get("type") in registry.names("lengths"):
        return {"type"} < keys <= names
    return bool(keys & names) or not keys


LENGTHS = PluginForms(_to_required_lengths, (int, LengthDistribution))
"""Forms of a length distribution beside a mapping of type and options."""
OPTIONAL_LENGTHS = PluginForms(_to_lengths, (int, LengthDistribution))
"""The same where a distribution may be absent."""


def default_lengths() -> LengthSampler:
    """Return the lengths of prompts and outputs where none are given, as in the reference."""
    from blis_simpy.workload.lengths import Gaussian

    return Gaussian(512, 256, 2, 7000)
