"""Names of the modules of a checkpoint, and the lists of them that a quantisation keeps.

Families call the same module differently, and tools write names in full, with wildcards, or as regular expressions.
Both sides are brought into one spelling before they are compared.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ModuleNames", "layer_module"]

_SPELLINGS = (
    (re.compile(r"\b(?:blocks|h)(?=\\?\.)"), "layers"),
    (re.compile(r"\b(?:attn|attention|self_attention)\b"), "self_attn"),
    (re.compile(r"\b(?:block_sparse_moe|feed_forward|ffn|moe)\b"), "mlp"),
    (re.compile(r"\b(?:shared_experts|shared_mlp|share_expert|shared_expert_mlp)\b"), "shared_expert"),
    (re.compile(r"\b(?:router|gate)\b(?!_)"), "gate"),
    (re.compile(r"\b(?:mamba|conv|temporal_block)\b"), "mixer"),
    (re.compile(r"(?<![\w.])(?:head|output)\b"), "lm_head"),
)
_FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "query_key_value": ("q_proj", "k_proj", "v_proj"),
    "c_attn": ("q_proj", "k_proj", "v_proj"),
    "W_pack": ("q_proj", "k_proj", "v_proj"),
    "Wqkv": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
_ROOTS = re.compile(r"^(?:(?:model|language_model|backbone|transformer|decoder|encoder)\.)+")
_REGEX_PREFIXES = ("", "language_model.", "model.language_model.", "backbone.")


def layer_module(index: int, module: str) -> str:
    """Return the name of a module of a layer in the spelling that is compared."""
    return f"layers.{index}.{module}"


class ModuleNames:
    """A set of module names as quantisation tools write them.

    A plain name matches the module and all that it contains, wherever it is; ``*`` and ``?`` are wildcards; a
    name that starts with ``re:`` is a regular expression that the start of a full name matches.

    Parameters
    ----------
    names : iterable of str
        The names.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        plain: set[str] = set()
        globs: list[str] = []
        self._regexes: list[re.Pattern[str]] = []
        for name in names:
            if name.startswith("re:"):
                self._add_regex(name[3:])
                continue
            for spelled in _spelled(name):
                (globs.append if "*" in spelled or "?" in spelled else plain.add)(spelled)
        self._plain = frozenset(plain)
        pattern = "|".join(re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") for glob in dict.fromkeys(globs))
        self._globs = re.compile(rf"(?:.*\.)?(?:{pattern})(?:\..*)?", re.DOTALL) if pattern else None

    def __bool__(self) -> bool:
        return bool(self._plain or self._globs or self._regexes)

    def __contains__(self, module: str) -> bool:
        """Return whether a module is one of the names or inside one of them."""
        if self._plain:
            parts = module.split(".")
            for start in range(len(parts)):
                for end in range(start + 1, len(parts) + 1):
                    if ".".join(parts[start:end]) in self._plain:
                        return True
        if self._globs and self._globs.fullmatch(module):
            return True
        if self._regexes:
            full = module if module.startswith("lm_head") else f"model.{module}"
            return any(regex.match(prefix + full) for regex in self._regexes for prefix in _REGEX_PREFIXES)
        return False

    def _add_regex(self, pattern: str) -> None:
        for spelling, name in _SPELLINGS:
            pattern = spelling.sub(name, pattern)
        try:
            self._regexes.append(re.compile(pattern))
        except re.error:
            self._regexes.append(re.compile(re.escape(pattern)))


def _spelled(name: str) -> list[str]:
    """Return a name in the spelling that is compared; one that stands for several modules gives each of them."""
    for spelling, word in _SPELLINGS:
        name = spelling.sub(word, name)
    name = _ROOTS.sub("", name).removesuffix(".weight")
    for fused, modules in _FUSED.items():
        if fused in name.split("."):
            return [name.replace(fused, module) for module in modules]
    return [name]
