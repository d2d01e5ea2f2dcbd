"""Settings of closed-loop users: their number, their requests, and the end of their activity."""

from __future__ import annotations

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import Duration, OptionalDuration, Parts
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.workload.spec.client import SLO_CLASSES
from blis_simpy.workload.spec.length_distribution import LENGTHS, LengthField, default_lengths

__all__ = ["UserProfile", "UserStage"]


@settings_class(kw_only=False)
class UserStage:
    """Period with a constant number of users.

    Additional users start with the stage. If a stage has fewer users than the previous one, those with the highest
    numbers leave after their current request.
    """

    users: int = setting(help="Number of users.", unit="users", ge=0)
    duration: OptionalDuration = setting(
        default=None, help="Length of the stage.", unit="us", gt=0, dimension="duration"
    )
    num_requests: int = setting(
        default=0, help="Number of requests after which the stage ends; 0 means no limit.", unit="requests", ge=0
    )
    ramp: Duration = setting(
        default=0,
        help="Time over which the users that join start, at equal intervals.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    drain: bool = setting(
        default=False, help="Whether the next stage starts after all requests have ended, with all users anew."
    )

    def __attrs_post_init__(self) -> None:
        if self.num_requests and not self.users:
            raise ScenarioError.at("users", "must be > 0 in a stage that ends after requests", self.users)


@settings_class
class UserProfile:
    """Number and requests of closed-loop users."""

    users: int | None = setting(
        default=None,
        help="Number of closed-loop users; unset where there are stages.",
        unit="users",
        ge=1,
        flag="--concurrency",
    )
    stages: Parts[UserStage] = setting(
        default=(), help="Stages in place of `users`, `ramp`, `duration` and `num_requests`, which each stage has."
    )
    ramp: Duration = setting(
        default=0,
        help="Time over which the users start, at equal intervals; 0 means all at tick 0.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    think_time: Duration = setting(
        default=0,
        help="Mean pause between the last token of a request and the next request of the same user.",
        unit="us",
        ge=0,
        dimension="duration",
        flag="--think-time",
    )
    think_time_cv: float = setting(
        default=0.0,
        help="Coefficient of variation of the pause, which has a gamma distribution: 0 is constant, 1 exponential.",
        ge=0,
    )
    num_requests: int = setting(
        default=0,
        help="Number of requests that all users send together, repeated ones included; 0 means no limit.",
        unit="requests",
        ge=0,
    )
    requests_per_user: int | None = setting(
        default=None, help="Number of requests that each user sends; unset means no limit.", unit="requests", ge=1
    )
    duration: OptionalDuration = setting(
        default=None,
        help="Time from which no user sends a request; unset means no limit.",
        unit="us",
        gt=0,
        dimension="duration",
    )
    on_rejection: str = setting(
        default="continue",
        help="After a request that was rejected or dropped, a user continues with the next one, repeats it (retry), or "
        "leaves.",
        choices=("continue", "retry", "leave"),
    )
    backoff: Duration = setting(
        default=1_000_000,
        help="Pause after a request that was rejected or dropped, in place of the think time.",
        unit="us",
        gt=0,
        dimension="duration",
    )
    prompt: LengthField = setting(
        factory=default_lengths,
        help="Prompt lengths, without the shared prefix.",
        unit="tokens",
        kind="lengths",
        forms=LENGTHS,
    )
    output: LengthField = setting(
        factory=default_lengths, help="Output lengths.", unit="tokens", kind="lengths", forms=LENGTHS
    )
    prefix_tokens: int = setting(
        default=0,
        help="Length of a prefix that all prompts share, in addition to their own length.",
        unit="tokens",
        ge=0,
    )
    timeout: Duration = setting(
        default=0, help="Time from arrival to deadline; 0 means no deadline.", unit="us", ge=0, dimension="duration"
    )
    tenant: str = setting(default="", help="Tenant that the requests belong to.")
    slo_class: str = setting(
        default="", help="SLO class of the requests; empty means none.", choices=SLO_CLASSES, absent=""
    )
    model: str = setting(default="", help="Model that serves the requests; empty means any.")

    def __attrs_post_init__(self) -> None:
        if not self.stages:
            if self.users is None:
                raise ScenarioError.at("users", "must be given, or stages")
            return
        for name in ("users", "ramp", "duration", "num_requests"):
            if getattr(self, name):
                raise ScenarioError.at(
                    name, "must not be given beside stages, which have their own", getattr(self, name)
                )
        for index, stage in enumerate(self.stages):
            if stage.duration is None and not stage.num_requests and (index < len(self.stages) - 1 or not stage.users):
                raise ScenarioError.at(f"stages[{index}].duration", "must be given, or num_requests")

    @property
    def all_stages(self) -> tuple[UserStage, ...]:
        """Stages; a single one if none is given."""
        if self.stages:
            return self.stages
        assert self.users is not None
        return (UserStage(self.users, self.duration, self.num_requests, self.ramp),)

    @property
    def max_users(self) -> int:
        """Largest number of users at a time."""
        return max(stage.users for stage in self.all_stages)
