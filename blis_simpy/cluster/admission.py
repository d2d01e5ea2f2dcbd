"""Who is let into the cluster: the built-in policies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blis_simpy.cluster.policies import AdmissionDecision
from blis_simpy.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from blis_simpy.cluster.policies import PolicyContext, RouterState
    from blis_simpy.core.request import Request

__all__ = ["AlwaysAdmit", "RejectAll", "TokenBucket"]

_ADMITTED = AdmissionDecision(True)


class AlwaysAdmit:
    """Everyone is let in (registered as ``always-admit``)."""

    may_decide_on_arrival = True

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision:
        """Let the request in."""
        return _ADMITTED


class RejectAll:
    """Nobody is let in; to test what happens then (registered as ``reject-all``)."""

    may_decide_on_arrival = True
    _rejected = AdmissionDecision(False, "reject-all")

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision:
        """Turn the request away."""
        return self._rejected


class TokenBucket:
    """Lets in as many prompt tokens as a bucket holds that refills all the time (registered as ``token-bucket``).

    A request costs its prompt, shared prefix included. One that costs more than the capacity never gets in.

    Parameters
    ----------
    capacity : float, tokens
        What the bucket holds at most, and at the start.
    refill_rate : float, tokens/s
        How fast it refills.

    Raises
    ------
    ScenarioError
        If one of them is not a finite number above 0.
    """

    may_decide_on_arrival = True
    _rejected = AdmissionDecision(False, "insufficient tokens")

    def __init__(self, capacity: float = 10_000.0, refill_rate: float = 1_000.0) -> None:
        problems = [
            Problem(path=name, rule="must be a finite number > 0", value=value)
            for name, value in (("capacity", capacity), ("refill_rate", refill_rate))
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0)
        ]
        if problems:
            raise ScenarioError(problems)
        self._capacity = float(capacity)
        self._refill_rate = float(refill_rate)
        self._fill()

    def _fill(self) -> None:
        self._tokens = self._capacity
        self._refilled_at = 0

    def start(self, context: PolicyContext) -> None:
        """Begin with a full bucket."""
        self._fill()

    def admit(self, request: Request, state: RouterState) -> AdmissionDecision:
        """Let the request in if the bucket holds its cost, and take that out."""
        elapsed = state.now - self._refilled_at
        if elapsed > 0:
            # Multiplied first, then divided: a cost may be met to the last bit.
            self._tokens = min(self._capacity, self._tokens + elapsed * self._refill_rate / 1e6)
            self._refilled_at = state.now
        if self._tokens < request.input_tokens:
            return self._rejected
        self._tokens -= request.input_tokens
        return _ADMITTED
