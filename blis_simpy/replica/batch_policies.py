"""Batch policies: which requests get how many tokens in a step.

A batch policy works on a `BatchBuilder` at the start of each step: it continues running requests, within the token
budget and with preemption if KV blocks run out, and then admits requests from the head of the wait queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from blis_simpy.replica.batch_builder import BatchBuilder

__all__ = ["BatchPolicy", "ContinuousBatching", "SteadyBatchPolicy"]


class BatchPolicy(Protocol):
    """Forms the batch of each step."""

    def form(self, step: BatchBuilder) -> None:
        """Grant tokens to running requests and admit waiting ones, through the verbs of `step`."""
        ...


@runtime_checkable
class SteadyBatchPolicy(Protocol):
    """Optional ability of a batch policy, without which each step is formed and simulated singly."""

    def is_steady(self, step: BatchBuilder) -> bool:
        """Whether the next steps need no decision.

        True promises that `form`, as long as no request arrives or leaves and KV blocks are only taken, would give each
        decoding request its token and do nothing else.
        """
        ...


class ContinuousBatching:
    """Iteration-level batching with chunked prefill, as in vLLM: running requests first, then first fit from the head.

    Running requests are served in batch order. One that finds no KV block preempts the latest of the batch, until it
    fits or is the latest itself. No request is admitted in a step with a preemption, and a head of the queue that does
    not fit blocks all requests behind it.
    """

    def form(self, step: BatchBuilder) -> None:
        """Form the batch of one step."""
        if not step.grant_all():
            for leg in step.running():
                if step.token_budget <= 0:
                    break
                # Others may have been preempted for the requests before it.
                if leg.batch_position >= 0 and not step.grant(leg):
                    break
        if step.num_preempted:
            return
        while step.token_budget > 0 and step.num_waiting and step.free_slots > 0 and step.admit():
            pass

    def is_steady(self, step: BatchBuilder) -> bool:
        """Whether only decode tokens are granted, and no request can be admitted."""
        if step.num_prefilling or step.num_decoding > step.token_budget:
            return False
        return (
            not step.num_waiting
            or step.free_slots <= 0
            or step.num_decoding == step.token_budget
            or step.head_stays_blocked()
        )
