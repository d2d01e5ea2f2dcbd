"""One source of traffic: how often it sends, how long its prompts are, and what its conversations look like.

A client of a specification stands for one user, one application or one tenant; its share of the whole traffic is
relative to the shares of all others.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import Duration, OptionalDuration, OptionalPart, Part, Parts
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.plugin_options import option_names
from blis_simpy.workload.spec.length_distribution import LengthDistribution

if TYPE_CHECKING:
    from blis_simpy.workload.arrivals import ArrivalProcess

__all__ = [
    "SLO_CLASSES",
    "ActivityWindows",
    "Arrival",
    "Client",
    "MultiTurn",
    "Multimodal",
    "Network",
    "Reasoning",
    "Source",
    "Window",
    "check_lengths",
]

_log = logging.getLogger("blis_simpy")

SLO_CLASSES = ("critical", "standard", "sheddable", "batch", "background")
"""Promises that can be attached to a request, the most urgent first."""

SESSION_TIMEOUT_US = 300_000_000
"""Patience of clients with sessions, as in the reference."""

_LONGEST = 2**31 - 1


@settings_class(kw_only=False)
class Arrival:
    """Law of the gaps between the requests, or the sessions, of a client.

    Examples
    --------
    >>> Arrival("gamma", cv=2.0).build()
    GammaArrivals(cv=2.0)
    """

    process: str = setting(help="Arrival process.", kind="arrivals")
    cv: float | None = setting(
        default=None, help="Coefficient of variation of the gaps; unset means 1. For gamma and weibull."
    )

    def check_cv(self) -> None:
        """Refuse a coefficient of variation that a client must not have; members of a cohort may have any.

        Raises
        ------
        ScenarioError
            If it is not positive, or outside the range of the arrival process; the path is ``arrival.cv``.
        """
        if self.cv is None:
            return
        if self.cv <= 0:
            raise ScenarioError.at("arrival.cv", "must be > 0", self.cv)
        least, most = getattr(registry.get("arrivals", self.process), "CV_RANGE", (0.0, math.inf))
        if not least <= self.cv <= most:
            raise ScenarioError.at("arrival.cv", f"must be between {least} and {most} for {self.process}", self.cv)

    def build(self) -> ArrivalProcess:
        """Make the process that draws the gaps."""
        # A process without a coefficient of variation ignores it, as in the reference.
        known = option_names("arrivals", registry.get("arrivals", self.process))
        takes_cv = self.cv is not None and (known is None or "cv" in known)
        process: ArrivalProcess = registry.build("arrivals", self.process, **({"cv": self.cv} if takes_cv else {}))
        return process


@settings_class(kw_only=False)
class Window:
    """A time in which a client is active."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"start_us", "end_us"})

    start_us: Duration = setting(default=0, help="First tick inside.", unit="ticks", dimension="duration")
    end_us: Duration = setting(default=0, help="First tick after it.", unit="ticks", dimension="duration")


@settings_class
class ActivityWindows:
    """When a client is active; outside, its arrivals are discarded, not postponed."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"windows"})

    windows: Parts[Window] = setting(default=(), help="The union of these; none at all means never.")


@settings_class
class Network:
    """The client's network. Kept for compatibility: it has no effect on the simulation."""

    rtt_ms: float = setting(default=0.0, help="Round-trip time.", unit="ms")
    bandwidth_mbps: float = setting(default=0.0, help="Bandwidth.", unit="Mbit/s")


@settings_class
class Multimodal:
    """Prompts of text, images, audio and video in place of the input distribution.

    A modality is used where both its lengths and its counts have a distribution; the prompt has at least one token.
    """

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset(
        {"text_distribution"}
        | {f"{name}{part}_distribution" for name in ("image", "audio", "video") for part in ("", "_count")}
    )

    text_distribution: Part[LengthDistribution] = setting(
        factory=LengthDistribution, help="Text tokens of a prompt.", unit="tokens"
    )
    image_distribution: Part[LengthDistribution] = setting(
        factory=LengthDistribution, help="Tokens of one image.", unit="tokens"
    )
    image_count_distribution: Part[LengthDistribution] = setting(factory=LengthDistribution, help="Images of a prompt.")
    audio_distribution: Part[LengthDistribution] = setting(
        factory=LengthDistribution, help="Tokens of one audio clip.", unit="tokens"
    )
    audio_count_distribution: Part[LengthDistribution] = setting(
        factory=LengthDistribution, help="Audio clips of a prompt."
    )
    video_distribution: Part[LengthDistribution] = setting(
        factory=LengthDistribution, help="Tokens of one video.", unit="tokens"
    )
    video_count_distribution: Part[LengthDistribution] = setting(factory=LengthDistribution, help="Videos of a prompt.")


@settings_class
class MultiTurn:
    """Conversations of several rounds."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"max_rounds", "think_time_us", "context_growth"})

    max_rounds: int = setting(help="Rounds of a session.", unit="rounds", ge=1, le=1_000_000)
    think_time_us: Duration = setting(
        default=0,
        help="Pause between the end of a round and the next one.",
        unit="us",
        ge=0,
        le=10**12,
        dimension="duration",
    )
    context_growth: str = setting(
        default="", help="With accumulate, a prompt repeats all earlier prompts and outputs; else it stands alone."
    )
    single_session: bool = setting(default=False, help="The client has one session in all, not one an arrival.")

    def __attrs_post_init__(self) -> None:
        if self.context_growth not in ("", "accumulate"):
            _log.warning("context_growth %r is not known; contexts do not grow", self.context_growth)

    @property
    def accumulates(self) -> bool:
        """Whether prompts repeat what was said before."""
        return self.context_growth == "accumulate"


@settings_class
class Reasoning:
    """What a client's conversations and reasoning look like."""

    reason_ratio_distribution: Part[LengthDistribution] = setting(
        factory=LengthDistribution, help="Percentage of the output that is reasoning; a label.", unit="%"
    )
    multi_turn: OptionalPart[MultiTurn] = setting(default=None, help="Rounds; unset means single requests.")


@settings_class
class Client:
    """One source of requests."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"id", "tenant_id", "slo_class", "rate_fraction", "streaming"})

    id: str = setting(default="", help="Label of its requests, and name of its random streams.")
    tenant_id: str = setting(default="", help="Tenant that its requests belong to.")
    slo_class: str = setting(default="", help="Promise attached; empty means none.", choices=SLO_CLASSES, absent="")
    model: str = setting(default="", help="Model that its requests ask for; empty means any.")
    rate_fraction: float = setting(help="Share of the aggregate rate, relative to the other clients.", gt=0)
    arrival: Part[Arrival] = setting(help="Law of the gaps between requests, or sessions.")
    input_distribution: Part[LengthDistribution] = setting(
        help="Law of the prompt lengths, without prefix.", unit="tokens"
    )
    output_distribution: Part[LengthDistribution] = setting(help="Law of the output lengths.", unit="tokens")
    prefix_group: str = setting(default="", help="Clients of one group share the beginning of their prompts.")
    prefix_length: int = setting(
        default=0,
        help="Length of that beginning, if it is the group's first client; 0 means 50.",
        unit="tokens",
        ge=0,
        le=_LONGEST,
    )
    streaming: bool = setting(default=False, help="Label: whether it asks for a stream.")
    network: OptionalPart[Network] = setting(default=None, help="Its network; without effect.")
    lifecycle: OptionalPart[ActivityWindows] = setting(default=None, help="When it is active; unset means always.")
    multimodal: OptionalPart[Multimodal] = setting(default=None, help="Prompts with images, audio and video.")
    reasoning: OptionalPart[Reasoning] = setting(default=None, help="Conversations of several rounds.")
    timeout: OptionalDuration = setting(
        default=None,
        help="Patience; 0 means endless, unset means 300 s for clients with sessions and endless for others.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    closed_loop: bool | None = setting(
        default=None,
        help="Whether a round waits for the end of the one before; unset means yes where there are rounds.",
    )

    def __attrs_post_init__(self) -> None:
        check_lengths(self.input_distribution, self.output_distribution)

    @property
    def multi_turn(self) -> MultiTurn | None:
        """Its rounds, if it has conversations."""
        return self.reasoning.multi_turn if self.reasoning else None

    @property
    def is_closed_loop(self) -> bool:
        """Whether it has sessions whose rounds wait for each other."""
        return self.multi_turn is not None and self.closed_loop is not False

    @property
    def timeout_us(self) -> int:
        """Time from arrival to deadline in µs; 0 = no deadline."""
        if self.timeout is not None:
            return self.timeout
        return SESSION_TIMEOUT_US if self.multi_turn or self.closed_loop else 0


class Source(NamedTuple):
    """A client under its own name: the members of a cohort are one client under many names."""

    id: str
    client: Client


def check_lengths(prompt: LengthDistribution, output: LengthDistribution) -> None:
    """Refuse distributions without a type."""
    for name, distribution in (("input_distribution", prompt), ("output_distribution", output)):
        if not distribution:
            raise ScenarioError.at(f"{name}.type", "is required")
