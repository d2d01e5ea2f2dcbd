"""A look at traffic before anything serves it: how it comes over time, how long it is, and who sends it.

All figures are those of one generated sample. Of conversations whose rounds wait for answers only the first rounds are
in it, as the others come about in the simulation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.rendering import Plots, Rendered
from blis_simpy.units import SECOND, format_ticks
from blis_simpy.workload.generate import generate
from blis_simpy.workload.presets import with_preset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blis_simpy.core.request import Request
    from blis_simpy.workload.settings import Workload
    from blis_simpy.workload.spec.workload_spec import WorkloadSpec

__all__ = ["ClientShare", "Preview", "preview_specification", "preview_workload"]

_MEDIAN_TO_LONGEST = (50, 99, 100)
_NAMED_CLIENTS = 8


@attrs.frozen
class ClientShare:
    """What one client, or all members of a cohort together, contribute.

    Attributes
    ----------
    client : str
        Its id; of a cohort, the cohort's.
    num_requests : int
        Requests in the sample.
    share : float
        The same as a fraction of all requests, 0 to 1.
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
        Lengths of prompts, prefix included, and of outputs.
    clients : list of str
        Who sends each request; members of a cohort go by its id.
    num_sessions : int
        Conversations that go on in the simulation.
    max_further_rounds : int
        Requests that these can add, if none of them breaks off.
    """

    arrived_at: NDArray[np.int64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    clients: list[str]
    num_sessions: int = 0
    max_further_rounds: int = 0

    @property
    def num_requests(self) -> int:
        """Requests in the sample."""
        return len(self.arrived_at)

    @property
    def duration_us(self) -> int:
        """Time from tick 0 to the last arrival."""
        return int(self.arrived_at[-1]) if self.num_requests else 0

    def rate_over_time(self, bins: int = 20) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the requests per second in equal parts of the time up to the last arrival.

        Parameters
        ----------
        bins : int
            How many parts, >= 1.

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
            Which length.
        bins : int
            At most how many parts, >= 1; each covers as many token counts as the others.

        Returns
        -------
        edges : ndarray of int64, shape (num_parts + 1,), tokens
            Part j holds the lengths from edge j to just below edge j + 1.
        counts : ndarray of int64, shape (num_parts,)
        """
        lengths = getattr(self, of)
        shortest, longest = (int(lengths.min()), int(lengths.max())) if self.num_requests else (0, 0)
        width = -(-(longest - shortest + 1) // bins)
        num_parts = (longest - shortest) // width + 1
        edges = shortest + width * np.arange(num_parts + 1, dtype=np.int64)
        return edges, np.bincount((lengths - shortest) // width, minlength=num_parts).astype(np.int64)

    def client_shares(self) -> list[ClientShare]:
        """Who sends how much, the largest share first."""
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
        """Say the main figures in a few lines."""
        if not self.num_requests:
            return "Preview of 0 requests"
        rate = self.num_requests / max(self.duration_us, 1) * SECOND
        lines = [
            f"Preview of {self.num_requests:,} requests in {format_ticks(self.duration_us)}: {rate:,.2f} requests/s"
        ]
        for name, lengths in (("input", self.input_tokens), ("output", self.output_tokens)):
            median, high, longest = np.percentile(lengths, _MEDIAN_TO_LONGEST)
            shown = f"mean {lengths.mean():,.1f}, median {median:,.0f}, p99 {high:,.0f}, max {longest:,.0f}"
            lines.append(f"  {name} tokens: {shown}")
        if self.num_sessions:
            lines.append(f"  {self.num_sessions:,} sessions with up to {self.max_further_rounds:,} further rounds")
        shares = self.client_shares()
        lines.append(
            "  "
            + ", ".join(f"{share.client or '(no id)'} {share.share:.1%}" for share in shares[:_NAMED_CLIENTS])
            + (f" and {len(shares) - _NAMED_CLIENTS:,} others" if len(shares) > _NAMED_CLIENTS else "")
        )
        return "\n".join(lines)


def preview_specification(spec: WorkloadSpec, seed: int, horizon: int | None) -> Preview:
    """Take a sample of a specification; see `WorkloadSpec.preview`."""
    spec = spec.expanded()
    generated = spec.generate(RandomStreams(seed), horizon)
    cohorts = {source.id: cohort.id for cohort in spec.cohorts for source in cohort.members()}
    rounds = [session.max_rounds - 1 for session in generated.sessions]
    return _preview(generated.requests, cohorts, len(rounds), sum(rounds))


def preview_workload(workload: Workload, seed: int, horizon: int | None, defaults: str | None) -> Preview:
    """Take a sample of a workload; see `Workload.preview`."""
    return _preview(generate(with_preset(workload, defaults), RandomStreams(seed), horizon), {}, 0, 0)


def _preview(requests: list[Request], cohorts: Mapping[str, str], num_sessions: int, further_rounds: int) -> Preview:
    return Preview(
        arrived_at=_column(request.arrived_at for request in requests),
        input_tokens=_column(request.input_tokens for request in requests),
        output_tokens=_column(request.output_tokens for request in requests),
        clients=[cohorts.get(request.client, request.client) for request in requests],
        num_sessions=num_sessions,
        max_further_rounds=further_rounds,
    )


def _column(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)
