"""Measurements on disk: one file per run, written atomically and named after the digest of the run.

A run that is in the store is not simulated again: an interrupted experiment can be resumed, and an extended one
simulates only what is new.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.errors import BlisError
from blis_simpy.experiment.measurement import Measurement
from blis_simpy.files.outputs import make_folder, write_text
from blis_simpy.files.paths import exists, files_in, inputs_recorded, is_regular
from blis_simpy.files.text_files import read_text
from blis_simpy.results.stationarity import Stationarity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Store"]

_log = logging.getLogger("blis_simpy")


@attrs.frozen
class Store:
    """A folder of measurements.

    Several processes may use it at the same time. Files may be deleted at any time: their runs are simulated again.

    Attributes
    ----------
    folder : str
        Path of the folder; created when the first measurement is kept.
    """

    folder: str = attrs.field(converter=os.fspath)

    def path(self, key: str) -> Path:
        """Return the path of the file of a run."""
        return Path(self.folder, f"{key}.json")

    def get(self, key: str, metrics: Iterable[str] = ()) -> Measurement | None:
        """Return the measurement of a run; None if there is none, or its file is broken or lacks a metric."""
        path = self.path(key)
        if not exists(path):
            return None
        try:
            data = _checked(path, key)
            found = {name: _number(value) for name, value in data["metrics"].items()}
            found = {name: found[name] for name in (*found, *metrics)}  # all that are asked for, or a KeyError
            samples = [
                {str(name): [float(value) for value in column] for name, column in table.items()}
                for table in data["samples"]
            ]
            trends = data["stationarity"]
            return Measurement(
                metrics=found,
                traffic=data["traffic"],
                warm_up_us=data["warm_up_us"],
                stationarity=Stationarity(
                    ttft_growth=_number(trends["ttft_growth"]),
                    backlog_growth=_number(trends["backlog_growth"]),
                    backlog=int(trends["backlog"]),
                ),
                samples=samples,
            )
        except BlisError as error:
            reason = "; ".join(problem.rule for problem in error.problems)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        _log.warning("%s: is ignored, its run is simulated again: %s", path, reason)
        return None

    def put(self, key: str, measurement: Measurement, about: Mapping[str, Any]) -> None:
        """Keep the measurement of a run; it is on disk when this returns.

        Parameters
        ----------
        key : str
            Digest of the run.
        measurement : Measurement
            Its figures.
        about : mapping
            Description of the run for readers of the file.

        Raises
        ------
        ScenarioError
            If it cannot be written.
        """
        metrics, trends = _without_nan(measurement.metrics), _without_nan(attrs.asdict(measurement.stationarity))
        data = {**about, **attrs.asdict(measurement), "metrics": metrics, "stationarity": trends}
        data["checksum"] = _checksum(key, data)
        target = self.path(key)
        make_folder(target.parent)
        write_text(target, f"{json.dumps(data, indent=1)}\n", durable=True)
        _sync(target.parent)

    def __len__(self) -> int:
        return len(files_in(self.folder, "*.json"))


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _checked(path: Path, key: str) -> dict[str, Any]:
    if not is_regular(path):
        raise ValueError("it is no regular file")
    with inputs_recorded():  # apart from the inputs of the command: a broken file is replaced
        data: dict[str, Any] = json.loads(read_text(path))
    if data.pop("checksum") != _checksum(key, data):
        raise ValueError("it does not have the checksum that it was written with")
    return data


def _checksum(key: str, data: Mapping[str, Any]) -> str:
    text = json.dumps([key, data], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _sync(folder: Path) -> None:
    """Flush the directory entries of a folder, where the system supports it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
