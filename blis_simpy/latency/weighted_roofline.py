"""Step time as a weighted sum of physical lower bounds, with fitted weights.

What `trained-roofline` and `trained-physics` share: the arithmetic and the KV traffic of prefill and decode tokens, in
µs on one GPU, and the sum over these and over whatever else the model weighs. Needs only sums over the batch, except
for the prefill members, whose attention depends on each prompt.

The order of operations is binding: each float rounds as in the reference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.latency.base import MAX_TICKS, IntTicks, StepBatch, StepMember, to_ticks
from blis_simpy.latency.explain import Term
from blis_simpy.latency.fixed_delays import FixedDelays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blis_simpy.catalog.models import ModelSpec

__all__ = ["CostTerm", "WeightedRoofline", "Weighting"]

FloatArray = NDArray[np.float64]
F = TypeVar("F", float, FloatArray)

_KV_ELEMENT_BYTES = 2.0
"""Fitted so: KV numbers count two bytes whatever their type."""
_FEW_STEPS = 14
"""Up to this many steps a plain loop beats numpy (measured)."""


@attrs.frozen
class Weighting:
    """How arithmetic and KV traffic of the same tokens become one time.

    Attributes
    ----------
    meaning : str
        The formula in words.
    compute : float
        Weight of the arithmetic.
    memory : float or None
        Weight of the KV traffic; None = both overlap, and `compute` weighs the slower of them.
    """

    meaning: str
    compute: float
    memory: float | None

    def time(self, compute: float, memory: float) -> float:
        """Weigh two times in µs."""
        if self.memory is None:
            return self.compute * (compute if compute > memory else memory)  # noqa: FURB136 - max() costs a call
        return self.compute * compute + self.memory * memory

    def times(self, compute: FloatArray, memory: FloatArray) -> FloatArray:
        """Weigh times in µs, element by element."""
        if self.memory is None:
            return self.compute * np.maximum(compute, memory)
        return self.compute * compute + self.memory * memory


@attrs.frozen
class CostTerm:
    """What else a step time counts: a coefficient times an amount.

    Attributes
    ----------
    name, meaning : str
        What it is, and the formula in words.
    coefficient : float
        µs per unit of the amount.
    unit : str
        Unit of the amount.
    """

    name: str
    meaning: str
    coefficient: float
    unit: str = "us"


class WeightedRoofline(FixedDelays, ABC):
    """Base of the latency models that weigh lower bounds.

    Parameters
    ----------
    alpha : sequence of float
        As for `FixedDelays`.
    model : ModelSpec
        Checked architecture figures; `tp` divides its heads. Heads are as wide as width / heads, rounded down.
    tp, dp : int
        Tensor-parallel and data-parallel degree; token work is divided by both.
    flops_per_us, bytes_per_us : float
        Peak arithmetic rate and memory bandwidth of one GPU.
    prefill, decode : Weighting
        Weights of the two kinds of tokens.
    shares : sequence of CostTerm
        What is added after them, in this order; `_amounts` gives the amounts.
    """

    needs_architecture = True

    def __init__(
        self,
        alpha: Sequence[float],
        model: ModelSpec,
        *,
        tp: int,
        dp: int = 1,
        flops_per_us: float,
        bytes_per_us: float,
        prefill: Weighting,
        decode: Weighting,
        shares: Sequence[CostTerm],
    ) -> None:
        super().__init__(alpha)
        self.dp = dp
        self._layers, self._hidden = float(model.num_layers), float(model.hidden_size)
        self._tp, self._dp, self._ranks = float(tp), float(dp), float(tp * dp)
        self._flops_per_us, self._bytes_per_us = flops_per_us, bytes_per_us
        self._prefill, self._decode, self._shares = prefill, decode, tuple(shares)
        self._coefficients = tuple(share.coefficient for share in shares)

        self._head_dim = float(model.hidden_size // model.num_heads)
        kv_width = model.kv_heads * self._head_dim
        self._projection_width = 2.0 * self._hidden + 2.0 * kv_width
        self._attention = 4.0 * (model.num_heads / self._tp)
        self._decode_attention = self._layers * 4.0 * (model.num_heads / self._tp)
        self._kv_numbers = self._layers * 2.0 * (kv_width / self._ranks)
        self._decode_kv_bytes = self._kv_numbers * _KV_ELEMENT_BYTES

    @abstractmethod
    def _mlp_flops(self, tokens: int) -> float:
        """FLOPs that the MLPs spend on so many tokens, on one GPU."""

    @abstractmethod
    def _amounts(self, tokens: int, size: int) -> Sequence[float]:
        """Amounts of the shares for so many prefill and decode tokens and so many requests in the step."""

    def step_time(self, batch: StepBatch) -> int:
        """Duration of one engine step, µs, at least 1."""
        if not batch.size:
            return 1
        tokens = members = batch.num_decodes
        time = 0.0
        if batch.prefills:
            prefill_tokens, compute, memory = self._prefill_bounds(batch.prefills)
            tokens += prefill_tokens
            time = self._prefill.time(compute, memory)
        if members:
            compute, memory = self._decode_bounds(batch.decode_context_tokens, *self._decode_figures(members))
            time += self._decode.time(compute, memory)
        for share in self._times(tokens, batch.size):
            time += share
        return to_ticks(time) or 1

    def decode_step_times(self, batch: StepBatch, steps: int) -> Sequence[int] | IntTicks | int:
        """Durations of the next decode-only steps of an unchanged batch, µs, each at least 1."""
        members = batch.num_decodes
        if not members:
            return self.step_time(batch)
        figures = self._decode_figures(members)
        shares = [share for share in self._times(members, batch.size) if share]

        def time_at(context: int) -> int:
            time = self._decode.time(*self._decode_bounds(context, *figures))
            for share in shares:
                time += share
            return to_ticks(time) or 1

        first = batch.decode_context_tokens
        last = first + members * (steps - 1)
        if steps <= _FEW_STEPS or time_at(last) == MAX_TICKS:
            return [time_at(context) for context in range(first, last + 1, members)]
        contexts = np.arange(first, last + 1, members, dtype=np.float64)
        times = self._decode.times(*self._decode_bounds(contexts, *figures))
        for share in shares:
            times += share
        ticks = times.astype(np.int64)
        return ticks if ticks[0] else np.maximum(ticks, 1)

    def explain(self, batch: StepBatch) -> list[Term]:
        """List the summands of the step time, in µs, each with the figures it is made of."""
        if not batch.size:
            return []
        prefill_tokens, *prefill = self._prefill_bounds(batch.prefills)
        decode = self._decode_bounds(batch.decode_context_tokens, *self._decode_figures(batch.num_decodes))
        amounts = self._amounts(prefill_tokens + batch.num_decodes, batch.size)
        terms = [
            Term(
                name,
                weighting.meaning,
                weighting.time(compute, memory),
                parts=(
                    Term("arithmetic", "FLOPs on one GPU / peak rate", compute),
                    Term("KV traffic", "bytes on one GPU / memory bandwidth", memory),
                ),
            )
            for name, weighting, (compute, memory) in (
                ("prefill", self._prefill, prefill),
                ("decode", self._decode, decode),
            )
        ]
        for share, amount in zip(self._shares, amounts, strict=True):
            parts = (Term("amount", "what the coefficient multiplies", amount, share.unit),)
            terms.append(Term(share.name, share.meaning, share.coefficient * amount, parts=parts))
        return terms

    def _times(self, tokens: int, size: int) -> list[float]:
        amounts = self._amounts(tokens, size)
        return [coefficient * amount for coefficient, amount in zip(self._coefficients, amounts, strict=True)]

    def _prefill_bounds(self, prefills: Sequence[StepMember]) -> tuple[int, float, float]:
        """Prefill tokens, and their arithmetic and KV writes in µs.

        Every chunk of a prompt attends to the whole prompt and half of itself, as the weights were fitted so.
        """
        tokens, attention = 0, 0.0
        for input_tokens, _, new, _, _ in prefills:
            tokens += new
            attention += self._attention * new * (input_tokens + new / 2.0) * self._head_dim
        if not tokens:
            return 0, 0.0, 0.0
        flops = self._projection_flops(tokens) + self._layers * attention / self._dp + self._mlp_flops(tokens)
        moved = self._kv_numbers * tokens * _KV_ELEMENT_BYTES
        return tokens, flops / self._flops_per_us, moved / self._bytes_per_us

    def _decode_figures(self, members: int) -> tuple[int, float, float]:
        """Give what `_decode_bounds` takes beside the contexts: it stays the same all through a run."""
        return members, self._projection_flops(members), self._mlp_flops(members)

    def _decode_bounds(self, context: F, members: int, projection_flops: float, mlp_flops: float) -> tuple[F, F]:
        """Arithmetic and KV traffic in µs of decode members with so many tokens behind them, all together."""
        flops = projection_flops + self._decode_attention * context * self._head_dim / self._dp + mlp_flops
        moved = self._decode_kv_bytes * (context + members)
        return flops / self._flops_per_us, moved / self._bytes_per_us

    def _projection_flops(self, tokens: int) -> float:
        return self._layers * 2.0 * tokens * self._hidden * self._projection_width / self._ranks
