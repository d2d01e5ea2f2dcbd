"""``blis compare``: compare scenarios, or variants of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.cli.common import log_lines, named_by_origin
from blis_simpy.cli.experiments import EXPERIMENT_FLAGS, carry_out, engine_options, load_words
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.cli.scenario_flags import with_flags, with_settings
from blis_simpy.errors import Problem, ScenarioError
from blis_simpy.experiment.comparison import compare as compare_scenarios

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blis_simpy.scenario import Scenario

__all__ = ["compare"]

_FLAGS = (
    Flag(
        name="--variant",
        target="variant",
        hint=list[str],
        help="Compare the scenario with a variant, as NAME:PATH=VALUE; may be repeated for more settings and variants.",
    ),
    Flag(
        name="--baseline",
        target="baseline",
        help="Scenario to compare the others with; default is the first one.",
    ),
    Flag(name="--replications", target="replications", hint=int, help="Number of runs per scenario.", default=20),
    Flag(
        name="--correction",
        target="correction",
        choices=("holm", "bonferroni", "none"),
        help="Adjustment of the verdicts for their number.",
        default="holm",
    ),
    *EXPERIMENT_FLAGS,
)

_EXAMPLES = (
    "blis compare quickstart --variant two:replicas=2 --metrics ttft_p99_ms",
    "blis compare a.yaml b.yaml --trace-data azure.csv --trace-format azure --limit 1000",
)


def compare(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``compare``.
    """
    about = "Compare scenarios, or variants of one, under the same traffic, with confidence intervals and verdicts."
    given = read_flags(
        argv, _FLAGS, command="compare", about=about, positional="scenario", several=True, examples=_EXAMPLES
    )
    with log_lines(given.get("log")), named_by_origin(None, _FLAGS, given):
        scenarios = _scenarios(given)
        options = engine_options(given)
        if "correction" in given:
            options["correction"] = None if given["correction"] == "none" else given["correction"]
        carry_out(given, lambda: compare_scenarios(scenarios, baseline=given.get("baseline"), **options))


def _scenarios(given: Mapping[str, Any]) -> dict[str, Scenario]:
    words = given.get("scenario", [])
    variants = _variants(given.get("variant", []))
    if not words or (len(words) == 1 and not variants):
        hint = "give two scenarios, or one scenario and a --variant"
        raise ScenarioError(Problem(path="scenario", rule="needs another one to compare with", hint=hint))
    if len(words) > 1 and variants:
        raise ScenarioError(Problem(path="--variant", rule="needs a single scenario to start from", value=words))
    loaded = load_words(words)
    scenarios = {name: with_flags(scenario, given) for name, scenario in loaded.items()}
    base_name, base = next(iter(scenarios.items()))
    problems: list[Problem] = []
    for name, texts in variants.items():
        if name == base_name:
            problems.append(Problem(path="--variant", rule="must not have the name of the scenario", value=name))
            continue
        try:
            scenarios[name] = with_settings(base, texts, f"--variant {name}:")
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    return scenarios


def _variants(texts: Sequence[str]) -> dict[str, list[str]]:
    variants: dict[str, list[str]] = {}
    for text in texts:
        name, colon, change = text.partition(":")
        if not colon or not name.strip() or not change.partition("=")[1]:
            raise ScenarioError.at("--variant", "must be NAME:SETTING=VALUE", text)
        variants.setdefault(name.strip(), []).append(change)
    return variants
