"""Scorers of the routing policy `weighted`, and their mixes.

A scorer rates each replica from 0 (avoid) to 1 (prefer). A scorer mix is text (``queue-depth:2,kv-utilization:1``), a
mapping of names to weights, or a list of pairs of scorer and weight; only the ratios of the weights count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from blis_simpy import registry
from blis_simpy.cluster.prefix_index import PrefixIndex
from blis_simpy.cluster.snapshot_values import effective_loads, kv_utilizations, replica_values
from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.settings.field_types import Plugin

if TYPE_CHECKING:
    from blis_simpy.cluster.policies import PolicyContext, Scorer, Snapshot
    from blis_simpy.cluster.snapshot_values import Fractions
    from blis_simpy.core.request import Request

__all__ = [
    "DEFAULT_MIX",
    "KVUtilization",
    "LoadBalance",
    "PrefixAffinity",
    "QueueDepth",
    "Scorers",
    "build_scorers",
    "parse_scorers",
]

Scorers: TypeAlias = str | Mapping[Any, float] | Sequence[tuple[Plugin, float]] | None
"""Scorer mix, in one of the forms above."""

DEFAULT_MIX: tuple[tuple[str, float], ...] = (("prefix-affinity", 3.0), ("queue-depth", 2.0), ("kv-utilization", 2.0))
"""Default scorer mix, that of the reference."""


class QueueDepth:
    """Prefers replicas with a small effective load: 1 for the smallest, 0 for the greatest, linear in between.

    If all loads are equal, all scores are 1.
    """

    def score(self, request: Request, snapshots: Sequence[Snapshot]) -> Fractions:
        """Rate the replicas."""
        loads = effective_loads(snapshots)
        if isinstance(loads, list):
            most = max(loads)
            spread = most - min(loads)
            if not spread:
                return [1.0] * len(loads)
            return [(most - load) / spread for load in loads]
        import numpy as np

        highest = loads.max()
        spread = highest - loads.min()
        return (highest - loads) / spread if spread else np.ones(len(loads))


class KVUtilization:
    """Prefers replicas with free KV blocks: the score is the fraction of blocks not in use."""

    def score(self, request: Request, snapshots: Sequence[Snapshot]) -> Fractions:
        """Rate the replicas."""
        utilizations = kv_utilizations(snapshots)
        if isinstance(utilizations, list):
            return [1.0 - utilization for utilization in utilizations]
        return 1.0 - utilizations


class LoadBalance:
    """Prefers replicas with a small effective load: 1 / (1 + load), independent of the other replicas."""

    def score(self, request: Request, snapshots: Sequence[Snapshot]) -> Fractions:
        """Rate the replicas."""
        loads = effective_loads(snapshots)
        if isinstance(loads, list):
            return [1.0 / (1.0 + load) for load in loads]
        return (1.0 / (1.0 + loads)).astype(float, copy=False)


class PrefixAffinity:
    """Prefers replicas with earlier prompts of the same prefix: the score is the fraction of common full blocks.

    The scorer records the prompts that are routed (see `blis_simpy.cluster.prefix_index`). The index is always current,
    but does not include evictions on the replicas.
    """

    _index: PrefixIndex

    def start(self, context: PolicyContext) -> None:
        """Start with an empty index."""
        self._index = PrefixIndex(context.block_size)

    def score(self, request: Request, snapshots: Sequence[Snapshot]) -> Fractions:
        """Rate the replicas."""
        blocks = self._index.num_blocks(request)
        if not blocks:
            return [0.0] * len(snapshots)
        matched = self._index.matched(request)
        values = replica_values(snapshots, matched)
        return [value / blocks for value in values] if isinstance(values, list) else values / blocks

    def observe(self, request: Request, replica: int) -> None:
        """Record the replica of a request."""
        self._index.record(request, replica)


def parse_scorers(mix: Any) -> tuple[tuple[Plugin, float], ...]:
    """Convert a scorer mix to pairs, and validate it.

    Parameters
    ----------
    mix : str, mapping, list or None
        In one of the forms above; spaces in text are ignored; None and empty text mean `DEFAULT_MIX`.

    Returns
    -------
    tuple of (scorer, weight)
        Scorers as given: names, mappings, classes or instances. Weights are finite and > 0.

    Raises
    ------
    ScenarioError
        With one problem for each invalid part; its path is ``[<index>]``.

    Examples
    --------
    >>> parse_scorers("queue-depth:2, kv-utilization:0.5")
    (('queue-depth', 2.0), ('kv-utilization', 0.5))
    """
    if mix is None or mix == "":
        return DEFAULT_MIX
    if isinstance(mix, str):
        parts: list[Any] = [_split(part) for part in mix.split(",")]
    elif isinstance(mix, Mapping):
        parts = list(mix.items())
    elif isinstance(mix, tuple | list):
        parts = list(mix)
    else:
        raise ScenarioError.at("", "must be text, a mapping or a list", mix)
    if not parts:
        raise ScenarioError.at("", "must not be empty")
    pairs: list[tuple[Plugin, float]] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for position, part in enumerate(parts):
        problem = _problem(part, f"[{position}]", seen)
        if problem is not None:
            problems.append(problem)
        else:
            pairs.append((part[0], float(part[1])))
    if problems:
        raise ScenarioError(problems)
    return tuple(pairs)


def _split(part: str) -> str | tuple[str, float | str]:
    """Split ``name:weight`` into a pair; text without a colon is returned as it is."""
    name, colon, weight = part.partition(":")
    if not colon:
        return part.strip()
    try:
        return name.strip(), float(weight)
    except ValueError:
        return name.strip(), weight.strip()


def _problem(part: Any, path: str, seen: set[str]) -> Problem | None:
    if isinstance(part, str):
        return Problem(path=path, rule="must be name:weight", value=part)
    if not isinstance(part, tuple | list) or len(part) != 2:
        return Problem(path=path, rule="must be a pair of a scorer and its weight", value=part)
    scorer, weight = part
    name = scorer.get("type", "") if isinstance(scorer, Mapping) else scorer
    if isinstance(name, str):
        known = registry.names("scorer")
        if name not in known:
            return Problem(path=path, rule="is unknown", value=name, hint=nearest(name, known), code="unknown_scorer")
        if name in seen:
            return Problem(path=path, rule="is given twice", value=name)
        seen.add(name)
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        return Problem(path=path, rule="must have a number as its weight", value=weight)
    if not (math.isfinite(weight) and weight > 0):
        return Problem(path=path, rule="must have a finite weight > 0", value=weight)
    return None


def build_scorers(mix: Scorers) -> list[tuple[Scorer, float]]:
    """Build the scorers of a mix.

    Parameters
    ----------
    mix : str, mapping, list or None
        As for `parse_scorers`.

    Returns
    -------
    list of (Scorer, float)
        Scorers in the order of the mix, with weights that add up to 1.

    Raises
    ------
    ScenarioError
        As for `parse_scorers`.
    PluginError
        If a scorer is unknown or has no method ``score`` that takes a request and snapshots.
    """
    pairs = parse_scorers(mix)
    total = sum(weight for _, weight in pairs)
    scorers: list[tuple[Scorer, float]] = []
    for given, weight in pairs:
        scorer = registry.build("scorer", given)
        scorers.append((scorer, weight / total))
    return scorers
