"""Closed-loop users: each sends a request, waits until it has ended, thinks, and sends the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.fields import settings_class
from blis_simpy.workload.spec.user_profile import UserProfile
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.generator import GeneratedWorkload
    from blis_simpy.workload.preview import Preview

__all__ = ["UserWorkload"]


@settings_class
class UserWorkload(UserProfile, Traffic):
    """Closed-loop users: a fixed number of them, or stages with different numbers.

    A user sends a request, waits until it has ended, with whatever outcome, thinks, and sends the next one. The think
    time starts when the last token arrives. Each user draws from random streams of its own, so its requests do not
    depend on the other users or on the order of service.

    Raises
    ------
    ScenarioError
        If both `users` and `stages` are given or none of them, or a stage has no end.

    Examples
    --------
    >>> from blis_simpy import Scenario
    >>> users = UserWorkload(users=2, num_requests=6, prompt=100, output=20, think_time="1s")
    >>> Scenario(model="qwen/qwen3-14b", workload=users).run().requests["session"].tolist()
    ['user-0', 'user-1', 'user-0', 'user-1', 'user-0', 'user-1']
    """

    def with_rate(self, rate_per_s: float) -> UserWorkload:
        """Refuse a rate.

        Raises
        ------
        ScenarioError
            Always.
        """
        hint = "the number of users sets the load; max_in_flight caps a workload with a rate"
        raise ScenarioError.at("rate", "does not apply to closed-loop users", rate_per_s, hint=hint)

    def generate(
        self, streams: RandomStreams, horizon: int | None = None, *, defaults: str | None = None
    ) -> GeneratedWorkload:
        """Prepare the users; their requests are made during the simulation.

        Raises
        ------
        ScenarioError
            If neither the workload nor the horizon limits the number of requests.
        """
        from blis_simpy.workload.generator import GeneratedWorkload

        last = self.all_stages[-1]
        if horizon is None and self.requests_per_user is None and last.duration is None and not last.num_requests:
            path = f"stages[{len(self.stages) - 1}].num_requests" if self.stages else "num_requests"
            raise ScenarioError.at(
                f"workload.{path}", "must be > 0 unless a horizon, a duration or requests_per_user is set", 0
            )
        return GeneratedWorkload([], [], users=self, streams=streams)

    def preview(self, *, seed: int | None = None, horizon: int | None = None, defaults: str | None = None) -> Preview:
        """Draw the first request of each user of the first stage; the others follow in the simulation.

        Raises
        ------
        ScenarioError, PluginError
            As `generate` does, or if a length distribution returns something invalid.
        """
        from blis_simpy.core.random_streams import RandomStreams
        from blis_simpy.workload.preview import preview_of_users

        streams = RandomStreams(self.default_seed if seed is None else seed)
        self.generate(streams, horizon, defaults=defaults)
        return preview_of_users(self, streams)
