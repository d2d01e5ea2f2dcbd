"""Cohorts: populations of equal clients, whose activity may follow a daily cycle, a spike or a decline.

A pattern only sets the times at which the members are active. With several patterns a member is active in any of them.
"""

from __future__ import annotations

import math
from typing import ClassVar

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import Duration, OptionalPart
from blis_simpy.settings.fields import fields_of, setting, settings_class
from blis_simpy.units import HOUR
from blis_simpy.workload.spec.client import ActivityWindows, Client, ClientProfile, Daily, Window

__all__ = ["Cohort", "Diurnal", "Drain", "Spike"]

_RAMP_SEGMENTS = 10


@settings_class
class Diurnal:
    """Daily cycle: active in the first part of each hour, which is longest at the peak. It covers one day."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"peak_hour", "peak_to_trough_ratio"})

    peak_hour: int = setting(default=0, help="Hour with the highest rate.", unit="h", ge=0, le=23)
    peak_to_trough_ratio: float = setting(help="Ratio of the highest to the lowest hourly rate.", ge=1)

    def windows(self) -> tuple[Window, ...]:
        """Active times: the whole peak hour, and 1/`peak_to_trough_ratio` of the hour twelve hours later."""
        trough = 1 / self.peak_to_trough_ratio
        hours = []
        for hour in range(24):
            level = (1 + math.cos(2 * math.pi * (hour - self.peak_hour) / 24)) / 2 * (1 - trough) + trough
            hours.append(Window(hour * HOUR, hour * HOUR + max(min(int(HOUR * level), HOUR), 1)))
        return tuple(hours)


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
        default=None, help="Daily cycle of the activity: active in a part of each hour of the first day."
    )
    daily: OptionalPart[Daily] = setting(default=None, help="Daily cycle of the rate; unset means a constant rate.")
    spike: OptionalPart[Spike] = setting(default=None, help="Single interval of activity.")
    drain: OptionalPart[Drain] = setting(default=None, help="Decline of the activity.")

    def __attrs_post_init__(self) -> None:
        if self.daily is not None and self.diurnal is not None:
            raise ScenarioError.at("daily", "must not be given beside diurnal")

    def windows(self) -> tuple[Window, ...] | None:
        """Active times of the members; None without a pattern, which means always."""
        patterns = [pattern for pattern in (self.diurnal, self.spike, self.drain) if pattern is not None]
        return tuple(window for pattern in patterns for window in pattern.windows()) if patterns else None

    def member(self) -> Client:
        """Return the client that each member is, with its share of the rate and the id of the cohort."""
        windows = self.windows()
        profile = {field.name: getattr(self, field.name) for field in fields_of(ClientProfile)}
        return Client(
            **{**profile, "rate_fraction": self.rate_fraction / self.population},
            daily=self.daily,
            lifecycle=None if windows is None else ActivityWindows(windows=windows),
        )
