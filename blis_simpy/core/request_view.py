"""What a policy sees of a request: all but its future output length, and nothing that it could change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.core.request import Request

__all__ = ["RequestView", "shown_to"]

_HIDDEN = frozenset({"output_tokens", "leg", "legs", "earlier_legs", "prompt_leg", "done"})


class RequestView:
    """A read-only request without its output length.

    Two views of a request are equal, so that a policy can keep what it knows about a request in a dictionary.

    Parameters
    ----------
    request : Request
        The request.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        object.__setattr__(self, "_request", request)

    def __getattr__(self, name: str) -> Any:
        if name in _HIDDEN:
            hint = " (or set knows_output_length = True)" if name == "output_tokens" else ""
            raise AttributeError(f"a policy must not use request.{name}, which no real server knows{hint}")
        return getattr(object.__getattribute__(self, "_request"), name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a policy must not change request.{name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a policy must not change request.{name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestView) and self._request is other._request

    def __hash__(self) -> int:
        return hash(self._request)

    def __repr__(self) -> str:
        return f"<RequestView of {self._request.id}>"


def shown_to(policy: object) -> Callable[[Request], Any] | None:
    """Return what makes the view that a policy gets; None if it gets the request.

    Policies of the library do, and those with the attribute ``knows_output_length = True``: oracles, to compare with.
    """
    if type(policy).__module__.startswith("blis_simpy.") or getattr(policy, "knows_output_length", False):
        return None
    return RequestView
