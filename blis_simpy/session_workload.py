"""Workload of sessions of calls: recorded or drawn, started by a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy.core.call_graph import Call, CallGraph
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.settings.convert import structure
from blis_simpy.settings.field_types import Accepts, Duration, OptionalRate, Plugin
from blis_simpy.settings.fields import fields_of, setting, settings_class
from blis_simpy.units import SECOND
from blis_simpy.workload.agent_sessions import AgentSessions
from blis_simpy.workload.session_pool import PooledSession, SessionPool
from blis_simpy.workload.spec.client import SLO_CLASSES
from blis_simpy.workload.traffic import Traffic

if TYPE_CHECKING:
    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.generator import GeneratedWorkload
    from blis_simpy.workload.preview import Preview

__all__ = ["SessionWorkload"]

_REPLAYS = ("closed", "open", "fixed-accumulate")


def _sessions(value: Any) -> Any:
    if isinstance(value, Mapping):
        return structure(value, AgentSessions)
    if isinstance(value, str | PathLike):
        return fspath(value)
    if isinstance(value, AgentSessions):
        return value
    if isinstance(value, Sequence) and value:
        value = tuple(_graph(graph) if isinstance(graph, Mapping) else graph for graph in value)
        if all(isinstance(graph, CallGraph) for graph in value):
            return value
    raise ScenarioError.at("", "must be the name of a file, settings of AgentSessions, or a list of CallGraph", value)


def _graph(values: Mapping[str, Any]) -> CallGraph:
    """Make a session of the plain data of one, as a scenario in YAML has it."""
    try:
        calls = tuple(
            Call(**{**call, "after": tuple(call.get("after", ())), "content": _spans(call.get("content", ()))})
            for call in values.get("calls", ())
        )
        return CallGraph(**{**values, "calls": calls, "prefix": _spans(values.get("prefix", ()))})
    except (TypeError, AttributeError) as error:
        raise ScenarioError.at("", f"must be a session with calls: {error}", dict(values)) from None


def _spans(values: Sequence[Sequence[Any]]) -> TokenSpans:
    return tuple(Span(*span) for span in values)


@settings_class
class SessionWorkload(Traffic):
    """Sessions of agents, whose calls wait for each other and for tools; each session is a process.

    Examples
    --------
    >>> from blis_simpy import Scenario
    >>> agents = AgentSessions(mean_turns=4, prompt=1000, message=200, output=50, tool_time="2s")
    >>> workload = SessionWorkload(sessions=agents, num_sessions=5, concurrent=2)
    >>> Scenario(model="qwen/qwen3-14b", workload=workload).run().sessions.num_rows
    5
    """

    sessions: Accepts[Any, str | PathLike[str] | AgentSessions | Sequence[CallGraph] | Mapping[str, Any]] = setting(
        help="File of recorded sessions, or a mapping with the settings of `AgentSessions`.",
        convert=_sessions,
        is_path=True,
    )
    format: Accepts[Plugin, Plugin | str | Mapping[str, Any] | None] = setting(
        default=None,
        help="Format of the file, with its options beside it; unset means that the file shows it.",
        kind="trace_format",
        inline=True,
    )
    num_sessions: int = setting(
        default=0,
        help="Number of sessions; 0 means each recorded session once. Recorded sessions are repeated, with nothing in "
        "common but their prefixes.",
        unit="sessions",
        ge=0,
    )
    concurrent: int | None = setting(
        default=None,
        help="Largest number of sessions at a time; the next one starts when one has ended. Unset means no limit.",
        unit="sessions",
        ge=1,
    )
    rate: OptionalRate = setting(
        default=None,
        help="Mean rate of the starts of sessions (Poisson); unset means at their recorded starts without a limit on "
        "concurrent sessions, and as soon as possible with one.",
        unit="1/s",
        gt=0,
        dimension="rate",
    )
    replay: str = setting(
        default="closed",
        help="Start of a call: when those before it have ended and its wait is over (closed), at its recorded start "
        "(open), or at its recorded start with a prompt that repeats the earlier ones (fixed-accumulate).",
        choices=_REPLAYS,
    )
    follow: str = setting(
        default="recorded",
        help="Outputs that later prompts repeat: with their recorded or with their simulated lengths.",
        choices=("recorded", "simulated"),
    )
    shuffle: bool = setting(default=False, help="Whether recorded sessions start in a random order.")
    retries: int = setting(
        default=0, help="Repetitions of a call that fails; after the last one, no call that waits for it is sent.", ge=0
    )
    backoff: Duration = setting(
        default=1_000_000, help="Time before a repetition.", unit="us", ge=0, dimension="duration"
    )
    timeout: Duration = setting(
        default=0,
        help="Time from the start of a call to its deadline; 0 means no deadline.",
        unit="us",
        ge=0,
        dimension="duration",
    )
    tenant: str = setting(default="", help="Tenant that the requests belong to.")
    slo_class: str = setting(
        default="", help="SLO class of the requests; empty means none.", choices=SLO_CLASSES, absent=""
    )
    model: str = setting(default="", help="Model that serves the requests; empty means any.")

    def __attrs_post_init__(self) -> None:
        if isinstance(self.sessions, AgentSessions):
            if not self.num_sessions:
                raise ScenarioError.at("num_sessions", "must be > 0 for sessions that are drawn", 0)
            if self.replay != "closed":
                raise ScenarioError.at("replay", "must be closed: sessions that are drawn have no starts", self.replay)

    @property
    def num_requests(self) -> int:  # type: ignore[override]
        """Number of requests, which follows from the sessions: 0."""
        return 0

    def graphs(self, streams: RandomStreams) -> tuple[CallGraph, ...]:
        """Read or draw the sessions, each once.

        Raises
        ------
        WorkloadTraceError
            If the file cannot be read, its format has no sessions, or a call has no recorded start.
        """
        if isinstance(self.sessions, AgentSessions):
            return self.sessions.graphs(self.num_sessions, streams)
        graphs = self.sessions if isinstance(self.sessions, tuple) else self._read(self.sessions)
        if self.replay != "closed" and not all(graph.has_starts for graph in graphs):
            raise ScenarioError.at("replay", "must be closed: the sessions have no recorded starts", self.replay)
        return graphs

    def _read(self, file: str) -> tuple[CallGraph, ...]:
        from blis_simpy.trace_files.load_trace import load_trace  # rarely needed

        options = dict(self.format) if isinstance(self.format, Mapping) else {"type": self.format}
        trace = load_trace(file, format=options.pop("type"), **options)
        if not trace.sessions:
            raise WorkloadTraceError.at("", "has no sessions of calls", file=file)
        return tuple(trace.sessions)

    def generate(
        self, streams: RandomStreams, horizon: int | None = None, *, defaults: str | None = None
    ) -> GeneratedWorkload:
        """Prepare the sessions, whose requests are made during the simulation.

        Raises
        ------
        WorkloadTraceError, ScenarioError
            As `graphs` does.
        """
        from blis_simpy.workload.generator import GeneratedWorkload

        graphs = self.graphs(streams)
        pool = SessionPool(
            sessions=tuple(self._pooled(graphs, streams)),
            **{
                name: getattr(self, name)
                for name in ("concurrent", "replay", "follow", "retries", "backoff", "timeout")
            },
            **{name: getattr(self, name) for name in ("tenant", "slo_class", "model")},
        )
        return GeneratedWorkload([], [], streams=streams, pool=pool)

    def _pooled(self, graphs: tuple[CallGraph, ...], streams: RandomStreams) -> list[PooledSession]:
        number = self.num_sessions or len(graphs)
        order = np.arange(number) % len(graphs)
        if self.shuffle:
            rng = streams.generator("workload/sessions/order")
            passes = [rng.permutation(len(graphs)) for _ in range(-(-number // len(graphs)))]
            order = np.concatenate(passes)[:number]
        starts = np.zeros(number, dtype=np.int64)
        if self.rate is not None:
            gaps = streams.generator("workload/sessions/starts").exponential(SECOND / self.rate, number)
            starts = np.rint(np.cumsum(gaps)).astype(np.int64)
        elif self.concurrent is None:
            recorded = np.array([graph.started_us for graph in graphs], dtype=np.int64)
            starts = recorded[order] - recorded.min()
        copies: dict[int, int] = {}
        pooled = []
        for index, at in zip(order.tolist(), starts.tolist(), strict=True):
            copy = copies[index] = copies.get(index, -1) + 1
            name = graphs[index].name + (f"#{copy}" if copy else "")
            pooled.append(PooledSession(graphs[index], name, at))
        return sorted(pooled, key=lambda session: session.at)

    def preview(self, *, seed: int | None = None, horizon: int | None = None, defaults: str | None = None) -> Preview:
        """Summarize the calls as they are recorded or drawn; their starts follow from the simulation.

        Raises
        ------
        WorkloadTraceError, ScenarioError
            As `graphs` does.
        """
        from blis_simpy.core.random_streams import RandomStreams
        from blis_simpy.workload.preview import preview_of_sessions

        streams = RandomStreams(self.default_seed if seed is None else seed)
        pool = self.generate(streams, horizon, defaults=defaults).pool
        assert pool is not None
        return preview_of_sessions(pool)

    def content(self) -> Any:
        """Return the settings with the content of the file in place of its name."""
        if not isinstance(self.sessions, str):
            return self
        from blis_simpy.recorded_workloads import file_digest_of

        names = [field.name for field in fields_of(type(self)) if field.name != "sessions"]
        return {name: getattr(self, name) for name in names}, file_digest_of(self.sessions)
