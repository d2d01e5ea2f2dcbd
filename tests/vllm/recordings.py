"""Recorded decisions of vLLM's scheduler, a few of each kind: what an engine of ours must reproduce step by step."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

VARIANTS = ("sync", "sync-first-chunk", "async")
"""One batch at a time, the same with admission by the first chunk, and two batches in flight."""

NAMES = sorted(path.stem for path in (Path(__file__).parent / "recorded").glob("*.yaml"))


@cache
def recorded(name: str) -> dict[str, Any]:
    """A case with the `summary` of its outcome in each variant."""
    case: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "recorded" / f"{name}.yaml").read_text())
    return case
