"""Draw a random sample of the mutants of a session of Cosmic Ray, which then has no others.

Of each module the same number of places is drawn, and of each place one mutant: otherwise an arithmetic operator, which
has eleven mutants, would count eleven times as much as a constant. Left out is what no run depends on: annotations,
imports for type checkers, texts of `__repr__`, decorators, and stars, which no other operator can replace.
"""

from __future__ import annotations

import ast
import random
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from cosmic_ray.tools.filters.filter_app import FilterApp

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from pathlib import Path

    from cosmic_ray.work_db import WorkDB
    from cosmic_ray.work_item import WorkItem


Position = tuple[int, int]
"""Line and column."""


def start(node: ast.AST) -> Position:
    """Position of the first character of a node."""
    return node.lineno, node.col_offset  # type: ignore[attr-defined]


def end(node: ast.AST) -> Position:
    """Position after the last character of a node."""
    return node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]


def without_effect(tree: ast.AST) -> Iterator[tuple[Position, Position]]:
    """Parts of a module, from start to end, that no run depends on."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name="__repr__") | ast.If(test=ast.Name("TYPE_CHECKING")):
                yield start(node), end(node)
            case ast.AnnAssign(annotation=annotation):
                yield start(annotation), end(annotation)
            case ast.FunctionDef(args=arguments):
                defaults = [value for value in arguments.defaults + arguments.kw_defaults if value is not None]
                edges = [edge for value in defaults for edge in (start(value), end(value))]
                edges = [start(node), *edges, start(node.body[0])]
                yield from zip(edges[::2], edges[1::2], strict=True)
            case ast.Starred() | ast.keyword(arg=None):
                yield start(node), start(node.value)
        for decorator in getattr(node, "decorator_list", ()):
            row, column = start(decorator)
            yield (row, column - len("@")), end(decorator)


def candidates(module: Path, items: list[WorkItem]) -> dict[tuple[object, ...], list[WorkItem]]:
    """Mutants of a module by place and kind, in the order of the text."""
    spans = list(without_effect(ast.parse(module.read_text())))
    places = defaultdict(list)
    for item in sorted(items, key=lambda item: (item.mutations[0].start_pos, repr(item.mutations))):
        mutation = item.mutations[0]
        if not any(first <= mutation.start_pos < last for first, last in spans):
            places[mutation.start_pos, mutation.operator_name.partition("_")[0]].append(item)
    return places


class Sample(FilterApp):
    """Filter of a session that keeps a sample."""

    def add_args(self, parser: ArgumentParser) -> None:
        """Add size and seed of the sample."""
        parser.add_argument("--places", type=int, default=15, help="places to draw from each module")
        parser.add_argument("--seed", type=int, default=1, help="seed of the draw")

    def filter(self, work_db: WorkDB, args: Namespace) -> None:
        """Keep one mutant of each place that is drawn."""
        modules = defaultdict(list)
        for item in work_db.work_items:
            modules[item.mutations[0].module_path].append(item)
        stream = random.Random(args.seed)
        sample = []
        for module in sorted(modules):
            places = candidates(module, modules[module])
            for place in sorted(stream.sample(sorted(places), min(args.places, len(places)))):
                sample.append(stream.choice(places[place]))
            print(f"{module}: {len(places):,} places")
        work_db.clear()
        work_db.add_work_items(sample)


if __name__ == "__main__":
    sys.exit(Sample().main())
