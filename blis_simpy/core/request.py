"""A request, from its arrival to its end.

The first group of fields is what a workload decides and nobody changes. The second is written by the room that holds
the request, today always the replica, and is final once `outcome` is. All instants are ticks (µs since the start of
the simulation), all durations µs.
"""

from __future__ import annotations

from enum import IntEnum

import attrs
from simpy.events import Event

from blis_simpy.core.token_spans import TokenSpans

__all__ = ["NEVER", "Request", "RequestOutcome"]

NEVER = -1
"""Stands in a timestamp or duration that has not come about."""


class RequestOutcome(IntEnum):
    """How a request stands, or how it ended."""

    PENDING = 0
    """Not yet in a wait queue."""
    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    TIMED_OUT = 4
    DROPPED = 5
    """It can never be served on this replica."""
    REJECTED = 6
    """Refused before it reached a replica."""


@attrs.define(eq=False, slots=True)
class Request:
    """One LLM request.

    Attributes
    ----------
    id : str
        Unique name, e.g. ``request_17``.
    arrived_at : int, tick
        When the client sent it.
    input_tokens : int
        Prompt length, shared prefix and context included.
    output_tokens : int
        Planned output length; what the model will generate unless something ends it early.
    max_output_tokens : int
        Output budget that the client states; 0 = none. Checked at enqueue, never limits generation.
    deadline : int, tick
        When the client gives up; 0 = never.
    content : TokenSpans or None
        Leading tokens of the prompt that other prompts may share; None = shares nothing.
    output_stream : str or None
        Stream name of its output, if a later prompt may contain it.
    slo_class, tenant, model, client, session, prefix_group : str
        Labels; empty = none.
    round_index : int
        Round of its session, from 0.
    streaming : bool
        Label: whether the client asked for a stream.
    outcome : RequestOutcome
        How it stands.
    admitted_at, routed_at : int, tick
        When it was let in, and when it was handed to the replica; the last time, if that replica failed.
    queued_at : int, tick
        When it entered the wait queue there.
    first_scheduled_at, scheduled_at : int, tick
        First and last time it joined a batch there; `NEVER` if it did not.
    ttft : int, µs
        Arrival to first token of the last completed prefill; `NEVER` if there was none.
    e2e : int, µs
        Arrival to last token, for completed requests, else `NEVER`.
    itl_sum : int, µs
        Sum of its inter-token latencies since its last prefill. For requests that have not completed it is brought up
        to date when they leave the batch for good and when a result is made.
    itl_count : int
        How many they are.
    itl_first_step : int
        Number of the replica's step that produced the first of them.
    generated_tokens : int
        Output tokens of a completed request.
    length_capped : bool
        Whether the maximum model length ended it.
    num_preemptions : int
        How often it lost its blocks and started over, because of a preemption or of the failure of its replica.
    finished_at : int, tick
        When it ended: completion without the overheads of the latency model, timeout or drop.
    done : simpy.Event or None
        Succeeds when it has ended, at the start of its last step; only there where somebody waits for it.
    replica : int
        Index of the replica that it was handed to; `NEVER` before.
    """

    id: str
    arrived_at: int
    input_tokens: int
    output_tokens: int
    max_output_tokens: int = 0
    deadline: int = 0
    content: TokenSpans | None = None
    output_stream: str | None = None
    slo_class: str = ""
    tenant: str = ""
    model: str = ""
    client: str = ""
    session: str = ""
    prefix_group: str = ""
    round_index: int = 0
    streaming: bool = False

    outcome: RequestOutcome = attrs.field(default=RequestOutcome.PENDING, init=False)
    admitted_at: int = attrs.field(default=NEVER, init=False)
    routed_at: int = attrs.field(default=NEVER, init=False)
    queued_at: int = attrs.field(default=NEVER, init=False)
    first_scheduled_at: int = attrs.field(default=NEVER, init=False)
    scheduled_at: int = attrs.field(default=NEVER, init=False)
    ttft: int = attrs.field(default=NEVER, init=False)
    e2e: int = attrs.field(default=NEVER, init=False)
    itl_sum: int = attrs.field(default=0, init=False)
    itl_count: int = attrs.field(default=0, init=False)
    itl_first_step: int = attrs.field(default=NEVER, init=False)
    generated_tokens: int = attrs.field(default=0, init=False)
    length_capped: bool = attrs.field(default=False, init=False)
    num_preemptions: int = attrs.field(default=0, init=False)
    finished_at: int = attrs.field(default=NEVER, init=False)
    replica: int = attrs.field(default=NEVER, init=False)
    done: Event | None = attrs.field(default=None, init=False)
