"""Wires the rooms of a simulation and runs it. Start reading here.

A *source* process hands each request to the *router* at its arrival, which admits it and picks a *replica*, which
queues, batches and completes it; when all is done, or at the horizon, what the replicas have to say becomes a `Result`.
All of them live in one SimPy environment, `Simulation.env`, in which your own processes are welcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import index
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, cast

from blis_simpy.cluster.cluster import Cluster, ReplicaKind
from blis_simpy.cluster.policies import PolicyContext, started
from blis_simpy.cluster.policy_builder import build_admission, build_decision_log, build_routing
from blis_simpy.cluster.processes import start_process
from blis_simpy.core.environment import FOREVER, Environment
from blis_simpy.core.observers import Hooks
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.deployment import resolve
from blis_simpy.errors import ScenarioError
from blis_simpy.replica.replica import Replica
from blis_simpy.results.collect import collect
from blis_simpy.results.monitor import Sampler
from blis_simpy.settings.own_plugins import with_own_plugins
from blis_simpy.trace_files.load_trace import load_trace
from blis_simpy.trace_files.trace import Trace, default_horizon
from blis_simpy.units import SECOND, ticks
from blis_simpy.workload.clients import FOLLOWING, Sessions, send_all, validate_requests
from blis_simpy.workload.generate import generate
from blis_simpy.workload.presets import with_preset
from blis_simpy.workload.settings import Workload

if TYPE_CHECKING:
    from os import PathLike

    from simpy.events import Event

    from blis_simpy.cluster.router import Router
    from blis_simpy.deployment import ResolvedDeployment
    from blis_simpy.results.result import Result
    from blis_simpy.scenario_settings import ScenarioSettings
    from blis_simpy.workload.request_builders import RequestDetails
    from blis_simpy.workload.spec.sessions import SessionBlueprint
    from blis_simpy.workload.spec.workload_spec import WorkloadSpec

__all__ = ["Simulation", "replay"]

Hook = Callable[[Request], object]
"""Called with a request right after something happened to it, at the same tick."""

Progress = Callable[[int, int], None]
"""Called now and then with the number of requests that have ended and of all."""

_PROGRESS_EVERY = 256
# After SimPy's own priorities: what other processes do at the last tick still counts.
_AFTER_PROCESSES = 2


class Simulation:
    """One run of a scenario.

    Parameters
    ----------
    scenario : ScenarioSettings
        What to simulate.
    seed : int, optional
        Seed of all random streams, in place of the scenario's.
    requests : iterable of Request, optional
        Requests to serve in place of the scenario's workload; each can be served once.

    Attributes
    ----------
    env : Environment
        The SimPy environment; time is in whole µs.
    settings : ScenarioSettings
        The scenario with copies of the policies and processes that it has as instances: those of this simulation.
    cluster : Cluster
        The router and the replicas.
    deployment : ResolvedDeployment
        Model, GPU, latency model and KV capacity that the scenario resolved to; with groups of replicas, those of the
        first group.
    deployments : list of ResolvedDeployment
        The same for each group.
    requests : list of Request
        All requests so far, in the order of the workload; further rounds of conversations follow as they are made.
    is_over : bool
        Whether all requests have ended, or the horizon has come.

    Raises
    ------
    ScenarioError
        If the scenario cannot be simulated, or a request is none, or not new.

    Examples
    --------
    >>> simulation = Simulation(Scenario(model="qwen/qwen3-14b", workload=Workload(rate=2, num_requests=3)))
    >>> simulation.run().summary["completed_requests"]
    3
    """

    def __init__(
        self, scenario: ScenarioSettings, *, seed: int | None = None, requests: Iterable[Request] | None = None
    ) -> None:
        self.scenario = scenario
        self.settings = scenario = with_own_plugins(scenario)
        self.seed = scenario.seed if seed is None else _checked_seed(seed)
        groups = scenario.by_group()
        self.deployments = [resolve(group) for group in groups]
        self.deployment = self.deployments[0]
        self.horizon = scenario.end or FOREVER
        streams = RandomStreams(self.seed)
        conversations: list[SessionBlueprint] = []
        details: dict[str, RequestDetails] = {}
        if requests is None:
            requests, conversations, details = self._generate(streams)
        else:
            requests = validate_requests(requests)
        self.requests = list(requests)
        self._details = details
        arrivals = sorted(requests, key=lambda request: request.arrived_at)
        self.env = Environment(min(arrivals[0].arrived_at, 0) if arrivals else 0)
        # Requests that have not ended, conversations that are not over, and what somebody else waits for.
        self._num_pending = len(requests) + len(conversations)
        self._ids: set[str] | None = None
        self.is_over = False
        self._hooks = Hooks(self.env)
        self._wall_clock_s = 0.0
        self._progress: Progress | None = None
        num_replicas = sum(group.replicas for group in groups)
        context = PolicyContext(streams=streams, num_replicas=num_replicas, block_size=scenario.kv.block_size)
        self._log = build_decision_log(scenario.router)
        admission, routing = build_admission(scenario.admission), build_routing(scenario.router)
        # When the clock starts, not now: one policy may serve simulations that are built first and run in turn.
        for policy in (admission, routing):
            self.env.call_at(self.env.now, -1, partial(_start, policy, context))
        self.cluster = Cluster(
            self.env,
            kinds=[self._kind(group, deployment) for group, deployment in zip(groups, self.deployments, strict=True)],
            admission=admission,
            admission_delay_us=scenario.admission.delay,
            routing=routing,
            routing_delay_us=scenario.router.delay,
            snapshot_interval_us=scenario.router.snapshot_interval,
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
        for process in scenario.processes:
            start_process(self, process)
        if self.horizon < FOREVER:
            # Before anything else of the first tick beyond the horizon.
            self.env.call_at(self.horizon + 1, -1, self._end)

    def _kind(self, group: ScenarioSettings, deployment: ResolvedDeployment) -> ReplicaKind:
        return ReplicaKind(
            model=group.model,
            gpu_type=deployment.settings["hardware"].value or "",
            num_gpus=max(deployment.tp, 1),
            replicas=group.replicas,
            make=partial(self._make_replica, group, deployment),
        )

    def _make_replica(
        self,
        group: ScenarioSettings,
        deployment: ResolvedDeployment,
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

    def _generate(
        self, streams: RandomStreams
    ) -> tuple[list[Request], list[SessionBlueprint], dict[str, RequestDetails]]:
        workload, horizon = self.settings.workload, self.settings.end
        if workload is None:
            raise ScenarioError.at("workload", "must be given, or requests to serve")
        if isinstance(workload, Workload):
            return generate(with_preset(workload, self.scenario.defaults), streams, horizon), [], {}
        generated = cast("WorkloadSpec", workload).generate(streams, horizon)
        return generated.requests, generated.sessions, generated.details

    def _announced(self, request: Request) -> None:
        self.requests.append(request)
        self._num_pending += 1
        if self._ids is not None:
            self._ids.add(request.id)

    def _arrive(self, request: Request) -> None:
        if self._hooks.arrival is not None:
            self._hooks.arrival(request)
        self.cluster.router.accept(request)

    def _ended(self, request: Request) -> None:
        hooks = self._hooks
        if hooks.completed is not None and request.outcome is RequestOutcome.COMPLETED:
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
            self.env.call_at(self.env.now, _AFTER_PROCESSES, self._end_if_done)

    def _end_if_done(self, turn: Event) -> None:
        if self._num_pending == 0 and self.cluster.is_idle:
            self._end(turn)

    def _end(self, _turn: Event) -> None:
        self.is_over = True
        self.env.stop()

    # ------------------------------------------------------------------------------------------------ running

    def run(self, until: int | str | None = None, *, progress: Progress | None = None) -> Result:
        """Simulate to the end, until all requests have ended or to the horizon; or to a tick, to go on later.

        What `wait_for` was told of has to happen, too, before the end has come.

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
        if self.is_over:
            if until is not None:
                self._checked_pause(until)
            return self.result()
        pause = None if until is None else self.env.call_at(self._checked_pause(until), -1, self.env.stop)
        if self._num_pending == 0:
            self._stop_when_done()
        started_at = perf_counter()
        try:
            self.env.run()
            # Nothing is left to happen, although requests may wait: somebody keeps what they need for ever.
            self.is_over = self.is_over or not self.env._queue
        finally:
            self._wall_clock_s += perf_counter() - started_at
            if pause is not None:
                pause.callbacks = []
        return self.result()

    def _checked_pause(self, until: int | str) -> int:
        tick = ticks("until", until)
        if tick < self.env.now:
            raise ScenarioError.at("until", f"must not lie before the present tick {self.env.now}", until)
        return tick

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
        """Admits requests and sends them to replicas; hand it requests of your own with `submit`."""
        return self.cluster.router

    @property
    def replicas(self) -> list[Replica]:
        """The replicas by index, with their `slots` and `kv_blocks`."""
        return self.cluster.replicas

    def submit(self, request: Request) -> Event:
        """Send a request of your own, as any other is sent; it is among the requests of the result.

        Parameters
        ----------
        request : Request
            A new one, which arrives at its `arrived_at`: now or later.

        Returns
        -------
        simpy.Event
            Succeeds when it has ended, in whatever way. At the start of its last step, see `on_first_token`.

        Raises
        ------
        ScenarioError
            If the request is not new, its id is taken, it has arrived in the past, or the simulation is over.

        Examples
        --------
        >>> simulation = Simulation(Scenario(model="qwen/qwen3-14b"), requests=[])
        >>> ended = simulation.submit(Request("mine", 5 * SECOND, input_tokens=100, output_tokens=20))
        >>> simulation.run().requests["outcome"].tolist()
        ['completed']
        """
        if self._ids is None:
            self._ids = {known.id for known in self.requests}
        validate_requests([request])
        place = f"requests[{request.id}]"
        if request.id in self._ids:
            raise ScenarioError.at(place, "must have an id that no other has")
        if self.is_over or request.arrived_at < self.env.now:
            hint = "the simulation is over" if self.is_over else ""
            rule = f"must not arrive before the present tick {self.env.now}"
            raise ScenarioError.at(place, rule, request.arrived_at, hint=hint)
        self._announced(request)
        request.done = request.done or self.env.event()
        self.env.call_at(request.arrived_at, FOLLOWING, lambda _turn: self._arrive(request))
        return request.done

    def wait_for(self, event: Event) -> None:
        """Do not end before something has happened, although all requests so far have ended.

        Parameters
        ----------
        event : simpy.Event
            Such as a process of yours that submits requests.

        Examples
        --------
        >>> simulation = Simulation(Scenario(model="qwen/qwen3-14b"), requests=[])
        >>> def visit(env):
        ...     for number in range(3):
        ...         yield env.timeout(20 * SECOND)
        ...         yield simulation.submit(Request(f"visit_{number}", env.now, input_tokens=100, output_tokens=20))
        >>> simulation.wait_for(simulation.env.process(visit(simulation.env)))
        >>> simulation.run().metric("completed")
        3.0
        """
        if event.callbacks is not None:
            self._num_pending += 1
            event.callbacks.append(lambda _event: self._settled())

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
            If the interval is no duration > 0, or a figure is no function.

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
        """Call a function with each request that lost its place in the batch, those of a replica that failed aside."""
        return self._listen("preempted", hook)

    def on_complete(self, hook: Hook) -> Hook:
        """Call a function with each request that completed; at the start of its last step, see `on_first_token`."""
        return self._listen("completed", hook)

    def on_end(self, hook: Hook) -> Hook:
        """Call a function with each request that ended in whatever way: completed, timed out, dropped or rejected."""
        return self._listen("ended", hook)

    def _listen(self, what: str, hook: Hook) -> Hook:
        if not callable(hook):
            raise ScenarioError.at("hook", "must be a function that takes a request", hook)
        self._hooks.add(what, hook)
        return hook

    def __repr__(self) -> str:
        ended = sum(request.outcome >= RequestOutcome.COMPLETED for request in self.requests)
        over = ", over" if self.is_over else ""
        return (
            f"<Simulation at {self.env.now / SECOND:.3f} s: {ended} of {len(self.requests)} requests have ended{over}>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Simulation cannot be copied or sent to another process, but its scenario and its results can"
        )


def _start(policy: Any, context: PolicyContext, _turn: Event) -> None:
    started(policy, context)


def _checked_seed(seed: object) -> int:
    if isinstance(seed, SupportsIndex) and not isinstance(seed, bool) and index(seed) >= 0:
        return index(seed)
    raise ScenarioError.at("seed", "must be an integer >= 0", seed)


def replay(
    scenario: ScenarioSettings,
    trace: Trace | str | PathLike[str],
    *,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Simulate the requests of a workload trace.

    Parameters
    ----------
    scenario : ScenarioSettings
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
