"""The library's own latencies, which its entry points register."""

from __future__ import annotations

from operator import attrgetter

from blis_simpy.results.metrics import LatencyFamily
from blis_simpy.results.other_tools import AIPERF, GUIDELLM, INFERENCE_PERF, VLLM_BENCH

TTFT = LatencyFamily(
    name="ttft",
    label="TTFT",
    meaning="time to first token",
    definition=(
        "Time from the arrival of a request to its first output token. In the profile blis, a request that starts over "
        "has that of its last prefill, as in BLIS."
    ),
    function=attrgetter("ttft"),
    formula="t(token 1) - t(arrival)",
    other_names={
        VLLM_BENCH: "mean_ttft_ms",
        GUIDELLM: "time_to_first_token_ms",
        AIPERF: "time_to_first_token",
        INFERENCE_PERF: "time_to_first_token",
    },
)
FIRST_TTFT = LatencyFamily(
    name="first_ttft",
    label="first TTFT",
    definition=(
        "Time from the arrival of a request to the first output token that any replica produced for it, even if a "
        "preemption or a failure discarded it later."
    ),
    function=attrgetter("first_ttft"),
    in_summary=False,
    formula="min over attempts of t(token 1) - t(arrival)",
)
TPOT = LatencyFamily(
    name="tpot",
    label="TPOT",
    meaning="time per output token",
    definition="Mean time between the output tokens of a completed request with several: one value per request.",
    function=attrgetter("tpot"),
    formula="(E2E - TTFT) / (output tokens - 1)",
    other_names={
        VLLM_BENCH: "mean_tpot_ms",
        GUIDELLM: "inter_token_latency_ms (requests weighted by their gaps)",
        AIPERF: "inter_token_latency",
        INFERENCE_PERF: "time_per_output_token",
    },
)
NTPOT = LatencyFamily(
    name="ntpot",
    label="NTPOT",
    meaning="normalized time per output token",
    definition="E2E of a completed request per output token, the first one included.",
    function=attrgetter("ntpot"),
    in_summary=False,
    formula="E2E / output tokens",
    other_names={
        GUIDELLM: "time_per_output_token_ms (requests weighted by their tokens)",
        INFERENCE_PERF: "normalized_time_per_output_token",
    },
)
ITL = LatencyFamily(
    name="itl",
    label="ITL",
    meaning="gap between tokens",
    definition=(
        "Time between two consecutive output tokens of a completed request: all gaps of all requests together. In the "
        "profile vllm, the stall of a preempted request is one of its gaps; in the profile blis, the request starts "
        "over, and only the gaps of its last attempt count."
    ),
    function=attrgetter("itl"),
    counted="gaps",
    formula="t(token i + 1) - t(token i)",
    other_names={
        VLLM_BENCH: "mean_itl_ms",
        AIPERF: "inter_chunk_latency (if a chunk is a token)",
        INFERENCE_PERF: "inter_token_latency",
    },
)
LONGEST_GAP = LatencyFamily(
    name="longest_gap",
    label="longest gap",
    definition="Longest gap between tokens of a completed request with several: one value per request.",
    function=attrgetter("longest_gap"),
    in_summary=False,
    formula="max over i of t(token i + 1) - t(token i)",
)
E2E = LatencyFamily(
    name="e2e",
    label="E2E",
    meaning="arrival to last token",
    definition="Time from the arrival of a completed request to its last output token.",
    function=attrgetter("e2e"),
    formula="t(last token) - t(arrival)",
    other_names={
        VLLM_BENCH: "mean_e2el_ms",
        GUIDELLM: "request_latency (s)",
        AIPERF: "request_latency",
        INFERENCE_PERF: "request_latency",
    },
)
SCHEDULING_DELAY = LatencyFamily(
    name="scheduling_delay",
    label="scheduling delay",
    definition="Time from the arrival of a request to its batch membership, the last one if it was preempted.",
    function=attrgetter("scheduling_delay"),
    formula="t(last admission to the batch) - t(arrival)",
)
TTFT_FROM_DUE = LatencyFamily(
    name="ttft_from_due",
    label="TTFT from due",
    meaning="planned arrival to first token",
    definition=(
        "Time from the planned arrival of a request, before it waits for a place among those in flight, to its first "
        "output token."
    ),
    function=attrgetter("ttft_from_due"),
    formula="t(token 1) - t(planned arrival)",
    applies=attrgetter("has_held_requests"),
)
E2E_FROM_DUE = LatencyFamily(
    name="e2e_from_due",
    label="E2E from due",
    meaning="planned arrival to last token",
    definition="Time from the planned arrival of a completed request to its last output token.",
    function=attrgetter("e2e_from_due"),
    formula="t(last token) - t(planned arrival)",
    applies=attrgetter("has_held_requests"),
)
