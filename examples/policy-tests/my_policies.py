"""A router that keeps each tenant on one replica, as long as that one is not much busier than the others."""


class StickyTenant:
    """Where a tenant's system prompt is cached already; elsewhere once too many requests are under way there.

    Parameters
    ----------
    slack : int
        How many more requests than at the idlest replica may be under way before a tenant moves.
    """

    def __init__(self, slack=4):
        self.slack = slack

    def start(self, context):
        """Forget the run before."""
        self.home = {}

    def route(self, request, state):
        """Choose a replica for a request."""
        busy = {snapshot.replica: snapshot.in_flight for snapshot in state.snapshots}
        idlest = min(busy, key=busy.get)
        home = self.home.get(request.tenant, idlest)
        if busy.get(home, float("inf")) > busy[idlest] + self.slack:
            home = idlest
        self.home[request.tenant] = home
        return home
