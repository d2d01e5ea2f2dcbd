"""Targets of an SLO class: latency limits, and the pace of a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.settings.field_types import Duration, OptionalDuration, OptionalPart
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALL_OTHERS", "DIMENSIONS", "QoETarget", "SLOTargets", "targets_of"]

DIMENSIONS = ("ttft", "tpot", "itl", "ntpot", "e2e")
"""Latencies that can have a target."""

ALL_OTHERS = "*"
"""Name of the targets of the requests whose class has none."""


@settings_class
class QoETarget:
    """Reader of an output, whose expectation defines the quality of experience."""

    ttft: Duration = setting(
        help="Time from the arrival at which the reader expects the first token.", unit="us", ge=0, dimension="duration"
    )
    tokens_per_s: float = setting(help="Pace at which the reader consumes tokens.", unit="tokens/s", gt=0)


@settings_class
class SLOTargets:
    """Targets of the requests of an SLO class; a latency equal to its target meets it.

    Examples
    --------
    >>> SLOTargets(ttft="200ms", tpot="40ms").ttft
    200000
    """

    ttft: OptionalDuration = setting(
        default=None, help="Maximum time from arrival to first token.", unit="us", gt=0, dimension="duration"
    )
    tpot: OptionalDuration = setting(
        default=None,
        help="Maximum mean time between the output tokens of a request; one with a single token meets it.",
        unit="us",
        gt=0,
        dimension="duration",
    )
    itl: OptionalDuration = setting(
        default=None,
        help="Maximum gap between two output tokens of a request; one with a single token meets it.",
        unit="us",
        gt=0,
        dimension="duration",
    )
    itl_percentile: float = setting(
        default=100.0, help="Percentile of the gaps of a request that `itl` limits; 100 is the longest.", gt=0, le=100
    )
    ntpot: OptionalDuration = setting(
        default=None, help="Maximum E2E of a request per output token.", unit="us", gt=0, dimension="duration"
    )
    e2e: OptionalDuration = setting(
        default=None, help="Maximum time from arrival to last token.", unit="us", gt=0, dimension="duration"
    )
    capped_is_good: bool = setting(
        default=False,
        help="Whether a request whose output ended at the maximum length of the model can be good.",
    )
    weight: float = setting(default=1.0, help="Weight of a request in the weighted attainment.", ge=0)
    qoe: OptionalPart[QoETarget] = setting(default=None, help="Reader whose quality of experience is computed.")


def targets_of(targets: Mapping[str, SLOTargets], slo_class: str) -> SLOTargets:
    """Return the targets of the requests of a class; without any, all requests that complete are good.

    The class ``default`` includes requests without a class.
    """
    for name in (slo_class, *(() if slo_class else ("default",)), ALL_OTHERS):
        if name in targets:
            return targets[name]
    return SLOTargets()
