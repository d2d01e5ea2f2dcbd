"""``blis list``: the scenarios, models, GPUs, metrics and policies that there are."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

from blis_simpy import registry
from blis_simpy.cli.flags import Flag, read_flags
from blis_simpy.errors import PluginError, Problem, ScenarioError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["listing"]

_POLICY_KINDS = (
    "admission",
    "routing",
    "scorer",
    "decider",
    "migration",
    "scheduler",
    "priority",
    "batching",
    "kv_store",
    "latency",
    "arrivals",
    "lengths",
    "process",
)
_WIDTH = 110
"""Characters in a line of descriptions that does not go to a terminal."""
_NAMES = Flag(name="--names", target="names", hint=bool, help="Print the names only.")


def listing(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``list``.
    """
    about = f"List the names of a kind, with descriptions: {', '.join(_KINDS)}."
    given = read_flags(argv, (_NAMES,), command="list", about=about, positional="kind", positional_help="kind to list")
    kind = given.get("kind")
    if kind is None:
        raise ScenarioError(Problem(path="kind", rule=f"is required: one of {', '.join(_KINDS)}"))
    if kind not in _KINDS:
        raise ScenarioError(Problem(path="kind", rule="is unknown", value=kind, hint=nearest(kind, _KINDS)))
    if kind == "metrics" and not given.get("names"):
        from blis_simpy.display.metric_page import metric_page
        from blis_simpy.display.text_table import page_text, print_page

        if sys.stdout.isatty():
            print_page(metric_page())
        else:
            sys.stdout.write(page_text(metric_page(), _WIDTH) + "\n")
        return
    rows = list(_KINDS[kind]())
    width = max(len(name) for name, _ in rows)
    for name, words in rows:
        sys.stdout.write(f"{name}\n" if given.get("names") else f"{name:<{width}}  {words}".rstrip() + "\n")


def _scenarios() -> Iterator[tuple[str, str]]:
    from blis_simpy.load_files import shipped_scenarios

    for name, path in shipped_scenarios().items():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        yield name, first.removeprefix("# Question: ")


def _models() -> Iterator[tuple[str, str]]:
    from blis_simpy.catalog.defaults import Catalog

    catalog = Catalog.load()
    for name in catalog.names("models"):
        usual = catalog.deployment(name)
        yield name, "" if usual is None else f"usually {usual.gpu} tp {usual.tp}"


def _gpus() -> Iterator[tuple[str, str]]:
    from blis_simpy.catalog.hardware import load_gpus

    for name, gpu in load_gpus().items():
        yield name, f"{gpu.memory_gib:g} GiB"


def _metrics() -> Iterator[tuple[str, str]]:
    from blis_simpy.results.metrics import known_metrics

    for name, metric in known_metrics().items():
        yield name, f"{metric.unit}: {metric.definition}"


def _policies() -> Iterator[tuple[str, str]]:
    for kind in _POLICY_KINDS:
        for name in registry.names(kind):
            yield f"{kind} {name}", _first_sentence(kind, name)


def _first_sentence(kind: str, name: str) -> str:
    try:
        plugin = registry.get(kind, name)
    except PluginError as error:  # of another distribution, and broken
        return str(error)
    first = " ".join((inspect.getdoc(plugin) or "").partition("\n\n")[0].split())
    return first.replace(f" (registered as ``{name}``)", "")


_KINDS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "scenarios": _scenarios,
    "models": _models,
    "gpus": _gpus,
    "metrics": _metrics,
    "policies": _policies,
}
