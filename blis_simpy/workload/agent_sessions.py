"""Distribution of agent sessions: turns, waits of tools, parallel sub-agents, compaction of the context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.core.call_graph import Call, CallGraph
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import Duration
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.workload.arrivals import ConstantArrivals, GammaArrivals
from blis_simpy.workload.plugin_draws import plugin_instance, validate_samples
from blis_simpy.workload.spec.length_distribution import LENGTHS, LengthField, default_lengths

if TYPE_CHECKING:
    import numpy as np

    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.lengths import LengthSampler

__all__ = ["AgentSessions"]

_PREFIX = "agents"


def _one() -> LengthSampler:
    from blis_simpy.workload.lengths import Constant  # rarely needed

    return Constant(1)


@settings_class
class AgentSessions:
    """Distribution of sessions: a chain of turns, some of which start sub-agents and join their outputs."""

    mean_turns: float = setting(default=10.0, help="Mean number of turns, geometrically distributed.", ge=1)
    prefix_tokens: int = setting(
        default=0, help="Length of system prompt and tools, which all sessions share.", unit="tokens", ge=0
    )
    prompt: LengthField = setting(
        factory=default_lengths,
        help="Lengths of the first prompt, without the shared prefix.",
        unit="tokens",
        kind="lengths",
        forms=LENGTHS,
    )
    message: LengthField = setting(
        factory=default_lengths,
        help="New tokens of each later turn, such as the result of a tool.",
        unit="tokens",
        kind="lengths",
        forms=LENGTHS,
    )
    output: LengthField = setting(
        factory=default_lengths, help="Output lengths.", unit="tokens", kind="lengths", forms=LENGTHS
    )
    tool_time: Duration = setting(
        default=0, help="Mean time of the tools before a turn.", unit="us", ge=0, dimension="duration"
    )
    tool_time_cv: float = setting(
        default=1.0,
        help="Coefficient of variation of that time, which has a gamma distribution: 0 is constant, 1 exponential.",
        ge=0,
    )
    sub_agents: LengthField = setting(
        factory=_one,
        help="Numbers of sub-agents that a turn with sub-agents starts at once, each a call with the shared prefix; "
        "the next turn joins their outputs.",
        unit="calls",
        kind="lengths",
        forms=LENGTHS,
    )
    sub_agent_share: float = setting(
        default=0.0, help="Probability that a turn, except the last one, starts sub-agents.", ge=0, le=1
    )
    context_limit: int = setting(
        default=0,
        help="Length of a prompt from which on the context may be compacted to a summary; 0 means never.",
        unit="tokens",
        ge=0,
    )
    compaction_share: float = setting(
        default=0.25, help="Length of the summary, as a share of the context that it replaces.", ge=0, le=1
    )
    compaction_probability: float = setting(
        default=1.0, help="Probability of a compaction beyond the limit.", ge=0, le=1
    )

    def __attrs_post_init__(self) -> None:
        if self.compaction_probability and self.context_limit and self.compaction_share == 1:
            raise ScenarioError.at("compaction_share", "must be < 1 where the context is compacted", 1)

    def graph(self, name: str, rng: np.random.Generator) -> CallGraph:
        """Draw one session."""
        prefix = (Span(f"prefix:{_PREFIX}", 0, self.prefix_tokens),) if self.prefix_tokens else ()
        calls: list[Call] = []
        context = main = 0
        after: tuple[int, ...] = ()
        turns = int(rng.geometric(1 / self.mean_turns))
        for turn in range(turns):
            new, output = _length(self.message if turn else self.prompt, rng), _length(self.output, rng)
            answers = sum(calls[parent].output_tokens for parent in after)
            prompt = self.prefix_tokens + new if not turn else context + answers + new
            summary, kind = 0, "join" if len(after) > 1 else "append"
            if turn and 0 < self.context_limit < prompt and rng.random() < self.compaction_probability:
                summary, kind = int((context + answers) * self.compaction_share), "compact"
                prompt = self.prefix_tokens + summary + new
            main, context = len(calls), prompt
            calls.append(
                Call(
                    input_tokens=new,
                    output_tokens=output,
                    after=after,
                    wait_us=self._tool_time(rng) if turn else 0,
                    context=kind,
                    summary_tokens=summary,
                )
            )
            width = 0
            if turn < turns - 1 and self.sub_agent_share and rng.random() < self.sub_agent_share:
                width = _length(self.sub_agents, rng)
            calls += (self._sub_agent(main, rng) for _ in range(width))
            after = (main, *range(main + 1, len(calls)))
        return CallGraph(name=name, calls=tuple(calls), prefix=prefix)

    def _sub_agent(self, parent: int, rng: np.random.Generator) -> Call:
        new, output = _length(self.message, rng), _length(self.output, rng)
        return Call(input_tokens=new, output_tokens=output, after=(parent,), context="fresh")

    def graphs(self, number: int, streams: RandomStreams) -> tuple[CallGraph, ...]:
        """Draw sessions, each from its own random stream."""
        return tuple(
            self.graph(f"session-{index}", streams.generator(f"workload/sessions/{index}")) for index in range(number)
        )

    def _tool_time(self, rng: np.random.Generator) -> int:
        if not self.tool_time:
            return 0
        process = GammaArrivals(self.tool_time_cv) if self.tool_time_cv else ConstantArrivals()
        return int(process.inter_arrival_times(rng, 1e6 / self.tool_time, 1)[0])


def _length(distribution: object, rng: np.random.Generator) -> int:
    sampler = plugin_instance("lengths", distribution)
    return int(validate_samples("lengths", sampler, sampler.sample(rng, 1), 1, at_least=0)[0])
