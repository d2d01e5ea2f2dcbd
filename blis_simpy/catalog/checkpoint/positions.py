"""The longest prompt plus output that a checkpoint was built for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blis_simpy.catalog.files import as_number

if TYPE_CHECKING:
    from blis_simpy.catalog.checkpoint.config import ConfigView

__all__ = ["max_model_len"]

_POSITION_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_sequence_length",
)
_TYPES_OF_FULL_LENGTH = frozenset({"su", "longrope", "llama3"})


def _rope_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the rotary scaling of a configuration, None if there is none.

    Version 5 of the transformers library writes ``rope_parameters`` in place of ``rope_scaling``, in models with
    several kinds of layers one for each kind: that of full attention counts.
    """
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key)
        if not isinstance(rope, Mapping):
            continue
        nested = [rope.get("full_attention"), *rope.values()] if "rope_type" not in rope and "type" not in rope else []
        return next((inner for inner in nested if isinstance(inner, Mapping)), rope)
    return None


def max_model_len(view: ConfigView) -> int:
    """Return the positions of a model, scaled as its rotary embedding says, tokens; 0 = not known.

    Scaling multiplies the positions by its factor, except for kinds whose published positions are already the scaled
    ones, and for Gemma 3.
    """
    lengths = [length for key in _POSITION_KEYS if (length := view.count(key))]
    if not lengths:
        return 0
    positions = min(lengths)
    rope = _rope_of({key: view.get(key) for key in ("rope_scaling", "rope_parameters")}) or {}
    kind = next((kind for key in ("rope_type", "type") if isinstance(kind := rope.get(key), str) and kind), "")
    factor = as_number(rope.get("factor"))
    if kind in _TYPES_OF_FULL_LENGTH or "gemma3" in view.text("model_type") or factor is None or not 1 < factor < 2**31:
        return positions
    original = as_number(rope.get("original_max_position_embeddings"))
    if kind == "yarn" and original is not None and 0 < original < 2**53:
        positions = int(original)
    return int(positions * factor)
