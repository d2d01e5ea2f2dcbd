"""Cohorts: many equal clients, with a day's rhythm, a spike or a decline if asked for.

A pattern only says when the members are active. Where several are given, a member is active in any of them.
"""

from __future__ import annotations

import math
from typing import ClassVar

from blis_simpy.settings.field_types import Duration, OptionalPart, Part
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.units import HOUR
from blis_simpy.workload.spec.client import SLO_CLASSES, ActivityWindows, Arrival, Client, Source, Window, check_lengths
from blis_simpy.workload.spec.length_distribution import LengthDistribution

__all__ = ["Cohort", "Diurnal", "Drain", "Spike"]

_RAMP_SEGMENTS = 10


@settings_class
class Diurnal:
    """A day's rhythm: active for the first part of each hour, which is longest at the peak. It covers one day."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"peak_hour", "peak_to_trough_ratio"})

    peak_hour: int = setting(default=0, help="Busiest hour.", unit="h", ge=0, le=23)
    peak_to_trough_ratio: float = setting(help="Busiest hour against the quietest.", ge=1)

    def windows(self) -> tuple[Window, ...]:
        """Active times: all of the peak hour, one part in `peak_to_trough_ratio` of the hour opposite to it."""
        trough = 1 / self.peak_to_trough_ratio
        hours = []
        for hour in range(24):
            level = (1 + math.cos(2 * math.pi * (hour - self.peak_hour) / 24)) / 2 * (1 - trough) + trough
            hours.append(Window(hour * HOUR, hour * HOUR + max(min(int(HOUR * level), HOUR), 1)))
        return tuple(hours)


@settings_class
class Spike:
    """Active for one time only."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"start_time_us", "duration_us"})

    start_time_us: Duration = setting(default=0, help="First active tick.", unit="ticks", ge=0, dimension="duration")
    duration_us: Duration = setting(help="For how long.", unit="us", gt=0, dimension="duration")

    def windows(self) -> tuple[Window, ...]:
        """Active times."""
        return (Window(self.start_time_us, self.start_time_us + self.duration_us),)


@settings_class
class Drain:
    """Active until a tick, then less and less in ten steps; the first step is still at full rate."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"start_time_us", "ramp_duration_us"})

    start_time_us: Duration = setting(
        default=0, help="Tick at which the decline starts.", unit="ticks", ge=0, dimension="duration"
    )
    ramp_duration_us: Duration = setting(help="How long it lasts.", unit="us", gt=0, dimension="duration")

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
class Cohort:
    """A number of clients alike."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"id", "population", "rate_fraction"})

    id: str = setting(default="", help="Beginning of the members' labels: <id>-0, <id>-1, ...")
    population: int = setting(help="Number of members.", unit="clients", ge=1, le=100_000)
    tenant_id: str = setting(default="", help="Tenant that their requests belong to.")
    slo_class: str = setting(default="", help="Promise attached; empty means none.", choices=SLO_CLASSES, absent="")
    model: str = setting(default="", help="Model that their requests ask for; empty means any.")
    rate_fraction: float = setting(help="Share of the whole cohort in the aggregate rate.", gt=0)
    arrival: Part[Arrival] = setting(help="Law of the gaps between the requests of one member.")
    input_distribution: Part[LengthDistribution] = setting(
        help="Law of the prompt lengths, without prefix.", unit="tokens"
    )
    output_distribution: Part[LengthDistribution] = setting(help="Law of the output lengths.", unit="tokens")
    prefix_group: str = setting(default="", help="Clients of one group share the beginning of their prompts.")
    streaming: bool = setting(default=False, help="Label: whether they ask for a stream.")
    diurnal: OptionalPart[Diurnal] = setting(default=None, help="A day's rhythm.")
    spike: OptionalPart[Spike] = setting(default=None, help="One active time.")
    drain: OptionalPart[Drain] = setting(default=None, help="A decline.")

    def __attrs_post_init__(self) -> None:
        check_lengths(self.input_distribution, self.output_distribution)

    def windows(self) -> tuple[Window, ...] | None:
        """Active times of the members; None without a pattern, which means always."""
        patterns = [pattern for pattern in (self.diurnal, self.spike, self.drain) if pattern is not None]
        return tuple(window for pattern in patterns for window in pattern.windows()) if patterns else None

    def members(self) -> list[Source]:
        """Return the clients, each with its share of the rate."""
        windows = self.windows()
        client = Client(
            tenant_id=self.tenant_id,
            slo_class=self.slo_class,
            model=self.model,
            rate_fraction=self.rate_fraction / self.population,
            arrival=self.arrival,
            input_distribution=self.input_distribution,
            output_distribution=self.output_distribution,
            prefix_group=self.prefix_group,
            streaming=self.streaming,
            lifecycle=None if windows is None else ActivityWindows(windows=windows),
        )
        return [Source(f"{self.id}-{index}", client) for index in range(self.population)]
