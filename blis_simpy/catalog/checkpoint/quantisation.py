"""How many bits each module of a checkpoint stores for a weight, and its KV cache for a number."""

from __future__ import annotations

import re

import attrs

from blis_simpy.catalog.checkpoint.module_names import ModuleNames
from blis_simpy.catalog.checkpoint.stated_quantisation import ALGORITHMS

__all__ = ["NOT_QUANTISED", "Quantisation", "bits_in_name"]

_WEIGHT_BITS_IN_NAME = re.compile(r"(?:^|[._/-])w([0-9]{1,2})a[0-9]+(?:[._-]|\Z)", re.IGNORECASE)
_TYPE_IN_NAME = re.compile(r"(?:^|[._/-])(fp8|nvfp4|mxfp4)(?:[._-]|\Z)", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Quantisation:
    """Bits of the weights of each module, including the scales of a group or block.

    Attributes
    ----------
    bits : float or None
        Bits of a weight of modules without an entry; None = not quantised.
    skip : ModuleNames
        Modules that keep the type of the model.
    rules : tuple of (ModuleNames, float or None)
        Bits of named modules, before everything else; the first match counts.
    part_bits : tuple of (str, float)
        Bits of whole parts, e.g. of the experts.
    lm_head : bool
        Whether the output embedding is quantised unless it is skipped.
    experts_only : bool
        Whether only experts are quantised where a model has some.
    kv_bits : float or None
        Bits of a number in the KV cache; None = those of the model.
    integers : bool
        Whether weights are integers that the engine expands before each product.
    """

    bits: float | None = None
    skip: ModuleNames = attrs.field(factory=ModuleNames)
    rules: tuple[tuple[ModuleNames, float | None], ...] = ()
    part_bits: tuple[tuple[str, float], ...] = ()
    lm_head: bool = False
    experts_only: bool = False
    kv_bits: float | None = None
    integers: bool = False

    @property
    def names_modules(self) -> bool:
        """Whether the bits depend on the names of modules, and so may differ between layers."""
        return bool(self.rules or self.skip)

    def bits_of(self, part: str, module: str, has_experts: bool) -> float | None:
        """Return the bits of a weight of a module, None where it keeps the type of the model."""
        for names, bits in self.rules:
            if module in names:
                return bits
        if part == "lm_head" and not self.lm_head:
            return None
        for name, bits in self.part_bits:
            if name == part:
                return bits
        if module in self.skip or (self.experts_only and has_experts and part != "experts"):
            return None
        return self.bits


NOT_QUANTISED = Quantisation()


def bits_in_name(name: str) -> float | None:
    """Return the bits of a weight that a model's name states (``w4a16``, ``fp8``, ``nvfp4``), None without one."""
    found = _WEIGHT_BITS_IN_NAME.search(name)
    if found and 0 < int(found[1]) <= 32:
        return float(int(found[1]))
    found = _TYPE_IN_NAME.search(name)
    return ALGORITHMS[found[1].lower()] if found else None
