"""Names of the columns of TraceV2 that not every trace has."""

from __future__ import annotations

from blis_simpy.core.slo_targets import DIMENSIONS

__all__ = ["CONTENT", "PREFIX_LENGTH", "PRIORITY", "SLO_TARGETS"]

PREFIX_LENGTH = "prefix_length"
"""Column of the newer layout (version 3): length of the prefix that a group shares, tokens."""
PRIORITY = "vllm_priority"
"""Optional column of the newer layout, and of ours: priority of the request, the lowest number being most urgent."""
CONTENT = "content_spans"
"""Column of ours, beyond those of TraceV2: what the prompt is made of; see `blis_simpy.trace_files.token_span_text`."""
SLO_TARGETS = {f"slo_{dimension}_us": dimension for dimension in DIMENSIONS}
"""Columns of ours with SLO targets of requests, each with the target it holds; 0 = that of the SLO class."""
