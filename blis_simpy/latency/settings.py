"""Choice of the latency model and its coefficients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from blis_simpy import registry
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.latency.base import LatencyModel
from blis_simpy.settings.field_types import Accepts, Numbers, Plugin
from blis_simpy.settings.fields import setting, settings_class

__all__ = ["COEFFICIENTS_BACKEND", "DEFAULT_BACKEND", "Latency", "LatencySettings"]

DEFAULT_BACKEND = "kernels"
"""Default latency model."""
COEFFICIENTS_BACKEND = "blackbox"
"""Latency model of a scenario that gives coefficients only."""

Latency: TypeAlias = str | Mapping[str, Any] | LatencyModel | Callable[..., LatencyModel]
"""Latency model: a registered name, a mapping of name and options, an instance, or what makes one."""


@settings_class
class LatencySettings:
    """Choice of the latency model.

    In a file or a mapping, the options of the latency model are given beside its name. A latency model alone, in place
    of these settings, means the settings with this model.

    Raises
    ------
    ScenarioError
        If only one of the coefficient lists is given, or both with a latency model that takes none.
    """

    backend: Accepts[Plugin, Latency | None] = setting(
        default=None,
        help=f"Latency model; unset means {DEFAULT_BACKEND}, or {COEFFICIENTS_BACKEND} where coefficients are given.",
        kind="latency",
        inline=True,
        flag="--latency-model",
    )
    alpha: Numbers = setting(
        default=None, help="Coefficients of the per-request delays.", unit="us", ge=0, flag="--alpha-coeffs"
    )
    beta: Numbers = setting(default=None, help="Coefficients of the step time.", unit="us", ge=0, flag="--beta-coeffs")

    def __attrs_post_init__(self) -> None:
        given = [name for name in ("alpha", "beta") if getattr(self, name) is not None]
        if len(given) == 1:
            other = "beta" if given == ["alpha"] else "alpha"
            raise ScenarioError(Problem(path=given[0], rule=f"must come with {other} coefficients"))
        if given and not getattr(registry.plugin_of("latency", self.chosen), "takes_coefficients", True):
            rule = "must not be given: the latency model takes no coefficients"
            raise ScenarioError(Problem(path="alpha", rule=rule))

    @property
    def chosen(self) -> Plugin:
        """The latency model to use: `backend`, else the default for the coefficients."""
        if self.backend is not None:
            return self.backend
        return DEFAULT_BACKEND if self.alpha is None else COEFFICIENTS_BACKEND
