"""Record of a replica: a row a step, and counters."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from blis_simpy.core.request import Leg, Request

__all__ = ["ReplicaLog", "Resumption", "StepLog"]

_STRETCH_COLUMNS = (
    "steps",
    "start",
    "decode_tokens",
    "prefill_tokens",
    "batch_size",
    "queue_depth",
    "used_blocks",
)


class Resumption(NamedTuple):
    """The admission of a request after a preemption.

    Attributes
    ----------
    request : Request
        The request.
    queried_tokens : int
        Its known tokens: prompt, and outputs that it kept.
    cached_tokens : int
        Those of them that it found in the prefix cache.
    recomputed_tokens : int
        Tokens that were computed before the preemption and are not found: they are computed again.
    """

    request: Request
    queried_tokens: int
    cached_tokens: int
    recomputed_tokens: int


class ReplicaLog:
    """Counters of one replica.

    Attributes
    ----------
    preemptions : list of (Request, int)
        Each preemption with its tick, in order.
    skipped_tokens : list of (Request, int, int)
        Steps in which a decoding request was granted no token: request, number of its preemptions so far, and step.
    segmented : list of Leg
        Completed legs with more than one segment.
    input_tokens : int
        Prompt tokens of all requests that passed the checks of the wait queue.
    output_tokens : int
        Tokens generated for completed requests.
    resumptions : list of Resumption
        Each admission after a preemption, in order.
    completed, timed_out, dropped, length_capped, kv_allocation_failures : int
        Counts of requests; the last counts completing requests whose last token found no block.
    last_activity : int, tick
        Last tick of an arrival or a timeout.
    """

    def __init__(self) -> None:
        self.preemptions: list[tuple[Request, int]] = []
        self.skipped_tokens: list[tuple[Request, int, int]] = []
        self.segmented: list[Leg] = []
        self.input_tokens = 0
        self.output_tokens = 0
        self.resumptions: list[Resumption] = []
        self.completed = 0
        self.timed_out = 0
        self.dropped = 0
        self.length_capped = 0
        self.kv_allocation_failures = 0
        self.last_activity = 0


class StepLog:
    """Steps of one replica.

    Consecutive steps that differ only in start, duration and used blocks are kept as one stretch, and spread out when
    they are read.
    """

    def __init__(self) -> None:
        self._durations = array("q")
        self._blocks_taken = array("q")
        self._stretches = array("q")

    def step(
        self, start: int, duration: int, decode_tokens: int, prefill_tokens: int, batch: int, queue: int, used: int
    ) -> None:
        """Record one step, `used` being the KV blocks in use before its completions."""
        self._durations.append(duration)
        self._blocks_taken.append(0)
        self._stretches.extend((1, start, decode_tokens, prefill_tokens, batch, queue, used))

    def run(
        self, start: int, durations: Iterable[int], blocks_taken: list[int], batch: int, queue: int, used: int
    ) -> None:
        """Record decode steps of one batch, `used` being the KV blocks in use before the first."""
        if isinstance(durations, np.ndarray):
            self._durations.frombytes(durations.astype(np.int64, copy=False).tobytes())
        else:
            self._durations.extend(durations)
        self._blocks_taken.extend(blocks_taken)
        self._stretches.extend((len(blocks_taken), start, batch, 0, batch, queue, used))

    def copy(self) -> StepLog:
        """Return a log of the steps so far, which does not grow."""
        copy = StepLog()
        copy._durations, copy._blocks_taken = self._durations[:], self._blocks_taken[:]
        copy._stretches = self._stretches[:]
        return copy

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """Return the log as arrays, for `of_arrays`."""
        return {
            "durations": self.durations(),
            "blocks_taken": np.array(self._blocks_taken, dtype=np.int64),
            "stretches": np.array(self._stretches, dtype=np.int64),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.int64]]) -> StepLog:
        """Make a log of the arrays of `to_arrays`."""
        log = cls()
        log._durations.frombytes(arrays["durations"].tobytes())
        log._blocks_taken.frombytes(arrays["blocks_taken"].tobytes())
        log._stretches.frombytes(arrays["stretches"].tobytes())
        return log

    def __len__(self) -> int:
        return len(self._durations)

    @property
    def num_stretches(self) -> int:
        """Number of stretches that the steps are kept as."""
        return len(self._stretches) // len(_STRETCH_COLUMNS)

    def end_of(self, step: int) -> int:
        """End of a step, tick."""
        return int(self._first_start + self.gaps()[: step + 1].sum())

    def gaps(self) -> NDArray[np.int64]:
        """Time from the end of the step before to the end of each step, µs; of the first step, its duration."""
        gaps = self.durations()
        if not len(gaps):
            return gaps
        stretches = np.array(self._stretches, dtype=np.int64).reshape(-1, len(_STRETCH_COLUMNS))
        first_steps = np.cumsum(stretches[:, 0]) - stretches[:, 0]
        # Steps of one stretch follow each other without a pause.
        ends = stretches[:, 1] + np.add.reduceat(gaps, first_steps)
        gaps[first_steps[1:]] += stretches[1:, 1] - ends[:-1]
        return gaps

    @property
    def _first_start(self) -> int:
        return self._stretches[_STRETCH_COLUMNS.index("start")]

    def durations(self) -> NDArray[np.int64]:
        """Duration of each step, µs."""
        return np.array(self._durations, dtype=np.int64)

    def queue_depth_mean(self) -> float:
        """Mean over all steps of the number of waiting requests; 0 without steps."""
        stretches = np.array(self._stretches, dtype=np.int64).reshape(-1, len(_STRETCH_COLUMNS))
        return int(stretches[:, 0] @ stretches[:, 5]) / len(self) if len(self) else 0.0

    def table(self) -> dict[str, NDArray[np.int64]]:
        """Columns with a row a step.

        Returns
        -------
        dict of str to ndarray of int64, shape (num_steps,)
            ``start_us`` (tick), ``duration_us``, ``decode_tokens``, ``prefill_tokens``, ``batch_size`` (members when
            the step starts), ``queue_depth`` (requests left waiting), ``used_blocks`` (KV blocks in use in the step,
            those that other processes hold included).
        """
        table = np.array(self._stretches, dtype=np.int64).reshape(-1, len(_STRETCH_COLUMNS))
        counts = table[:, 0]
        spread = {
            name: np.repeat(table[:, column], counts) for column, name in enumerate(_STRETCH_COLUMNS) if column > 0
        }
        durations = self.durations()
        first = np.repeat(np.cumsum(counts) - counts, counts)
        before = np.concatenate(([0], np.cumsum(durations)))
        taken = np.cumsum(np.array(self._blocks_taken, dtype=np.int64))
        taken_before = np.concatenate(([0], taken))
        return {
            "start_us": spread["start"] + before[:-1] - before[first],
            "duration_us": durations,
            "decode_tokens": spread["decode_tokens"],
            "prefill_tokens": spread["prefill_tokens"],
            "batch_size": spread["batch_size"],
            "queue_depth": spread["queue_depth"],
            "used_blocks": spread["used_blocks"] + taken - taken_before[first],
        }
