"""Cohorts: populations of equal clients, whose rate or activity may follow a daily cycle, a spike or a decline.

A spike and a decline set the times at which the members are active. With several patterns a member is active in any of
them; beside these, a daily cycle is one of active times too.
"""

from __future__ import annotations

import math
from typing import ClassVar

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import Duration, OptionalPart, Parts
from blis_simpy.settings.fields import evolved, fields_of, setting, settings_class
from blis_simpy.units import HOUR
from blis_simpy.workload.spec.arrival import arrival_in_blis
from blis_simpy.workload.spec.client import (
    ActivityWindows,
    Client,
    ClientProfile,
    Daily,
    RatePoint,
    Window,
    check_rates,
)

__all__ = ["Cohort", "Diurnal", "Drain", "Spike"]

_RAMP_SEGMENTS = 10


@settings_class
class Diurnal:
    """Daily cycle of the rate, with the highest rate in the middle of an hour."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"peak_hour", "peak_to_trough_ratio"})

    peak_hour: int = setting(default=0, help="Hour with the highest rate.", unit="h", ge=0, le=23)
    peak_to_trough_ratio: float = setting(help="Ratio of the highest to the lowest hourly rate.", ge=1)

    def daily(self) -> Daily:
        """Cosine of the rate."""
        return Daily(peak_hour=self.peak_hour + 0.5, peak_to_trough_ratio=self.peak_to_trough_ratio)

    def windows(self) -> tuple[Window, ...]:
        """Active times in BLIS, of one day: the whole peak hour, 1/`peak_to_trough_ratio` of it twelve hours later."""
        trough = 1 / self.peak_to_trough_ratio
        hours = []
        for hour in range(24):
            level = (1 + math.cos(2 * math.pi * (hour - self.peak_hour) / 24)) / 2 * (1 - trough) + trough
            hours.append(Window(hour * HOUR, hour * HOUR + max(min(int(HOUR * level), HOUR), 1)))
        return tuple(hours)


class _ActiveHours(Diurnal):
    """Daily cycle as in BLIS: active at the full rate in the first part of each hour of the first day."""

    __slots__ = ()


@settings_class
class Spike:
    """Active in one interval only."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"start_time_us", "duration_us"})

    start_time_us: Duration = setting(default=0, help="First active tick.", unit="ticks", ge=0, dimension="duration")
    duration_us: Duration = setting(help="Length of the interval.", unit="us", gt=0, dimension="duration")

    def windows(self) -> tuple[Window, ...]:
        """Active times."""
        return (Window(self.start_time_us, self.start_time_us + self.duration_us),)


@settings_class
class Drain:
    """Active until a tick, then declining in ten steps, the first of which is still at the full rate."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"start_time_us", "ramp_duration_us"})

    start_time_us: Duration = setting(default=0, help="Start of the decline.", unit="ticks", ge=0, dimension="duration")
    ramp_duration_us: Duration = setting(help="Length of the decline.", unit="us", gt=0, dimension="duration")

    def windows(self) -> tuple[Window, ...]:
        """Active times."""
        before = (Window(0, self.start_time_us),) if self.start_time_us else ()
        segment = max(self.ramp_duration_us // _RAMP_SEGMENTS, 1)
        ramp = []
        for index in range(_RAMP_SEGMENTS):
            start = self.start_time_us + index * segment
            ramp.append(Window(start, start + max(int(segment * ((_RAMP_SEGMENTS - index) / _RAMP_SEGMENTS)), 1)))
        return (*before, *ramp)


@settings_class
class Cohort(ClientProfile):
    """Population of equal clients."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"id", "population", "rate_fraction"})

    population: int = setting(help="Number of members.", unit="clients", ge=1, le=100_000)
    diurnal: OptionalPart[Diurnal] = setting(
        default=None,
        help="Daily cycle of the rate, whose mean is kept. In the engine profile blis, or beside spike or drain, the "
        "members are active in a part of each hour of the first day instead.",
    )
    daily: OptionalPart[Daily] = setting(default=None, help="Daily cycle of the rate; unset means a constant rate.")
    rate_curve: Parts[RatePoint] = setting(
        default=(),
        help="Rate as a function of time: linear between the points, constant before the first and after the last.",
    )
    spike: OptionalPart[Spike] = setting(default=None, help="Single interval of activity.")
    drain: OptionalPart[Drain] = setting(default=None, help="Decline of the activity.")

    def __attrs_post_init__(self) -> None:
        check_rates(self.daily, self.rate_curve)
        if self.diurnal is not None and (self.daily is not None or self.rate_curve):
            raise ScenarioError.at("diurnal", "must not be given beside daily or rate_curve")

    def as_in_blis(self) -> Cohort:
        """Return the cohort that has in any profile what this one has in the engine profile ``blis``."""
        cycle = self.diurnal
        if cycle is not None:
            cycle = _ActiveHours(peak_hour=cycle.peak_hour, peak_to_trough_ratio=cycle.peak_to_trough_ratio)
        return evolved(self, arrival=arrival_in_blis(self.arrival), diurnal=cycle)

    def windows(self) -> tuple[Window, ...] | None:
        """Active times of the members; None without a pattern, which means always."""
        patterns = [pattern for pattern in (self.diurnal, self.spike, self.drain) if pattern is not None]
        return tuple(window for pattern in patterns for window in pattern.windows()) if patterns else None

    def member(self) -> Client:
        """Return the client that each member is, with its share of the rate and the id of the cohort."""
        profile = {field.name: getattr(self, field.name) for field in fields_of(ClientProfile)}
        profile["rate_fraction"] = self.rate_fraction / self.population
        diurnal = self.diurnal
        if diurnal is not None and not isinstance(diurnal, _ActiveHours) and self.spike is None and self.drain is None:
            return Client(**profile, daily=diurnal.daily())
        windows = self.windows()
        return Client(
            **profile,
            daily=self.daily,
            rate_curve=self.rate_curve,
            lifecycle=None if windows is None else ActivityWindows(windows=windows),
        )
