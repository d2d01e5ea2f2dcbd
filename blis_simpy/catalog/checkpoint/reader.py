"""Reads the architecture of a checkpoint from its configuration.

What is left out of a configuration has the default of its class in the transformers library. What is stated but not
understood is an error where a size would be wrong, else a warning.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.catalog.checkpoint.architecture import (
    NO_WEIGHTS,
    Architecture,
    Attention,
    Experts,
    LayerGroup,
    LayerWeights,
    Mlp,
    Recurrence,
    Weights,
)
from blis_simpy.catalog.checkpoint.attention import read_attention
from blis_simpy.catalog.checkpoint.config import HIDDEN_KEYS, LAYER_KEYS, ConfigView, language_config
from blis_simpy.catalog.checkpoint.families import family_defaults
from blis_simpy.catalog.checkpoint.feed_forward import read_experts, read_mlp
from blis_simpy.catalog.checkpoint.layers import layer_plans
from blis_simpy.catalog.checkpoint.module_names import layer_module
from blis_simpy.catalog.checkpoint.positions import max_model_len
from blis_simpy.catalog.checkpoint.quantisation import NOT_QUANTISED, bits_in_name
from blis_simpy.catalog.checkpoint.quantisation_methods import read_quantisation
from blis_simpy.catalog.checkpoint.recurrence import read_recurrence
from blis_simpy.catalog.checkpoint.sizes import Matrix, read_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blis_simpy.catalog.checkpoint.layers import LayerPlan
    from blis_simpy.catalog.checkpoint.quantisation import Quantisation
    from blis_simpy.catalog.checkpoint.sizes import Sizes

__all__ = ["describes_model", "read_architecture"]

_LOG = logging.getLogger("blis_simpy")
_COMPUTE_BYTES = 2.0
"""Engines compute in 16 bits, also with checkpoints of 32 bits (vLLM, dtype auto)."""
_COMPUTED = frozenset({"float64", "float32", "float16", "bfloat16", "float", "half", "fp32", "fp16", "bf16"})
_STORED = {
    "float8_e4m3fn": 1.0,
    "float8_e5m2": 1.0,
    "fp8": 1.0,
    "int8": 1.0,
    "uint8": 1.0,
    "int4": 0.5,
    "nf4": 0.5,
    "fp4": 0.5,
}
"""Bytes of types that weights are stored in but nothing is computed in."""
_STRUCTURAL = re.compile(
    r"expert|(^|_)moe(_|$)|mamba|ssm|lora_rank|latent|compress|hybrid|layer_types|layers?_(pattern|freq|period|interval)"
    r"|linear_(attn|num|key|value)|kv_shared|cla_|block_configs|altup|laurel|per_layer_input|loop|recur"
)
_HARMLESS = re.compile(
    r"router|routed_scaling|aux|jitter|norm|score|scoring|loss|dropout|_group|dtype|bias|eps|init|act|limit|alpha|beta"
    r"|renormal|capacity|parallel|tokens?_|overlap|chunk|expand|dt_|time_step|use_|rope|mtp|nextn|kernel|implementation"
    r"|cache|layernorm|token_id|quant|balance|drop|mrope|compress_rope|hash"
    r"|^(n_shared_experts|moe_layer_freq|interleave_moe_layer_step)$"
)
"""Keys that look as if they changed the architecture, and those of them that do not, or repeat what others say."""


def read_architecture(config: Mapping[str, Any], name: str, file: str | None = None) -> Architecture:
    """Read the architecture from the object of a ``config.json``.

    Parameters
    ----------
    config : mapping
        The object, as parsed from JSON; of a multimodal model, its language model counts. A ``hf_quant_config.json``
        is under ``quantization_config``.
    name : str
        Model name; states the bits of the weights (``w4a16``, ``fp8``) if the configuration has no quantisation.
    file : str, optional
        Where it came from, for messages.

    Raises
    ------
    ScenarioError
        If a figure is missing, contradicts another one, or is not understood; names the key.
    """
    language = language_config(config)
    defaults = family_defaults(language)
    if not defaults:
        kind = language.get("model_type")
        _LOG.warning("%s: model_type %r is not known; it is read by its keys alone", file or name, kind)
    return _Reader(ConfigView(language, defaults, file), name, file or name).read()


def describes_model(config: Mapping[str, Any]) -> bool:
    """Return whether an object may be the configuration of a model: it states layers, a width, or a known class."""
    language = language_config(config)
    stated = any(language.get(key) is not None for key in (*LAYER_KEYS, *HIDDEN_KEYS))
    return stated or bool(family_defaults(language))


class _Reader:
    """Reads one configuration."""

    def __init__(self, view: ConfigView, name: str, origin: str) -> None:
        self.view, self.name, self.origin = view, name, origin
        self.weight_bytes = self._stored_bytes()
        self.quantisation = self._quantisation()
        self.sizes: Sizes = read_sizes(view, _COMPUTE_BYTES)

    def read(self) -> Architecture:
        view, hidden = self.view, self.sizes.hidden
        if reason := view.text("unsupported"):
            raise view.error("model_type", f"is not supported: {reason}", view.text("model_type"), code="unsupported")
        if view.flag("is_encoder_decoder"):
            rule = "must be false: only decoders are simulated"
            raise view.error("is_encoder_decoder", rule, True, code="unsupported")
        vocab = view.count("vocab_size", "padded_vocab_size")
        if not vocab:
            raise view.missing("vocab_size", code="bad_vocab")
        plans = layer_plans(view)
        has_experts = any(plan.mlp in ("moe", "both") for plan in plans)
        groups = self._groups(plans, has_experts)
        positions = view.count("max_position_embeddings", "n_positions") if view.flag("learned_positions") else 0
        per_layer_width = view.count("hidden_size_per_layer_input")
        inputs = view.count("vocab_size_per_layer_input", default=vocab) * per_layer_width * len(plans)
        embedding = self._weights([Matrix("embedding", "embed_tokens", vocab * hidden)], has_experts)
        embedding += self._plain(positions * hidden + inputs + hidden * per_layer_width * len(plans))
        tied = view.flag("tie_word_embeddings")
        lm_head = NO_WEIGHTS if tied else self._weights([Matrix("lm_head", "lm_head", vocab * hidden)], has_experts)
        architecture = Architecture(
            name=self.name,
            hidden_size=hidden,
            vocab_size=vocab,
            layers=groups,
            embedding=embedding,
            lm_head=lm_head,
            compute_bytes=_COMPUTE_BYTES,
            kv_bytes=_COMPUTE_BYTES if self.quantisation.kv_bits is None else self.quantisation.kv_bits / 8.0,
            max_model_len=max_model_len(view),
            integer_weights=self.quantisation.integers,
        )
        self._warn()
        return architecture

    def _stored_bytes(self) -> float:
        """Return the bytes of a weight that is not quantised."""
        view = self.view
        stated = next((view.get(key) for key in ("torch_dtype", "dtype") if view.get(key) is not None), None)
        if stated is None:
            return _COMPUTE_BYTES
        dtype = stated.removeprefix("torch.") if isinstance(stated, str) else ""
        if dtype == "auto":
            _LOG.warning("%s: torch_dtype is auto; counting %g bytes a weight", self.origin, _COMPUTE_BYTES)
            return _COMPUTE_BYTES
        if dtype in _COMPUTED:
            return _COMPUTE_BYTES
        if dtype not in _STORED:
            rule = f"must be one of {', '.join(sorted((*_COMPUTED, *_STORED)))}"
            raise view.error("torch_dtype", rule, stated, code="bad_bytes_per_param")
        _LOG.warning(
            "%s: torch_dtype %s is no type to compute in; weights take %g bytes, activations and KV cache %g",
            self.origin,
            dtype,
            _STORED[dtype],
            _COMPUTE_BYTES,
        )
        return _STORED[dtype]

    def _quantisation(self) -> Quantisation:
        found = read_quantisation(self.view)
        if found is NOT_QUANTISED and (bits := bits_in_name(self.name)) is not None:
            return attrs.evolve(NOT_QUANTISED, bits=bits)
        return found

    def _groups(self, plans: tuple[LayerPlan, ...], has_experts: bool) -> tuple[LayerGroup, ...]:
        counts: dict[LayerGroup, int] = {}
        # Most layers are alike, and reading one takes as long as everything else.
        known: dict[LayerPlan, LayerGroup] = {}
        for index, plan in enumerate(plans):
            layer = known.get(plan)
            if layer is None:
                view = self.view.of_layer(index)
                layer = self._layer(plan, view, index, has_experts)
                if not (view.depends_on_index or self.quantisation.names_modules):
                    known[plan] = layer
            counts[layer] = counts.get(layer, 0) + 1
        return tuple(attrs.evolve(layer, num_layers=count) for layer, count in counts.items())

    def _layer(self, plan: LayerPlan, view: ConfigView, index: int, has_experts: bool) -> LayerGroup:
        sizes = self.sizes
        attention: Attention | None = None
        recurrence: Recurrence | None = None
        mlp: Mlp | None = None
        experts: Experts | None = None
        matrices = [Matrix("other", "norm", 2 * sizes.hidden)]
        if width := view.count("hidden_size_per_layer_input"):
            matrices.append(Matrix("other", "per_layer_input", 2 * sizes.hidden * width))
        if plan.mixer in ("full", "window", "parallel"):
            attention, found = read_attention(view, sizes, plan)
            matrices += found
        if plan.mixer in ("recurrent", "parallel"):
            recurrence, found = read_recurrence(view, sizes)
            matrices += found
        if plan.mlp in ("dense", "both"):
            mlp, found = read_mlp(view, sizes, plan)
            matrices += found
        if plan.mlp in ("moe", "both"):
            experts, found = read_experts(view, sizes, plan)
            matrices += found
        single = "none" in (plan.mixer, plan.mlp)
        return LayerGroup(
            num_layers=1,
            attention=attention,
            recurrence=recurrence,
            mlp=mlp,
            experts=experts,
            weights=self._layer_weights(index, matrices, has_experts, single=single),
        )

    def _layer_weights(self, index: int, matrices: list[Matrix], has_experts: bool, *, single: bool) -> LayerWeights:
        """Sum the weights of a layer by part; a layer of a single block calls it ``mixer``."""
        by_part: dict[str, Weights] = {}
        for part, module, parameters in matrices:
            name = layer_module(index, f"mixer.{module.partition('.')[2]}" if single else module)
            weights = self._weights([Matrix(part, name, parameters)], has_experts)
            by_part[part] = by_part.get(part, NO_WEIGHTS) + weights
        return LayerWeights(**by_part)

    def _weights(self, matrices: list[Matrix], has_experts: bool) -> Weights:
        total = NO_WEIGHTS
        for part, module, parameters in matrices:
            bits = None
            if part not in ("embedding", "router", "other"):
                bits = self.quantisation.bits_of(part, module, has_experts)
            size = self.weight_bytes if bits is None else bits / 8.0
            total += Weights(parameters, parameters * size)
        return total

    def _plain(self, parameters: int) -> Weights:
        return Weights(parameters, parameters * self.weight_bytes)

    def _warn(self) -> None:
        """Name keys that look as if they changed the architecture, but that nothing here reads."""
        unread = [
            key
            for key in self.view
            if key not in self.view.used
            and _STRUCTURAL.search(key)
            and not _HARMLESS.search(key)
            and self.view.get(key) not in (None, False, 0, [], {}, "")
        ]
        if unread:
            _LOG.warning("%s: not understood, sizes may be wrong: %s", self.origin, ", ".join(sorted(unread)))
