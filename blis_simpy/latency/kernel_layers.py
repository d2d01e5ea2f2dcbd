"""Times of everything but attention, µs: they depend on the numbers of tokens and of requests in a step alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.latency.kernel_shape import BF16, FP8, NVFP4, KernelShape, WeightType
from blis_simpy.latency.kernel_terms import (
    MatrixRates,
    all_reduce_us,
    exchange_us,
    experts_us,
    matrix_product_us,
    small_kernel_us,
)
from blis_simpy.latency.kernel_work import Product, attention_products, attention_work, mlp_products

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blis_simpy.catalog.kernel_coefficients import KernelCoefficients, MatrixKernel
    from blis_simpy.latency.kernel_overheads import KernelOverheads
    from blis_simpy.latency.kernel_rates import Rates

__all__ = ["LAYER_TERMS", "REQUEST_TERMS", "LayerTimes"]

LAYER_TERMS = (
    ("projections", "matrix products of attention: queries, keys, values, output"),
    ("dense MLPs", "matrix products of the layers without experts"),
    ("shared experts", "matrix products of the experts that see every token"),
    ("experts", "routed experts that tokens reach, and their router"),
    ("all-reduce", "sums over the tensor-parallel GPUs"),
    ("expert exchange", "tokens to the experts of all data-parallel groups and back; estimated"),
    ("small kernels", "normalisations, rotary embedding, activations"),
)
"""Name and meaning of what `LayerTimes.layer_terms` gives."""
REQUEST_TERMS = (
    ("output layer", "matrix product with the vocabulary, a row a request"),
    ("requests", "seq * requests"),
    ("step", "fixed time of a step"),
)
"""Name and meaning of what `LayerTimes.request_terms` gives."""


class LayerTimes:
    """Times of one GPU that depend on the numbers of tokens and requests alone; each is computed once.

    Parameters
    ----------
    shape, coefficients, rates, overheads, tp, dp
        As for `blis_simpy.latency.kernel_attention.AttentionTimes`.
    """

    def __init__(
        self,
        shape: KernelShape,
        coefficients: KernelCoefficients,
        rates: Rates,
        overheads: KernelOverheads,
        *,
        tp: int,
        dp: int,
    ) -> None:
        self._shape, self._over, self._rates = shape, overheads, rates
        self._tp, self._dp = tp, dp
        self._all_reduce = coefficients.all_reduce
        self._link = rates.link * overheads.ar_bw
        of_type = {FP8.name: overheads.gemm8, NVFP4.name: overheads.gemm4}.get(shape.weights.name, 1.0)
        of_experts = 1.0 if shape.expert_weights.name == BF16.name else overheads.moe8
        products, experts = overheads.gemm * of_type, overheads.moe * of_experts
        self._weights = self._kernel(coefficients.gemm, shape.weights, products)
        self._output = self._kernel(coefficients.gemm, BF16, products)
        self._experts = self._kernel(coefficients.experts, shape.expert_weights, experts)
        self._router = self._kernel(coefficients.gemm, BF16, experts)
        self._projections = attention_products(shape, tp)
        self._dense_mlp = mlp_products(shape, shape.dense_width, tp)
        self._shared_mlp = mlp_products(shape, shape.shared_width, tp) if shape.shared_width else ()
        self._rotated_bytes = attention_work(shape, tp).rotated_bytes
        self._num_all_reduces = 2 * shape.layers + 1 - (shape.moe_layers if dp > 1 else 0)
        self._layers_of: dict[int | tuple[int, int], float] = {}
        self._requests_of: dict[int, tuple[float, float]] = {}

    def _kernel(self, kernels: Mapping[str, MatrixKernel], weights: WeightType, factor: float) -> MatrixRates:
        """Kernel of a weight type; where the GPU has none, weights are expanded to BF16 on the way."""
        kernel, activation_bytes = kernels.get(weights.name), weights.activation_bytes
        if kernel is None or not self._rates.flops(kernel.arithmetic):
            kernel, activation_bytes = kernels[BF16.name], BF16.activation_bytes
        return MatrixRates(
            kernel=kernel,
            weight_bytes=weights.weight_bytes,
            activation_bytes=activation_bytes,
            bytes_per_us=self._rates.memory,
            flops_per_us=self._rates.flops(kernel.arithmetic),
            factor=factor,
        )

    def layers_us(self, tokens: int, largest: int) -> float:
        """Time of all layers without attention.

        Parameters
        ----------
        tokens : int
            Tokens of the step.
        largest : int
            Those of its largest prompt chunk, which stays on one data-parallel group; 0 without prompts.
        """
        key = tokens if self._dp == 1 else (tokens, largest)
        time = self._layers_of.get(key)
        if time is None:
            time = self._layers_of[key] = _total(self.layer_terms(tokens, largest))
        return time

    def layer_terms(self, tokens: int, largest: int) -> tuple[float, ...]:
        """Return what `layers_us` adds up, in the order of `LAYER_TERMS`."""
        shape, tp, dp = self._shape, self._tp, self._dp
        memory, elem = self._rates.memory, self._over.elem
        layers, dense, moe = shape.layers, shape.dense_layers, shape.moe_layers
        own = tokens if dp == 1 else max(-(-tokens // dp), largest)
        activations = 2.0 * own * shape.hidden
        small = 2.0 * small_kernel_us(4.0 * activations, memory, elem)
        small += small_kernel_us(own * self._rotated_bytes, memory, elem)
        activated = small_kernel_us(6.0 * own * shape.dense_width / tp, memory, elem)
        exchanged = exchange_us(self._all_reduce, 2.0 * tokens * shape.hidden, dp, self._link)
        return (
            layers * self._products_us(self._projections, own),
            dense * self._products_us(self._dense_mlp, own) if dense else 0.0,
            moe * self._products_us(self._shared_mlp, own) if moe else 0.0,
            moe * self._experts_us(tokens, own) if moe else 0.0,
            self._num_all_reduces * self._all_reduce_us(activations),
            2.0 * moe * exchanged,
            layers * small + dense * activated,
        )

    def requests_us(self, requests: int) -> tuple[float, float]:
        """Time that depends on the requests of a step alone; and the least time of such a step, that of the host."""
        times = self._requests_of.get(requests)
        if times is None:
            host = self._over.host + self._over.host_seq * -(-requests // self._dp)
            times = self._requests_of[requests] = _total(self.request_terms(requests)), host
        return times

    def request_terms(self, requests: int) -> tuple[float, ...]:
        """Return what `requests_us` adds up, in the order of `REQUEST_TERMS`."""
        shape, own = self._shape, -(-requests // self._dp)
        output = matrix_product_us(self._output, own, shape.vocabulary / self._tp, shape.hidden)
        return output, self._over.seq * own, self._over.step

    def _products_us(self, products: Iterable[Product], tokens: int) -> float:
        return _total(matrix_product_us(self._weights, tokens, of.columns, of.depth) for of in products)

    def _experts_us(self, tokens: int, own: int) -> float:
        shape = self._shape
        routed = experts_us(
            self._experts,
            tokens,
            experts=shape.experts,
            experts_per_token=shape.experts_per_token,
            hidden=shape.hidden,
            width=shape.expert_width / self._tp,
            groups=self._dp,
        )
        return routed + matrix_product_us(self._router, own, shape.experts, shape.hidden)

    def _all_reduce_us(self, num_bytes: float) -> float:
        over = self._over
        return all_reduce_us(
            self._all_reduce, num_bytes, self._tp, self._link, extra_us=over.ar, waiting_us=over.ar_gpu
        )


def _total(times: Iterable[float]) -> float:
    total = 0.0
    for time in times:  # sum() compensates from Python 3.12 on
        total += time
    return total
