"""What a network leaves behind: transfers, and the load of the links over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from blis_simpy.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from blis_simpy.network.links import Link
    from blis_simpy.network.network import Network

__all__ = ["NetworkRecord", "TransferTable"]


class TransferTable(Table):
    """A row per flow, see `NetworkRecord.transfers`."""

    _NEVER: ClassVar[frozenset[str]] = frozenset({"ended_at_us"})


@attrs.frozen(eq=False)
class NetworkRecord:
    """Transfers and links of a run.

    Attributes
    ----------
    transfers : TransferTable
        A row per flow, in the order in which they were sent: ``source``, ``destination``, ``kind``, ``request`` (id;
        may be empty), ``bytes``, ``bytes_left`` (more than 0 if it was cancelled or is in flight), ``started_at_us``,
        ``ended_at_us`` (missing while it is in flight) and ``state``.
    links : Table
        A row per link, in the order of first use: ``link``, ``bandwidth`` (bytes/s), ``bytes`` (of flows that are
        over), ``busy_us`` (time with flows), ``mean_load`` from tick 0 to the end of the run and ``peak_load``. A load
        is a fraction of the bandwidth; that of an infinite one is 0.
    loads : Table
        Each change of the load of a link, link by link: ``link``, ``at_us``, and ``load`` from then on.
    """

    transfers: TransferTable
    links: Table
    loads: Table

    @classmethod
    def of(cls, network: Network, end: int) -> NetworkRecord:
        """Return the record of a network up to a tick."""
        flows, links = network.flows, list(network.links.values())
        changes = [(link, *change) for link in links for change in link.load_changes]
        uses = [_use(link, end) for link in links]
        transfers = {
            "source": _column((flow.source for flow in flows), object),
            "destination": _column((flow.destination for flow in flows), object),
            "kind": _column((flow.kind for flow in flows), object),
            "request": _column((flow.request for flow in flows), object),
            "bytes": _column((flow.num_bytes for flow in flows), np.int64),
            "bytes_left": _column((flow.bytes_left for flow in flows), np.int64),
            "started_at_us": _column((flow.started_at for flow in flows), np.int64),
            "ended_at_us": _column((flow.ended_at for flow in flows), np.int64),
            "state": _column((str(flow.state) for flow in flows), object),
        }
        used = {
            "link": _column((link.name for link in links), object),
            "bandwidth": _column((link.bandwidth for link in links), np.float64),
            "bytes": _column((link.bytes_carried for link in links), np.int64),
            "busy_us": _column((busy for busy, _, _ in uses), np.int64),
            "mean_load": _column((mean for _, mean, _ in uses), np.float64),
            "peak_load": _column((peak for _, _, peak in uses), np.float64),
        }
        loads = {
            "link": _column((link.name for link, _, _ in changes), object),
            "at_us": _column((at for _, at, _ in changes), np.int64),
            "load": _column((load / link.bandwidth for link, _, load in changes), np.float64),
        }
        return cls(TransferTable.of(transfers), Table.of(used), Table.of(loads))


def _column(values: Iterable[Any], dtype: type) -> NDArray[Any]:
    return np.array(list(values), dtype=dtype)


def _use(link: Link, end: int) -> tuple[int, float, float]:
    """Return the time with flows up to a tick, and the mean and the largest load as fractions of the bandwidth."""
    busy, load_time, peak = 0, 0.0, 0.0
    ends = [at for at, _ in link.load_changes[1:]] + [end]
    for (at, load), until in zip(link.load_changes, ends, strict=False):
        duration = max(min(until, end) - at, 0)
        busy += duration if load else 0
        load_time += load / link.bandwidth * duration
        peak = max(peak, load / link.bandwidth)
    return busy, load_time / end if end > 0 else 0.0, peak
