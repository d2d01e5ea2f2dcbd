"""A simulation: built from a scenario, observed, run. Start reading here.

A *client* process hands each request to the *router* at its arrival. The router admits it and chooses a *replica*,
which queues, batches and completes it. Each of them announces what it did, and *observers* react (`core.observers`):
the cluster hands a routed request to its replica, the decision log records, the end of the run counts. When all
requests have ended, or at the horizon, the records of the replicas become a `Result`. All processes live in one SimPy
environment, `Simulation.env`, to which users add their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from functools import partial
from math import inf
from operator import index
from time import perf_counter
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

import attrs
from simpy.events import Event, Process

from blis_simpy import registry
from blis_simpy.cluster.cluster import Cluster, Disaggregation, ReplicaKind
from blis_simpy.cluster.end_of_run import EndOfRun
from blis_simpy.cluster.handovers import HandoverRules
from blis_simpy.cluster.invariants import InvariantChecker
from blis_simpy.cluster.migration import migrate_regularly
from blis_simpy.cluster.policies import PolicyContext
from blis_simpy.cluster.policy_builder import build_decision_log, build_policy
from blis_simpy.cluster.policy_calls import started
from blis_simpy.cluster.processes import start_process
from blis_simpy.cluster.router import RouterTiming
from blis_simpy.cluster.settings import CHECKS
from blis_simpy.core.environment import FOLLOWING_ARRIVAL, FOREVER, Environment
from blis_simpy.core.garbage import collected_rarely
from blis_simpy.core.observers import Observers
from blis_simpy.core.plugin_faults import named_faults
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.request_log import RequestLog
from blis_simpy.deployment import resolve
from blis_simpy.errors import PluginError, ScenarioError, nearest
from blis_simpy.network.fabric import Fabric
from blis_simpy.network.network import Network
from blis_simpy.plain_values import DataFrame
from blis_simpy.replica.replica import Replica
from blis_simpy.replica.tier_pool import TierPool
from blis_simpy.results.collect import collect
from blis_simpy.results.monitor import Sampler
from blis_simpy.settings.own_plugins import with_own_plugins
from blis_simpy.units import SECOND, format_ticks, ticks
from blis_simpy.workload.clients import ClientProcesses, validate_requests
from blis_simpy.workload.generator import GeneratedWorkload

if TYPE_CHECKING:
    from os import PathLike

    from blis_simpy.cluster.policies import AdmissionPolicy, Decider, MigrationPolicy, RoutingPolicy
    from blis_simpy.cluster.router import Router
    from blis_simpy.deployment import ResolvedDeployment
    from blis_simpy.replica.kv_tier import KVTier
    from blis_simpy.results.result import Result
    from blis_simpy.scenario_settings import ScenarioSettings
    from blis_simpy.trace_files.trace import Trace

__all__ = ["Simulation", "replay"]

_log = logging.getLogger(__name__)

Hook = Callable[[Request], object]
"""Called with a request right after an event, at the same tick."""

Progress = Callable[[int, int], None]
"""Called now and then with the number of requests that have ended and of all."""


class Simulation:
    """One run of a scenario.

    Parameters
    ----------
    scenario : ScenarioSettings
        What to simulate.
    seed : int, optional
        Seed of all random streams, in place of the scenario's.
    requests : iterable of Request or DataFrame, optional
        Requests to serve in place of the scenario's workload; each can be served once. For the columns of a data frame
        see `RequestWorkload.of_table`.
    check : {"full"}, optional
        Check the invariants of the simulation while it runs, see `blis_simpy.cluster.invariants`. It takes several
        times as long, with the same figures.

    Attributes
    ----------
    env : Environment
        The SimPy environment; time is in whole µs.
    settings : ScenarioSettings
        The scenario with copies of the policies and processes that it has as instances: those of this simulation.
    cluster : Cluster
        The router and the replicas.
    network : Network
        The network between the replicas; `Network.send` transfers bytes for any process.
    deployment : ResolvedDeployment
        Model, GPU, latency model and KV capacity that the scenario resolved to; with groups of replicas, those of the
        first group.
    deployments : list of ResolvedDeployment
        The same for each group.
    requests : RequestLog
        All requests so far, a sequence in the order of the workload; further rounds of conversations follow as they
        are made. Requests that have ended are packed: each access then makes an equal `Request`.

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

    @collected_rarely()
    def __init__(
        self,
        scenario: ScenarioSettings,
        *,
        seed: int | None = None,
        requests: Iterable[Request] | DataFrame | None = None,
        check: str | None = None,
    ) -> None:
        if check is not None and check not in CHECKS:
            raise ScenarioError.at("check", "is unknown", check, hint=nearest(str(check), CHECKS))
        with named_faults():
            self._build(scenario, seed, requests)
        self._checker = (
            None if check is None else InvariantChecker(self.env, self.cluster, self.network, self._observers)
        )

    def _build(
        self, scenario: ScenarioSettings, seed: int | None, requests: Iterable[Request] | DataFrame | None
    ) -> None:
        self.scenario = scenario
        self.settings = scenario = with_own_plugins(scenario)
        self.seed = scenario.seed if seed is None else _checked_seed(seed)
        groups = scenario.by_group()
        self.deployments = [resolve(group) for group in groups]
        self.deployment = self.deployments[0]
        self.horizon = scenario.end or FOREVER
        streams = RandomStreams(self.seed)
        if requests is not None:
            if isinstance(requests, DataFrame):
                from blis_simpy.recorded_workloads import RequestWorkload

                requests = RequestWorkload.of_table(requests).requests
            workload = GeneratedWorkload.of_requests(validate_requests(requests))
        elif (traffic := scenario.traffic()) is not None:
            workload = traffic.generate(streams, scenario.end, defaults=scenario.defaults)
        elif scenario.processes:
            workload = GeneratedWorkload([], [])
        else:
            raise ScenarioError.at("workload", "must be given, or requests to serve")
        self.requests = RequestLog(workload.requests)
        self._details = workload.details
        self.env = Environment(int(self.requests.column("arrived_at").min(initial=0)))
        self._ids: set[str] | None = None
        # Processes for whose end the run waits already, or never will.
        self._settled_processes: set[Process] = set()
        self._samplers: list[Sampler[Simulation]] = []
        self._wall_clock_s = 0.0
        self._failed_at: int | None = None
        self._observers = observers = Observers(self.env)
        num_replicas = sum(group.replicas for group in groups)
        context = PolicyContext(streams=streams, num_replicas=num_replicas, block_size=scenario.kv.block_size)
        parts = scenario.disaggregation
        admission: AdmissionPolicy = build_policy("admission", "admission", scenario.admission.policy)
        routing: RoutingPolicy = build_policy("routing", "router", scenario.router.policy)
        decider: Decider = build_policy("decider", "disaggregation.decider", parts.decider)
        prefill_routing: RoutingPolicy = build_policy("routing", "disaggregation.prefill_policy", parts.prefill_policy)
        policies: list[tuple[object, PolicyContext]] = [(admission, context), (routing, context)]
        if set(scenario.roles) != {"both"}:
            # Ties in the choice of prefill replicas are broken with draws of their own.
            prefill_context = attrs.evolve(context, streams=streams.prefixed("prefill-"))
            policies += [(decider, context), (prefill_routing, prefill_context)]
        # When the clock starts, not now: one policy may serve simulations that are built first and run in turn.
        for policy, of_run in policies:
            self.env.call_at(self.env.now, -1, partial(_start, policy, of_run))
        self._log = build_decision_log(scenario.router)
        if self._log is not None:
            # Before the cluster, so that decisions are recorded before the request counts as in flight.
            observers.subscribe(self._log)
        self.network = Network(
            self.env,
            Fabric(
                scenario.network,
                {pool.name: pool.network for pool in scenario.node_pools},
                site_of=lambda replica: self.cluster.site(replica),
                num_replicas=lambda: len(self.cluster.replicas),
            ),
        )
        self._tier_pools: dict[object, TierPool] = {}
        self.cluster = Cluster(
            self.env,
            kinds=[
                self._kind(group, deployment, role)
                for group, deployment, role in zip(groups, self.deployments, scenario.roles, strict=True)
            ],
            admission=admission,
            routing=routing,
            timing=RouterTiming(
                admission_delay_us=scenario.admission.delay,
                routing_delay_us=scenario.router.delay,
                snapshot_interval_us=scenario.router.snapshot_interval,
            ),
            lifecycle=scenario.lifecycle,
            pools=scenario.node_pools,
            streams=streams,
            observers=observers,
            disaggregation=Disaggregation(
                decider=decider,
                prefill_routing=prefill_routing,
                rules=self._handover_rules(),
                network=self.network,
            ),
        )
        if scenario.migration.policy is not None:
            migration: MigrationPolicy = build_policy("migration", "migration", scenario.migration.policy)
            started(migration, context)
            self.env.process(migrate_regularly(self.env, self.cluster, migration, scenario.migration.interval))
        self._end_of_run = EndOfRun(self.env, self.cluster, self.horizon, observers, self.requests)
        self._end_of_run.expect(len(workload.sessions) + (workload.users is not None) + (workload.pool is not None))
        self._clients = clients = ClientProcesses(
            self.env,
            submit=self.cluster.router.accept,
            on_request=self._announced,
            on_session_end=self._end_of_run.settle,
        )
        clients.start(workload, self.requests)
        # Without a workload, the processes are the traffic.
        is_traffic = requests is None and scenario.workload is None
        for process in scenario.processes:
            steps = start_process(self, process)
            if steps is not None and is_traffic:
                self.wait_for(steps)

    def _handover_rules(self) -> HandoverRules:
        settings = self.settings.disaggregation
        num_layers = 1
        if settings.transfer == "layered":
            model = self.deployment.model
            num_layers = settings.num_layers or (0 if model is None else model.num_layers)
            if not num_layers:
                rule = "must be given for a layered transfer: the architecture of the model is not known"
                raise ScenarioError.at("disaggregation.num_layers", rule)
        return HandoverRules(
            num_layers=num_layers,
            shows_first_token=settings.first_token == "prefill",  # noqa: S105 - a token of text
            dispatch_delay_us=settings.dispatch_delay,
            hold_timeout_us=settings.hold_timeout,
        )

    def _kind(self, group: ScenarioSettings, deployment: ResolvedDeployment, role: str) -> ReplicaKind:
        return ReplicaKind(
            model=group.model,
            gpu_type=deployment.settings["hardware"].value or "",
            num_gpus=max(deployment.tp, 1),
            replicas=group.replicas,
            make=partial(self._make_replica, group, deployment),
            role=role,
            kv_bytes_per_token=deployment.kv_bytes_per_token,
            weight_bytes=deployment.weight_bytes,
        )

    def _make_replica(self, group: ScenarioSettings, deployment: ResolvedDeployment, index: int) -> Replica:
        return Replica(
            self.env,
            index=index,
            model=group.model,
            settings=deployment.engine,
            kv_settings=deployment.kv,
            num_blocks=deployment.num_blocks,
            max_model_len=deployment.max_model_len,
            latency=deployment.latency,
            horizon=self.horizon,
            observers=self._observers,
            tier_pool=self._tier_pool(group, deployment) if deployment.kv.tiers else None,
        )

    def _tier_pool(self, group: ScenarioSettings, deployment: ResolvedDeployment) -> TierPool:
        """Return the KV tiers of the replicas with the same model, KV size and tiers."""
        bytes_per_token = deployment.kv_bytes_per_token()
        if bytes_per_token is None:
            raise ScenarioError.at(
                "kv.bytes_per_token", "must be given with kv.tiers", hint="the architecture of the model is not known"
            )
        key = (group.model, bytes_per_token, deployment.kv.tiers, deployment.kv.chunk, deployment.kv.block_size)
        if key not in self._tier_pools:
            number = len(self._tier_pools)
            self._tier_pools[key] = TierPool(
                self.network,
                deployment.kv.tiers,
                block_size=deployment.kv.block_size,
                chunk=deployment.kv.chunk,
                bytes_per_token=bytes_per_token,
                site_of=lambda replica: self.cluster.site(replica),
                label=f"-{number}" if number else "",
            )
        return self._tier_pools[key]

    def _announced(self, request: Request) -> None:
        self.requests.append(request)
        self._end_of_run.expect()
        if self._ids is not None:
            self._ids.add(request.id)

    @property
    def is_over(self) -> bool:
        """Whether all requests have ended, or the horizon has come."""
        return self._end_of_run.is_over

    @collected_rarely()
    def run(self, until: int | str | None = None, *, progress: Progress | None = None) -> Result:
        """Simulate to the end, until all requests have ended or to the horizon; or to a tick, to go on later.

        The end also waits for the events that were given to `wait_for`.

        Parameters
        ----------
        until : int, tick, or str, optional
            Where to pause: before the events of that tick, e.g. 5000000 or ``5s``. Call `run` again to go on; the
            outcome is the same as without the pause.
        progress : callable, optional
            Called now and then with the number of requests that have ended and of all.

        Returns
        -------
        Result
            Figures of the run so far. Later events do not change them.

        Raises
        ------
        ScenarioError
            If `until` is no tick or duration, or lies in the past, or an error has ended the simulation.
        PluginError
            If a plug-in, hook or process raises an exception, returns an invalid value or makes no progress. Names it
            with request and tick; `result` then gives the figures so far.
        """
        if self._failed_at is not None:
            rule = f"cannot go on: an error ended the simulation at tick {self._failed_at}"
            raise ScenarioError.at("", rule, hint="result() has the figures until then")
        self._end_of_run.progress = progress
        if self.is_over:
            if until is not None:
                self._checked_pause(until)
            return self.result()
        pause = None if until is None else self.env.call_at(self._checked_pause(until), -1, self.env.stop)
        self._end_of_run.stop_when_done()
        started_at = perf_counter()
        try:
            with named_faults(lambda: self.env.now):
                self.env.run()
            # Without an event left the run is over, although requests may wait: another process keeps what they need.
            if self.env.peek() == inf:
                self._end_of_run.is_over = True
                self._check_progress()
                self._warn_of_waiting()
        except Exception:
            self._failed_at = self.env.now
            raise
        finally:
            self._wall_clock_s += perf_counter() - started_at
            if pause is not None:
                pause.callbacks = []
        return self.result()

    def _check_progress(self) -> None:
        """Name a batch policy of others that leaves requests waiting although nothing is in use."""
        for replica in self.replicas:
            if (policy := replica.stalled_policy) is not None:
                rule = (
                    f"form makes no progress: {replica.queue_depth} requests of replica {replica.index} wait for ever"
                )
                raise PluginError.at(f"batch policy {type(policy).__name__}", rule, hint=f"tick {self.env.now}")

    def _warn_of_waiting(self) -> None:
        waiting = self.requests.waiting()
        if waiting:
            text = "requests that wait for ever at the end of the run, tick %d: %d; what %s needs is not released"
            _log.warning(text, self.env.now, len(waiting), waiting[0].id)

    def _checked_pause(self, until: int | str) -> int:
        tick = ticks("until", until)
        if tick < self.env.now:
            raise ScenarioError.at("until", f"must not lie before the present tick {self.env.now}", until)
        return tick

    def result(self) -> Result:
        """Return the figures as of now; once the simulation is over, also those of planned steps up to the horizon."""
        with named_faults(lambda: self.env.now):
            return self._collected()

    def _collected(self) -> Result:
        if self._checker is not None and self._failed_at is None:
            self._checker.check_all()
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
            samples=[sampler.table() for sampler in self._samplers],
            network=self.network,
            kv_tiers=self.kv_tiers,
            # The first event beyond the horizon ends the run.
            observed_at=min(self.env.now, self.horizon),
            off_critical_path=self._clients.off_critical_path,
            wall_clock_s=self._wall_clock_s,
            is_over=self.is_over,
        )

    @property
    def kv_tiers(self) -> list[KVTier]:
        """KV tiers below the memory of the GPUs that have been used, in the order of first use."""
        return [tier for pool in self._tier_pools.values() for tier in pool.tiers]

    @property
    def router(self) -> Router:
        """Admits requests and sends them to replicas; `submit` adds requests of the user."""
        return self.cluster.router

    @property
    def replicas(self) -> list[Replica]:
        """The replicas by index, with their `slots` and `kv_blocks`."""
        return self.cluster.replicas

    def submit(self, request: Request) -> Event:
        """Add a request, which is served like any other and is among the requests of the result.

        Parameters
        ----------
        request : Request
            A new request; its `arrived_at` is now or later.

        Returns
        -------
        simpy.Event
            Succeeds when the request has ended, in whatever way: at the start of its last step, see `on_first_token`.

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
            self._ids = set(self.requests.column("id").tolist())
        validate_requests([request])
        self._keep_running(self.env.active_process)
        place = f"requests[{request.id}]"
        if request.id in self._ids:
            raise ScenarioError.at(place, "must have an id that no other has")
        if self.is_over or request.arrived_at < self.env.now:
            hint = "the simulation is over" if self.is_over else ""
            rule = f"must not arrive before the present tick {self.env.now}"
            raise ScenarioError.at(place, rule, request.arrived_at, hint=hint)
        self._announced(request)
        request.done = request.done or self.env.event()
        self.env.call_at(
            request.arrived_at, FOLLOWING_ARRIVAL, lambda _event: self.router.accept(request, ends_turn=True)
        )
        return request.done

    def process(self, steps: Generator[Event, Any, Any], *, daemon: bool = False) -> Process:
        """Start a process of the user.

        Parameters
        ----------
        steps : generator
            Yields SimPy events.
        daemon : bool, default False
            Whether the run may end while the process goes on, as for a process that watches or controls. Otherwise the
            run waits for its end.

        Returns
        -------
        simpy.Process
            Succeeds with what the generator returns.

        Raises
        ------
        ScenarioError
            If it is no generator.

        Examples
        --------
        >>> simulation = Simulation(Scenario(model="qwen/qwen3-14b"), requests=[])
        >>> def visit(env):
        ...     for number in range(3):
        ...         yield env.timeout(20 * SECOND)
        ...         yield simulation.submit(Request(f"visit_{number}", env.now, input_tokens=100, output_tokens=20))
        >>> _ = simulation.process(visit(simulation.env))
        >>> simulation.run().metric("completed")
        3.0
        """
        if not isinstance(steps, GeneratorType):
            hint = "call the function: simulation.process(visit(simulation))" if callable(steps) else ""
            raise ScenarioError.at("process", "must be a generator", steps, hint=hint)
        process = self.env.process(steps)
        if daemon:
            self._settled_processes.add(process)
        else:
            self._keep_running(process)
        return process

    def _keep_running(self, process: Process | None) -> None:
        """Wait for a process: one that has submitted a request may submit others."""
        if process is not None and process not in self._settled_processes:
            self._settled_processes.add(process)
            self._end_of_run.wait_for(process)

    def wait_for(self, event: Event | Generator[Event, Any, Any]) -> None:
        """Let the run go on until an event has happened, even if all requests have ended before.

        A process that was started by `process`, or that submits a request, is waited for anyway.

        Parameters
        ----------
        event : simpy.Event, or generator
            A generator is started as a process.

        Raises
        ------
        ScenarioError
            If it is neither.
        """
        if isinstance(event, GeneratorType):
            self.process(event)
        elif isinstance(event, Process):
            self._keep_running(event)
        elif isinstance(event, Event):
            self._end_of_run.wait_for(event)
        else:
            raise ScenarioError.at("wait_for", "must be an event or a generator", event)

    def sample(self, every: int | str, **figures: Callable[[Simulation], float]) -> Sampler[Simulation]:
        """Record figures at regular intervals, from now to the end.

        Parameters
        ----------
        every : int, µs, or str
            Interval, > 0; ``100ms``.
        **figures : callable
            Each gets the simulation and returns a number, which goes into the column of its name.

        Returns
        -------
        Sampler
            A table with ``at_us`` and a column a figure, which grows while the simulation runs. `Result.samples` has
            the tables of all samplers.

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
        sampler = Sampler(self.env, self, every, figures)
        self._samplers.append(sampler)
        return sampler

    def add_observer(self, observer: object) -> None:
        """Add an observer of requests and replicas.

        Its methods are called right after the events, at the same tick, and may do whatever a process may do.

        Parameters
        ----------
        observer : object
            Has some of the methods of `blis_simpy.core.observers.Observer`, from which it may be derived.

        Raises
        ------
        ScenarioError
            If the object has no such method.

        Examples
        --------
        >>> class Idle(Observer):
        ...     def idle(self, replica):
        ...         print(f"replica {replica} is idle at {simulation.env.now} us")
        >>> simulation = Simulation(Scenario(model="qwen/qwen3-14b"), requests=[Request("mine", 5, 100, 20)])
        >>> simulation.add_observer(Idle())
        >>> _ = simulation.run()
        replica 0 is idle at 227378 us
        """
        self._observers.subscribe(observer, deferred=True)

    def on_arrival(self, hook: Hook) -> Hook:
        """Call a function with each request that arrives; usable as a decorator, as are the others.

        It is called at the same tick, right after the event, and may do whatever a process may do.
        """
        return self._add_hook("arrived", hook, hook)

    def on_admitted(self, hook: Hook) -> Hook:
        """Call a function with each request that is admitted to the cluster."""
        return self._add_hook("admitted", hook, lambda request, _reason: hook(request))

    def on_routed(self, hook: Hook) -> Hook:
        """Call a function with each request that is sent to its `replica`."""
        return self._add_hook("routed", hook, lambda route: hook(route.request))

    def on_first_token(self, hook: Hook) -> Hook:
        """Call a function with each request whose prefill is over.

        At the start of the step that ends it, when all effects of a step apply; `Request.ttft` counts to its end.
        """
        return self._add_hook("first_token", hook, lambda leg: hook(leg.request))

    def on_preempt(self, hook: Hook) -> Hook:
        """Call a function with each request that is preempted; the failure of a replica is no preemption here."""
        return self._add_hook("preempted", hook, lambda leg: hook(leg.request))

    def on_complete(self, hook: Hook) -> Hook:
        """Call a function with each request that completes; at the start of its last step, see `on_first_token`."""

        def call_if_completed(request: Request) -> None:
            if request.outcome is RequestOutcome.COMPLETED:
                hook(request)

        return self._add_hook("ended", hook, call_if_completed)

    def on_end(self, hook: Hook) -> Hook:
        """Call a function with each request that ends, in whatever way: completed, timed out, dropped or rejected."""
        return self._add_hook("ended", hook, hook)

    def _add_hook(self, event: str, hook: Hook, function: Callable[..., object]) -> Hook:
        if not callable(hook) or not registry.takes(hook, 1):
            raise ScenarioError.at("hook", "must be a function that takes a request", hook)
        self._observers.add_deferred(event, function)
        return hook

    def __repr__(self) -> str:
        ended = len(self.requests) - self.requests.num_open
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
    check: str | None = None,
) -> Result:
    """Simulate the requests of a workload trace.

    Parameters
    ----------
    scenario : ScenarioSettings
        What serves them; its workload is not used. Without a horizon, a replay ends when all requests have ended;
        only that of a TraceV2 file in the engine profile ``blis`` ends at twice the last arrival, as in the reference,
        with a warning if requests are cut.
    trace : Trace or path
        From `blis_simpy.load_trace`, or a file that it reads without options.
    seed : int, optional
        Seed of all random streams, in place of the scenario's.
    progress : callable, optional
        As for `Simulation.run`.
    check : {"full"}, optional
        As for `Simulation`.

    Raises
    ------
    WorkloadTraceError
        If the trace cannot be read; names file, line and column.
    """
    # Imported here, because other runs read no traces.
    from blis_simpy.trace_files.load_trace import load_trace
    from blis_simpy.trace_files.trace import Trace, default_horizon

    trace = trace if isinstance(trace, Trace) else load_trace(trace)
    requests = trace.requests()
    has_default_horizon = scenario.horizon is None and trace.has_default_horizon and scenario.is_as_in_blis
    del trace  # the columns of a long one are large
    if has_default_horizon:
        scenario = scenario.with_(horizon=default_horizon(request.arrived_at for request in requests))
    simulation = Simulation(scenario, seed=seed, requests=requests, check=check)
    del requests  # the simulation needs those in flight
    result = simulation.run(progress=progress)
    cut = simulation.requests.num_open if has_default_horizon else 0
    if cut:
        _log.warning(
            "the default horizon of a replay, %s, cut %d of %d requests; set a longer one, such as 1h",
            format_ticks(scenario.horizon or 0),
            cut,
            len(simulation.requests),
        )
    return result
