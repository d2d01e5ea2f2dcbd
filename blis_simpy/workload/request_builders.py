"""What the requests of one client look like: single ones, multimodal ones, rounds of sessions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import attrs
import numpy as np

from blis_simpy.errors import ScenarioError
from blis_simpy.workload.arrival_times import Rounds
from blis_simpy.workload.length_sampler import SampledLengths
from blis_simpy.workload.spec.sessions import SessionBlueprint, input_stream, output_stream, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.core.request import Request
    from blis_simpy.core.token_spans import TokenSpans
    from blis_simpy.workload.arrival_times import ActiveTimes, ArrivalTimes, SingleArrival
    from blis_simpy.workload.spec.client import MultiTurn, Source
    from blis_simpy.workload.spec.length_distribution import LengthDistribution

__all__ = [
    "Labels",
    "MultimodalRequestBuilder",
    "RequestBuilder",
    "RequestDetails",
    "SessionBuilder",
    "SingleRequestBuilder",
]

_MODALITIES = ("image", "audio", "video")
_MOST_ITEMS = 10**8


class Labels(NamedTuple):
    """How a client is told apart.

    Attributes
    ----------
    stream : str
        Name in its random streams and sessions, unique among the clients.
    prefix : TokenSpans or None
        Shared beginning of its prompts.
    """

    stream: str
    prefix: TokenSpans | None

    @property
    def prefix_tokens(self) -> int:
        """Length of the prefix."""
        return sum(span.tokens for span in self.prefix or ())


@attrs.frozen
class RequestDetails:
    """Labels of a request that no replica looks at.

    Attributes
    ----------
    text_tokens, image_tokens, audio_tokens, video_tokens : int, tokens
        Parts of a multimodal prompt, without the prefix.
    reason_ratio : float
        Share of the output that is reasoning, 0 to 1.
    """

    text_tokens: int = 0
    image_tokens: int = 0
    audio_tokens: int = 0
    video_tokens: int = 0
    reason_ratio: float = 0.0


class RequestBuilder(ABC):
    """A client at work.

    Attributes
    ----------
    source : Source
        The client and its name.
    labels : Labels
        Its stream name and prefix.
    schedule : ArrivalTimes or Rounds
        When its requests arrive.
    """

    schedule: ArrivalTimes | Rounds

    def __init__(self, source: Source, labels: Labels, streams: RandomStreams) -> None:
        self.source = source
        self.labels = labels
        self._streams = streams

    @abstractmethod
    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prompt and output lengths of its requests with the given numbers, each of shape (len(numbers),), tokens."""

    @abstractmethod
    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Add what only this kind of request has; return the sessions that go on in the simulation."""

    def _draws(self, purpose: str, distribution: LengthDistribution) -> SampledLengths:
        return SampledLengths(distribution.law(), self._streams.generator(f"workload/{self.labels.stream}/{purpose}"))


class SingleRequestBuilder(RequestBuilder):
    """Requests that have nothing to do with each other."""

    def __init__(self, source: Source, labels: Labels, streams: RandomStreams, arrivals: ArrivalTimes) -> None:
        super().__init__(source, labels, streams)
        self.schedule = arrivals

    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw them; the earliest requests of a client are its first ones."""
        prompts = self._draws("prompt", self.source.client.input_distribution).first(len(numbers))
        outputs = self._draws("output", self.source.client.output_distribution).first(len(numbers))
        return prompts + self.labels.prefix_tokens, outputs

    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Nothing to add."""
        return []


class MultimodalRequestBuilder(RequestBuilder):
    """Single requests of text, images, audio and video."""

    def __init__(self, source: Source, labels: Labels, streams: RandomStreams, arrivals: ArrivalTimes) -> None:
        super().__init__(source, labels, streams)
        self.schedule = arrivals
        self._parts: list[NDArray[np.int64]] = []

    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw them; a prompt without any part has one token."""
        n = len(numbers)
        media = self.source.client.multimodal
        assert media is not None
        text = media.text_distribution
        self._parts = [self._draws("text", text).first(n) if text else np.zeros(n, dtype=np.int64)]
        for name in _MODALITIES:
            counts, items = (getattr(media, f"{name}{part}_distribution") for part in ("_count", ""))
            self._parts.append(self._totals(name, counts, items, n))
        prompts = np.maximum(sum(self._parts), 1)
        outputs = self._draws("output", self.source.client.output_distribution).first(n)
        return prompts + self.labels.prefix_tokens, outputs

    def _totals(self, name: str, counts: LengthDistribution, items: LengthDistribution, n: int) -> NDArray[np.int64]:
        """Tokens of one modality for each request, shape (n,)."""
        if not (counts and items):
            return np.zeros(n, dtype=np.int64)
        drawn = self._draws(f"{name}-count", counts).first(n)
        if drawn.sum(dtype=np.float64) > _MOST_ITEMS:
            raise ScenarioError.at(f"{name}_count_distribution", f"must not give more than {_MOST_ITEMS} items in all")
        ends = np.cumsum(drawn)
        cumulated = np.concatenate(([0], np.cumsum(self._draws(name, items).first(int(ends[-1])))))
        totals: NDArray[np.int64] = cumulated[ends] - cumulated[ends - drawn]
        return totals

    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Note the parts of each prompt."""
        for request, *parts in zip(requests, *(part.tolist() for part in self._parts), strict=True):
            details[request.id] = RequestDetails(*parts)
        return []


class SessionBuilder(RequestBuilder):
    """Rounds of conversations.

    Attributes
    ----------
    max_rounds : int
        Rounds of a session.
    waits : bool
        Whether a round waits for the end of the one before.
    """

    def __init__(
        self,
        source: Source,
        labels: Labels,
        streams: RandomStreams,
        starts: ArrivalTimes | SingleArrival,
        turns: MultiTurn,
        active: ActiveTimes | None,
        limit: int,
    ) -> None:
        super().__init__(source, labels, streams)
        self._turns = turns
        self._horizon = limit
        self.max_rounds = turns.max_rounds
        self.waits = source.client.is_closed_loop
        self._prompts = self._draws("prompt", source.client.input_distribution)
        self._outputs = self._draws("output", source.client.output_distribution)
        self.schedule = Rounds(starts, self._outputs, turns.max_rounds, turns.think_time_us, active, limit)

    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw those of all rounds up to the last one asked for."""
        size = self._size(numbers)
        prompts, outputs = self._prompts.first(size), self._outputs.first(size)
        if self._turns.accumulates:
            said = np.cumsum((prompts + outputs).reshape(-1, self.max_rounds), axis=1).ravel()
            prompts = said - outputs
        return prompts[numbers] + self.labels.prefix_tokens, outputs[numbers]

    def _size(self, numbers: NDArray[np.int64]) -> int:
        return (int(numbers.max()) // self.max_rounds + 1) * self.max_rounds

    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Say which session each round belongs to and, where prompts repeat what was said, what they are made of."""
        reasoning = self.source.client.reasoning
        ratios = None
        if reasoning is not None and reasoning.reason_ratio_distribution:
            ratios = self._draws("reason-ratio", reasoning.reason_ratio_distribution).first(self._size(numbers))
        for request, number in zip(requests, numbers.tolist(), strict=True):
            session, request.round_index = divmod(number, self.max_rounds)
            request.session = f"{self.labels.stream}-{session}"
            request.streaming = False
            request.prefix_group = ""
            if ratios is not None and ratios[number]:
                details[request.id] = RequestDetails(reason_ratio=min(int(ratios[number]) / 100, 1.0))
        if self._turns.accumulates:
            self._accumulate(requests, numbers)
        return [self._blueprint(request) for request in requests] if self.waits else []

    def _accumulate(self, requests: list[Request], numbers: NDArray[np.int64]) -> None:
        size = self._size(numbers)
        prompts, outputs = self._prompts.first(size).tolist(), self._outputs.first(size).tolist()
        prefix = self.labels.prefix or ()
        session, said, context = "", 0, prefix
        for place in np.argsort(numbers, kind="stable").tolist():
            request, first = requests[place], int(numbers[place]) - requests[place].round_index
            if request.session != session:
                session, said, context = request.session, 0, prefix
            for earlier in range(said, request.round_index):
                asked = (input_stream(session, earlier), prompts[first + earlier])
                context = (*context, *spans(asked, (output_stream(session, earlier), outputs[first + earlier])))
            said = request.round_index
            request.content = (*context, *spans((input_stream(session, said), prompts[first + said]))) or None
            if said < self.max_rounds - 1:
                request.output_stream = output_stream(session, said)

    def _blueprint(self, request: Request) -> SessionBlueprint:
        client = self.source.client
        return SessionBlueprint(
            client=request.client,
            session=request.session,
            tenant=client.tenant_id,
            slo_class=client.slo_class,
            model=client.model,
            max_rounds=self.max_rounds,
            think_time_us=self._turns.think_time_us,
            accumulates=self._turns.accumulates,
            timeout_us=client.timeout_us,
            horizon=self._horizon,
            # A prefix whose length the client leaves to the default is not sent again, as in the reference.
            prefix=(self.labels.prefix or ()) if client.prefix_length else (),
            prompts=client.input_distribution.law(),
            outputs=client.output_distribution.law(),
            streams=self._streams,
            stream=f"workload/{self.labels.stream}/{request.session}",
        )
