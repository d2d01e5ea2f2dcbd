"""Names of the tools whose names of metrics the metrics page lists."""

from __future__ import annotations

__all__ = ["AIPERF", "GUIDELLM", "INFERENCE_PERF", "OTHER_TOOLS", "VLLM_BENCH", "VLLM_SERVER"]

VLLM_BENCH = "vllm bench serve"
GUIDELLM = "GuideLLM"
AIPERF = "AIPerf, GenAI-Perf"
INFERENCE_PERF = "inference-perf"
VLLM_SERVER = "vLLM server"
"""Prometheus metrics of a vLLM server."""

OTHER_TOOLS = (VLLM_BENCH, GUIDELLM, AIPERF, INFERENCE_PERF, VLLM_SERVER)
"""Tools in the order of the metrics page."""
