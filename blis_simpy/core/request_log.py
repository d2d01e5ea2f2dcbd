"""The requests of a run: objects from their arrival until they have ended, and packed integers afterwards.

Those of a generated workload are made when they arrive (`blis_simpy.core.request_rows`). A request with its leg takes
about a kilobyte, and 80 bytes packed. In long runs, requests that have ended are packed block by block: each attribute
becomes an array of the smallest integers that hold its values. Those with several legs, because they were preempted
without their outputs, withdrawn or handed over, remain objects.
"""

from __future__ import annotations

import gc
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain, pairwise
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.leg import NEVER, Leg, Phase, RequestOutcome
from blis_simpy.core.request import Request
from blis_simpy.core.request_rows import PARAMETERS, RequestRows
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from blis_simpy.core.slo_targets import SLOTargets

__all__ = ["RequestLog"]

FIRST_PACKED = 32_768
"""Row from which requests are packed: 36 MB are not worth the time that short runs would take for it."""

BLOCK_REQUESTS = 1024
"""Number of requests that are packed together, soon after they have ended."""

COLLECT_EVERY = 32_768
"""Number of packed requests after which their objects are freed."""

_OF_REQUEST = (
    "row",
    "arrived_at",
    "input_tokens",
    "output_tokens",
    "max_output_tokens",
    "deadline",
    "round_index",
    "priority",
    "due_at",
    "admitted_at",
    "rejected_at",
)
_OF_LEG = (
    "replica",
    "outcome",
    "routed_at",
    "queued_at",
    "first_scheduled_at",
    "scheduled_at",
    "ttft",
    "e2e",
    "itl_sum",
    "itl_count",
    "itl_first_step",
    "generated_tokens",
    "length_capped",
    "cached_tokens",
    "num_preemptions",
    "finished_at",
)
_LABELS = ("slo_class", "tenant", "model", "client", "session", "prefix_group", "streaming")
_RARE = ("content", "output_stream", "slo_targets", "done")
_TYPES: dict[str, Any] = {"length_capped": np.bool_, "streaming": np.bool_}
_SAME_WITH_ONE_LEG = {"first_ttft": "ttft"}

_BOTH = Phase.BOTH
_numbers_of_request = attrgetter(*_OF_REQUEST)
# numpy converts instances of subclasses of int five times as slowly: outcome and flag are read as plain integers.
_numbers_of_leg = attrgetter(*(f"{name}.real" if name in ("outcome", "length_capped") else name for name in _OF_LEG))
_labels_of, _rare_of = attrgetter(*_LABELS), attrgetter(*_RARE)
_WITHOUT_RARE = (None,) * len(_RARE)

_NEW = Request("", 0, 0, 0)
"""Has the values of what a request does not know before it arrives."""

_REJECTED = Leg(Request("", 0, 0, 0), NEVER)
"""Stands for the leg of a request that was rejected, and so has none."""
_REJECTED.outcome = RequestOutcome.REJECTED


def _has_one_leg(request: Request) -> bool:
    """Whether a request that has ended has one leg without a predecessor on any replica, or none."""
    leg = request.leg
    is_plain = leg is None or (leg.previous is None and leg.handover is None and leg.phase is _BOTH)
    return is_plain and not request.earlier_legs and type(request) is Request


@attrs.frozen(eq=False)
class _Numbers:
    """Integers of one attribute, as differences from the least one; no differences if all are equal."""

    least: int
    differences: NDArray[Any] | None

    @classmethod
    def of(cls, values: NDArray[np.int64]) -> _Numbers:
        least, largest = int(values.min()), int(values.max())
        if least == largest:
            return cls(least, None)
        return cls(least, (values - least).astype(np.min_scalar_type(largest - least)))

    def __getitem__(self, index: int) -> int:
        return self.least if self.differences is None else self.least + int(self.differences[index])

    def to_array(self, length: int) -> NDArray[np.int64]:
        if self.differences is None:
            return np.full(length, self.least)
        return self.differences.astype(np.int64) + self.least


@attrs.frozen(eq=False)
class _Block:
    """Requests that have ended, in the order of their ends.

    Attributes
    ----------
    length : int
        Number of requests.
    numbers : dict of str to _Numbers
        Attributes of requests and legs; ``labels`` is the index of their labels.
    ids : str
        All ids, one after the other.
    id_ends : ndarray of int64
        Where each id ends.
    """

    length: int
    numbers: dict[str, _Numbers]
    ids: str
    id_ends: NDArray[Any]

    def column(self, name: str) -> NDArray[np.int64]:
        return self.numbers[name].to_array(self.length)

    def id(self, index: int) -> str:
        return self.ids[int(self.id_ends[index - 1]) if index else 0 : int(self.id_ends[index])]

    def all_ids(self) -> list[str]:
        return [self.ids[start:end] for start, end in pairwise((0, *self.id_ends.tolist()))]


class RequestLog(Sequence[Request]):
    """All requests of a run, in the order of the workload.

    Until it has ended, and for some time afterwards, a request is an object, always the same one. Later it is packed,
    and each access makes a new `Request` with equal attributes. Objects that others hold stay valid.

    Parameters
    ----------
    requests : sequence of Request
        The first requests; each gets its position as `Request.row`. Those of `RequestRows` are made at the first
        access.
    """

    def __init__(self, requests: Sequence[Request] = ()) -> None:
        # None for a request that is packed, or has not been made.
        self._objects: list[Request | None] = []
        # Position among the packed requests, by row; -1 for others.
        self._places = array("i")
        self._unmade = requests if isinstance(requests, RequestRows) else None
        self._num_unmade = 0
        self._ended: list[Request] = []
        self._blocks: list[_Block] = []
        # Position of the first request of each block.
        self._starts: list[int] = []
        self._num_packed = 0
        # Packed since the last garbage collection.
        self._num_uncollected = 0
        # Labels, which many requests have in common, and the position of each in this list.
        self._labels: list[tuple[Any, ...]] = []
        self._label_numbers: dict[tuple[Any, ...], int] = {}
        # What few requests have, by row.
        self._rare: dict[int, tuple[Any, ...]] = {}
        self._segments: dict[int, tuple[tuple[int, int], ...]] = {}
        if self._unmade is not None:
            self._num_unmade = len(requests)
            self._objects = [None] * len(requests)
            self._places = array("i", [-1]) * len(requests)
        else:
            for request in requests:
                self.append(request)

    def append(self, request: Request) -> None:
        """Add a request."""
        request.row = len(self._objects)
        self._objects.append(request)
        self._places.append(-1)

    def end(self, request: Request) -> None:
        """Record that a request has ended, and does not change any more."""
        if request.row >= FIRST_PACKED:
            self._ended.append(request)
            if len(self._ended) >= BLOCK_REQUESTS:
                self._pack()

    def _pack(self) -> None:
        """Pack the requests that have ended."""
        requests = [request for request in self._ended if _has_one_leg(request)]
        self._ended.clear()
        try:
            self._add_block(requests)
        except OverflowError:  # beyond 64 bits: they remain objects
            return
        for request in requests:
            self._objects[request.row] = None
        self._num_uncollected += len(requests)
        # A request and its leg refer to each other, and have survived collections of young objects. In proportion to
        # the objects that are left, so that the cost a request does not grow with their number.
        num_objects = len(self._objects) - self._num_packed - self._num_unmade
        if self._num_uncollected >= max(COLLECT_EVERY, num_objects // 4) and gc.isenabled():
            self._num_uncollected = 0
            gc.collect()

    def _add_block(self, requests: list[Request]) -> None:
        length, num_before = len(requests), self._num_packed
        if not length:
            return
        legs = [request.leg or _REJECTED for request in requests]
        columns = {
            **_columns(_OF_REQUEST, map(_numbers_of_request, requests), length),
            **_columns(_OF_LEG, map(_numbers_of_leg, legs), length),
            "labels": np.array([self._label_number(own) for own in map(_labels_of, requests)]),
        }
        is_rejected = columns["replica"] == NEVER
        columns["finished_at"][is_rejected] = columns["rejected_at"][is_rejected]
        numbers = {name: _Numbers.of(values) for name, values in columns.items()}
        ids = [request.id for request in requests]
        id_ends = np.cumsum(np.fromiter(map(len, ids), np.int32, length))
        block = _Block(length, numbers, "".join(ids), id_ends)
        for request, rare in zip(requests, map(_rare_of, requests), strict=True):
            if rare != _WITHOUT_RARE:
                self._rare[request.row] = rare
        for leg in legs:
            if leg.segments:
                self._segments[leg.request.row] = leg.segments
        places = np.frombuffer(self._places, dtype=np.intc)
        places[block.column("row")] = np.arange(num_before, num_before + length)
        self._blocks.append(block)
        self._starts.append(num_before)
        self._num_packed += length

    def _label_number(self, labels: tuple[Any, ...]) -> int:
        number = self._label_numbers.setdefault(labels, len(self._labels))
        if number == len(self._labels):
            self._labels.append(labels)
        return number

    def __len__(self) -> int:
        return len(self._objects)

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        """Return a request, or a list of requests."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        request = self._objects[index]
        if request is not None:
            return request
        place = self._places[index]
        return self._unpacked(place) if place >= 0 else self.block([range(len(self))[index]])[0]

    def block(self, rows: Sequence[int]) -> list[Request]:
        """Return some requests; those that have not been made are made together, which is faster than one by one."""
        objects = self._objects
        missing = [row for row in rows if objects[row] is None and self._places[row] < 0]
        if missing:
            assert self._unmade is not None
            for row, request in zip(missing, self._unmade.make(np.array(missing)), strict=True):
                request.row = row
                objects[row] = request
            self._num_unmade -= len(missing)
        return [self[row] for row in rows]

    def _unpacked(self, place: int) -> Request:
        number = bisect_right(self._starts, place) - 1
        block, index = self._blocks[number], place - self._starts[number]
        values = {name: numbers[index] for name, numbers in block.numbers.items()}
        request = Request(block.id(index), values["arrived_at"], values["input_tokens"], values["output_tokens"])
        for name in _OF_REQUEST:
            setattr(request, name, values[name])
        labels = self._labels[values["labels"]]
        for name, value in zip((*_LABELS, *_RARE), (*labels, *self._rare.get(request.row, _WITHOUT_RARE)), strict=True):
            setattr(request, name, value)
        if values["replica"] != NEVER:
            request.leg = leg = Leg(request, values["replica"])
            for name in _OF_LEG:
                setattr(leg, name, values[name])
            leg.outcome, leg.length_capped = RequestOutcome(leg.outcome), bool(leg.length_capped)
            leg.segments = self._segments.get(request.row, ())
        return request

    def objects(self) -> Iterator[Request]:
        """Return the requests that have been made and are not packed, in order.

        All requests that are in flight or have several legs are among them.
        """
        for row in self._rows_without_place().tolist():
            request = self._objects[row]
            if request is not None:
                yield request

    def _rows_without_place(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.frombuffer(self._places, dtype=np.intc) < 0)

    def _unmade_rows(self) -> NDArray[np.int64]:
        rows = self._rows_without_place()
        is_unmade = (self._objects[row] is None for row in rows.tolist())
        return rows[np.fromiter(is_unmade, np.bool_, len(rows))]

    @property
    def num_open(self) -> int:
        """Number of requests that have not ended."""
        return self._num_unmade + len(self.waiting())

    def waiting(self) -> list[Request]:
        """Return the requests that have been made and have not ended."""
        return [request for request in self.objects() if request.outcome < RequestOutcome.COMPLETED]

    def column(self, name: str) -> NDArray[Any]:
        """Return an attribute of all requests.

        Parameters
        ----------
        name : str
            Attribute of `Request`: an integer, a flag, a label, the id or the outcome (as integer).

        Returns
        -------
        ndarray, shape (num_requests,)
            Of int64, bool or, for texts, object.

        Raises
        ------
        ScenarioError
            If an integer is beyond 64 bits.
        """
        is_text = name == "id" or (name in _LABELS and name not in _TYPES)
        dtype = object if is_text else _TYPES.get(name, np.int64)
        result = np.empty(len(self), dtype=dtype)
        labels = [own[_LABELS.index(name)] for own in self._labels] if name in _LABELS else []
        of_labels = np.array(labels, dtype=dtype)
        for block in self._blocks:
            rows = block.column("row")
            if name == "id":
                result[rows] = block.all_ids()
            elif name in _LABELS:
                result[rows] = of_labels[block.column("labels")]
            else:
                result[rows] = block.column(_SAME_WITH_ONE_LEG.get(name, name))
        objects = list(self.objects())
        try:
            values = np.array(list(map(attrgetter(name), objects)), dtype=dtype)
        except OverflowError:
            raise ScenarioError.at(name, "of a request is beyond 64 bits: its time is too long") from None
        result[[request.row for request in objects]] = values
        if self._num_unmade:
            assert self._unmade is not None
            rows = self._unmade_rows()
            if name in PARAMETERS:
                result[rows] = np.array(list(self._unmade.values(name, rows)), dtype=dtype)
            else:
                result[rows] = getattr(_NEW, name)
        return result

    def slo_targets(self) -> dict[int, SLOTargets]:
        """Return the targets of the requests that have some of their own, by row."""
        packed = ((row, rare[_RARE.index("slo_targets")]) for row, rare in self._rare.items())
        others = ((request.row, request.slo_targets) for request in self.objects())
        targets = {row: targets for row, targets in chain(packed, others) if targets is not None}
        return dict(sorted(targets.items(), key=itemgetter(0)))

    def __repr__(self) -> str:
        return f"<RequestLog of {len(self):,} requests>"


def _columns(names: Sequence[str], rows: Iterable[Iterable[int]], length: int) -> dict[str, NDArray[np.int64]]:
    """Return the columns of numbers that are given row by row."""
    table = np.fromiter(chain.from_iterable(rows), np.int64, length * len(names)).reshape(length, len(names))
    return dict(zip(names, table.T, strict=True))
