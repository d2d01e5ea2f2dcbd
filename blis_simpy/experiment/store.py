"""Measurements on disk: one file per run, written atomically and named after the digest of the run.

A run that is in the store is not simulated again: an interrupted experiment can be resumed, and an extended one
simulates only what is new.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.measurement import Measurement

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
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            found = {name: math.nan if value is None else float(value) for name, value in data["metrics"].items()}
            found = {name: found[name] for name in (*found, *metrics)}  # all that are asked for, or a KeyError
            samples = [
                {str(name): [float(value) for value in column] for name, column in table.items()}
                for table in data["samples"]
            ]
            growth = math.nan if data["growth"] is None else float(data["growth"])
            return Measurement(
                metrics=found,
                traffic=str(data["traffic"]),
                warm_up_us=int(data["warm_up_us"]),
                growth=growth,
                samples=samples,
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s: is ignored, its run is simulated again: %s", path, error)
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
        metrics = {name: None if math.isnan(value) else value for name, value in measurement.metrics.items()}
        growth = None if math.isnan(measurement.growth) else measurement.growth
        data = {**about, **attrs.asdict(measurement), "metrics": metrics, "growth": growth}
        target = self.path(key)
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("x", encoding="utf-8") as file:
                json.dump(data, file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _sync(target.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise ScenarioError.at("store", f"cannot be written: {error.strerror}", file=str(target)) from None

    def __len__(self) -> int:
        return sum(1 for _ in Path(self.folder).glob("*.json"))


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
