"""Deciders: they decide whether a prefill replica computes the prompt of a request.

The router chooses the decode replica first and asks the decider then. If it says yes, the router chooses a prefill
replica; otherwise the decode replica computes the prompt, too. A decider is any object with the method `disaggregate`::

    class LongPrompts:
        def disaggregate(self, request, choice):
            return request.input_tokens > 4000

Pass the class, an instance or a registered name: ``Scenario(disaggregation={"decider": LongPrompts}, ...)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blis_simpy.settings.fields import setting, settings_class

if TYPE_CHECKING:
    from blis_simpy.cluster.policies import DecodeChoice
    from blis_simpy.core.request import Request

__all__ = ["Always", "Never", "Prefix"]


class Always:
    """A prefill replica computes every prompt (registered as ``always``)."""

    def __repr__(self) -> str:
        return "Always()"

    def disaggregate(self, request: Request, choice: DecodeChoice) -> bool:
        """Return True."""
        return True


class Never:
    """The decode replica computes every prompt (registered as ``never``)."""

    def __repr__(self) -> str:
        return "Never()"

    def disaggregate(self, request: Request, choice: DecodeChoice) -> bool:
        """Return False."""
        return False


@settings_class(kw_only=False)
class Prefix:
    """A prefill replica computes prompts of which much is not cached on the decode replica (registered as ``prefix``).

    Notes
    -----
    As the decider of llm-d, whose sample configuration has 16 tokens.
    """

    non_cached_tokens: int = setting(
        default=16,
        help="Minimum number of prompt tokens that are not cached on the decode replica; 0 means never.",
        unit="tokens",
        ge=0,
    )
    prompt_tokens: int = setting(default=0, help="Minimum number of prompt tokens.", unit="tokens", ge=0)

    def disaggregate(self, request: Request, choice: DecodeChoice) -> bool:
        """Compare the tokens that are not cached with the minimum."""
        if not self.non_cached_tokens or request.input_tokens < self.prompt_tokens:
            return False
        return request.input_tokens - choice.cached_tokens >= self.non_cached_tokens
