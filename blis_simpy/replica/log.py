"""Records of a replica: one row per step, and counters."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blis_simpy.replica.packed_integers import PackedIntegers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from blis_simpy.core.request import Leg

__all__ = ["BLOCK_STEPS", "ReplicaLog", "Resumption", "StepLog"]

_STRETCH_COLUMNS = (
    "steps",
    "start",
    "decode_tokens",
    "prefill_tokens",
    "batch_size",
    "queue_depth",
    "used_blocks",
)


_START = _STRETCH_COLUMNS.index("start")
_LARGEST = 2**31 - 1
BLOCK_STEPS = 1 << 18
"""Steps after which they are compressed: a block of whole stretches."""


class _Block(NamedTuple):
    """Compressed steps.

    Attributes
    ----------
    durations, blocks_taken : PackedIntegers
        A number a step.
    stretches : tuple of PackedIntegers
        Columns of the stretches.
    """

    durations: PackedIntegers
    blocks_taken: PackedIntegers
    stretches: tuple[PackedIntegers, ...]


class Resumption(NamedTuple):
    """The admission of a request after a preemption.

    Attributes
    ----------
    row : int
        Row of the request.
    queried_tokens : int
        Its known tokens: prompt, and outputs that it kept.
    cached_tokens : int
        Those of them that it found in the prefix cache.
    recomputed_tokens : int
        Tokens that were computed before the preemption and are not found: they are computed again.
    """

    row: int
    queried_tokens: int
    cached_tokens: int
    recomputed_tokens: int


class ReplicaLog:
    """Counters of one replica.

    Attributes
    ----------
    preemptions : list of (int, int)
        Row of the preempted request and tick of each preemption, in order.
    skipped_tokens : list of (int, int, int)
        Steps without a token for a decoding request: row of the request, its number of preemptions, and number of the
        step.
    segments : list of (int, int, int)
        Segments of the completed legs that have several, or continue others: row of the request, first and last step.
    continuing : list of Leg
        Completed legs that continue others with their outputs.
    input_tokens : int
        Prompt tokens of all requests within the length limits.
    output_tokens : int
        Output tokens of completed requests.
    resumptions : list of Resumption
        Admissions after a preemption, in order.
    completed, timed_out, dropped, length_capped : int
        Number of requests with this outcome.
    kv_allocation_failures : int
        Number of completed requests without a free KV block for their last token.
    last_activity : int, tick
        Tick of the last arrival or timeout.
    """

    def __init__(self) -> None:
        self.preemptions: list[tuple[int, int]] = []
        self.skipped_tokens: list[tuple[int, int, int]] = []
        self.segments: list[tuple[int, int, int]] = []
        self.continuing: list[Leg] = []
        self.input_tokens = 0
        self.output_tokens = 0
        self.resumptions: list[Resumption] = []
        self.completed = 0
        self.timed_out = 0
        self.dropped = 0
        self.length_capped = 0
        self.kv_allocation_failures = 0
        self.last_activity = 0

    def add_segments(self, leg: Leg) -> None:
        """Record the segments of a completed leg."""
        row = leg.request.row
        self.segments += [(row, first, last) for first, last in leg.segments]


class StepLog:
    """Steps of one replica.

    The steps of a macro-step, which differ only in start, duration and used blocks, are stored as one *stretch*.
    Reading expands it to a row per step. Old steps are compressed, because a replica takes millions of them.
    """

    def __init__(self) -> None:
        self._packed: list[_Block] = []
        # 32 bits each; only a duration of 36 minutes or more needs 64.
        self._durations = array("i")
        self._blocks_taken = array("i")
        self._starts = array("q")
        self._stretches = array("i")

    def step(
        self, start: int, duration: int, decode_tokens: int, prefill_tokens: int, batch: int, queue: int, used: int
    ) -> None:
        """Record a step; `used` is the number of KV blocks in use before its completions."""
        try:
            self._durations.append(duration)
        except OverflowError:
            self._durations = array("q", self._durations)
            self._durations.append(duration)
        self._blocks_taken.append(0)
        self._starts.append(start)
        self._stretches.extend((1, decode_tokens, prefill_tokens, batch, queue, used))
        if len(self._blocks_taken) >= BLOCK_STEPS:
            self._pack()

    def run(
        self,
        start: int,
        durations: Sequence[int] | NDArray[np.int64],
        blocks_taken: list[int],
        decode_tokens: int,
        batch: int,
        queue: int,
        used: int,
    ) -> None:
        """Record decode steps of one batch; `used` is the number of KV blocks in use before the first."""
        if isinstance(durations, np.ndarray):
            if int(durations.max()) > _LARGEST:
                self._durations = array("q", self._durations)
            self._durations.frombytes(durations.astype(self._durations.typecode).tobytes())
        else:
            recorded = len(self._durations)
            try:
                self._durations.extend(durations)
            except OverflowError:
                self._durations = array("q", self._durations[:recorded])
                self._durations.extend(durations)
        self._blocks_taken.extend(blocks_taken)
        self._starts.append(start)
        self._stretches.extend((len(blocks_taken), decode_tokens, 0, batch, queue, used))
        if len(self._blocks_taken) >= BLOCK_STEPS:
            self._pack()

    def _pack(self) -> None:
        stretches = tuple(map(PackedIntegers.of, self._latest_stretches().T))
        self._packed.append(
            _Block(PackedIntegers.of(self._durations), PackedIntegers.of(self._blocks_taken), stretches)
        )
        self._durations, self._blocks_taken = array("i"), array("i")
        self._starts, self._stretches = array("q"), array("i")

    def copy(self) -> StepLog:
        """Return a copy, which later steps do not change."""
        copy = StepLog()
        copy._packed = self._packed[:]
        copy._durations, copy._blocks_taken = self._durations[:], self._blocks_taken[:]
        copy._starts, copy._stretches = self._starts[:], self._stretches[:]
        return copy

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """Return the log as arrays that `of_arrays` reads."""
        return {
            "durations": self.durations(),
            "blocks_taken": self._all_blocks_taken(),
            "stretches": self._table().ravel(),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.int64]]) -> StepLog:
        """Build a log from the arrays of `to_arrays`."""
        log = cls()
        stretches = arrays["stretches"].reshape(-1, len(_STRETCH_COLUMNS))
        log._durations = array("q", arrays["durations"].tobytes())
        log._blocks_taken = array("i", arrays["blocks_taken"].astype(np.int32).tobytes())
        log._starts = array("q", stretches[:, _START].tobytes())
        log._stretches = array("i", np.delete(stretches, _START, axis=1).astype(np.int32).tobytes())
        return log

    def _latest_stretches(self) -> NDArray[np.int64]:
        """Return the stretches that are not compressed; shape (num_stretches, 7)."""
        others = np.array(self._stretches, dtype=np.int64).reshape(-1, len(_STRETCH_COLUMNS) - 1)
        return np.insert(others, _START, np.array(self._starts, dtype=np.int64), axis=1)

    def _stretch_blocks(self) -> Iterator[NDArray[np.int64]]:
        """Return the stretches, in blocks of shape (num_stretches, 7)."""
        for block in self._packed:
            yield np.stack([column.to_array() for column in block.stretches], axis=1)
        if self._starts:
            yield self._latest_stretches()

    def _table(self) -> NDArray[np.int64]:
        """Return all stretches; shape (num_stretches, 7)."""
        nothing = np.empty((0, len(_STRETCH_COLUMNS)), dtype=np.int64)
        return np.concatenate([nothing, *self._stretch_blocks()])

    def __len__(self) -> int:
        return sum(block.durations.length for block in self._packed) + len(self._durations)

    @property
    def num_stretches(self) -> int:
        """Number of stretches."""
        return sum(block.stretches[0].length for block in self._packed) + len(self._starts)

    def end_of(self, step: int) -> int:
        """Return the end of a step, tick."""
        return int(next(self._stretch_blocks())[0, _START] + self.gaps()[: step + 1].sum())

    def duration_blocks(self) -> Iterator[NDArray[np.int64]]:
        """Return the durations of the steps, µs, in blocks of some `BLOCK_STEPS` steps."""
        for block in self._packed:
            yield block.durations.to_array()
        if self._durations:
            yield np.array(self._durations, dtype=np.int64)

    def gap_blocks(self) -> Iterator[NDArray[np.int64]]:
        """Return the time between the ends of consecutive steps, µs, in blocks; first the duration of step 0."""
        last_end: int | None = None
        for gaps, stretches in zip(self.duration_blocks(), self._stretch_blocks(), strict=True):
            counts, starts = stretches[:, 0], stretches[:, _START]
            first_steps = np.cumsum(counts) - counts
            # There are no pauses within a stretch.
            ends = starts + np.add.reduceat(gaps, first_steps)
            gaps[first_steps] += starts - np.append(starts[0] if last_end is None else last_end, ends[:-1])
            last_end = int(ends[-1])
            yield gaps

    def gaps(self) -> NDArray[np.int64]:
        """Return the time between the ends of consecutive steps, µs; first the duration of step 0."""
        return _joined(self.gap_blocks())

    def durations(self) -> NDArray[np.int64]:
        """Return the duration of each step, µs."""
        return _joined(self.duration_blocks())

    def _all_blocks_taken(self) -> NDArray[np.int64]:
        packed = (block.blocks_taken.to_array() for block in self._packed)
        return _joined((*packed, np.array(self._blocks_taken, dtype=np.int64)))

    def queue_depth_mean(self) -> float:
        """Return the mean number of waiting requests over all steps; 0 without steps."""
        total = sum(int(stretches[:, 0] @ stretches[:, 5]) for stretches in self._stretch_blocks())
        return total / len(self) if len(self) else 0.0

    def table(self) -> dict[str, NDArray[np.int64]]:
        """Return columns with one row per step.

        Returns
        -------
        dict of str to ndarray of int64, shape (num_steps,)
            ``start_us`` (tick), ``duration_us``, ``decode_tokens``, ``prefill_tokens``, ``batch_size`` (running
            requests at the start of the step), ``queue_depth`` (waiting requests after the formation), ``used_blocks``
            (KV blocks in use during the step, including those of other processes).
        """
        table = self._table()
        counts = table[:, 0]
        spread = {
            name: np.repeat(table[:, column], counts) for column, name in enumerate(_STRETCH_COLUMNS) if column > 0
        }
        durations = self.durations()
        first = np.repeat(np.cumsum(counts) - counts, counts)
        before = np.concatenate(([0], np.cumsum(durations)))
        taken = np.cumsum(self._all_blocks_taken())
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


def _joined(blocks: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype=np.int64), *blocks])
