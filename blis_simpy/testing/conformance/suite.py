"""What all conformance suites share."""

from __future__ import annotations

from random import Random
from typing import Any, NoReturn

__all__ = ["ConformanceSuite", "message", "require", "seeded", "violated"]

_MOST_CHARACTERS = 200


class ConformanceSuite:
    """Base class of the suites: tests of the rules that a kind of plug-in has to keep.

    A subclass makes the plug-in; pytest collects it if its name starts with ``Test``. All cases are drawn from fixed
    seeds, so that a suite passes or fails the same way every time.
    """

    # With these parameters, type checkers accept any others in a subclass.
    def make(self, *arguments: Any, **options: Any) -> Any:
        """Return a new instance of the plug-in; takes no arguments unless a suite says so."""
        raise NotImplementedError(f"{type(self).__name__}.make must return a new instance of the plug-in")


def seeded(name: str) -> Random:
    """Return the random numbers of some cases, which are the same on every machine."""
    return Random(name)  # noqa: S311 - cases are no secrets


def require(holds: object, plugin: object, rule: str, **found: object) -> None:
    """Fail unless a rule holds.

    Parameters
    ----------
    holds : object
        Whether it does.
    plugin : object
        The plug-in, whose class the message names.
    rule : str
        The rule, as the predicate of a sentence about the plug-in: ``route must return ...``.
    **found : object
        What shows the violation, in the order of the message.

    Raises
    ------
    AssertionError
        If the rule does not hold.
    """
    __tracebackhide__ = True
    if not holds:
        violated(plugin, rule, **found)


def violated(plugin: object, rule: str, **found: object) -> NoReturn:
    """Fail with the message of `require`."""
    __tracebackhide__ = True
    raise AssertionError(message(plugin, rule, **found))


def message(plugin: object, rule: str, **found: object) -> str:
    """Name the plug-in, the rule that it violates, and what shows the violation."""
    name = plugin if isinstance(plugin, str) else type(plugin).__name__
    shown = "".join(f"\n  {label.replace('_', ' ')}: {_short(value)}" for label, value in found.items())
    return f"{name}: {rule}{shown}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."
