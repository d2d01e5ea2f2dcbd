"""Random small scenarios: one replica, a handful of requests, and everything that can go wrong between them."""

from collections.abc import Sequence

import attrs
from hypothesis import strategies as st
from plugins import Contextual, Kaleidoscope, PolicyThatYields

import blis_simpy as blis
from blis_simpy.core.environment import FOREVER
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span

SCHEDULERS = ("fcfs", "priority-fcfs", "reverse-priority", "sjf")
PRIORITIES = ("constant", "slo-based", "inverted-slo")
LATENCIES = ("blackbox", "roofline", "contextual")
# Step times in ticks: a beat for ties, a straight line, one tick, fractions, and steps that grow with the context.
BETAS = ((100.0, 0.0, 0.0), (100.0, 1.0, 10.0), (0.0, 0.0, 0.0), (3.7, 0.3, 1.9))
ALPHAS = ((0.0, 0.0, 0.0), (5.0, 0.5, 2.0), (100.0, 0.0, 0.0))
MODEL = "qwen/qwen3-14b"
ROOFLINE_TICKS = 100
"""A step of the roofline takes this many times as long as one of the others."""


@attrs.frozen(kw_only=True)
class RequestSpec:
    """A request; `content` is a list of (stream, start, tokens), padded with private tokens up to `input_tokens`."""

    arrived_at: int
    input_tokens: int
    output_tokens: int
    max_output_tokens: int = 0
    deadline: int = 0
    content: tuple[tuple[str, int, int], ...] = ()
    named_output: bool = False
    slo_class: str = ""
    priority: int = 0


@attrs.frozen(kw_only=True)
class Case:
    """A scenario and its requests."""

    requests: Sequence[RequestSpec]
    max_num_seqs: int = 8
    max_num_batched_tokens: int = 100
    long_prefill_token_threshold: int = 0
    max_model_len: int = 0
    blocks: int = 20
    block_size: int = 4
    scheduler: str = "fcfs"
    priority: str = "constant"
    latency: str = "blackbox"
    alpha: tuple[float, float, float] = ALPHAS[0]
    beta: tuple[float, float, float] = BETAS[0]
    horizon: int | None = None
    dynamic_order: bool = False
    odd_decodes_yield: bool = False

    def scenario(self, *, macro_steps: bool) -> blis.Scenario:
        latency = {"backend": "roofline"} if self.latency == "roofline" else {"alpha": self.alpha, "beta": self.beta}
        if self.latency == "contextual":
            latency["backend"] = Contextual
        return blis.Scenario(
            model=MODEL,
            hardware="H100",
            tp=1,
            engine_version="any",
            horizon=self.horizon,
            latency=blis.LatencySettings(**latency),
            engine=blis.EngineSettings(
                profile="blis",
                max_num_seqs=self.max_num_seqs,
                max_num_batched_tokens=self.max_num_batched_tokens,
                long_prefill_token_threshold=self.long_prefill_token_threshold,
                max_model_len=self.max_model_len,
                scheduler=Kaleidoscope() if self.dynamic_order else self.scheduler,
                priority=self.priority,
                batching=PolicyThatYields() if self.odd_decodes_yield else "continuous",
                macro_steps=macro_steps,
            ),
            kv=blis.KVSettings(blocks=self.blocks, block_size=self.block_size),
        )

    def fresh_requests(self) -> list[Request]:
        return [
            Request(
                id=f"request_{index}",
                arrived_at=spec.arrived_at,
                input_tokens=spec.input_tokens,
                output_tokens=spec.output_tokens,
                max_output_tokens=spec.max_output_tokens,
                deadline=spec.deadline,
                content=tuple(Span(*span) for span in spec.content) or None,
                output_stream=f"output_{index}" if spec.named_output else None,
                slo_class=spec.slo_class,
                priority=spec.priority,
            )
            for index, spec in enumerate(self.requests)
        ]

    @property
    def last_tick(self) -> int:
        return FOREVER if self.horizon is None else self.horizon


def times(scale):
    """Ticks near the beat of the steps, where ties happen, or anywhere."""
    return st.one_of(
        st.integers(0, 12).map(lambda beats: beats * 100 * scale),
        st.integers(0, 40).map(lambda ticks: ticks * scale),
        st.integers(0, 3000 * scale),
    )


@st.composite
def cases(draw, *, max_requests=12, latencies=LATENCIES, finite=False):
    """Draw a case; some requests are too long to be served, some do not keep to their budget."""
    latency = draw(st.sampled_from(latencies))
    scale = ROOFLINE_TICKS if latency == "roofline" else 1
    block_size = draw(st.integers(1, 16))
    blocks = draw(st.one_of(st.integers(1, 12), st.integers(1, 60)))
    capacity = block_size * blocks
    limit = draw(st.one_of(st.just(0), st.integers(1, capacity)))
    beat = draw(st.sampled_from([block_size, 1]))
    lengths = st.one_of(
        st.sampled_from([1, 1, block_size, 2 * block_size, 3 * block_size]),
        st.integers(0, 4).map(lambda n: n * beat),
        st.integers(1, max(1, min(2 * capacity // 3, 90))),
    )
    outputs = st.one_of(st.integers(0, 3), st.integers(1, max(2, min(capacity // 2, 70))))
    groups = draw(st.lists(st.integers(1, 50), max_size=2))

    @st.composite
    def requests(draw):
        arrived_at = draw(times(scale))
        length, output = draw(lengths), draw(outputs)
        if not length and not output:
            output = 1  # an empty prompt and no output is nothing to serve
        content = ()
        if groups and draw(st.booleans()):
            group = draw(st.integers(0, len(groups) - 1))
            shared = draw(st.sampled_from([groups[group], groups[group] // 2 + 1, length]))
            if min(shared, length):
                content = ((f"group_{group}", 0, min(shared, length)),)
        budgets = [output, 0, output + draw(st.integers(0, 5)), max(output // 2, 1)]
        deadline = draw(st.one_of(st.just(0), st.just(0), times(scale).map(lambda tick: arrived_at + tick)))
        return RequestSpec(
            arrived_at=arrived_at,
            input_tokens=length,
            output_tokens=output,
            max_output_tokens=draw(st.sampled_from(budgets)),
            deadline=deadline,
            content=content,
            slo_class=draw(st.sampled_from(["", "batch"])),
        )

    horizon = draw(times(scale).map(lambda tick: tick * 3 + 1)) if finite or draw(st.integers(0, 3)) == 0 else None
    return Case(
        requests=draw(st.lists(requests(), min_size=1, max_size=max_requests)),
        max_num_seqs=draw(st.integers(1, 8)),
        max_num_batched_tokens=draw(st.one_of(st.integers(1, 12), st.integers(1, 200))),
        long_prefill_token_threshold=draw(st.one_of(st.just(0), st.integers(1, 40))),
        max_model_len=limit,
        blocks=blocks,
        block_size=block_size,
        scheduler=draw(st.sampled_from(SCHEDULERS)),
        priority=draw(st.sampled_from(PRIORITIES)),
        latency=latency,
        alpha=draw(st.sampled_from(ALPHAS)),
        beta=draw(st.sampled_from(BETAS)),
        horizon=horizon,
    )


@st.composite
def conversations(draw):
    """Draw a case in which later prompts repeat earlier ones with what was answered, long after the answer."""
    first = draw(cases(max_requests=6, latencies=("blackbox",)))
    capacity = first.blocks * first.block_size
    earlier = [
        attrs.evolve(
            spec,
            deadline=0,
            content=((f"prompt_{index}", 0, spec.input_tokens),) if spec.input_tokens else (),
            named_output=bool(spec.input_tokens),
        )
        for index, spec in enumerate(first.requests)
    ]
    later = []
    for index, spec in enumerate(earlier):
        if not spec.named_output or not draw(st.booleans()):
            continue
        heard = draw(st.integers(0, spec.output_tokens))
        content = (*spec.content, (f"output_{index}", 0, heard)) if heard else spec.content
        new = draw(st.integers(0, 10))
        length = spec.input_tokens + heard + new
        output = draw(st.integers(0, 10))
        if length + output <= capacity:
            later.append(
                RequestSpec(
                    arrived_at=10**7 + draw(st.integers(0, 300)),
                    input_tokens=length,
                    output_tokens=output,
                    max_output_tokens=output,
                    content=content,
                )
            )
    return attrs.evolve(first, requests=[*earlier, *later], horizon=None, block_size=max(first.block_size, 2))
