"""Load of the inference-perf benchmark: stages of constant rate, and users with common system prompts."""

from __future__ import annotations

import math
from typing import ClassVar

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import Duration, Part, Parts, Rate
from blis_simpy.settings.fields import evolved, setting, settings_class
from blis_simpy.units import SECOND
from blis_simpy.workload.spec.arrival import Arrival
from blis_simpy.workload.spec.client import ActivityWindows, Client, MultiTurn, Reasoning, Window
from blis_simpy.workload.spec.length_distribution import OPTIONAL_LENGTHS, LengthDistribution, OptionalLengthField

__all__ = ["InferencePerf", "SharedPrefix", "Stage"]

_LONGEST = 2**31 - 1


@settings_class
class Stage:
    """Interval of constant rate."""

    rate: Rate = setting(help="Requests per second.", unit="1/s", gt=0, dimension="rate")
    duration: int = setting(help="Length of the stage.", unit="s", gt=0, le=10**12)


@settings_class
class SharedPrefix:
    """Users, and the system prompts that they share."""

    ALWAYS_WRITTEN: ClassVar[frozenset[str]] = frozenset({"system_prompt_len", "question_len", "output_len"})

    num_unique_system_prompts: int = setting(help="Number of system prompts.", gt=0, le=100_000)
    num_users_per_system_prompt: int = setting(help="Users of each system prompt.", gt=0, le=100_000)
    system_prompt_len: int = setting(
        default=0, help="Length of a system prompt; 0 means 50, as for every prefix.", unit="tokens", ge=0, le=_LONGEST
    )
    question_len: int = setting(default=0, help="Length of a question; 0 means 1.", unit="tokens", ge=0, le=_LONGEST)
    output_len: int = setting(default=0, help="Length of an answer; 0 means 1.", unit="tokens", ge=0, le=_LONGEST)
    question_distribution: OptionalLengthField = setting(
        default=None,
        help="Length distribution of the questions, in place of question_len.",
        unit="tokens",
        kind="lengths",
        forms=OPTIONAL_LENGTHS,
    )
    output_distribution: OptionalLengthField = setting(
        default=None,
        help="Length distribution of the answers, in place of output_len.",
        unit="tokens",
        kind="lengths",
        forms=OPTIONAL_LENGTHS,
    )
    enable_multi_turn_chat: bool = setting(
        default=False, help="Each user has one conversation that lasts for the whole stage."
    )


@settings_class
class InferencePerf:
    """Load of the inference-perf benchmark. The duration of a single stage is not enforced, as in the reference."""

    stages: Parts[Stage] = setting(help="Stages, one after the other.")
    interval: Duration = setting(default=0, help="Pause between two stages.", unit="us", ge=0, dimension="duration")
    shared_prefix: Part[SharedPrefix] = setting(help="Users and system prompts.")

    def __attrs_post_init__(self) -> None:
        if not self.stages:
            raise ScenarioError.at("stages", "must have at least one stage")
        users = self.num_users * len(self.stages)
        if users > 1_000_000:
            raise ScenarioError.at("shared_prefix", "must have at most 1000000 users, over all stages", users)

    @property
    def num_users(self) -> int:
        """Number of users of a stage."""
        return self.shared_prefix.num_unique_system_prompts * self.shared_prefix.num_users_per_system_prompt

    @property
    def aggregate_rate(self) -> float:
        """Sum of the rates of the stages, of which each client gets its share."""
        return float(sum(stage.rate for stage in self.stages))

    def clients(self) -> tuple[Client, ...]:
        """Return one client per user and stage."""
        several = len(self.stages) > 1
        clients: list[Client] = []
        start = 0
        for index, stage in enumerate(self.stages):
            end = start + stage.duration * SECOND
            lifecycle = ActivityWindows(windows=(Window(start, end),)) if several else None
            clients += self._stage_clients(stage, f"stage-{index}-" if several else "", lifecycle)
            start = end + self.interval
        return tuple(clients)

    def _stage_clients(self, stage: Stage, label: str, lifecycle: ActivityWindows | None) -> list[Client]:
        prefix = self.shared_prefix
        one = Client(
            slo_class="batch",
            # With one stage only the ratios between clients matter.
            rate_fraction=(stage.rate if len(self.stages) > 1 else 1.0) / self.num_users,
            arrival=Arrival("poisson"),
            input_distribution=prefix.question_distribution or _constant(prefix.question_len),
            output_distribution=prefix.output_distribution or _constant(prefix.output_len),
            prefix_length=prefix.system_prompt_len,
            lifecycle=lifecycle,
            reasoning=self._reasoning(stage) if prefix.enable_multi_turn_chat else None,
        )
        return [
            evolved(one, id=f"{label}{prompt}-user-{user}", tenant=prompt, prefix_group=prompt)
            for prompt in (f"prompt-{index}" for index in range(prefix.num_unique_system_prompts))
            for user in range(prefix.num_users_per_system_prompt)
        ]

    def _reasoning(self, stage: Stage) -> Reasoning:
        users = self.num_users
        return Reasoning(
            reason_ratio_distribution=LengthDistribution("constant", {"value": 0}),
            multi_turn=MultiTurn(
                max_rounds=math.ceil(stage.rate * stage.duration / users),
                think_time_us=int(users / stage.rate * 1e6),
                single_session=True,
            ),
        )


def _constant(length: int) -> LengthDistribution:
    return LengthDistribution("constant", {"value": length})
