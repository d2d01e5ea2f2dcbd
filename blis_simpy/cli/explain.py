"""``blis explain latency``: terms of the time of a typical prefill step and a typical decode step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from blis_simpy.cli.common import LOG_FLAG, base_scenario, find_scenario, log_lines, named_by_origin, setting_flags
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.errors import Problem, ScenarioError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from blis_simpy.deployment import ResolvedDeployment
    from blis_simpy.latency.base import LatencyModel, StepBatch
    from blis_simpy.latency.explain import Term
    from blis_simpy.scenario import Scenario

__all__ = ["explain"]

_STEP_FLAGS = (
    Flag(
        name="--prefill-tokens",
        target="prefill_tokens",
        hint=int,
        help="Prompt length of the prefill step. [tokens]",
        default=512,
    ),
    Flag(name="--decodes", target="decodes", hint=int, help="Requests in the decode step. [requests]", default=64),
    Flag(
        name="--context",
        target="context",
        hint=int,
        help="Context of each request of the decode step. [tokens]",
        default=512,
    ),
)
_OWN_FLAGS = (*_STEP_FLAGS, LOG_FLAG)
_TOPICS = ("latency",)
_NOT_ASKED = ("engine.", "admission.", "router.", "replicas", "seed", "horizon")
"""Settings that step times do not depend on."""


def explain(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Words after ``explain``: the topic, which is ``latency``, then flags.
    """
    if not argv:
        raise ScenarioError(Problem(path="explain", rule="needs a topic", hint=f"known: {', '.join(_TOPICS)}"))
    topic, *words = argv
    if topic not in (*_TOPICS, "-h", "--help"):
        raise ScenarioError(Problem(path="explain", rule="is unknown", value=topic, hint=nearest(topic, _TOPICS)))
    settings = [flag for flag in setting_flags(workload=False) if not flag.target.startswith(_NOT_ASKED)]
    flags = (*_OWN_FLAGS, *settings)
    about = "Explain the times of a typical prefill step and of a typical decode step, term by term."
    given = read_flags(
        words if topic in _TOPICS else argv, flags, command="explain latency", about=about, positional="scenario"
    )
    options = {flag.target: given.pop(flag.target, flag.default) for flag in _OWN_FLAGS}
    _check(options)
    with log_lines(options["log"]):
        file = find_scenario(given.pop("scenario", None))
        base = base_scenario(file, given)
        with named_by_origin(file, flags, given):
            from blis_simpy.deployment import resolve

            scenario = base.with_(**given)
            sys.stdout.writelines(f"{line}\n" for line in _report(scenario, resolve(scenario), options))


def _check(options: Mapping[str, Any]) -> None:
    problems = [
        Problem(path=flag.name, rule="must be an integer >= 1", value=value)
        for flag in _STEP_FLAGS
        if not isinstance(value := options[flag.target], int) or value < 1
    ]
    if problems:
        raise ScenarioError(problems)


def _report(scenario: Scenario, deployment: ResolvedDeployment, options: Mapping[str, Any]) -> Iterator[str]:
    from blis_simpy.latency.base import StepBatch, StepMember

    prompt, decodes, context = options["prefill_tokens"], options["decodes"], options["context"]
    latency = deployment.latency
    found = {path: setting.value for path, setting in deployment.settings.items()}
    place = " ".join(f"{word} {value}" for word, value in (("on", found["hardware"]), ("tp", found["tp"])) if value)
    yield f"{scenario.model} {place}, latency model {found['latency.backend']}".replace(" ,", ",")
    yield ""
    prefill = StepBatch.of([StepMember(input_tokens=prompt, progress=0, new_tokens=prompt, output_tokens=1)])
    yield from _step(f"prefill step: one prompt of {prompt} tokens", latency, prefill)
    yield ""
    member = StepMember(input_tokens=context, progress=context, new_tokens=1, output_tokens=1)
    decode = StepBatch.of([member] * decodes)
    yield from _step(f"decode step: {decodes} requests with {context} tokens behind each", latency, decode)
    yield ""
    yield "delays outside the steps"
    yield from _aligned(
        [
            ("  queueing", f"{latency.queueing_time(prompt):,} us", f"from arrival to the queue, {prompt} tokens"),
            ("  output token", f"{latency.output_token_processing_time():,} us", "until each token is out"),
            ("  completion", f"{latency.post_decode_overhead():,} us", "after the last token"),
        ]
    )


def _step(title: str, latency: LatencyModel, batch: StepBatch) -> Iterator[str]:
    yield f"{title}: {latency.step_time(batch):,} us"
    terms = getattr(latency, "explain", None)
    if terms is None:
        yield "  this latency model does not list its terms"
    else:
        yield from _aligned(list(_rows(terms(batch), "  ")))


def _rows(terms: Sequence[Term], indent: str) -> Iterator[tuple[str, str, str]]:
    for term in terms:
        if term.value:
            yield f"{indent}{term.name}", f"{_number(term.value)} {term.unit}", term.meaning
            yield from _rows(term.parts, indent + "  ")


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"


def _aligned(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    name_width = max((len(name) for name, _, _ in rows), default=0)
    value_width = max((len(value) for _, value, _ in rows), default=0)
    for name, value, meaning in rows:
        yield f"{name:<{name_width}}  {value:>{value_width}}  {meaning}"
