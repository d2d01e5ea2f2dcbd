"""Policies that tests send to other processes; a module of its own, as a user would have."""


class Always:
    """Send all requests to one replica."""

    def __init__(self, replica: int = 0) -> None:
        self.replica = replica

    def route(self, request, state):
        return self.replica


def noted(simulation):
    """Wait for a while, as a process."""
    yield simulation.env.timeout(10)


class Forgetful:
    """Send all to the first replica, but the very first one it ever sees to the second."""

    def __init__(self) -> None:
        self.seen = 0

    def route(self, request, state):
        self.seen += 1
        return int(self.seen == 1)


def share_of_first(result) -> float:
    """Share of the requests that the first replica served."""
    return float((result.requests["replica"] == 0).mean())


class NoPolicy:
    """Lacks what a routing policy has."""
