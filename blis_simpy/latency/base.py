"""Protocol of latency models, and the batch that is their input.

A latency model answers how long one engine step takes. It is built once per replica, is immutable, and sees a
`StepBatch`: the members of the step in batch order, or only their aggregates where those are enough. All answers are
whole microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from blis_simpy.catalog.hardware import Gpu  # noqa: TC004 - types only, which settings do not need
    from blis_simpy.catalog.models import ModelSpec  # noqa: TC004

__all__ = [
    "MAX_TICKS",
    "DecodeRuns",
    "IntTicks",
    "LatencyInputs",
    "LatencyModel",
    "StepBatch",
    "StepMember",
    "to_ticks",
]

IntTicks: TypeAlias = "NDArray[np.int64]"

MAX_TICKS = 2**63 - 1
_LIMIT = float(2**63)


def to_ticks(value: float) -> int:
    """Truncate microseconds toward zero; NaN and anything from 2**63 up become the largest tick."""
    return int(value) if value < _LIMIT else MAX_TICKS


class StepMember(NamedTuple):
    """One request in a step, in its state before the step.

    Attributes
    ----------
    input_tokens : int
        Prompt length, tokens.
    progress : int
        Tokens processed so far, prompt and output together.
    new_tokens : int
        Tokens this step computes for it.
    output_tokens : int
        Planned output length, tokens.
    cached_tokens : int
        Prompt tokens that the prefix cache had and `progress` does not count: those of a request that joins the batch
        in this step. Its context before the step is `progress` and these together.
    """

    input_tokens: int
    progress: int
    new_tokens: int
    output_tokens: int
    cached_tokens: int = 0


class StepBatch:
    """The members of one engine step, with the sums most models need.

    A member whose prompt is not done is *prefill*; one whose prompt is done and that has output is *decode*; anything
    else only counts in `size`.

    Parameters
    ----------
    prefills : sequence of StepMember
        Prefill members in batch order.
    num_decodes : int
        Decode members.
    decode_context_tokens : int
        Sum of their progress before the step, tokens.
    decode_new_tokens : int, optional
        Sum of their new tokens; `num_decodes` unless given.
    size : int, optional
        All members; prefill and decode members unless given.
    decode_contexts : callable, optional
        Gives the progress of each decode member in batch order. Called only by a model that needs single members, as
        it costs time in proportion to the batch.
    """

    __slots__ = (
        "_decode_contexts",
        "decode_context_tokens",
        "decode_new_tokens",
        "num_decodes",
        "prefills",
        "size",
    )

    def __init__(
        self,
        prefills: Sequence[StepMember],
        num_decodes: int,
        decode_context_tokens: int,
        decode_contexts: Callable[[], Sequence[int]],
        decode_new_tokens: int | None = None,
        size: int | None = None,
    ) -> None:
        self.prefills = prefills
        self.num_decodes = num_decodes
        self.decode_context_tokens = decode_context_tokens
        self.decode_new_tokens = num_decodes if decode_new_tokens is None else decode_new_tokens
        self.size = len(prefills) + num_decodes if size is None else size
        self._decode_contexts = decode_contexts

    @classmethod
    def of(cls, members: Sequence[StepMember]) -> StepBatch:
        """Build a batch from its members in batch order."""
        decodes = [m for m in members if m.progress >= m.input_tokens and m.output_tokens > 0]
        contexts = [m.progress for m in decodes]
        return cls(
            prefills=[m for m in members if m.progress < m.input_tokens],
            num_decodes=len(decodes),
            decode_context_tokens=sum(contexts),
            decode_contexts=lambda: contexts,
            decode_new_tokens=sum(m.new_tokens for m in decodes),
            size=len(members),
        )

    def decode_contexts(self) -> Sequence[int]:
        """Progress of each decode member before the step, tokens, in batch order."""
        return self._decode_contexts()


@runtime_checkable
class LatencyModel(Protocol):
    """How long things take on one replica.

    Any object with these four methods is one; `DecodeRuns` is an optional fifth that makes long decodes cheap. A class
    states its needs in attributes, all of them optional:

    ``needs_architecture = True``
        It needs the architecture of the model and the figures of the GPU. A scenario without them is refused before
        anything is built.
    ``global_coefficients = "<name>"``
        It has one set of coefficients for all deployments, under this name in the catalog.
    ``coefficients_of_deployment = True``
        Its coefficients are those that were measured on the deployment, a row of the catalog.
    ``takes_coefficients = False``
        It has no coefficients, and a scenario must not give any; its per-request delays are 0.
    ``Options``
        Settings class that describes the keyword arguments of its constructor.

    An instance may have an attribute ``dp``, its data-parallel degree, for the number of KV blocks.
    """

    def step_time(self, batch: StepBatch) -> int:
        """Duration of one engine step, µs; the engine raises it to at least 1."""
        ...

    def queueing_time(self, input_tokens: int) -> int:
        """Delay from arrival at the replica to entry in its wait queue, µs."""
        ...

    def output_token_processing_time(self) -> int:
        """Return what is added to TTFT and to every inter-token latency, µs; it does not occupy the engine."""
        ...

    def post_decode_overhead(self) -> int:
        """Return what is added once to the E2E latency of a request with output, µs; it does not occupy the engine."""
        ...


@runtime_checkable
class DecodeRuns(Protocol):
    """Optional ability of a latency model: many decode steps of an unchanged batch at once."""

    def decode_step_times(self, batch: StepBatch, steps: int) -> Sequence[int] | IntTicks | int:
        """Durations of the next decode-only steps of an unchanged batch.

        Parameters
        ----------
        batch : StepBatch
            The batch before the first step: decode members only, each of which gets one token a step.
        steps : int
            How many steps to predict, >= 1.

        Returns
        -------
        sequence of int, ndarray of int64 of shape (steps,), or int, µs
            Each >= 1; element j equals `step_time` of the batch after j steps, bit for bit. One int means that all
            steps take that long.
        """
        ...


@attrs.frozen(kw_only=True)
class LatencyInputs:
    """What a latency model is built from.

    Attributes
    ----------
    alpha : tuple of float, µs
        Coefficients of the per-request delays; their meaning is the model's own.
    beta : tuple of float
        Coefficients of the step time; their meaning is the model's own.
    model : ModelSpec or None
        Architecture figures, where known.
    gpu : Gpu or None
        Hardware figures, where known.
    tp : int
        Tensor-parallel degree, GPUs.
    """

    alpha: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()
    model: ModelSpec | None = None
    gpu: Gpu | None = None
    tp: int = 1
