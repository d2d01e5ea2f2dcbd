"""Requests as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.request import NEVER, Outcome, Request

__all__ = ["RequestTable"]

_INTEGERS = {
    "arrived_at_us": "arrived_at",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "deadline_us": "deadline",
    "scheduled_at_us": "scheduled_at",
    "ttft_us": "ttft",
    "e2e_us": "e2e",
    "itl_sum_us": "itl_sum",
    "itl_count": "itl_count",
    "itl_first_step": "itl_first_step",
    "generated_tokens": "generated_tokens",
    "num_preemptions": "num_preemptions",
    "finished_at_us": "finished_at",
    "replica": "replica",
    "round_index": "round_index",
}
_TEXTS = ("id", "slo_class", "tenant", "model", "client", "session", "prefix_group")


class RequestTable(Mapping[str, NDArray[Any]]):
    """One row a request, one array a column; a column is made when it is first asked for.

    Times are µs; -1 stands for what has not come about. Columns: ``id``, ``outcome`` (its name), ``arrived_at_us``,
    ``input_tokens``, ``output_tokens`` (planned), ``deadline_us`` (0 = none), ``scheduled_at_us``,
    ``scheduling_delay_us`` (arrival to the last time it joined a batch), ``ttft_us``, ``e2e_us``, ``itl_mean_us`` (0
    without gaps), ``itl_sum_us``, ``itl_count``, ``itl_first_step``, ``generated_tokens``, ``num_preemptions``,
    ``finished_at_us``, ``replica``, ``length_capped``, ``streaming``, ``round_index``, and the labels ``slo_class``,
    ``tenant``, ``model``, ``client``, ``session``, ``prefix_group``.

    Parameters
    ----------
    requests : sequence of Request
        The rows, in the order of the table.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._columns: dict[str, NDArray[Any]] = {}

    @property
    def num_rows(self) -> int:
        """Number of requests."""
        return len(self._requests)

    def __iter__(self) -> Iterator[str]:
        yield "id"
        yield "outcome"
        yield from _INTEGERS
        yield from ("scheduling_delay_us", "itl_mean_us", "length_capped", "streaming")
        yield from _TEXTS[1:]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            self._columns[name] = self._make(name)
        return self._columns[name]

    def _make(self, name: str) -> NDArray[Any]:
        requests = self._requests
        if name in _INTEGERS:
            field = _INTEGERS[name]
            return np.fromiter((getattr(request, field) for request in requests), np.int64, len(requests))
        if name in _TEXTS:
            return np.array([getattr(request, name) for request in requests], dtype=object)
        if name == "outcome":
            return np.array([Outcome(request.outcome).name.lower() for request in requests], dtype=object)
        if name in ("length_capped", "streaming"):
            return np.array([getattr(request, name) for request in requests], dtype=bool)
        if name == "scheduling_delay_us":
            scheduled = self["scheduled_at_us"]
            return np.where(scheduled == NEVER, NEVER, scheduled - self["arrived_at_us"])
        if name == "itl_mean_us":
            return np.asarray(self["itl_sum_us"] / np.maximum(self["itl_count"], 1))
        raise KeyError(name)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries of plain Python values."""
        columns = {name: self[name].tolist() for name in self}
        for index in range(self.num_rows):
            yield {name: values[index] for name, values in columns.items()}

    def __repr__(self) -> str:
        return f"<RequestTable of {self.num_rows} requests: {', '.join(self)}>"
