"""Simulated requests of a calibration, by request number: from a run or from a results file."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.errors import CalibrationError, Problem
from blis_simpy.files.text_files import DATA_BYTES, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import ArrayLike

__all__ = ["HasRequests", "Simulated"]

_NUMBERED = re.compile(r"request_([+-]?[0-9]+)")
_INTEGERS = ("request_id", "input_tokens", "output_tokens")
_LATENCIES = ("ttft_us", "e2e_us")
_MAX_PROBLEMS = 10


class HasRequests(Protocol):
    """Part of a `blis_simpy.Result` that a calibration uses."""

    @property
    def requests(self) -> Mapping[str, NDArray[Any]]:
        """Columns ``id``, ``outcome``, ``ttft_us``, ``e2e_us``, ``input_tokens`` and ``output_tokens``."""


@attrs.frozen(eq=False, kw_only=True)
class Simulated:
    """Completed requests of a simulation as arrays of shape (num_entries,).

    Attributes
    ----------
    request_id, input_tokens, output_tokens : ndarray of int64
        Number of the request in the trace, prompt length including a shared prefix, planned output length.
    ttft_us, e2e_us : ndarray of float64, µs
        Latencies on the server.
    """

    request_id: NDArray[np.int64]
    ttft_us: NDArray[np.float64]
    e2e_us: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    @classmethod
    def of(cls, results: HasRequests | str | os.PathLike[str]) -> Simulated:
        """Take the requests of a run, or read them from a file of ``blis replay --results-path``.

        Raises
        ------
        CalibrationError
            If no request completed, or the file has another format.
        """
        return cls._read(results) if isinstance(results, str | os.PathLike) else cls._of_run(results)

    @classmethod
    def _of_run(cls, result: HasRequests) -> Simulated:
        columns = result.requests
        numbers = [_NUMBERED.fullmatch(name) for name in columns["id"]]
        used = np.array([number is not None for number in numbers], np.bool_)
        used &= (columns["outcome"] == "completed") & (columns["ttft_us"] >= 0)
        if not used.any():
            raise CalibrationError("the run has no completed requests with names request_<number>")
        request_id = [int(number[1]) for number, use in zip(numbers, used, strict=True) if number and use]
        return cls._from(lambda name: request_id if name == "request_id" else columns[name][used])

    @classmethod
    def _read(cls, path: str | os.PathLike[str]) -> Simulated:
        file = os.fspath(path)
        rows = _parsed(read_text(path, CalibrationError, max_bytes=DATA_BYTES), file)
        if not rows:
            raise CalibrationError.at("", "has no results: no request completed in the simulation", file=file)
        problems = [problem for index, row in enumerate(rows) for problem in _problems(index, row, file)]
        if problems:
            raise CalibrationError(problems[:_MAX_PROBLEMS])
        entries = [_known(row) for row in rows]
        return cls._from(lambda name: [entry.get(name, 0) for entry in entries])

    @classmethod
    def _from(cls, values: Callable[[str], ArrayLike]) -> Simulated:
        return cls(
            request_id=np.array(values("request_id"), np.int64),
            ttft_us=np.array(values("ttft_us"), np.float64),
            e2e_us=np.array(values("e2e_us"), np.float64),
            input_tokens=np.array(values("input_tokens"), np.int64),
            output_tokens=np.array(values("output_tokens"), np.int64),
        )

    def __len__(self) -> int:
        return len(self.request_id)


def _parsed(text: str, file: str) -> list[Any]:
    try:
        rows = json.loads(text, parse_constant=_refused)
    except json.JSONDecodeError as broken:
        raise CalibrationError.at("", f"cannot be read as JSON: {broken.msg}", file=file, line=broken.lineno) from None
    except (ValueError, RecursionError) as broken:
        raise CalibrationError.at("", f"cannot be read as JSON: {broken}", file=file) from None
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise CalibrationError.at("", "must be a JSON array of results", file=file)
    return rows


def _refused(word: str) -> float:
    raise ValueError(f"{word} is not a number of JSON")


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not null, with lower-case keys."""
    return {key.lower(): value for key, value in row.items() if value is not None}


def _problems(index: int, row: Any, file: str) -> Iterator[Problem]:
    if not isinstance(row, dict):
        yield Problem(path=f"[{index}]", rule="must be an object", value=row, file=file)
        return
    known = _known(row)
    for name in (*_INTEGERS, *_LATENCIES):
        value = known.get(name, 0)
        if name in _INTEGERS and not (type(value) is int and -(2**63) <= value < 2**63):
            yield Problem(path=f"[{index}].{name}", rule="must be a 64-bit integer", value=value, file=file)
        elif name in _LATENCIES and not (type(value) in (int, float) and abs(value) < 2**63):
            yield Problem(path=f"[{index}].{name}", rule="must be a number of us", value=value, file=file)
