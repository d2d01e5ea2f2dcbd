"""Batch policies: they decide how many tokens each request gets in a step.

At the formation of each step, a batch policy calls the methods of a `BatchBuilder`: it grants tokens to running
requests, preempts some if KV blocks run out, and admits requests from the head of the wait queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from blis_simpy.replica.batch_builder import BatchBuilder

__all__ = ["BatchPolicy", "ContinuousBatching", "SteadyBatchPolicy", "forms_decode_steps_alike"]


class BatchPolicy(Protocol):
    """Forms the batch of each step."""

    def form(self, step: BatchBuilder) -> None:
        """Grant tokens to running requests and admit waiting ones, with the methods of `step`."""
        ...


@runtime_checkable
class SteadyBatchPolicy(Protocol):
    """Optional method of a batch policy; without it there are no macro-steps."""

    def is_steady(self, step: BatchBuilder) -> bool:
        """Whether the next steps need no decision.

        True means: as long as no request arrives or leaves and no KV blocks are put back, `form` only grants each
        decoding request its token.
        """
        ...


class ContinuousBatching:
    """Iteration-level batching with chunked prefill, as in vLLM.

    First, running requests get tokens in batch order. If KV blocks run out, the victim rule of the engine chooses
    requests to preempt. Then, unless a request was preempted, waiting requests are admitted in queue order up to the
    first one that does not fit.
    """

    def form(self, step: BatchBuilder) -> None:
        """Form the batch of one step."""
        if not step.grant_all():
            for leg in step.running():
                if step.token_budget <= 0:
                    break
                # Skips requests that were preempted for earlier ones of this loop.
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


def forms_decode_steps_alike(policy: BatchPolicy) -> bool:
    """Whether a policy is known to only grant each decoding request its token while there is nothing else to do.

    Then the engine forms such steps without the policy. Known for the methods of `ContinuousBatching`, but not for
    subclasses that override one.
    """
    kind: Any = type(policy)
    return isinstance(policy, ContinuousBatching) and (kind.form, kind.is_steady) == (
        ContinuousBatching.form,
        ContinuousBatching.is_steady,
    )
