"""Base class of the conformance suites, and their failure messages."""

from __future__ import annotations

from random import Random
from typing import Any, NoReturn

__all__ = ["ConformanceSuite", "message", "require", "seeded", "violated"]

_MOST_CHARACTERS = 200


class ConformanceSuite:
    """Base class of the conformance suites.

    The method `make` of a subclass returns the plug-in. pytest collects a subclass if its name starts with ``Test``.
    Random cases have fixed seeds, so the outcome of a suite is reproducible.
    """

    # Type checkers accept any parameters in a subclass, because of these.
    def make(self, *arguments: Any, **options: Any) -> Any:
        """Return a new instance of the plug-in; has no parameters unless the suite documents some."""
        raise NotImplementedError(f"{type(self).__name__}.make must return a new instance of the plug-in")


def seeded(name: str) -> Random:
    """Return a random generator for cases, with equal numbers on every platform."""
    return Random(name)  # noqa: S311 - not used for security


def require(holds: object, plugin: object, rule: str, **found: object) -> None:
    """Raise an error unless a rule holds.

    Parameters
    ----------
    holds : object
        Whether the rule holds.
    plugin : object
        The plug-in; the message contains the name of its class.
    rule : str
        The rule, such as ``route must return ...``.
    **found : object
        Values that show the violation, in the order of the message.

    Raises
    ------
    AssertionError
        If the rule does not hold.
    """
    __tracebackhide__ = True
    if not holds:
        violated(plugin, rule, **found)


def violated(plugin: object, rule: str, **found: object) -> NoReturn:
    """Raise the error of `require`."""
    __tracebackhide__ = True
    raise AssertionError(message(plugin, rule, **found))


def message(plugin: object, rule: str, **found: object) -> str:
    """Return the message of a violation: plug-in, rule and values."""
    name = plugin if isinstance(plugin, str) else type(plugin).__name__
    shown = "".join(f"\n  {label.replace('_', ' ')}: {_short(value)}" for label, value in found.items())
    return f"{name}: {rule}{shown}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."
