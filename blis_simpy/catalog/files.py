"""Reading the files of the catalog: the bundled ones and the user's own, with errors that name the file."""

from __future__ import annotations

import json
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, NoReturn

from blis_simpy.errors import ScenarioError
from blis_simpy.files.paths import is_regular
from blis_simpy.files.text_files import read_text

__all__ = ["as_number", "parse_json_object", "read_bundled"]


def read_bundled(name: str) -> tuple[str, str]:
    """Text of a bundled data file, and the name to call it by in messages.

    A checkout comes first: an editable install leaves no copy, or a stale one, in the package.
    """
    checkout = Path(__file__).resolve().parents[2]
    if is_regular(checkout / "pyproject.toml") and is_regular(checkout / name):
        return read_text(checkout / name), name
    return (package_files("blis_simpy") / "data" / name).read_text(encoding="utf-8"), name


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a JSON number")


def _finite(literal: str) -> float:
    value = float(literal)
    return value if abs(value) != float("inf") else _refuse(literal)


def parse_json_object(text: str, file: str | None = None, *, strict: bool = True) -> dict[str, Any]:
    """Parse JSON (RFC 8259) whose top level is an object.

    Among duplicate keys the last wins, and ``null`` counts as an empty object.

    Parameters
    ----------
    text : str
        The text.
    file : str, optional
        Its name, for messages.
    strict : bool
        Whether ``NaN`` and ``Infinity``, which are no JSON but which Python writes, are refused.

    Raises
    ------
    ScenarioError
        If the text is anything else; comments and a byte-order mark are not JSON.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite) if strict else json.loads(text)
    except json.JSONDecodeError as error:
        raise ScenarioError.at("", f"is not valid JSON: {error.msg}", file=file, line=error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise ScenarioError.at("", f"is not valid JSON: {error}", file=file) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ScenarioError.at("", "must hold a JSON object at the top", file=file)
    return value


def as_number(value: object) -> int | float | None:
    """Return a value read from JSON or YAML if it is a number, else None; booleans are not numbers."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
