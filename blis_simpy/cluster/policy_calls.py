"""Start of a policy before a run, and the error of an exception that it raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blis_simpy.core.plugin_faults import place_of
from blis_simpy.errors import PluginError

if TYPE_CHECKING:
    from blis_simpy.cluster.policies import PolicyContext
    from blis_simpy.core.request import Request

__all__ = ["broken", "started"]


def started(policy: Any, context: PolicyContext) -> Any:
    """Call the method ``start`` of a policy, if it has one, and return the policy.

    Raises
    ------
    PluginError
        If it raises an exception.
    """
    start = getattr(policy, "start", None)
    if start is not None:
        try:
            start(context)
        except Exception as error:
            raise broken("policy", policy, "start", error) from error
    return policy


def broken(
    kind: str, policy: object, method: str, error: Exception, request: Request | None = None, now: int | None = None
) -> PluginError:
    """Return the error to raise for an exception of a policy; a `PluginError` keeps its problems."""
    if isinstance(error, PluginError):
        return PluginError(error.problems)
    rule = f"raised {error!r} in {method}{place_of(request, now)}"
    return PluginError.at(f"{kind} {type(policy).__name__}", rule, code="policy_raised")
