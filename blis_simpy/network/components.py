"""Components: groups of flows that are connected by common links, so that each may change the rates of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simpy.events import Event

    from blis_simpy.network.links import FlowGroup, Link

__all__ = ["Component", "Components"]


class Component:
    """Groups of flows whose rates are computed together.

    Attributes
    ----------
    groups : dict of FlowGroup
        Its groups, all with flows.
    num_left : int
        Number of groups that have left it since its groups were known to be connected.
    timer : simpy.Event or None
        Next end of a flow.
    ends_at : int, tick
        When the timer fires.
    """

    __slots__ = ("ends_at", "groups", "num_left", "timer")

    def __init__(self) -> None:
        self.groups: dict[FlowGroup, None] = {}
        self.num_left = 0
        self.timer: Event | None = None
        self.ends_at = -1

    def stop(self) -> None:
        """Let the scheduled end of a flow pass without effect."""
        if self.timer is not None:
            self.timer.callbacks = []
            self.timer = None


class Components:
    """The component of each group that has flows.

    Two parts that only a group without flows connected remain one component for a while: that changes no rate, and to
    search for the connected groups at each change would cost more than to compute their rates.
    """

    def __init__(self) -> None:
        self._of: dict[FlowGroup, Component] = {}

    def update(self, changed: Iterable[FlowGroup]) -> list[Component]:
        """Let groups that have their first flow join a component, and those without flows leave theirs.

        Returns
        -------
        list of Component
            The components whose rates change, all with groups.
        """
        found: dict[Component, None] = {}
        joining = []
        for group in changed:
            component = self._of.get(group)
            if component is not None:
                found[component] = None
                if not group.num_flows:
                    self._leave(group, component)
            elif group.num_flows:
                joining.append(group)
        for group in joining:
            neighbours = dict.fromkeys(filter(None, map(self._component_on, group.links)))
            component = max(neighbours, key=lambda each: len(each.groups), default=None) or Component()
            for other in neighbours:
                if other is not component:
                    found.pop(other, None)
                    self._merge(component, other)
            component.groups[group] = None
            self._of[group] = component
            found[component] = None
        return [part for component in found for part in self._parts(component)]

    def _leave(self, group: FlowGroup, component: Component) -> None:
        del self._of[group], component.groups[group]
        component.num_left += 1
        if not component.groups:
            component.stop()

    def _component_on(self, link: Link) -> Component | None:
        """Return the component of the groups over a link; None if none has joined one."""
        return next((self._of[group] for group in link.groups if group in self._of), None)

    def _merge(self, component: Component, other: Component) -> None:
        other.stop()
        component.num_left += other.num_left
        component.groups.update(other.groups)
        self._of.update(dict.fromkeys(other.groups, component))

    def _parts(self, component: Component) -> list[Component]:
        """Return a component; several, if many groups have left it and the others are no longer connected."""
        if component.num_left <= len(component.groups):
            return [component] if component.groups else []
        component.num_left = 0
        parts, left = [], dict(component.groups)
        while left:
            connected = _connected(next(iter(left)))
            if len(connected) == len(component.groups):
                return [component]
            part = Component()
            part.groups = connected
            self._of.update(dict.fromkeys(connected, part))
            parts.append(part)
            for group in connected:
                del left[group]
        component.stop()
        return parts


def _connected(start: FlowGroup) -> dict[FlowGroup, None]:
    """Return the groups that are connected with a group by common links, and the group itself."""
    connected: dict[FlowGroup, None] = {start: None}
    to_visit = [start]
    seen: set[Link] = set()
    while to_visit:
        for link in to_visit.pop().links:
            if link not in seen:
                seen.add(link)
                found = [group for group in link.groups if group not in connected]
                connected.update(dict.fromkeys(found))
                to_visit += found
    return connected
