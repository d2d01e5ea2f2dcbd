"""Tables with one row per request: CSV, TSV, JSON lines or Parquet, with columns of any names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from blis_simpy.errors import Problem, ScenarioError, nearest
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.any_table import column_names, read_any_table
from blis_simpy.trace_files.csv_columns import CsvColumn, Layout, by_name, label, normalised, whole_number
from blis_simpy.trace_files.pace import Paced
from blis_simpy.trace_files.parquet import PARQUET
from blis_simpy.trace_files.timestamps import TIME_UNITS, instant_reader, unit_of
from blis_simpy.trace_files.trace_builder import build_trace, rounds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from blis_simpy.trace_files.trace import Trace

__all__ = ["CustomTable"]

_FIGURES = ("arrival", "input_tokens", "output_tokens")
_LABELS = ("client_id", "tenant_id", "slo_class", "session_id", "model")
_NAMES = (*_FIGURES, *_LABELS)
# Common names, without spaces, dots, dashes and underscores; arrivals without the suffix of a unit.
_USUAL = {
    "arrival": "arrival arrivaltime arrivaltimestamp arrivedat timestamp time ts starttime starttimestamp requesttime "
    "requeststart requeststarttime requesttimestamp sendtime senttime submittime datetime",
    "input_tokens": "inputtokens inputtoks inputlength inputlen inputtokencount inputsequencelength isl prompttokens "
    "prompttoks promptlength promptlen prompttokencount numprompttokens numinputtokens numprefilltokens prefilltokens "
    "contexttokens requesttokens",
    "output_tokens": "outputtokens outputtoks outputlength outputlen outputtokencount outputsequencelength osl "
    "completiontokens completiontokencount responsetokens generatedtokens numoutputtokens numcompletiontokens "
    "numgeneratedtokens numdecodetokens decodetokens",
}
_UNIT = re.compile(r"[^a-z0-9]?[\[(]?(?<![a-z])(ns|us|ms|s|secs?|(?:nano|micro|milli)?seconds)[\])]?\Z", re.IGNORECASE)


def _as_mapping(columns: Any) -> Any:
    """Read ``arrival=ts,input_tokens=prompt`` as a mapping."""
    if not isinstance(columns, str):
        return columns
    pairs = [item.partition("=") for item in columns.split(",") if item.strip()]
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


@settings_class
class CustomTable(Paced):
    """Tables with one row per request (CSV, TSV, JSON lines or Parquet), with columns of any names."""

    columns: Any = setting(
        factory=dict,
        convert=_as_mapping,
        help="Names of columns in the file, as arrival=ts,input_tokens=prompt,...; optional for common names. Columns: "
        f"{', '.join(_NAMES)}. In JSON, a.b is the key b of the object a.",
        flag="--columns",
    )
    time_unit: str | None = setting(
        default=None,
        help="Unit of the arrivals; iso means dates with times. Unset means by the name of the column (arrival_ms), or "
        "else by its first value.",
        choices=(*TIME_UNITS, "iso"),
        flag="--time-unit",
    )

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.columns, Mapping):
            raise ScenarioError.at("columns", "must be a mapping of our names to those of the file", self.columns)
        for ours, theirs in self.columns.items():
            if ours not in _NAMES:
                raise ScenarioError.at(f"columns.{ours}", "is no column of a trace", hint=nearest(str(ours), _NAMES))
            if not isinstance(theirs, str) or not theirs:
                raise ScenarioError.at(f"columns.{ours}", "must be the name of a column of the file", theirs)
        used: dict[str, str] = {}
        for name, theirs in ({name: name for name in _FIGURES} | dict(self.columns)).items():
            if (first := used.setdefault(theirs, name)) != name:
                raise ScenarioError.at(f"columns.{name}", f"must be another column than {first}", theirs)

    fields: ClassVar[str] = (
        "arrival, input_tokens, output_tokens; optional client_id, tenant_id, slo_class, session_id, model"
    )
    times: ClassVar[str] = "time_unit (s, ms, us, ns, iso), by default detected; or rate"
    not_kept: ClassVar[str] = "other columns"
    is_general: ClassVar[bool] = True

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is Parquet, or its columns have common names."""
        names = column_names(start)
        return start.startswith(PARQUET) or all(_usual(figure, names) for figure in _FIGURES[1:])

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a file; the rows of a session are its rounds."""
        chosen = _Choice(self)
        found = read_any_table(path, chosen.layout_of, max_rows)
        known: dict[str, Any] = {name: found[theirs] for name, theirs in chosen.sources.items()}
        inputs, outputs = known.pop("input_tokens"), known.pop("output_tokens")
        arrivals = known.pop("arrival", None)
        if self.rate is not None:
            arrivals = self.arrivals_at(self.rate, len(inputs))
        trace = build_trace(
            path,
            arrivals=arrivals,
            input_tokens=inputs,
            output_tokens=outputs,
            not_kept=[f"columns {', '.join(chosen.others)}"] if chosen.others else [],
            **known,
        )
        trace.columns["round_index"] = rounds_of(trace.columns["session_id"])
        return trace


class _Choice:
    """Assignment of the columns of a file.

    Attributes
    ----------
    sources : dict of str to str
        Name in the file by name of the column.
    others : list of str
        Columns that are not read.
    """

    def __init__(self, options: CustomTable) -> None:
        self._options = options
        self.sources: dict[str, str] = {}
        self.others: list[str] = []

    def layout_of(self, names: Sequence[str], first: Sequence[str]) -> Layout | Problem:
        """Choose the columns, as for `read_table`."""
        required: list[CsvColumn] = []
        for figure in _FIGURES:
            theirs = self._figure(figure, names)
            if isinstance(theirs, Problem):
                return theirs
            if theirs is None:
                continue
            self.sources[figure] = theirs
            parse: Callable[[str], int] = whole_number
            if figure == "arrival":
                if self._options.rate is not None:
                    del self.sources[figure]
                    continue
                parse = instant_reader(self._options.time_unit or unit_of(theirs, _first(theirs, names, first)))
            required.append(CsvColumn(theirs, parse, np.int64))
        taken = {normalised(column.name) for column in required}
        given = [name for name in _LABELS if name in self._options.columns]
        required += [CsvColumn(self._options.columns[name], label) for name in given]
        optional = [CsvColumn(name, label) for name in _LABELS if name not in given and name not in taken]
        layout = by_name(names, required, optional)
        if isinstance(layout, Layout):
            theirs_of = {name: self._options.columns.get(name, name) for name in _LABELS}
            read = {column.name for column in layout.columns}
            self.sources |= {ours: theirs for ours, theirs in theirs_of.items() if theirs in read - taken}
            self.others = _others(names, [names[place] for place in layout.places])
        return layout

    def _figure(self, figure: str, names: Sequence[str]) -> str | Problem | None:
        """Name of a numeric column in the file; None for arrivals at a rate."""
        if given := self._options.columns.get(figure):
            return str(given)
        if any(normalised(name) == figure for name in names):
            return figure
        claimed = set(map(normalised, self._options.columns.values()))
        usual = [name for name in _usual(figure, names) if normalised(name) not in claimed]
        if len(usual) == 1:
            return usual[0].strip()
        if len(usual) > 1:
            rule = f"matches several columns: {', '.join(map(str.strip, usual))}"
            return Problem(path=figure, rule=rule, hint=f"choose one, such as columns {figure}={usual[0].strip()}")
        if figure != "arrival":
            return figure
        if self._options.rate is None and names:
            shown = ", ".join(map(str.strip, names[:12])) + (", ..." if len(names) > 12 else "")
            hint = f"there are: {shown}; if one has the arrivals, set columns to arrival=NAME"
            raise self._options.no_rate("the file has no column of arrivals", hint)
        return None


def _others(names: Sequence[str], read: Sequence[str]) -> list[str]:
    """Columns that are not read, without objects that contain a read column, and without members of the others."""
    others: list[str] = []
    for name in names:
        holds_read = any(f"{one}.".startswith(f"{name}.") for one in read)
        if not holds_read and not any(name.startswith(f"{other}.") for other in others):
            others.append(name)
    return [name.strip() for name in others]


def _first(name: str, names: Sequence[str], first: Sequence[str]) -> str:
    """First value of a column; empty = none."""
    places = [place for place, other in enumerate(names) if normalised(other) == normalised(name)]
    return first[places[0]] if places and places[0] < len(first) else ""


def _usual(figure: str, names: Iterable[str]) -> list[str]:
    """Columns with a common name of a numeric column."""
    usual = set(_USUAL[figure].split())
    return [
        name for name in names if _plain(name) in usual or (figure == "arrival" and _plain(_unitless(name)) in usual)
    ]


def _unitless(name: str) -> str:
    return _UNIT.sub("", name.strip())


def _plain(name: str) -> str:
    """Letters and digits of a name in lower case; for a nested name, of its last key."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].casefold())
