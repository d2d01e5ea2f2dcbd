"""Step time as the sum of kernel times, each in closed form, and of few overheads.

A step is attention of decoding requests, attention of prompts, everything else in the layers, and the output layer. The
last two depend on the numbers of tokens and requests alone and are computed once for each number; so a decode step
costs two powers and an exponential.

`KernelTimes.step_time` is the definition. `KernelTimes.decode_step_times` computes long runs with numpy, whose powers
and exponentials may round in another way. Where a time comes so close to a whole microsecond that this could matter,
the definition decides: runs equal single steps on every platform.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.catalog.kernel_coefficients import KernelCoefficients, kernel_coefficients
from blis_simpy.errors import ScenarioError, joined
from blis_simpy.latency.base import IntTicks, LatencyInputs, StepBatch, to_ticks
from blis_simpy.latency.explain import Term
from blis_simpy.latency.kernel_attention import AttentionTimes
from blis_simpy.latency.kernel_layers import LAYER_TERMS, REQUEST_TERMS, LayerTimes
from blis_simpy.latency.kernel_overheads import KernelOverheads
from blis_simpy.latency.kernel_rates import Rates
from blis_simpy.latency.kernel_shape import KernelShape, kernel_shape
from blis_simpy.latency.validation import check_known, check_placement, check_tp
from blis_simpy.settings.updates import updated

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KernelTimes", "Kernels"]

_log = logging.getLogger("blis_simpy")

_FEW_STEPS = 18
"""Up to this many steps a plain loop beats numpy (measured)."""
_ROUNDING = 2.0**-40
"""Relative margin around a step time, far wider than the rounding differences between numpy and `math`."""
_SURELY_TICKS = 2.0**36
"""Below this, `_ROUNDING` is a small part of a microsecond."""


class KernelTimes:
    """Step times of one replica from the figures of its model and GPU.

    Parameters
    ----------
    shape : KernelShape
        Figures of the model.
    coefficients : KernelCoefficients
        Figures of the GPU.
    tp : int
        Tensor-parallel degree.
    dp : int
        Data-parallel degree of attention; the experts are spread over all ``dp * tp`` GPUs. The batch of a step is then
        that of all groups, which wait for the slowest in every layer: requests are spread evenly over them, and a
        prompt chunk stays on one.
    overheads : KernelOverheads, optional
        Overheads beyond the kernels; those of vLLM unless given.

    Notes
    -----
    Step times grow with contexts, tokens and requests, with one exception: beside a decoding request, the attention of
    prompts has no fixed time of its own, so the first decoding request may shorten a step by some µs a layer.
    """

    def __init__(
        self,
        shape: KernelShape,
        coefficients: KernelCoefficients,
        *,
        tp: int = 1,
        dp: int = 1,
        overheads: KernelOverheads | None = None,
    ) -> None:
        overheads = KernelOverheads() if overheads is None else overheads
        rates = Rates.of(coefficients, overheads)
        self.shape, self.coefficients, self.overheads = shape, coefficients, overheads
        self.tp, self.dp = tp, dp
        self._attention = AttentionTimes(shape, coefficients, rates, overheads, tp=tp, dp=dp)
        self._layers = LayerTimes(shape, coefficients, rates, overheads, tp=tp, dp=dp)
        self._mixed_us = shape.layers * overheads.mixed_layer
        self._queueing_us = to_ticks(overheads.api + (overheads.api_tp if tp > 1 else 0.0))

    def queueing_time(self, input_tokens: int) -> int:
        """Return the delay from arrival at the replica to entry in its wait queue, µs."""
        del input_tokens
        return self._queueing_us

    def output_token_processing_time(self) -> int:
        """Return what is added to TTFT and to every inter-token latency, µs: nothing here."""
        return 0

    def post_decode_overhead(self) -> int:
        """Return what is added once to the E2E latency, µs: nothing here."""
        return 0

    def step_time(self, batch: StepBatch) -> int:
        """Duration of one engine step, µs, at least 1."""
        prefills, decodes = batch.prefills, batch.num_decodes
        if not (prefills or decodes):
            return 1
        time, tokens, largest = 0.0, batch.decode_new_tokens, 0
        if decodes:
            time = self._attention.decode_us(decodes, batch.decode_context_tokens)
        if prefills:
            attention, new_tokens, largest = self._attention.prefill_us(prefills, alone=not decodes)
            tokens += new_tokens
            time += attention
            time += self._mixed_us
        requests, host = self._layers.requests_us(batch.size)
        time += self._layers.layers_us(tokens, largest)
        time += requests
        return to_ticks(time if time > host else host) or 1  # noqa: FURB136 - max() costs a call

    def decode_step_times(self, batch: StepBatch, steps: int) -> Sequence[int] | IntTicks | int:
        """Durations of the next decode-only steps of an unchanged batch, µs, each at least 1."""
        members = batch.num_decodes
        if not members:
            return self.step_time(batch)
        layers = self._layers.layers_us(members, 0)
        requests, host = self._layers.requests_us(batch.size)

        def time_at(context: int) -> float:
            time = self._attention.decode_us(members, context)
            time += layers
            time += requests
            return time

        first = batch.decode_context_tokens
        last = first + members * (steps - 1)
        longest = time_at(last)
        if longest * (1.0 + _ROUNDING) < host:
            return to_ticks(host) or 1
        if not longest < _SURELY_TICKS:
            return [to_ticks(max(time_at(context), host)) or 1 for context in range(first, last + 1, members)]
        if steps <= _FEW_STEPS:
            decode_us, few = self._attention.decode_us, []
            for context in range(first, last + 1, members):
                time = decode_us(members, context)
                time += layers
                time += requests
                few.append(int(time if time > host else host) or 1)  # noqa: FURB136 - max() costs a call
            return few
        times = self._attention.decode_times(members, first, steps, layers + requests)
        ticks: IntTicks = times.astype(np.int64)
        times -= ticks
        doubtful = longest * _ROUNDING
        if times.min() < doubtful or times.max() > 1.0 - doubtful:
            for step in np.flatnonzero((times < doubtful) | (times > 1.0 - doubtful)).tolist():
                ticks[step] = to_ticks(time_at(first + members * step))
        least = to_ticks(host) or 1
        return ticks if ticks[0] >= least else np.maximum(ticks, least)

    def explain(self, batch: StepBatch) -> list[Term]:
        """List the summands of the step time, in µs, each with what it is made of."""
        prefills, decodes = batch.prefills, batch.num_decodes
        if not (prefills or decodes):
            return []
        terms: list[Term] = []
        tokens, largest = batch.decode_new_tokens, 0
        if decodes:
            time = self._attention.decode_us(decodes, batch.decode_context_tokens)
            terms.append(Term("decode attention", self._with_estimates("requests over their contexts"), time))
        if prefills:
            time, new_tokens, largest = self._attention.prefill_us(prefills, alone=not decodes)
            tokens += new_tokens
            terms += [
                Term("prompt attention", self._with_estimates("chunks over prompt and cached prefix"), time),
                Term("graph in pieces", "mixed_layer * layers, in steps with prompts", self._mixed_us),
            ]
        layers, requests = self._layers.layer_terms(tokens, largest), self._layers.request_terms(batch.size)
        of_requests, host = self._layers.requests_us(batch.size)
        of_layers = f"what depends on tokens alone; coefficients {self.coefficients.source}"
        terms += [
            Term("layers", of_layers, self._layers.layers_us(tokens, largest), parts=_parts(LAYER_TERMS, layers)),
            Term(
                "requests",
                "what depends on requests alone",
                of_requests,
                parts=_parts(REQUEST_TERMS, requests),
            ),
        ]
        time = 0.0
        for term in terms:
            time += term.value
        if time > host:
            return terms
        return [Term("host", "host + host_seq * requests: the GPU is done earlier", host, parts=tuple(terms))]

    def _with_estimates(self, meaning: str) -> str:
        return "; estimated: ".join((meaning, *self.shape.estimates))


def _parts(names: Sequence[tuple[str, str]], times: Sequence[float]) -> tuple[Term, ...]:
    return tuple(Term(name, meaning, time) for (name, meaning), time in zip(names, times, strict=True))


class Kernels(KernelTimes):
    """Closed-form kernel times with few overheads.

    Parameters
    ----------
    inputs : LatencyInputs
        `model`, `gpu` and `tp` are needed; there are no coefficients `alpha` and `beta`.
    dp : int
        Data-parallel degree, >= 1; above 1 only for a mixture of experts. See `KernelTimes`.
    **options
        Overheads and factors, see `KernelOverheads`; ``blis fit`` estimates them for a server of your own.

    Raises
    ------
    ScenarioError
        If a figure is missing or wrong, `tp` does not divide the heads, `dp` does not fit, coefficients are given, or
        an option is unknown or wrong.

    Notes
    -----
    Source: docs, latency models, "kernels". Coefficients of the GPU are in the hardware file; a GPU without any has
    typical ones. Estimated, because no kernel times were measured: latent attention, sliding windows, linear
    attention, data-parallel attention (checked on one run), and all GPUs that the table of the docs marks so.
    """

    needs_architecture = True

    def __init__(self, inputs: LatencyInputs, *, dp: int = 1, **options: Any) -> None:
        for name in ("alpha", "beta"):
            if getattr(inputs, name):
                raise ScenarioError.at(name, "must not be given with the kernels model, which has none")
        check_tp(inputs.tp)
        model, gpu = check_known(inputs.model, inputs.gpu)
        shape = kernel_shape(model)
        heads = [(block.heads, block.kv_heads) for block in shape.attention]
        check_placement(heads, model.name, tp=inputs.tp, dp=dp, experts=bool(shape.experts))
        if shape.unread:
            _log.warning("latency model kernels counts all layers of %s as alike: %s", model.name, shape.unread)
        super().__init__(shape, kernel_coefficients(gpu), tp=inputs.tp, dp=dp, overheads=_overheads(options))


def _overheads(options: dict[str, Any]) -> KernelOverheads:
    try:
        return updated(KernelOverheads(), options)
    except ScenarioError as error:
        inside = (attrs.evolve(found, path=joined("latency.backend", found.path)) for found in error.problems)
        raise ScenarioError(inside) from None
