"""Max-min fair shares of the bandwidth of links."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from blis_simpy.network.links import FlowGroup, Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["set_fair_rates"]


def set_fair_rates(groups: Iterable[FlowGroup]) -> None:
    """Set the rates of all flows of some groups by progressive filling.

    All rates grow together. When a link is full, its flows keep their rates, and the others go on. A rate can thus only
    be raised at the expense of one that is lower or equal (max-min fairness; Bertsekas and Gallager, *Data Networks*,
    section 6.5.2). Rates are rounded down, so that no link carries more than its capacity.

    Parameters
    ----------
    groups : iterable of FlowGroup
        Groups with flows, and all others with flows over any of their links.
    """
    # Capacity that is left, and number of flows whose rate is not set, by link.
    left: dict[Link, int] = {}
    growing: dict[Link, int] = {}
    # Rates at which a link is full or a group at its limit. That of a link only grows while rates are set, so that an
    # old entry is corrected when it is taken.
    bounds: list[tuple[int, int, Link | FlowGroup]] = []
    is_set: set[FlowGroup] = set()
    for group in groups:
        group.rate = 0
        if group.limit is not None:
            bounds.append((group.limit, len(bounds), group))
        for link in group.links:
            if link not in left:
                assert link.capacity is not None
                left[link] = link.capacity
                growing[link] = 0
            growing[link] += group.num_flows
    for link, capacity in left.items():
        bounds.append((capacity // growing[link], len(bounds), link))
    heapify(bounds)
    while bounds:
        rate, number, bound = heappop(bounds)
        full: Sequence[FlowGroup]
        if isinstance(bound, FlowGroup):
            full = [] if bound in is_set else [bound]
        elif not growing[bound]:
            continue
        elif (present := left[bound] // growing[bound]) > rate:
            heappush(bounds, (present, number, bound))
            continue
        else:
            full = [group for group in bound.groups if group not in is_set]
        for group in full:
            group.rate = rate
            is_set.add(group)
            for link in group.links:
                left[link] -= rate * group.num_flows
                growing[link] -= group.num_flows
