"""Simulations of one replica for conformance suites, and the violations found in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span
from blis_simpy.latency.settings import LatencySettings
from blis_simpy.replica.settings import EngineSettings, KVSettings
from blis_simpy.scenario import Scenario
from blis_simpy.simulation import Simulation
from blis_simpy.testing.conformance.suite import ConformanceSuite, message, seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ReplicaCase", "ReplicaSuite", "ViolationFoundError", "Violations", "outcomes", "replica_cases"]

_BLOCK_SIZE = 4
_AMPLE_BLOCKS = 400
_LONGEST_PROMPT = 30
_HORIZON_US = 2_000_000


@attrs.frozen(kw_only=True)
class ReplicaCase:
    """Limits and requests of a replica.

    Attributes
    ----------
    name : str
        Name of the case.
    seed : int
        Seed of the requests.
    blocks : int
        KV blocks of 4 tokens.
    max_num_seqs, max_num_batched_tokens, long_prefill_token_threshold : int
        As in `EngineSettings`.
    num_requests : int
        Maximum number of requests; those that do not fit the KV blocks are left out.
    longest_output : int
        Maximum output length, tokens.
    gap_us : int, µs
        Maximum gap between arrivals.
    """

    name: str
    seed: int
    blocks: int
    max_num_seqs: int
    max_num_batched_tokens: int
    long_prefill_token_threshold: int = 0
    num_requests: int = 50
    longest_output: int = 12
    gap_us: int = 300

    @property
    def has_ample_blocks(self) -> bool:
        """Whether there are enough blocks for all requests together."""
        return self.blocks >= _AMPLE_BLOCKS

    def requests(self) -> list[Request]:
        """Draw the requests: some share a prefix, some prompts contain the output of an earlier request."""
        random = seeded(f"{self.name}/{self.seed}")
        now = 0
        requests: list[Request] = []
        for number in range(self.num_requests):
            now += random.choice((0, 1, random.randint(0, self.gap_us)))
            content: tuple[Span, ...] | None = None
            shared = 0
            earlier = requests[-3] if len(requests) > 2 and random.random() < 0.25 else None
            output_tokens = random.randint(1, self.longest_output)
            if earlier is not None and earlier.output_stream and earlier.content:
                content = (*earlier.content, Span(earlier.output_stream, 0, earlier.output_tokens))
                shared = sum(span.tokens for span in content)
            elif random.random() < 0.6:
                shared = random.choice((5, 8, 16, 16, 27))
                content = (Span(random.choice("xy"), 0, shared),)
            own = random.choice((0, 1, random.randint(1, _LONGEST_PROMPT)))
            input_tokens = max(shared + own, 1)
            # The output can be shared only if all prompt tokens have a name.
            stream = f"output-{number}" if content and shared == input_tokens and random.random() < 0.7 else None
            if input_tokens + output_tokens > self.blocks * _BLOCK_SIZE:
                continue
            requests.append(
                Request(
                    id=f"request_{number}",
                    arrived_at=now,
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                    max_output_tokens=output_tokens,
                    deadline=now + 100 * output_tokens if random.random() < 0.1 else 0,
                    content=content,
                    output_stream=stream,
                )
            )
        return requests

    def simulation(
        self, *, macro_steps: bool, requests: Sequence[Request] | None = None, batching: Any = None, store: Any = None
    ) -> Simulation:
        """Build a simulation with steps of 100 µs, and 1 µs per prompt token and 10 µs per decode token."""
        engine: dict[str, Any] = {} if batching is None else {"batching": batching}
        kv: dict[str, Any] = {} if store is None else {"store": store}
        scenario = Scenario(
            model="any/model",
            hardware="H100",
            tp=1,
            engine_version="any",
            horizon=_HORIZON_US,
            latency=LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(100.0, 1.0, 10.0)),
            engine=EngineSettings(
                profile="blis",
                max_num_seqs=self.max_num_seqs,
                max_num_batched_tokens=self.max_num_batched_tokens,
                long_prefill_token_threshold=self.long_prefill_token_threshold,
                max_model_len=0,
                macro_steps=macro_steps,
                **engine,
            ),
            kv=KVSettings(blocks=self.blocks, block_size=_BLOCK_SIZE, **kv),
        )
        return Simulation(scenario, requests=self.requests() if requests is None else requests)


def replica_cases() -> list[ReplicaCase]:
    """Return the cases: ample resources, few KV blocks, a small token budget, few slots, long outputs."""
    return [
        ReplicaCase(name="ample", seed=1, blocks=_AMPLE_BLOCKS, max_num_seqs=8, max_num_batched_tokens=64),
        ReplicaCase(name="few blocks", seed=2, blocks=22, max_num_seqs=8, max_num_batched_tokens=64, gap_us=100),
        ReplicaCase(name="fewer blocks", seed=3, blocks=16, max_num_seqs=6, max_num_batched_tokens=24, gap_us=100),
        ReplicaCase(
            name="small budget",
            seed=4,
            blocks=_AMPLE_BLOCKS,
            max_num_seqs=12,
            max_num_batched_tokens=5,
            long_prefill_token_threshold=3,
            num_requests=15,
        ),
        ReplicaCase(name="few slots", seed=5, blocks=_AMPLE_BLOCKS, max_num_seqs=2, max_num_batched_tokens=64),
        ReplicaCase(
            name="long outputs",
            seed=6,
            blocks=120,
            max_num_seqs=3,
            max_num_batched_tokens=64,
            num_requests=30,
            longest_output=150,
            gap_us=3000,
        ),
    ]


def outcomes(simulation: Simulation) -> list[tuple[Any, ...]]:
    """Return outcome, timestamps and latencies of each request."""
    return [
        (
            request.id,
            request.outcome.name,
            request.scheduled_at,
            request.ttft,
            request.e2e,
            request.itl_sum,
            request.num_preemptions,
            request.finished_at,
        )
        for request in simulation.requests
    ]


class ViolationFoundError(Exception):
    """Ends a simulation after a violation."""


class Violations:
    """The first violation of a plug-in in a case; it ends the case, because later ones may be consequences.

    Parameters
    ----------
    plugin : object
        The plug-in.
    case : str
        Name of the case.

    Attributes
    ----------
    plugin : object
        The plug-in.
    """

    def __init__(self, plugin: object, case: str) -> None:
        self.plugin = plugin
        self._case = case
        self._test = ""
        self._message = ""

    def __bool__(self) -> bool:
        return bool(self._test)

    def add(self, test: str, rule: str, **found: object) -> None:
        """Record a violation, with a short name of its test, and end the simulation with an exception."""
        if not self:
            self._test = test
            self._message = message(self.plugin, rule, **found, case=self._case)
        raise ViolationFoundError

    def check(self, test: str) -> None:
        """Raise an error if the rule of a test was violated."""
        __tracebackhide__ = True
        if test == self._test:
            raise AssertionError(self._message)


class ReplicaSuite(ConformanceSuite):
    """Base class of suites that check a plug-in in simulations; each case is simulated once for all tests."""

    _found: ClassVar[list[Violations]]

    def watch(self, case: ReplicaCase) -> Violations:
        """Simulate a case with a new plug-in, and return its violations."""
        raise NotImplementedError

    def violations(self) -> list[Violations]:
        """Return the violations of the plug-in in each case."""
        if "_found" not in vars(type(self)):
            type(self)._found = [self.watch(case) for case in replica_cases()]
        return self._found

    def check(self, test: str) -> None:
        """Raise an error if the plug-in violates the rule of a test in any case."""
        __tracebackhide__ = True
        for violations in self.violations():
            violations.check(test)
