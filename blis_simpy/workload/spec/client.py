"""Clients: sources of requests, with rates, lengths and conversations.

A client represents a user, an application or a tenant. Its share of the aggregate rate is relative to the shares of all
other clients and cohorts.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import Duration, OptionalDuration, OptionalPart, OptionalRate, Parts
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.workload.spec.arrival import ARRIVALS, ArrivalField, arrival_in_blis
from blis_simpy.workload.spec.length_distribution import LENGTHS, OPTIONAL_LENGTHS, LengthField, OptionalLengthField

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEFAULT_PREFIX_TOKENS",
    "SLO_CLASSES",
    "ActivityWindows",
    "Client",
    "ClientProfile",
    "Daily",
    "MultiTurn",
    "Multimodal",
    "Network",
    "RatePoint",
    "Reasoning",
    "TrafficSource",
    "Window",
    "check_rates",
]

_log = logging.getLogger("blis_simpy")

SLO_CLASSES = ("critical", "standard", "sheddable", "batch", "background")
"""SLO classes of requests, the most urgent first."""

SESSION_TIMEOUT_US = 300_000_000
"""Default timeout of clients with sessions, as in the reference."""

DEFAULT_PREFIX_TOKENS = 50
"""Length of the prefix of a group for which no client gives one."""

_LONGEST = 2**31 - 1


@settings_class(kw_only=False)
class Window:
    """Interval in which a client is active."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"start_us", "end_us"})

    start_us: Duration = setting(default=0, help="First tick inside.", unit="ticks", le=2**63 - 1, dimension="duration")
    end_us: Duration = setting(
        default=0, help="First tick after the interval.", unit="ticks", le=2**63 - 1, dimension="duration"
    )
    rate: OptionalRate = setting(
        default=None,
        help="Requests per second in the interval, independent of the aggregate rate; the arrival process starts anew "
        "with the interval. For clients without sessions; either all intervals of a client have a rate or none.",
        unit="1/s",
        gt=0,
        dimension="rate",
    )


@settings_class
class ActivityWindows:
    """Times at which a client is active; arrivals at other times are discarded, not postponed."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"windows"})

    windows: Parts[Window] = setting(
        default=(), help="Intervals, which may overlap; without any the client is never active."
    )

    def __attrs_post_init__(self) -> None:
        if 0 < sum(window.rate is not None for window in self.windows) < len(self.windows):
            raise ScenarioError.at("windows", "must all have a rate, or none")

    @property
    def has_rates(self) -> bool:
        """Whether its windows have rates of their own."""
        return any(window.rate is not None for window in self.windows)


@settings_class
class Daily:
    """Daily cycle of the rate: a cosine over each day whose mean is the rate of the client."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"peak_hour", "peak_to_trough_ratio"})

    peak_hour: float = setting(default=0.0, help="Time of the highest rate.", unit="h", ge=0, lt=24)
    peak_to_trough_ratio: float = setting(help="Ratio of the highest to the lowest rate.", ge=1)


@settings_class(kw_only=False)
class RatePoint:
    """Point of a rate that is a function of time."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"at", "factor"})

    at: Duration = setting(help="Time of the point.", unit="ticks", ge=0, dimension="duration")
    factor: float = setting(help="Rate at this time, as a multiple of the rate of the client.", ge=0, le=1e6)


def check_rates(daily: Daily | None, points: Sequence[RatePoint]) -> None:
    """Refuse points of a rate beside a daily cycle, in the wrong order, or without any rate.

    Raises
    ------
    ScenarioError
        If they are wrong.
    """
    if points and daily is not None:
        raise ScenarioError.at("rate_curve", "must not be given beside daily")
    if any(later.at <= point.at for point, later in pairwise(points)):
        raise ScenarioError.at("rate_curve", "must have ascending times", [point.at for point in points])
    if points and not any(point.factor for point in points):
        raise ScenarioError.at("rate_curve", "must have a factor > 0", [point.factor for point in points])


@settings_class
class Network:
    """Network of a client. Accepted for compatibility; it has no effect on the simulation."""

    rtt_ms: float = setting(default=0.0, help="Round-trip time.", unit="ms")
    bandwidth_mbps: float = setting(default=0.0, help="Bandwidth.", unit="Mbit/s")


@settings_class
class Multimodal:
    """Prompts of text, images, audio and video in place of the input distribution.

    A modality is used if both its lengths and its counts have a distribution. A prompt has at least one token.
    """

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset(
        {"text_distribution"}
        | {f"{name}{part}_distribution" for name in ("image", "audio", "video") for part in ("", "_count")}
    )

    text_distribution: OptionalLengthField = setting(
        default=None, help="Text tokens of a prompt.", unit="tokens", kind="lengths", forms=OPTIONAL_LENGTHS
    )
    image_distribution: OptionalLengthField = setting(
        default=None, help="Tokens of one image.", unit="tokens", kind="lengths", forms=OPTIONAL_LENGTHS
    )
    image_count_distribution: OptionalLengthField = setting(
        default=None, help="Images of a prompt.", unit="images", kind="lengths", forms=OPTIONAL_LENGTHS
    )
    audio_distribution: OptionalLengthField = setting(
        default=None, help="Tokens of one audio clip.", unit="tokens", kind="lengths", forms=OPTIONAL_LENGTHS
    )
    audio_count_distribution: OptionalLengthField = setting(
        default=None, help="Audio clips of a prompt.", unit="clips", kind="lengths", forms=OPTIONAL_LENGTHS
    )
    video_distribution: OptionalLengthField = setting(
        default=None, help="Tokens of one video.", unit="tokens", kind="lengths", forms=OPTIONAL_LENGTHS
    )
    video_count_distribution: OptionalLengthField = setting(
        default=None, help="Videos of a prompt.", unit="videos", kind="lengths", forms=OPTIONAL_LENGTHS
    )


@settings_class
class MultiTurn:
    """Conversations of several rounds."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"max_rounds", "think_time_us", "context_growth"})

    max_rounds: int = setting(help="Rounds of a session.", unit="rounds", ge=1, le=1_000_000)
    think_time_us: Duration = setting(
        default=0,
        help="Pause between the end of a round and the arrival of the next one.",
        unit="us",
        ge=0,
        le=10**12,
        dimension="duration",
    )
    context_growth: str = setting(
        default="",
        help="accumulate: a prompt repeats all earlier prompts and outputs of the session. Else it does not.",
    )
    single_session: bool = setting(default=False, help="One session in all, in place of one per arrival.")

    def __attrs_post_init__(self) -> None:
        if self.context_growth not in ("", "accumulate"):
            _log.warning("context_growth %r is not known; contexts do not grow", self.context_growth)

    @property
    def accumulates(self) -> bool:
        """Whether prompts repeat the earlier prompts and outputs."""
        return self.context_growth == "accumulate"


@settings_class
class Reasoning:
    """Conversations, and share of reasoning in the outputs, of a client."""

    reason_ratio_distribution: OptionalLengthField = setting(
        default=None,
        help="Percentage of the output that is reasoning; a label of the requests of conversations.",
        unit="%",
        kind="lengths",
        forms=OPTIONAL_LENGTHS,
    )
    multi_turn: OptionalPart[MultiTurn] = setting(
        default=None, help="Rounds of a conversation; unset means independent requests."
    )


@settings_class
class ClientProfile:
    """Settings of a client and of a cohort, whose members are equal clients."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"id", "tenant", "slo_class", "rate_fraction", "streaming"})

    id: str = setting(
        default="",
        help="Label of the requests and name of the random streams; members of a cohort are <id>-0, <id>-1, ...",
    )
    tenant: str = setting(default="", help="Tenant that the requests belong to.")
    slo_class: str = setting(
        default="", help="SLO class of the requests; empty means none.", choices=SLO_CLASSES, absent=""
    )
    priority: int = setting(
        default=0,
        help="Priority of the requests for the scheduler priority; the lowest number is the most urgent, as in vLLM.",
    )
    model: str = setting(default="", help="Model that serves the requests; empty means any.")
    rate_fraction: float = setting(
        help="Share of the aggregate rate, relative to all clients and cohorts; of a cohort, all members together.",
        gt=0,
        le=1e308,
    )
    arrival: ArrivalField = setting(
        help="Arrival process of the requests, or of the sessions.", kind="arrivals", forms=ARRIVALS
    )
    input_distribution: LengthField = setting(
        help="Prompt lengths, without the shared prefix.", unit="tokens", kind="lengths", forms=LENGTHS
    )
    output_distribution: LengthField = setting(help="Output lengths.", unit="tokens", kind="lengths", forms=LENGTHS)
    prefix_group: str = setting(default="", help="Clients with the same group share the beginning of their prompts.")
    streaming: bool = setting(
        default=False, help="Label of requests whose output is streamed; without effect on timing."
    )


@settings_class
class Client(ClientProfile):
    """Traffic source: a user, an application or a tenant.

    Examples
    --------
    >>> from blis_simpy.workload.lengths import Gaussian
    >>> chat = Client(id="chat", rate_fraction=1, arrival="poisson", input_distribution=Gaussian(300, 100),
    ...               output_distribution=128)
    >>> chat.output_distribution
    Constant(value=128)
    """

    prefix_length: int = setting(
        default=0,
        help="Length of the shared beginning, equal in all clients of a group; 0 means that of the others, or else 50.",
        unit="tokens",
        ge=0,
        le=_LONGEST,
    )
    network: OptionalPart[Network] = setting(default=None, help="Network of the client; without effect.")
    lifecycle: OptionalPart[ActivityWindows] = setting(
        default=None, help="Times at which the client is active; unset means always."
    )
    daily: OptionalPart[Daily] = setting(default=None, help="Daily cycle of the rate; unset means a constant rate.")
    rate_curve: Parts[RatePoint] = setting(
        default=(),
        help="Rate as a function of time: linear between the points, constant before the first and after the last.",
    )
    multimodal: OptionalPart[Multimodal] = setting(default=None, help="Prompts with images, audio and video.")
    reasoning: OptionalPart[Reasoning] = setting(default=None, help="Conversations of several rounds.")
    timeout: OptionalDuration = setting(
        default=None,
        help="Time from arrival to deadline; 0 means no deadline, unset means 300 s for clients with sessions, else 0.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    closed_loop: bool | None = setting(
        default=None,
        help="Whether a round is sent after the previous one has ended; unset means yes for conversations.",
    )

    def as_in_blis(self) -> Client:
        """Return the client that has in any profile what this one has in the engine profile ``blis``."""
        return evolved(self, arrival=arrival_in_blis(self.arrival))

    def __attrs_post_init__(self) -> None:
        check_rates(self.daily, self.rate_curve)
        if self.has_own_rates and self.multi_turn is not None:
            raise ScenarioError.at("lifecycle.windows", "must not have rates where there are sessions")
        if self.has_own_rates and (self.daily is not None or self.rate_curve):
            field = "rate_curve" if self.rate_curve else "daily"
            raise ScenarioError.at(field, "must not be given beside windows with rates")

    @property
    def has_own_rates(self) -> bool:
        """Whether its windows set its rates, so that it has no share of the aggregate rate."""
        return self.lifecycle is not None and self.lifecycle.has_rates

    @property
    def multi_turn(self) -> MultiTurn | None:
        """Rounds of its conversations; None if it has none."""
        return self.reasoning.multi_turn if self.reasoning else None

    @property
    def is_closed_loop(self) -> bool:
        """Whether it has sessions whose rounds wait for the end of the previous one."""
        return self.multi_turn is not None and self.closed_loop is not False

    @property
    def timeout_us(self) -> int:
        """Time from arrival to deadline in µs; 0 = no deadline."""
        if self.timeout is not None:
            return self.timeout
        return SESSION_TIMEOUT_US if self.multi_turn or self.closed_loop else 0


class TrafficSource(NamedTuple):
    """A client, or a member of a cohort, with its name and rate.

    Attributes
    ----------
    id : str
        Label of its requests.
    stream : str
        Name in random streams and sessions, unique among the sources.
    client : Client
        Its settings, which members of a cohort share.
    rate_per_s : float
        Mean number of requests, or of sessions, per second; > 0. Of a client whose windows have rates, the highest one.
    process : int
        Number of the process that sends its requests; members of a cohort have the same one.
    process_name : str
        Id of the client or the cohort.
    """

    id: str
    stream: str
    client: Client
    rate_per_s: float
    process: int
    process_name: str
