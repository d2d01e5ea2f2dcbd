"""The results of `accuracy.py` as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_STATISTICS = {
    "median": "Median of the absolute error, %",
    "mean": "Mean of the absolute error (MAPE), %",
    "largest": "Largest absolute error, %",
    "signed": "Median of the signed error, %",
}
_EACH_TITLE = "Signed error of TTFT mean / TTFT p50 / ITL mean / E2E mean, %"
_STAGES_TITLE = (
    "Latency model kernels; half of the range of the mean TTFT over the draws of the arrivals; signed error of "
    "TTFT mean / TTFT p50 / ITL mean / E2E mean, %"
)
_OVERLOAD_TITLE = (
    "Share of requests that were answered within the client's timeout, %; then the signed error of the mean "
    "TTFT / ITL / E2E of those, %"
)
_RUNS_TITLE = (
    "Latency model kernels, second half of the requests: signed error of the mean TTFT / TPOT / E2E, %, and in "
    "brackets the mean error of single requests' E2E; before and after a fit to the first half"
)
_TRANSFERS_TITLE = (
    "Second half of the requests with the factors mem and comp that were fitted to another run with the same GPU, and "
    "all other options as before: signed error of the mean TTFT / TPOT / E2E, %"
)
_ROWS_TITLE = "Latency model kernels, nothing fitted: error of the time of an output token (TPOT), %"


def markdown(results: Mapping[str, Any]) -> str:
    """Tables of a run: errors over the stable experiments, each experiment, overload, and KV capacity."""
    rows = results["experiments"]
    stable = [row for row in rows if row["regime"] == "stable"]
    others = [row for row in rows if row["regime"] != "stable"]
    lines: list[str] = []
    if stable:
        lines += ["### Stable runs", ""]
        for label, title in _STATISTICS.items():
            lines += [f"{title}, over {len({row['experiment'] for row in stable})} experiments", ""]
            lines += [*_summary(results["summary"], label), ""]
        lines += ["### Each stable run", "", _EACH_TITLE, "", *_each(stable), ""]
        if stages := [row for row in stable if row["backend"] == "kernels"]:
            lines += ["### Each load", "", _STAGES_TITLE, "", *_loads(stages), ""]
    if others:
        lines += [
            "### Saturated and overloaded runs",
            "",
            _OVERLOAD_TITLE,
            "",
            *_overloaded(others),
            "",
        ]
    if results["capacities"]:
        lines += ["### KV capacity", "", *_capacities(results["capacities"]), ""]
    if results.get("runs"):
        lines += ["### Recorded requests", "", _RUNS_TITLE, "", *_runs(results["runs"]), ""]
    if results.get("transfers"):
        lines += [_TRANSFERS_TITLE, "", *_transfers(results["transfers"]), ""]
    if results.get("rows"):
        lines += ["### Decode times", "", _ROWS_TITLE, "", *_rows(results["rows"]), ""]
    return "\n".join(lines[:-1]) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> Iterator[str]:
    """Lines of a table whose first `texts` columns are text."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * texts + "--:|" * (len(head) - texts)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _summary(summary: Mapping[str, Any], label: str) -> Iterator[str]:
    sign = "+" if label == "signed" else ""
    names = [(name, figure) for name, figures in next(iter(summary.values()))[label].items() for figure in figures]
    yield from _table(
        ["latency model", *(f"{name.upper()} {figure}" for name, figure in names)],
        (
            [backend, *(_number(by_label[label][name][figure], sign) for name, figure in names)]
            for backend, by_label in summary.items()
        ),
    )


def _each(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    found = {(row["experiment"], row["backend"]): _with_median_ttft(row["overall"]) for row in rows}
    names = dict.fromkeys(row["experiment"] for row in rows)
    yield from _table(
        ["experiment", *backends], ([name, *(found.get((name, b), "") for b in backends)] for name in names)
    )


def _loads(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ["experiment", "requests/s", "spread of TTFT, %", "error"],
        (
            [
                row["experiment"],
                f"{stage['rate_per_s']:g}",
                _number(stage["spread_percent"]["ttft"]["mean"]),
                _with_median_ttft(stage),
            ]
            for row in rows
            for stage in row["stages"]
        ),
    )


def _overloaded(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ["experiment", "regime", "latency model", "measured", "simulated", "error of means"],
        (
            [
                row["experiment"],
                row["regime"],
                row["backend"],
                _number(100 * row["overall"]["measured"]["finished"]),
                _number(100 * row["overall"]["simulated"]["finished"]),
                _means(row["overall"]),
            ]
            for row in rows
        ),
        texts=3,
    )


def _capacities(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ["model", "GPUs", "computed blocks", "blocks of the server", "difference, %"],
        (
            [
                row["model"],
                str(row["tp"]),
                f"{row['computed']:,}",
                f"{row['server']:,}",
                f"{100 * (row['computed'] / row['server'] - 1):+.1f}".replace("-", "\N{MINUS SIGN}"),
            ]
            for row in rows
        ),
    )


def _runs(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ["run", "before", "after the fit", "not identified"],
        (
            [
                row["run"],
                *(
                    f"{' / '.join(_tenths(row[name][kind], '+') for kind in ('ttft', 'tpot', 'e2e'))} "
                    f"({_tenths(row[name]['e2e_mape'])})"
                    for name in ("before", "held out")
                ),
                ", ".join(row["not_identified"]),
            ]
            for row in rows
        ),
    )


def _transfers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ["run", "fitted to", "mem, comp", "error"],
        (
            [
                row["run"],
                row["fitted to"],
                ", ".join(f"{value:.2f}" for value in row["options"].values()),
                " / ".join(_tenths(row["errors"][kind], "+") for kind in ("ttft", "tpot", "e2e")),
            ]
            for row in rows
        ),
        texts=2,
    )


def _rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ["rows of", "rows", "median", "mean", "p90", "signed median"],
        (
            [
                row["group"],
                str(row["rows"]),
                *(_tenths(row[name]) for name in ("median", "mean", "p90")),
                _tenths(row["signed"], "+"),
            ]
            for row in rows
        ),
    )


def _tenths(value: float, sign: str = "") -> str:
    return f"{value:{sign}.1f}".replace("-", "\N{MINUS SIGN}")


def _means(part: Mapping[str, Any]) -> str:
    return " / ".join(_number(figures["mean"], "+") for figures in part["error_percent"].values())


def _with_median_ttft(part: Mapping[str, Any]) -> str:
    error = part["error_percent"]
    figures = error["ttft"]["mean"], error["ttft"]["p50"], error["itl"]["mean"], error["e2e"]["mean"]
    return " / ".join(_number(figure, "+") for figure in figures)


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.0f}".replace("-", "\N{MINUS SIGN}")
