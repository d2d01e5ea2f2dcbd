"""Wires the rooms of a simulation and runs it. Start reading here.

A *source* process hands each request to the *router* at its arrival, which admits it and picks a *replica*, which
queues, batches and completes it; when all is done, or at the horizon, what the replicas have to say becomes a `Result`.
All of them live in one SimPy environment, `Simulation.env`, in which your own processes are welcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from blis_simpy.cluster.building import build_admission, build_decision_log, build_routing
from blis_simpy.cluster.cluster import Cluster, ReplicaKind
from blis_simpy.cluster.policies import PolicyContext, started
from blis_simpy.collecting import collect
from blis_simpy.core.environment import FOREVER, Environment
from blis_simpy.core.hooks import Hooks
from blis_simpy.core.request import Outcome, Request
from blis_simpy.core.streams import Streams
from blis_simpy.deployment import resolve
from blis_simpy.errors import ScenarioError
from blis_simpy.formats.loading import load_trace
from blis_simpy.formats.trace import Trace, default_horizon
from blis_simpy.replica.replica import Replica
from blis_simpy.sampling import Sampler
from blis_simpy.units import parse_duration
from blis_simpy.workload.generate import generate
from blis_simpy.workload.presets import filled_in
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.sources import Sessions, send_all

if TYPE_CHECKING:
    from os import PathLike

    from simpy.events import Event

    from blis_simpy.cluster.router import Router
    from blis_simpy.deployment import Deployment
    from blis_simpy.result import Result
    from blis_simpy.scenario import Scenario
    from blis_simpy.workload.senders import RequestDetails
    from blis_simpy.workload.sessions import SessionBlueprint
    from blis_simpy.workload.spec import WorkloadSpec

__all__ = ["Simulation", "replay"]

Hook = Callable[[Request], object]
"""Called with a request right after something happened to it, at the same tick."""

Progress = Callable[[int, int], None]
"""Called now and then with the number of requests that have ended and of all."""

_PROGRESS_EVERY = 256


class Simulation:
    """One run of a scenario.

    Parameters
    ----------
    scenario : Scenario
        What to simulate.
    seed : int, optional
        Seed of all random streams, in place of the scenario's.
    requests : iterable of Request, optional
        Requests to serve in place of the scenario's workload; each can be served once.

    Attributes
    ----------
    env : Environment
        The SimPy environment; time is in whole µs.
    cluster : Cluster
        The router and the replicas.
    deployment : Deployment
        Model, GPU, latency model and KV capacity that the scenario resolved to; with groups of replicas, those of the
        first group.
    deployments : list of Deployment
        The same for each group.
    requests : list of Request
        All requests so far, in the order of the workload; further rounds of conversations follow as they are made.
    is_over : bool
        Whether all requests have ended, or the horizon has come.

    Raises
    ------
    ScenarioError
        If the scenario cannot be simulated.

    Examples
    --------
    >>> simulation = Simulation(Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=3)))
    >>> simulation.run().summary["completed_requests"]
    3
    """

    def __init__(
        self, scenario: Scenario, *, seed: int | None = None, requests: Iterable[Request] | None = None
    ) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        groups = scenario.by_group()
        self.deployments = [resolve(group) for group in groups]
        self.deployment = self.deployments[0]
        self.horizon = scenario.end or FOREVER
        streams = Streams(self.seed)
        conversations: list[SessionBlueprint] = []
        details: dict[str, RequestDetails] = {}
        if requests is None:
            requests, conversations, details = self._generate(streams)
        else:
            requests = _checked(requests)
        self.requests = list(requests)
        self._details = details
        arrivals = sorted(requests, key=lambda request: request.arrived_at)
        self.env = Environment(min(arrivals[0].arrived_at, 0) if arrivals else 0)
        # Requests that have not ended, and conversations that are not over.
        self._num_pending = len(requests) + len(conversations)
        self.is_over = False
        self._hooks = Hooks(self.env)
        self._wall_clock_s = 0.0
        self._progress: Progress | None = None
        num_replicas = sum(group.replicas for group in groups)
        context = PolicyContext(streams=streams, num_replicas=num_replicas, block_size=scenario.kv.block_size)
        self._log = build_decision_log(scenario)
        admission, routing = build_admission(scenario), build_routing(scenario)
        # When the clock starts, not now: one policy may serve simulations that are built first and run in turn.
        for policy in (admission, routing):
            self.env.call_at(self.env.now, -1, partial(_start, policy, context))
        self.cluster = Cluster(
            self.env,
            kinds=[self._kind(group, deployment) for group, deployment in zip(groups, self.deployments, strict=True)],
            admission=admission,
            admission_delay_us=scenario.admission_latency,
            routing=routing,
            routing_delay_us=scenario.routing_latency,
            snapshot_interval_us=scenario.snapshot_refresh_interval,
            lifecycle=scenario.lifecycle,
            pools=scenario.node_pools,
            streams=streams,
            log=self._log,
            on_end=self._ended,
            on_idle=self._stop_when_done,
            hooks=self._hooks,
        )
        accept = self._arrive
        self.env.process(send_all(self.env, arrivals, accept))
        sessions = Sessions(self.env, submit=accept, on_request=self._announced, on_over=self._settled)
        first_rounds = {request.session: request for request in requests if not request.round_index}
        for conversation in conversations:
            sessions.start(conversation, first_rounds[conversation.session])
        if self.horizon < FOREVER:
            # Before anything else of the first tick beyond the horizon.
            self.env.call_at(self.horizon + 1, -1, self._end)

    def _kind(self, group: Scenario, deployment: Deployment) -> ReplicaKind:
        return ReplicaKind(
            model=group.model,
            gpu_type=deployment.settings["hardware"].value or "",
            num_gpus=max(deployment.tp, 1),
            replicas=group.replicas,
            make=partial(self._make_replica, group, deployment),
        )

    def _make_replica(
        self,
        group: Scenario,
        deployment: Deployment,
        index: int,
        on_end: Callable[[Request], None],
        on_idle: Callable[[], None],
    ) -> Replica:
        return Replica(
            self.env,
            index=index,
            model=group.model,
            settings=group.engine,
            kv_settings=group.kv,
            num_blocks=deployment.num_blocks,
            max_model_len=deployment.max_model_len,
            latency=deployment.latency,
            horizon=self.horizon,
            on_end=on_end,
            on_idle=on_idle,
            hooks=self._hooks,
        )

    def _generate(self, streams: Streams) -> tuple[list[Request], list[SessionBlueprint], dict[str, RequestDetails]]:
        workload, horizon = self.scenario.workload, self.scenario.end
        if workload is None:
            raise ScenarioError.at("workload", "must be given, or requests to serve")
        if isinstance(workload, Workload):
            return generate(filled_in(workload, self.scenario.defaults), streams, horizon), [], {}
        generated = cast("WorkloadSpec", workload).generate(streams, horizon)
        return generated.requests, generated.sessions, generated.details

    def _announced(self, request: Request) -> None:
        self.requests.append(request)
        self._num_pending += 1

    def _arrive(self, request: Request) -> None:
        if self._hooks.arrival is not None:
            self._hooks.arrival(request)
        self.cluster.router.accept(request)

    def _ended(self, request: Request) -> None:
        hooks = self._hooks
        if hooks.completed is not None and request.outcome is Outcome.COMPLETED:
            hooks.completed(request)
        if hooks.ended is not None:
            hooks.ended(request)
        if request.done is not None:
            request.done.succeed()
        self._settled()

    def _settled(self) -> None:
        self._num_pending -= 1
        if self._progress is not None and self._num_pending % _PROGRESS_EVERY == 0:
            self._progress(len(self.requests) - self._num_pending, len(self.requests))
        if not self._num_pending:
            self._stop_when_done()

    def _stop_when_done(self) -> None:
        """End the run when all requests have, once the last step is over; processes of others may go on for ever."""
        if self._num_pending == 0 and self.cluster.is_idle:
            self.env.call_at(self.env.now, -1, self._end)

    def _end(self, _turn: Event) -> None:
        self.is_over = True
        self.env.stop()

    # ------------------------------------------------------------------------------------------------ running

    def run(self, until: int | str | None = None, *, progress: Progress | None = None) -> Result:
        """Simulate to the end, until all requests have ended or to the horizon; or to a tick, to go on later.

        Parameters
        ----------
        until : int, tick, or str, optional
            Where to pause: before anything of that tick happens. Text such as ``5s`` will do. Call `run` again to go
            on; the outcome is the same as without the pause.
        progress : callable, optional
            Called now and then with the number of requests that have ended and of all.

        Returns
        -------
        Result
            Figures of the run so far. What happens later does not change them.

        Raises
        ------
        ScenarioError
            If `until` is no time, or lies in the past.
        """
        self._progress = progress
        pause = None if until is None else self._pause(until)
        started_at = perf_counter()
        if not self.is_over:
            self.env.run()
            # Nothing is left to happen, although requests may wait: somebody keeps what they need for ever.
            self.is_over = self.is_over or not self.env._queue
        self._wall_clock_s += perf_counter() - started_at
        if pause is not None:
            pause.callbacks = []
        return self.result()

    def _pause(self, until: int | str) -> Event:
        try:
            tick = parse_duration(until)
        except ValueError as error:
            raise ScenarioError.at("until", str(error), until) from None
        if tick < self.env.now:
            raise ScenarioError.at("until", f"must not lie before the present tick {self.env.now}", until)
        return self.env.call_at(tick, -1, self.env.stop)

    def result(self) -> Result:
        """Figures as of now; once the simulation is over, what is still planned up to the horizon is carried out."""
        if self.is_over:
            ended_at = [replica.finish(self.horizon) for replica in self.replicas]
        else:
            ended_at = [replica.last_activity(self.env.now) for replica in self.replicas]
        return collect(
            self.scenario,
            self.seed,
            self.requests,
            self.cluster,
            ended_at=ended_at,
            details=self._details,
            decisions=self._log,
            wall_clock_s=self._wall_clock_s,
            is_over=self.is_over,
        )

    # ------------------------------------------------------------------------------------------------ looking in

    @property
    def router(self) -> Router:
        """Takes the requests at their arrival: the front door for requests of your own."""
        return self.cluster.router

    @property
    def replicas(self) -> list[Replica]:
        """The replicas by index, with their `slots` and `kv_blocks`."""
        return self.cluster.replicas

    def sample(self, every: int | str, **figures: Callable[[Simulation], float]) -> Sampler[Simulation]:
        """Write figures down at regular intervals, from now to the end.

        Parameters
        ----------
        every : int, µs, or str
            Interval, > 0; ``100ms``.
        **figures : callable
            Each gets the simulation and returns a number, which goes into the column of its name.

        Returns
        -------
        Sampler
            A table of what was seen: ``at_us`` and a column a figure. It grows while the simulation runs.

        Raises
        ------
        ScenarioError
            If the interval is no duration > 0.

        Examples
        --------
        >>> simulation = Simulation(Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=9)))
        >>> seen = simulation.sample("1s", running=lambda now: now.replicas[0].batch_size)
        >>> result = simulation.run()
        >>> seen.table()["running"][:4].tolist()
        [0, 1, 3, 5]
        """
        return Sampler(self.env, self, every, figures)

    def on_arrival(self, hook: Hook) -> Hook:
        """Call a function with each request that arrives; usable as a decorator, as are the others.

        It runs at the same tick, right after what it is told of, and may do whatever a process may do.
        """
        return self._listen("arrival", hook)

    def on_admitted(self, hook: Hook) -> Hook:
        """Call a function with each request that is let into the cluster."""
        return self._listen("admitted", hook)

    def on_routed(self, hook: Hook) -> Hook:
        """Call a function with each request that was handed to its `replica`."""
        return self._listen("routed", hook)

    def on_first_token(self, hook: Hook) -> Hook:
        """Call a function with each request whose prefill is over.

        At the start of the step that ends it, when all effects of a step come about; `Request.ttft` counts to its end.
        """
        return self._listen("first_token", hook)

    def on_preempt(self, hook: Hook) -> Hook:
        """Call a function with each request that lost its place in the batch."""
        return self._listen("preempted", hook)

    def on_complete(self, hook: Hook) -> Hook:
        """Call a function with each request that completed; at the start of its last step, see `on_first_token`."""
        return self._listen("completed", hook)

    def on_end(self, hook: Hook) -> Hook:
        """Call a function with each request that ended in whatever way: completed, timed out, dropped or rejected."""
        return self._listen("ended", hook)

    def _listen(self, what: str, hook: Hook) -> Hook:
        self._hooks.add(what, hook)
        return hook


def _start(policy: Any, context: PolicyContext, _turn: Event) -> None:
    started(policy, context)


def _checked(requests: Iterable[Request]) -> list[Request]:
    """Refuse requests that cannot be served: each must be new, with a name of its own and whole numbers."""
    requests = list(requests)
    if len({request.id for request in requests}) < len(requests):
        raise ScenarioError.at("requests", "must have different ids")
    for request in requests:
        figures = (request.arrived_at, request.input_tokens, request.output_tokens, request.deadline)
        if any(type(figure) is not int for figure in figures) or min(figures[1:]) < 0:
            raise ScenarioError.at(
                f"requests[{request.id}]",
                "must have whole numbers for tick, tokens and deadline, none negative",
                figures,
            )
        if request.outcome is not Outcome.PENDING or request.replica >= 0:
            raise ScenarioError.at(f"requests[{request.id}]", "must not have been served before")
    return requests


def replay(
    scenario: Scenario,
    trace: Trace | str | PathLike[str],
    *,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Simulate the requests of a workload trace.

    Parameters
    ----------
    scenario : Scenario
        What serves them; its workload is not used. Without a horizon, twice the last arrival.
    trace : Trace or path
        From `blis_simpy.load_trace`, or a file that it reads without options.
    seed : int, optional
        Seed of all random streams, in place of the scenario's.
    progress : callable, optional
        As for `Simulation.run`.

    Raises
    ------
    WorkloadTraceError
        If the trace cannot be read; names file, line and column.
    """
    requests = (trace if isinstance(trace, Trace) else load_trace(trace)).requests()
    if scenario.horizon is None:
        scenario = scenario.with_(horizon=default_horizon(request.arrived_at for request in requests))
    return Simulation(scenario, seed=seed, requests=requests).run(progress=progress)
