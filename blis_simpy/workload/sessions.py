"""Closed-loop sessions: multi-turn conversations, whose next round is made when the previous one has ended."""

from __future__ import annotations

import attrs
import numpy as np

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.token_spans import ContinuedSpans, TokenSpans, input_stream, output_stream, spans
from blis_simpy.workload.lengths import LengthSampler
from blis_simpy.workload.plugin_draws import validate_samples

__all__ = ["SessionBlueprint"]


@attrs.define(eq=False, kw_only=True)
class SessionBlueprint:
    """Session: parameters of its later rounds, and its progress.

    Attributes
    ----------
    client, session, tenant, slo_class, model : str
        Labels of its requests.
    priority : int
        Priority of its requests.
    max_rounds : int
        Rounds, including the first one.
    think_time_us : int, µs
        Pause from the end of a round to the next one.
    accumulates : bool
        Whether a prompt repeats the earlier prompts and outputs.
    timeout_us : int, µs
        Time from an arrival to its deadline; 0 = no deadline.
    horizon : int, tick
        Last tick at which a round may arrive.
    prefix : TokenSpans
        Beginning of the later prompts if they do not repeat the first one.
    prompts, outputs : LengthSampler
        Distributions of the new prompt tokens and of the output tokens of a round.
    streams : RandomStreams
        Random streams of the run.
    stream : str
        Name of the random stream of the session, which is used from its second round on.
    rounds_sent : int
        Rounds so far.
    is_active : bool
        Whether another round may follow.
    """

    client: str
    session: str
    tenant: str
    slo_class: str
    model: str
    priority: int
    max_rounds: int
    think_time_us: int
    accumulates: bool
    timeout_us: int
    horizon: int
    prefix: TokenSpans
    prompts: LengthSampler
    outputs: LengthSampler
    streams: RandomStreams
    stream: str
    rounds_sent: int = attrs.field(default=1, init=False)
    is_active: bool = attrs.field(default=True, init=False)
    _rng: np.random.Generator | None = attrs.field(default=None, init=False)

    def next_request(self, finished: Request, ended_at: int, counter: int) -> Request | None:
        """Make the round that follows a finished one.

        Parameters
        ----------
        finished : Request
            The latest request of the session, with its outcome.
        ended_at : int, tick
            When it ended.
        counter : int
            Number of later rounds in the whole simulation, including this one; part of the request's id.

        Returns
        -------
        Request or None
            It arrives after the think time. None if the session is over: all rounds are sent, a round was not
            completed, or the next one would arrive after the horizon.
        """
        arrived_at = ended_at + self.think_time_us
        self.is_active = (
            self.is_active
            and finished.outcome is RequestOutcome.COMPLETED
            and self.rounds_sent < self.max_rounds
            and arrived_at <= self.horizon
        )
        if not self.is_active:
            return None
        round_index = self.rounds_sent
        self.rounds_sent += 1
        new_tokens, output_tokens = self._draw(self.prompts), self._draw(self.outputs)
        own = spans((input_stream(self.session, round_index), new_tokens))
        if self.accumulates:
            answer = spans((output_stream(self.session, round_index - 1), finished.generated_tokens))
            content: TokenSpans = ContinuedSpans.of(finished.content or (), *answer, *own)
            input_tokens = finished.input_tokens + finished.generated_tokens + new_tokens
        else:
            content = self.prefix
            input_tokens = sum(span.tokens for span in self.prefix) + new_tokens
        continues = self.accumulates and self.rounds_sent < self.max_rounds
        return Request(
            id=f"session_{self.session}_round_{round_index}_{counter}",
            arrived_at=arrived_at,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            max_output_tokens=output_tokens,
            deadline=arrived_at + self.timeout_us if self.timeout_us else 0,
            content=content or None,
            output_stream=output_stream(self.session, round_index) if continues else None,
            slo_class=self.slo_class,
            tenant=self.tenant,
            model=self.model,
            client=self.client,
            session=self.session,
            round_index=round_index,
            priority=self.priority,
        )

    def _draw(self, distribution: LengthSampler) -> int:
        if self._rng is None:
            self._rng = self.streams.generator(self.stream)
        return int(validate_samples("lengths", distribution, distribution.sample(self._rng, 1), 1, at_least=0)[0])
