"""Times of everything but attention, µs: they depend on the numbers of tokens and of requests in a step alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from blis_simpy.latency.kernel_blocks import BF16, FP8, NVFP4, ExpertBlock, WeightType
from blis_simpy.latency.kernel_terms import (
    MatrixRates,
    all_reduce_us,
    exchange_us,
    experts_us,
    matrix_product_us,
    small_kernel_us,
)
from blis_simpy.latency.kernel_work import (
    Product,
    attention_products,
    attention_work,
    mlp_products,
    recurrent_products,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blis_simpy.catalog.kernel_coefficients import KernelCoefficients, MatrixKernel
    from blis_simpy.latency.kernel_overheads import KernelOverheads
    from blis_simpy.latency.kernel_rates import Rates
    from blis_simpy.latency.kernel_shape import KernelShape

__all__ = ["LAYER_TERMS", "REQUEST_TERMS", "LayerTimes"]

LAYER_TERMS = (
    ("projections", "matrix products of attention and recurrence: queries, keys, values, output"),
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

_Products: TypeAlias = "list[tuple[MatrixRates, Product]]"


@attrs.frozen(kw_only=True)
class _Mixture:
    """Mixture of experts with the kernels of its parts; `shared` are the products that every token passes."""

    block: ExpertBlock
    shared: _Products
    experts: MatrixRates
    router: MatrixRates


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
        self._kernels = coefficients
        products = [
            (block.layers, self._products(attention_products(block, shape.hidden, tp), block.weights))
            for block in shape.attention
        ]
        products += [
            (block.layers, self._products(recurrent_products(block, shape.hidden, tp), block.weights))
            for block in shape.recurrent
        ]
        self._projections = products
        self._dense = [
            (
                block.layers,
                self._products(mlp_products(shape.hidden, block.width, block.matrices, tp), block.weights),
                2.0 * block.matrices * block.width / tp,
            )
            for block in shape.mlps
        ]
        self._moe = [self._mixture(block) for block in shape.experts]
        self._moved_bytes = [
            (block.layers, attention_work(block, shape.kv_bytes, tp).rotated_bytes) for block in shape.attention
        ]
        self._moved_bytes += [(block.layers, 4.0 * (block.channels + block.inner) / tp) for block in shape.recurrent]
        # Factors of quantised products were fitted with the output layer, which is not quantised, included.
        types = [block.weights for block in shape.attention] + [block.weights for block in shape.recurrent]
        main = types[0] if types else BF16
        self._output = self._rates_of(coefficients.gemm, shape.output_weights, self._product_factor(main))
        self._num_all_reduces = shape.sublayers + 1 - (shape.moe_layers if dp > 1 else 0)
        self._layers_of: dict[int | tuple[int, int], float] = {}
        self._requests_of: dict[int, tuple[float, float]] = {}

    def _products(self, products: Iterable[Product], weights: WeightType) -> _Products:
        rates = self._product_rates(weights)
        return [(rates, product) for product in products]

    def _mixture(self, block: ExpertBlock) -> _Mixture:
        hidden, tp = self._shape.hidden, self._tp
        shared: _Products = []
        if block.shared_width:
            products = mlp_products(hidden, block.shared_width, block.shared_matrices, tp)
            shared += self._products(products, block.shared_weights)
        if block.input_width != hidden:
            projections = Product(block.input_width / tp, hidden), Product(hidden, block.input_width / tp)
            shared += self._products(projections, block.projection_weights)
        over = self._over
        factor = over.moe * (1.0 if block.weights.name == BF16.name else over.moe8)
        return _Mixture(
            block=block,
            shared=shared,
            experts=self._rates_of(self._kernels.experts, block.weights, factor),
            router=self._rates_of(self._kernels.gemm, BF16, factor),
        )

    def _product_factor(self, weights: WeightType) -> float:
        over = self._over
        return over.gemm * {FP8.name: over.gemm8, NVFP4.name: over.gemm4}.get(weights.name, 1.0)

    def _product_rates(self, weights: WeightType) -> MatrixRates:
        return self._rates_of(self._kernels.gemm, weights, self._product_factor(weights))

    def _rates_of(self, kernels: Mapping[str, MatrixKernel], weights: WeightType, factor: float) -> MatrixRates:
        """Kernel of a weight type; where the GPU has none, weights are expanded to BF16 before the product."""
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
        shape, dp = self._shape, self._dp
        memory, elem = self._rates.memory, self._over.elem
        own = tokens if dp == 1 else max(-(-tokens // dp), largest)
        activations = 2.0 * own * shape.hidden
        small = shape.sublayers * small_kernel_us(4.0 * activations, memory, elem)
        for layers, num_bytes in self._moved_bytes:
            small += layers * small_kernel_us(own * num_bytes, memory, elem)
        for layers, _, num_bytes in self._dense:
            small += layers * small_kernel_us(own * num_bytes, memory, elem)
        exchanged = exchange_us(self._all_reduce, 2.0 * tokens * shape.hidden, dp, self._link)
        return (
            _total(layers * _products_us(products, own) for layers, products in self._projections),
            _total(layers * _products_us(products, own) for layers, products, _ in self._dense),
            _total(of.block.layers * _products_us(of.shared, own) for of in self._moe),
            _total(of.block.layers * self._experts_us(of, tokens, own) for of in self._moe),
            self._num_all_reduces * self._all_reduce_us(activations),
            2.0 * shape.moe_layers * exchanged,
            small,
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

    def _experts_us(self, of: _Mixture, tokens: int, own: int) -> float:
        block = of.block
        routed = experts_us(
            of.experts,
            tokens,
            experts=block.experts,
            experts_per_token=block.experts_per_token,
            hidden=block.input_width,
            width=block.width / self._tp,
            matrices=block.matrices,
            groups=self._dp,
        )
        return routed + matrix_product_us(of.router, own, block.experts, self._shape.hidden)

    def _all_reduce_us(self, num_bytes: float) -> float:
        over = self._over
        return all_reduce_us(
            self._all_reduce, num_bytes, self._tp, self._link, extra_us=over.ar, waiting_us=over.ar_gpu
        )


def _products_us(products: _Products, tokens: int) -> float:
    return _total(matrix_product_us(rates, tokens, of.columns, of.depth) for rates, of in products)


def _total(times: Iterable[float]) -> float:
    total = 0.0
    for time in times:  # sum() compensates from Python 3.12 on
        total += time
    return total
