"""Admission policies: they accept or reject requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.cluster.policies import AdmissionDecision
from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from blis_simpy.cluster.policies import PolicyContext, RouterState
    from blis_simpy.core.request import Request

__all__ = ["AlwaysAdmit", "RejectAll", "TokenBucket"]

_ADMITTED = AdmissionDecision(True)


class AlwaysAdmit:
    """Accept every request (registered as ``always-admit``)."""

    may_decide_on_arrival = True

    def __repr__(self) -> str:
        return "AlwaysAdmit()"

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision:
        """Accept the request."""
        return _ADMITTED


class RejectAll:
    """Reject every request; for tests (registered as ``reject-all``)."""

    may_decide_on_arrival = True
    _rejected = AdmissionDecision(False, "reject-all")

    def __repr__(self) -> str:
        return "RejectAll()"

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision:
        """Reject the request."""
        return self._rejected


@settings_class(frozen=False, kw_only=False)
class TokenBucket:
    """Accept a request if a bucket holds as many tokens as its prompt (registered as ``token-bucket``).

    The bucket is full at the start and refills at a constant rate. An accepted request takes its prompt tokens, shared
    prefix included. A prompt longer than the capacity is never accepted.
    """

    may_decide_on_arrival = True

    capacity: float = setting(
        default=10_000.0, help="Capacity of the bucket.", unit="tokens", gt=0, flag="--token-bucket-capacity"
    )
    refill_rate: float = setting(
        default=1_000.0,
        help="Rate at which the bucket refills.",
        unit="tokens/s",
        gt=0,
        flag="--token-bucket-refill-rate",
    )

    _rejected = AdmissionDecision(False, "insufficient tokens")

    def __attrs_post_init__(self) -> None:
        self._fill()

    def _fill(self) -> None:
        self._tokens = float(self.capacity)
        self._refilled_at = 0

    def start(self, context: PolicyContext) -> None:
        """Fill the bucket."""
        self._fill()

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision:
        """Accept the request and take its tokens, if the bucket holds as many."""
        elapsed = state.now - self._refilled_at
        if elapsed > 0:
            # Multiplied before it is divided: another order of the operations rounds differently, and decides
            # differently where the bucket holds exactly the tokens of a prompt.
            self._tokens = min(self.capacity, self._tokens + elapsed * self.refill_rate / 1e6)
            self._refilled_at = state.now
        if self._tokens < request.input_tokens:
            return self._rejected
        self._tokens -= request.input_tokens
        return _ADMITTED
