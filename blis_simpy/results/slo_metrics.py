"""Metrics of the SLO targets of a scenario, which entry points register."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING

from blis_simpy.results.metrics import Metric
from blis_simpy.results.other_tools import VLLM_BENCH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from blis_simpy.results.slo import SLOReport
    from blis_simpy.results.subset import RequestSubset


def _metric(
    name: str,
    label: str,
    unit: str,
    definition: str,
    figure: Callable[[SLOReport], float],
    *,
    formula: str = "",
    direction: Literal["lower", "higher"] | None = "higher",
    other_names: Mapping[str, str] | None = None,
) -> Metric:
    def compute(subset: RequestSubset) -> float:
        report = subset.slo_if_any
        return math.nan if report is None else figure(report)

    return Metric(
        name=name,
        label=label,
        unit=unit,
        direction=direction,
        definition=definition,
        function=compute,
        formula=formula,
        other_names=other_names or {},
        needs="slo",
    )


def _of_dimension(name: str, label: str) -> Metric:
    return _metric(
        f"attainment_{name}",
        f"{label} attainment",
        "fraction",
        f"Share of the offered requests with a target of {label} that completed and meet it, whatever else they miss.",
        lambda report: report.attainment_of(name),
    )


ATTAINMENT = _metric(
    "attainment",
    "SLO attainment",
    "fraction",
    "Share of the offered requests that completed and met all targets of their SLO class. Offered are all that arrived "
    "except those in the system at the end of the run that had missed no target yet.",
    attrgetter("attainment"),
    formula="good / offered",
)
ATTAINMENT_COMPLETED = _metric(
    "attainment_completed",
    "SLO attainment of completed requests",
    "fraction",
    "Share of the completed requests that met all targets of their SLO class; rejections and timeouts do not lower it.",
    attrgetter("attainment_completed"),
    formula="good / completed",
)
ATTAINMENT_TTFT = _of_dimension("ttft", "TTFT")
ATTAINMENT_TPOT = _of_dimension("tpot", "TPOT")
ATTAINMENT_ITL = _of_dimension("itl", "ITL")
ATTAINMENT_NTPOT = _of_dimension("ntpot", "NTPOT")
ATTAINMENT_E2E = _of_dimension("e2e", "E2E")
WEIGHTED_ATTAINMENT = _metric(
    "weighted_attainment",
    "weighted SLO attainment",
    "fraction",
    "SLO attainment in which each request has the weight of its class.",
    attrgetter("weighted_attainment"),
    formula="sum of the weights of good requests / sum of the weights of offered requests",
)
GOODPUT_RPS = _metric(
    "goodput_rps",
    "goodput",
    "requests/s",
    "Requests that completed and met all targets of their SLO class, per second of the duration.",
    attrgetter("goodput_rps"),
    formula="good / duration_s",
    other_names={VLLM_BENCH: "request_goodput"},
)
GOOD_OUTPUT_TOKENS_PER_S = _metric(
    "good_output_tokens_per_s",
    "good output tokens/s",
    "output tokens/s",
    "Output tokens of the requests that met all targets, per second of the duration.",
    attrgetter("good_output_tokens_per_s"),
)
GOOD_TOKENS_PER_S = _metric(
    "good_tokens_per_s",
    "good tokens/s",
    "tokens/s",
    "Prompt and output tokens of the requests that met all targets, per second of the duration.",
    attrgetter("good_tokens_per_s"),
)
OPEN_REQUESTS = _metric(
    "open_requests",
    "open requests",
    "requests",
    "Requests that were in the system at the end of the run and had missed no target yet; attainment leaves them out.",
    attrgetter("open"),
    direction=None,
)
QOE_MEAN = _metric(
    "qoe_mean",
    "QoE mean",
    "fraction",
    "Mean quality of experience of the offered requests whose class has a reader (`qoe`): how close the tokens come to "
    "the pace at which they are read, from 0 to 1; 0 for a request that is not served.",
    attrgetter("qoe"),
    formula="integral of the tokens read / integral of the tokens read if none is late",
)
