"""Builders of the requests of one traffic source: single requests, multimodal requests, rounds of sessions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from blis_simpy.core.token_spans import input_stream, output_stream, spans
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.arrival_times import Rounds
from blis_simpy.workload.plugin_draws import SampledLengths, plugin_instance
from blis_simpy.workload.sessions import SessionBlueprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.core.request import Request
    from blis_simpy.core.token_spans import TokenSpans
    from blis_simpy.workload.arrival_times import ActiveTimes, ArrivalSchedule, ArrivalTimes, SingleArrival
    from blis_simpy.workload.spec.client import MultiTurn, TrafficSource

__all__ = [
    "MultimodalRequestBuilder",
    "RequestBuilder",
    "RequestDetails",
    "SessionBuilder",
    "SingleRequestBuilder",
]

_MODALITIES = ("image", "audio", "video")
_MAX_ITEMS = 10**8


@attrs.frozen
class RequestDetails:
    """Labels of a request that have no effect on a replica.

    Attributes
    ----------
    text_tokens, image_tokens, audio_tokens, video_tokens : int, tokens
        Parts of a multimodal prompt, without the prefix.
    reason_ratio : float
        Fraction of the output that is reasoning, 0 to 1.
    """

    text_tokens: int = 0
    image_tokens: int = 0
    audio_tokens: int = 0
    video_tokens: int = 0
    reason_ratio: float = 0.0


class RequestBuilder(ABC):
    """Draws the arrivals and lengths of one source.

    Attributes
    ----------
    source : TrafficSource
        The client with its name and rate.
    prefix : TokenSpans or None
        Shared beginning of its prompts.
    schedule : ArrivalTimes or Rounds
        Arrival times of its requests.
    """

    schedule: ArrivalSchedule

    def __init__(self, source: TrafficSource, prefix: TokenSpans | None, streams: RandomStreams) -> None:
        self.source = source
        self.prefix = prefix
        self._prefix_tokens = sum(span.tokens for span in prefix or ())
        self._streams = streams

    @abstractmethod
    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prompt and output lengths of its requests with the given numbers, each of shape (len(numbers),), tokens."""

    @abstractmethod
    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Set the fields that only this kind of request has; return the sessions that continue in the simulation."""

    def _draws(self, purpose: str, distribution: Any) -> SampledLengths:
        return SampledLengths(distribution, self._streams.generator(f"workload/{self.source.stream}/{purpose}"))


class SingleRequestBuilder(RequestBuilder):
    """Independent requests."""

    def __init__(
        self, source: TrafficSource, prefix: TokenSpans | None, streams: RandomStreams, arrivals: ArrivalSchedule
    ) -> None:
        super().__init__(source, prefix, streams)
        self.schedule = arrivals

    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw the lengths; the numbers are 0, 1, 2, ..., since the requests that are kept are the earliest."""
        prompts = self._draws("prompt", self.source.client.input_distribution).first(len(numbers))
        outputs = self._draws("output", self.source.client.output_distribution).first(len(numbers))
        return prompts + self._prefix_tokens, outputs

    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Set nothing."""
        return []


class MultimodalRequestBuilder(RequestBuilder):
    """Independent requests of text, images, audio and video."""

    def __init__(
        self, source: TrafficSource, prefix: TokenSpans | None, streams: RandomStreams, arrivals: ArrivalSchedule
    ) -> None:
        super().__init__(source, prefix, streams)
        self.schedule = arrivals
        self._parts: list[NDArray[np.int64]] = []

    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw the lengths; a prompt without any part has one token."""
        n = len(numbers)
        media = self.source.client.multimodal
        assert media is not None
        text = media.text_distribution
        self._parts = [np.zeros(n, dtype=np.int64) if text is None else self._draws("text", text).first(n)]
        for name in _MODALITIES:
            counts, items = (getattr(media, f"{name}{part}_distribution") for part in ("_count", ""))
            self._parts.append(self._totals(name, counts, items, n))
        prompts = np.maximum(sum(self._parts), 1)
        outputs = self._draws("output", self.source.client.output_distribution).first(n)
        return prompts + self._prefix_tokens, outputs

    def _totals(self, name: str, counts: Any, items: Any, n: int) -> NDArray[np.int64]:
        """Tokens of one modality for each request, shape (n,)."""
        if counts is None or items is None:
            return np.zeros(n, dtype=np.int64)
        drawn = self._draws(f"{name}-count", counts).first(n)
        if drawn.sum(dtype=np.float64) > _MAX_ITEMS:
            raise ScenarioError.at(f"{name}_count_distribution", f"must not give more than {_MAX_ITEMS} items in all")
        ends = np.cumsum(drawn)
        cumulated = np.concatenate(([0], np.cumsum(self._draws(name, items).first(int(ends[-1])))))
        totals: NDArray[np.int64] = cumulated[ends] - cumulated[ends - drawn]
        return totals

    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Record the parts of each prompt."""
        for request, *parts in zip(requests, *(part.tolist() for part in self._parts), strict=True):
            details[request.id] = RequestDetails(*parts)
        return []


class SessionBuilder(RequestBuilder):
    """Rounds of multi-turn sessions.

    Attributes
    ----------
    max_rounds : int
        Rounds of a session.
    is_closed_loop : bool
        Whether a round is sent only after the previous one has ended.
    """

    def __init__(
        self,
        source: TrafficSource,
        prefix: TokenSpans | None,
        streams: RandomStreams,
        starts: ArrivalTimes | SingleArrival,
        turns: MultiTurn,
        active: ActiveTimes | None,
        limit: int,
    ) -> None:
        super().__init__(source, prefix, streams)
        self._turns = turns
        self._horizon = limit
        self.max_rounds = turns.max_rounds
        self.is_closed_loop = source.client.is_closed_loop
        self._prompts = self._draws("prompt", source.client.input_distribution)
        self._outputs = self._draws("output", source.client.output_distribution)
        self.schedule = Rounds(starts, self._outputs, turns.max_rounds, turns.think_time_us, active, limit)

    def lengths(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw the lengths of all rounds up to the largest number."""
        size = self._size(numbers)
        prompts, outputs = self._prompts.first(size), self._outputs.first(size)
        if self._turns.accumulates:
            context = np.cumsum((prompts + outputs).reshape(-1, self.max_rounds), axis=1).ravel()
            prompts = context - outputs
        return prompts[numbers] + self._prefix_tokens, outputs[numbers]

    def _size(self, numbers: NDArray[np.int64]) -> int:
        return (int(numbers.max()) // self.max_rounds + 1) * self.max_rounds

    def finish(
        self, requests: list[Request], numbers: NDArray[np.int64], details: dict[str, RequestDetails]
    ) -> list[SessionBlueprint]:
        """Assign rounds to sessions and, where prompts repeat the conversation, set their content."""
        reasoning = self.source.client.reasoning
        ratios = None
        if reasoning is not None and reasoning.reason_ratio_distribution is not None:
            ratios = self._draws("reason-ratio", reasoning.reason_ratio_distribution).first(self._size(numbers))
        for request, number in zip(requests, numbers.tolist(), strict=True):
            session, request.round_index = divmod(number, self.max_rounds)
            request.session = f"{self.source.stream}-{session}"
            request.streaming = False
            request.prefix_group = ""
            if ratios is not None and ratios[number]:
                details[request.id] = RequestDetails(reason_ratio=min(int(ratios[number]) / 100, 1.0))
        if self._turns.accumulates:
            self._accumulate(requests, numbers)
        return [self._blueprint(request) for request in requests] if self.is_closed_loop else []

    def _accumulate(self, requests: list[Request], numbers: NDArray[np.int64]) -> None:
        size = self._size(numbers)
        prompts, outputs = self._prompts.first(size).tolist(), self._outputs.first(size).tolist()
        prefix = self.prefix or ()
        session, num_before, context = "", 0, prefix
        # In the order of sessions and rounds: the context of a round extends that of the round before, also where
        # rounds in between are not sent.
        for place in np.argsort(numbers, kind="stable").tolist():
            request, first = requests[place], int(numbers[place]) - requests[place].round_index
            if request.session != session:
                session, num_before, context = request.session, 0, prefix
            for earlier in range(num_before, request.round_index):
                prompt = (input_stream(session, earlier), prompts[first + earlier])
                context = (*context, *spans(prompt, (output_stream(session, earlier), outputs[first + earlier])))
            num_before = request.round_index
            request.content = (
                *context,
                *spans((input_stream(session, num_before), prompts[first + num_before])),
            ) or None
            if num_before < self.max_rounds - 1:
                request.output_stream = output_stream(session, num_before)

    def _blueprint(self, request: Request) -> SessionBlueprint:
        client = self.source.client
        return SessionBlueprint(
            client=request.client,
            session=request.session,
            tenant=client.tenant,
            slo_class=client.slo_class,
            model=client.model,
            priority=client.priority,
            max_rounds=self.max_rounds,
            think_time_us=self._turns.think_time_us,
            accumulates=self._turns.accumulates,
            timeout_us=client.timeout_us,
            horizon=self._horizon,
            # A prefix without a stated length is not sent again, as in the reference.
            prefix=(self.prefix or ()) if client.prefix_length else (),
            prompts=plugin_instance("lengths", client.input_distribution),
            outputs=plugin_instance("lengths", client.output_distribution),
            streams=self._streams,
            stream=f"workload/{self.source.stream}/{request.session}",
        )
