"""Which latency model, with which coefficients."""

from __future__ import annotations

import attrs

from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.settings.fields import Plugin, ReprMixin, setting

__all__ = ["COEFFICIENTS_BACKEND", "DEFAULT_BACKEND", "LatencySettings"]

DEFAULT_BACKEND = "trained-physics"
"""Latency model of a scenario that says nothing about it."""
COEFFICIENTS_BACKEND = "blackbox"
"""Latency model of a scenario that gives coefficients only."""


@attrs.frozen(kw_only=True, repr=False)
class LatencySettings(ReprMixin):
    """Choice of the latency model.

    Raises
    ------
    ScenarioError
        If only one of the coefficient lists is given, or both with ``roofline``, which takes none.
    """

    backend: Plugin | None = setting(
        None,
        help=f"Latency model; unset means {DEFAULT_BACKEND}, or {COEFFICIENTS_BACKEND} where coefficients are given.",
        kind="latency",
        flag="--latency-model",
    )
    alpha: tuple[float, ...] | None = setting(
        None, help="Coefficients of the per-request delays.", unit="us", ge=0, flag="--alpha-coeffs"
    )
    beta: tuple[float, ...] | None = setting(
        None, help="Coefficients of the step time.", unit="us", ge=0, flag="--beta-coeffs"
    )

    def __attrs_post_init__(self) -> None:
        given = [name for name in ("alpha", "beta") if getattr(self, name) is not None]
        if len(given) == 1:
            other = "beta" if given == ["alpha"] else "alpha"
            raise ScenarioError(Problem(path=given[0], rule=f"must come with {other} coefficients"))
        if given and self.backend == "roofline":
            raise ScenarioError(Problem(path="alpha", rule="must not be given with the roofline model, which has none"))

    @property
    def chosen(self) -> Plugin:
        """The latency model that is meant: `backend`, else what the coefficients tell."""
        if self.backend is not None:
            return self.backend
        return DEFAULT_BACKEND if self.alpha is None else COEFFICIENTS_BACKEND
