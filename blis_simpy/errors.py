"""Every error the library raises on purpose.

::

    BlisError
    ├── ScenarioError        settings, scenario and catalog files, model and GPU figures
    ├── WorkloadTraceError   rows of a workload trace
    ├── PluginError          a plug-in that is missing, broken or misbehaves
    ├── CalibrationError     measurements that cannot be compared
    └── SimulationError      a broken invariant of the simulator itself: please report it

The first four are errors of the user. Each has its problems as data, for editors and notebooks; as text, each problem
is one line: file, path, rule, value, line.
"""

from __future__ import annotations

from reprlib import Repr
from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "BlisError",
    "CalibrationError",
    "PluginError",
    "Problem",
    "ScenarioError",
    "SimulationError",
    "WorkloadTraceError",
    "closest",
    "joined",
    "nearest",
    "printable",
    "unknown_setting",
]


class _Absent:
    """Marks a problem without a value; a singleton, also after pickling."""

    def __reduce__(self) -> str:
        return "_ABSENT"


_ABSENT = _Absent()


class _Short(Repr):
    """Writes the start of a value: all of a deeply or widely nested one may take hours."""

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[:100])


_LONGEST_PATH = 300
_SHORT = _Short()
_SHORT.maxlevel = 4
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxfrozenset = 12
_SHORT.maxother = _SHORT.maxlong = 120


def _short(value: object) -> str:
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@attrs.frozen(kw_only=True)
class Problem:
    """One error, with its place.

    Attributes
    ----------
    path : str
        Dotted key path or flag, e.g. ``workload.clients[2].arrival.cv``; empty for the whole file.
    rule : str
        What is required, as a predicate whose subject is the path, e.g. ``must be > 0``.
    value : object
        The wrong value; absent if there is none.
    file : str or None
        File the value came from.
    line, column : int or None
        Position in the file, from 1.
    hint : str
        The likely intent, or the known names, e.g. ``did you mean 'weighted'?``.
    code : str
        Stable identifier, for programs, e.g. ``beta_too_short``.
    """

    path: str = ""
    rule: str
    value: object = _ABSENT
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str = ""
    code: str = ""

    def inside(self, outer: str) -> Problem:
        """Return the problem with the path of the part that it is in; one of another file stays as it is."""
        return self if self.file is not None else attrs.evolve(self, path=joined(outer, self.path))

    def __str__(self) -> str:
        text = f"{self.file}: " if self.file else ""
        # A name that a user wrote may be of any length.
        path = self.path if len(self.path) <= _LONGEST_PATH else self.path[: _LONGEST_PATH - 3] + "..."
        text += f"{path} {self.rule}" if path else self.rule
        if self.value is not _ABSENT:
            text += f", got {_short(self.value)}"
        if self.line is not None:
            text += f" (line {self.line})"
        if self.hint:
            text += f"; {self.hint}"
        return printable(" ".join(text.split()))


class BlisError(Exception):
    """Base of all errors that the library raises on purpose.

    Parameters
    ----------
    problems : Problem, str or iterable of Problem
        The errors; a string is one problem without a place.
    """

    def __init__(self, problems: Problem | str | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(rule=problems)
        self.problems: Sequence[Problem] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def at(
        cls,
        path: str,
        rule: str,
        value: object = _ABSENT,
        *,
        file: str | None = None,
        line: int | None = None,
        hint: str = "",
        code: str = "",
    ) -> Self:
        """Make an error of one problem; the parameters are those of `Problem`."""
        return cls(Problem(path=path, rule=rule, value=value, file=file, line=line, hint=hint, code=code))

    @property
    def code(self) -> str:
        """Code of the first problem; empty if it has none."""
        return self.problems[0].code if self.problems else ""

    def __reduce__(self) -> tuple[type[Self], tuple[Sequence[Problem]]]:
        return type(self), (self.problems,)


class ScenarioError(BlisError):
    """A setting, a scenario file, a catalog file, or a value of a model or GPU is wrong."""


class WorkloadTraceError(BlisError):
    """A workload trace cannot be read; names file, line and column."""


class PluginError(BlisError):
    """A plug-in is unknown, cannot be loaded, or returned an invalid value."""


class CalibrationError(BlisError):
    """Measured and simulated latencies cannot be compared."""


class SimulationError(BlisError):
    """An invariant of the simulator is broken; names tick, replica and request."""


def printable(text: str) -> str:
    r"""Write characters that are no text, such as escape sequences of terminals, as in Python; line ends stay.

    Examples
    --------
    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t " else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    # Blanks of other scripts are not printable for Python, and harmless; what changes the direction of text is not.
    return character if character.isspace() and ord(character) > 0xA0 else ascii(character)[1:-1]


def joined(outer: str, inner: str) -> str:
    """Join two paths, either of which may be empty.

    Examples
    --------
    >>> joined("latency", "alpha"), joined("alpha", "[2]")
    ('latency.alpha', 'alpha[2]')
    """
    return outer + inner if not outer or not inner or inner.startswith("[") else f"{outer}.{inner}"


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like an unknown one; None if none is.

    Parameters
    ----------
    name : str
        The unknown name.
    known : iterable of str
        The known names.
    cutoff : float
        Minimum similarity, from 0 to 1, as in `difflib.get_close_matches`.

    Examples
    --------
    >>> closest("weigthed", ["round-robin", "weighted"])
    'weighted'
    """
    from difflib import get_close_matches  # imported here, because few commands have a mistake in a name

    return next(iter(get_close_matches(name, known, n=1, cutoff=cutoff)), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """Make the hint for an unknown name: the nearest known name, then all of them.

    Examples
    --------
    >>> nearest("weigthed", ["round-robin", "weighted"])
    "did you mean 'weighted'? known: round-robin, weighted"
    """
    known = list(known)
    close = closest(name, known)
    guess = "" if close is None else f"did you mean {close!r}? "
    return f"{guess}known: {', '.join(known)}"


def unknown_setting(path: str, name: str, known: Iterable[str], rule: str = "is not a setting") -> Problem:
    """Make the problem of an unknown setting, with the nearest known one, or else all of them.

    Examples
    --------
    >>> print(unknown_setting("engine.max_seqs", "max_seqs", ["max_num_seqs", "scheduler"]))
    engine.max_seqs is not a setting; did you mean max_num_seqs?
    """
    known = list(known)
    close = closest(name, known)
    hint = f"did you mean {close}?" if close is not None else f"known: {', '.join(known)}" if known else ""
    return Problem(path=path, rule=rule, hint=hint, code="unknown_setting")
