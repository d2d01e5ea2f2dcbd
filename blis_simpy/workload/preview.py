"""Preview of a workload: rate over time, lengths, and shares of the clients.

All numbers are those of one generated sample. Of closed-loop sessions and users, it contains only the first requests,
because later ones are made in the simulation. Of sessions of calls, it contains all calls, at the start of their
session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.core.session_prompts import SessionPrompts
from blis_simpy.units import SECOND, format_ticks
from blis_simpy.workload.user_processes import UserRequests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.generator import GeneratedWorkload
    from blis_simpy.workload.session_pool import SessionPool
    from blis_simpy.workload.spec.user_profile import UserProfile

__all__ = ["ClientShare", "Preview", "preview_of", "preview_of_sessions", "preview_of_users"]

_MEDIAN_TO_LONGEST = (50, 99, 100)
_NAMED_CLIENTS = 8


@attrs.frozen
class ClientShare:
    """Contribution of one client, or of all members of a cohort.

    Attributes
    ----------
    client : str
        Id of the client or the cohort.
    num_requests : int
        Requests in the sample.
    share : float
        Fraction of all requests, 0 to 1.
    mean_input_tokens, mean_output_tokens : float
        Mean lengths of its requests.
    """

    client: str
    num_requests: int
    share: float
    mean_input_tokens: float
    mean_output_tokens: float


@attrs.frozen(eq=False, repr=False)
class Preview(Rendered):
    """One sample of a workload.

    Attributes
    ----------
    arrived_at : ndarray of int64, shape (num_requests,), ticks
        Arrivals in order.
    input_tokens, output_tokens : ndarray of int64, shape (num_requests,)
        Lengths of prompts, including the prefix, and of outputs.
    clients : list of str
        Id of the client of each request; for members of a cohort, the id of the cohort.
    num_sessions : int
        Closed-loop sessions, which continue in the simulation.
    max_further_rounds : int
        Requests that the sessions add if all their rounds complete.
    num_users : int
        Closed-loop users, which send further requests in the simulation.
    num_pooled_sessions : int
        Sessions of calls, whose arrivals depend on the simulation.
    """

    arrived_at: NDArray[np.int64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    clients: list[str]
    num_sessions: int = 0
    max_further_rounds: int = 0
    num_users: int = 0
    num_pooled_sessions: int = 0

    @property
    def num_requests(self) -> int:
        """Requests in the sample."""
        return len(self.arrived_at)

    @property
    def duration_us(self) -> int:
        """Time from tick 0 to the last arrival."""
        return int(self.arrived_at[-1]) if self.num_requests else 0

    def rate_over_time(self, bins: int = 20) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the requests per second in intervals of equal length up to the last arrival.

        Parameters
        ----------
        bins : int
            Number of intervals, >= 1.

        Returns
        -------
        edges : ndarray of float64, shape (bins + 1,), ticks
        rates : ndarray of float64, shape (bins,), 1/s
        """
        counts, edges = np.histogram(self.arrived_at, bins=bins, range=(0, max(self.duration_us, 1)))
        return edges, counts / (np.diff(edges) / SECOND)

    def histogram(
        self, of: Literal["input_tokens", "output_tokens"], bins: int = 10
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count the requests by length.

        Parameters
        ----------
        of : {"input_tokens", "output_tokens"}
            The lengths to count.
        bins : int
            Largest number of bins, >= 1. All bins have the same width, a whole number of tokens.

        Returns
        -------
        edges : ndarray of int64, shape (num_bins + 1,), tokens
            Bin j holds the lengths from edge j to just below edge j + 1.
        counts : ndarray of int64, shape (num_bins,)
        """
        lengths = getattr(self, of)
        shortest, longest = (int(lengths.min()), int(lengths.max())) if self.num_requests else (0, 0)
        width = -(-(longest - shortest + 1) // bins)
        num_bins = (longest - shortest) // width + 1
        edges = shortest + width * np.arange(num_bins + 1, dtype=np.int64)
        return edges, np.bincount((lengths - shortest) // width, minlength=num_bins).astype(np.int64)

    def client_shares(self) -> list[ClientShare]:
        """Share of each client, the largest first."""
        names, owners, counts = np.unique(np.array(self.clients), return_inverse=True, return_counts=True)
        inputs, outputs = (
            np.bincount(owners, weights=lengths, minlength=len(names)) / counts
            for lengths in (self.input_tokens, self.output_tokens)
        )
        shares = [
            ClientShare(str(name), count, count / self.num_requests, prompt, output)
            for name, count, prompt, output in zip(
                names, counts.tolist(), inputs.tolist(), outputs.tolist(), strict=True
            )
        ]
        return sorted(shares, key=lambda share: -share.num_requests)

    @property
    def plot(self) -> Plots:
        """Draws rate, lengths and shares of clients side by side: ``preview.plot()``."""
        return Plots(self, "preview.", default="traffic")

    def __repr__(self) -> str:
        """Show the main numbers in a few lines."""
        if not self.num_requests:
            return "Preview of 0 requests"
        if self.num_users:
            return "\n".join([f"Preview of the first requests of up to {self.num_users:,} users", *self._lengths()])
        if self.num_pooled_sessions:
            first = f"Preview of {self.num_requests:,} calls of {self.num_pooled_sessions:,} sessions"
            return "\n".join([first, *self._lengths()])
        lines = [f"Preview of {self.num_requests:,} requests in {format_ticks(self.duration_us)}"]
        if self.duration_us:
            lines[0] += f": {self.num_requests / self.duration_us * SECOND:,.2f} requests/s"
        lines += self._lengths()
        if self.num_sessions:
            lines.append(f"  {self.num_sessions:,} sessions with up to {self.max_further_rounds:,} further rounds")
        shares = self.client_shares()
        lines.append(
            "  "
            + ", ".join(f"{share.client or '(no id)'} {share.share:.1%}" for share in shares[:_NAMED_CLIENTS])
            + (f" and {len(shares) - _NAMED_CLIENTS:,} others" if len(shares) > _NAMED_CLIENTS else "")
        )
        return "\n".join(lines)

    def _lengths(self) -> list[str]:
        lines = []
        for name, lengths in (("input", self.input_tokens), ("output", self.output_tokens)):
            median, high, longest = np.percentile(lengths, _MEDIAN_TO_LONGEST)
            shown = f"mean {lengths.mean():,.1f}, median {median:,.0f}, p99 {high:,.0f}, max {longest:,.0f}"
            lines.append(f"  {name} tokens: {shown}")
        return lines


def preview_of(workload: GeneratedWorkload) -> Preview:
    """Summarize generated requests; see `Traffic.preview`."""
    requests = list(workload.requests)
    clients = [""] * len(requests)
    for client in workload.clients:
        for rank in client.ranks:
            clients[rank] = client.client
    return Preview(
        arrived_at=_column(request.arrived_at for request in requests),
        input_tokens=_column(request.input_tokens for request in requests),
        output_tokens=_column(request.output_tokens for request in requests),
        clients=clients,
        num_sessions=len(workload.sessions),
        max_further_rounds=sum(session.max_rounds - 1 for session in workload.sessions),
    )


def preview_of_users(workload: UserProfile, streams: RandomStreams) -> Preview:
    """Summarize the first requests of closed-loop users; see `UserWorkload.preview`."""
    stage = workload.all_stages[0]
    starts = [number * stage.ramp // stage.users for number in range(stage.users)]
    requests = [UserRequests(workload, number, streams).next(start) for number, start in enumerate(starts)]
    return Preview(
        arrived_at=_column(starts),
        input_tokens=_column(request.input_tokens for request in requests),
        output_tokens=_column(request.output_tokens for request in requests),
        clients=[request.client for request in requests],
        num_users=workload.max_users,
    )


def preview_of_sessions(pool: SessionPool) -> Preview:
    """Summarize the calls of a pool as they are recorded or drawn; see `SessionWorkload.preview`."""
    prompts: list[int] = []
    outputs: list[int] = []
    for session in pool.sessions:
        calls = session.graph.calls
        made = SessionPrompts(session.graph, session.name, accumulates=pool.replay == "fixed-accumulate")
        planned = {position: call.output_tokens for position, call in enumerate(calls)}
        prompts += (sum(span.tokens for span in made.prompt(position, planned)) for position in planned)
        outputs += planned.values()
    return Preview(
        arrived_at=_column(session.at for session in pool.sessions for _ in session.graph.calls),
        input_tokens=_column(prompts),
        output_tokens=_column(outputs),
        clients=[call.client for session in pool.sessions for call in session.graph.calls],
        num_pooled_sessions=len(pool.sessions),
    )


def _column(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)
