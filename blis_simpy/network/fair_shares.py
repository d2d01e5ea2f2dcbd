"""Max-min fair shares of the bandwidth of links."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from blis_simpy.network.links import FlowGroup, Link

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["fair_rates"]


def fair_rates(groups: Sequence[FlowGroup]) -> tuple[dict[FlowGroup, int], list[tuple[Link, int]]]:
    """Compute the rates of all flows of some groups by progressive filling.

    All rates grow together. When a link is full, its flows keep their rates, and the others go on. A rate can thus only
    be raised at the expense of one that is lower or equal (max-min fairness; Bertsekas and Gallager, *Data Networks*,
    section 6.5.2). Rates are rounded down, so that no link carries more than its capacity.

    Parameters
    ----------
    groups : sequence of FlowGroup
        Groups with flows, and all others with flows over any of their links.

    Returns
    -------
    rates : dict of FlowGroup to int
        Rate of each flow of each group.
    loads : list of (Link, int)
        Links of the groups, with the rate of all their flows together.
    """
    rates: dict[FlowGroup, int] = {}
    links: list[Link] = []
    # Rates at which a link is full or a group at its limit. That of a link only grows while rates are set, so that an
    # old entry is corrected when it is taken.
    bounds: list[tuple[int, int, Link | FlowGroup]] = []
    for group in groups:
        if group.limit is not None:
            bounds.append((group.limit, -len(bounds), group))
        for link in group.links:
            if not link.num_growing:
                links.append(link)
                link.left = link.capacity
            link.num_growing += group.num_flows
    bounds += [(link.left // link.num_growing, number, link) for number, link in enumerate(links, start=1)]
    heapify(bounds)
    while len(rates) < len(groups):
        rate, number, bound = heappop(bounds)
        if isinstance(bound, FlowGroup):
            full = [] if bound in rates else [bound]
        elif not bound.num_growing:
            continue
        elif (present := bound.left // bound.num_growing) > rate:
            heappush(bounds, (present, number, bound))
            continue
        else:
            full = [group for group in bound.groups if group not in rates]
        for group in full:
            rates[group] = rate
            num_flows = group.num_flows
            for link in group.links:
                link.left -= rate * num_flows
                link.num_growing -= num_flows
    return rates, [(link, link.capacity - link.left) for link in links]
