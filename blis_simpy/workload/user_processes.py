"""SimPy processes of closed-loop users: one per user, and one that changes their number from stage to stage.

They own the activity of the users: requests sent so far, think times, and who waits for the next stage.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.core.environment import FOLLOWING_ARRIVAL
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import Span
from blis_simpy.workload.arrivals import ConstantArrivals, GammaArrivals
from blis_simpy.workload.plugin_draws import plugin_instance, validate_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from simpy.events import Event

    from blis_simpy.core.environment import Environment
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.spec.user_profile import UserProfile, UserStage

__all__ = ["UserProcesses", "UserRequests", "ended_at"]

_REFUSED = (RequestOutcome.REJECTED, RequestOutcome.DROPPED)
_LONGEST_BLOCK = 256
_CLIENT = "users"
_PREFIX = "shared"


def ended_at(request: Request) -> int:
    """Tick at which the client learns that a request has ended: for a completed one, the arrival of the last token."""
    if request.outcome is RequestOutcome.COMPLETED:
        return request.arrived_at + request.e2e
    return request.finished_at


class UserRequests:
    """Requests and think times of one user, in order, from random streams of its own.

    Parameters
    ----------
    workload : UserProfile
        Distributions and labels.
    number : int
        Number of the user, from 0.
    streams : RandomStreams
        Random streams of the run.

    Attributes
    ----------
    num_sent : int
        Requests so far, repeated ones included.
    """

    def __init__(self, workload: UserProfile, number: int, streams: RandomStreams) -> None:
        self.num_sent = 0
        self._workload = workload
        self._number = number
        self._round = -1
        stream = f"workload/{_CLIENT}/{number}"
        self._prompts = _Lengths(workload.prompt, streams.generator(f"{stream}/prompt"))
        self._outputs = _Lengths(workload.output, streams.generator(f"{stream}/output"))
        self._pauses = _Pauses(workload, streams.generator(f"{stream}/think"))
        self._prefix = (Span(f"prefix:{_PREFIX}", 0, workload.prefix_tokens),) if workload.prefix_tokens else None

    def next(self, now: int, repeated: Request | None = None) -> Request:
        """Make the next request, or repeat one that was refused.

        Parameters
        ----------
        now : int, tick
            Time at which it is sent.
        repeated : Request, optional
            A request of this user, whose lengths and round the new one has.
        """
        workload = self._workload
        if repeated is None:
            self._round += 1
            prompt, output = self._prompts.next() + workload.prefix_tokens, self._outputs.next()
        else:
            prompt, output = repeated.input_tokens, repeated.output_tokens
        self.num_sent += 1
        return Request(
            id=f"user_{self._number}_request_{self.num_sent - 1}",
            arrived_at=now,
            input_tokens=prompt,
            output_tokens=output,
            max_output_tokens=output,
            deadline=now + workload.timeout if workload.timeout else 0,
            content=self._prefix,
            slo_class=workload.slo_class,
            tenant=workload.tenant,
            model=workload.model,
            client=_CLIENT,
            session=f"user-{self._number}",
            prefix_group=_PREFIX if self._prefix else "",
            round_index=self._round,
        )

    def think_time(self) -> int:
        """Draw the next think time, µs."""
        return self._pauses.next()


class _Draws:
    """Values that are drawn in blocks of growing size and used one by one."""

    def __init__(self) -> None:
        self._values: list[int] = []
        self._position = 0

    def next(self) -> int:
        if self._position == len(self._values):
            self._values = self._draw(min(max(2 * self._position, 4), _LONGEST_BLOCK))
            self._position = 0
        self._position += 1
        return self._values[self._position - 1]

    def _draw(self, n: int) -> list[int]:
        raise NotImplementedError


class _Lengths(_Draws):
    def __init__(self, distribution: object, rng: np.random.Generator) -> None:
        super().__init__()
        self._distribution = plugin_instance("lengths", distribution)
        self._rng = rng

    def _draw(self, n: int) -> list[int]:
        drawn = self._distribution.sample(self._rng, n)
        values: list[int] = validate_samples("lengths", self._distribution, drawn, n, at_least=0).tolist()
        return values


class _Pauses(_Draws):
    def __init__(self, workload: UserProfile, rng: np.random.Generator) -> None:
        super().__init__()
        self._mean_us = workload.think_time
        self._process = GammaArrivals(workload.think_time_cv) if workload.think_time_cv else ConstantArrivals()
        self._rng = rng

    def _draw(self, n: int) -> list[int]:
        if not self._mean_us:
            return [0] * n
        values: list[int] = self._process.inter_arrival_times(self._rng, 1e6 / self._mean_us, n).tolist()
        return values


class UserProcesses:
    """Processes of the users of one simulation.

    Parameters
    ----------
    env : Environment
        The simulation's environment.
    workload : UserProfile
        Number of users and their requests.
    streams : RandomStreams
        Random streams of the run.
    submit : callable
        Called with each request at its arrival.
    on_request : callable
        Called with each request when it is made, before it arrives.
    on_end : callable
        Called once, when no user will send another request.
    """

    def __init__(
        self,
        env: Environment,
        workload: UserProfile,
        streams: RandomStreams,
        *,
        submit: Callable[[Request], None],
        on_request: Callable[[Request], None],
        on_end: Callable[[], None],
    ) -> None:
        self._env = env
        self._workload = workload
        self._streams = streams
        self._submit = submit
        self._on_request = on_request
        self._on_end = on_end
        self._requests: dict[int, UserRequests] = {}
        self._present: set[int] = set()
        self._target = 0
        self._quota = math.inf
        self._waits_for_users = True
        self._stage_over: Event = env.event()
        self._next_stage: Event = env.event()
        self._all_left: Event = env.event()

    def run_stages(self) -> Generator[Event, None, None]:
        """Go through the stages: let users join at the start of each, and wait for its end."""
        env = self._env
        stages = self._workload.all_stages
        for stage in stages:
            self._waits_for_users = stage is stages[-1] or stage.duration is None
            self._begin(stage)
            ends = [self._stage_over]
            if stage.duration is not None:
                ends.append(env.timeout(stage.duration))
            yield env.any_of(ends)
            self._quota = 0
            if stage.drain:
                self._target = 0
                self._resume_waiting()
                if self._present:
                    yield self._all_left
        self._quota = 0
        self._target = 0
        self._on_end()

    def _begin(self, stage: UserStage) -> None:
        env = self._env
        self._target = stage.users
        self._quota = stage.num_requests or math.inf
        self._stage_over, self._all_left = env.event(), env.event()
        joining = [number for number in range(stage.users) if number not in self._present]
        for position, number in enumerate(joining):
            requests = self._requests.get(number)
            if requests is None:
                requests = self._requests[number] = UserRequests(self._workload, number, self._streams)
            self._present.add(number)
            env.process(self.use(number, requests, env.now + position * stage.ramp // len(joining)))
        self._resume_waiting()

    def _resume_waiting(self) -> None:
        """Resume the users that wait for the next stage."""
        self._next_stage.succeed()
        self._next_stage = self._env.event()

    def use(self, number: int, requests: UserRequests, at: int) -> Generator[Event, None, None]:
        """Send the requests of one user, each after the end of the previous one and the think time.

        Parameters
        ----------
        number : int
            Number of the user.
        requests : UserRequests
            Its requests and think times.
        at : int, tick
            Time of the first request.
        """
        env, workload = self._env, self._workload
        limit = workload.requests_per_user or math.inf
        repeated: Request | None = None
        while requests.num_sent < limit:
            yield env.event_at(at, FOLLOWING_ARRIVAL)
            while not self._quota and number < self._target:
                yield self._next_stage
            if number >= self._target:
                break
            request = requests.next(env.now, repeated)
            request.done = ended = env.event()
            self._quota -= 1
            if not self._quota:
                self._stage_over.succeed()
            self._on_request(request)
            self._submit(request)
            yield ended
            at = max(ended_at(request), env.now)
            is_refused = request.outcome in _REFUSED
            if is_refused and workload.on_rejection == "leave":
                break
            repeated = request if is_refused and workload.on_rejection == "retry" else None
            at += workload.backoff if is_refused else requests.think_time()
        self._leave(number)

    def _leave(self, number: int) -> None:
        self._present.discard(number)
        if self._present:
            return
        if not self._all_left.triggered:
            self._all_left.succeed()
        # All users have ended before the stage has reached its number of requests.
        if self._target and not self._stage_over.triggered and self._waits_for_users:
            self._stage_over.succeed()
