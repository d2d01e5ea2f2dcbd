"""Conformance suites for schedulers and priority policies."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

from blis_simpy.core.request import Request
from blis_simpy.testing.conformance.router_cases import fields_of
from blis_simpy.testing.conformance.suite import ConformanceSuite, require, seeded, violated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PriorityPolicyTests", "SchedulerTests"]

_LATER_US = (0, 1, 1_000, 999_999, 30_000_000, 3_600_000_000)


def _waiting(seed: int) -> list[Request]:
    """Draw waiting requests, two of them equal except for their id."""
    random = seeded(f"queue/{seed}")
    requests = []
    for number in range(12):
        tokens = random.choice((1, 16, 500, 4000))
        requests.append(
            Request(
                id=f"request_{number}",
                arrived_at=random.choice((0, 1, 250_000, 5_000_000)),
                input_tokens=tokens,
                output_tokens=random.choice((1, 100, 800)),
                max_output_tokens=random.choice((0, 1000)),
                deadline=random.choice((0, 60_000_000)),
                slo_class=random.choice(("", "critical", "batch")),
                tenant=random.choice(("", "a", "b")),
                session=random.choice(("", "s")),
            )
        )
    twin = requests[0]
    requests.append(Request("twin", twin.arrived_at, twin.input_tokens, twin.output_tokens))
    return requests


_NOW = 6_000_000
"""Tick after the last arrival."""


class _OrderSuite(ConformanceSuite):
    """Tests of the common rules of schedulers and priority policies.

    Attributes
    ----------
    knows_output_length : bool
        Whether the plug-in may read `Request.output_tokens`, which a real engine does not know.
    """

    knows_output_length = False

    def values(self, plugin: Any, requests: Sequence[Request], now: int) -> list[Any]:
        """Return the key or score of each request."""
        raise NotImplementedError

    def _all_values(self, plugin: Any, change: Callable[[Request], None] | None = None) -> list[list[Any]]:
        found = []
        for seed in range(3):
            requests = _waiting(seed)
            for request in requests if change is not None else ():
                assert change is not None
                change(request)
            found.append(self.values(plugin, requests, _NOW))
        return found

    def test_the_same_request_at_the_same_tick_has_the_same_value(self) -> None:
        """A value does not depend on the number of calls, because the engine calls as often as it sorts."""
        plugin = self.make()
        for seed in range(3):
            requests = _waiting(seed)
            first, again = (self.values(plugin, requests, _NOW) for _ in range(2))
            for one, other in zip(first, again, strict=True):
                good = one == other or repr(one) == repr(other)  # another test reports NaN
                require(good, plugin, "must give equal answers to equal questions", first=one, second=other)

    def test_order_does_not_change_with_the_clock_if_it_says_so(self) -> None:
        """With `time_invariant`, the order of waiting requests is the same at every tick."""
        plugin = self.make()
        if not getattr(plugin, "time_invariant", False):
            return
        for seed in range(3):
            requests = _waiting(seed)
            now = self.values(plugin, requests, _NOW)
            for delay in _LATER_US:
                later = self.values(plugin, requests, _NOW + delay)
                for one, other in combinations(range(len(requests)), 2):
                    require(
                        _order(now[one], now[other]) == _order(later[one], later[other]),
                        plugin,
                        "has time_invariant = True, so two waiting requests must keep their order",
                        requests=(requests[one].id, requests[other].id),
                        values_at_first=(now[one], now[other]),
                        values_later=(later[one], later[other]),
                        us_later=delay,
                    )

    def test_requests_are_left_unchanged(self) -> None:
        """The plug-in does not change requests."""
        plugin = self.make()
        requests = _waiting(0)
        before = [fields_of(request) for request in requests]
        self.values(plugin, requests, _NOW)
        for request, fields in zip(requests, before, strict=True):
            for name, value in fields_of(request).items():
                rule = f"must leave request.{name} unchanged"
                require(value == fields[name], plugin, rule, before=fields[name], after=value)

    def test_order_does_not_depend_on_the_planned_output(self) -> None:
        """`output_tokens` is the planned output length, which a real engine does not know."""
        if self.knows_output_length:
            return
        plugin = self.make()

        def lengthen(request: Request) -> None:
            request.output_tokens += 1 + request.input_tokens % 7 * 100

        for expected, found in zip(self._all_values(plugin), self._all_values(plugin, lengthen), strict=True):
            for one, other in combinations(range(len(expected)), 2):
                rule = (
                    "must not use request.output_tokens, which no real engine knows (or set knows_output_length = True)"
                )
                same = _order(expected[one], expected[other]) == _order(found[one], found[other])
                require(same, plugin, rule, values=expected[one], values_with_other_output=found[one])


class SchedulerTests(_OrderSuite):
    """Tests of the rules of `blis_simpy.replica.schedulers.Scheduler`."""

    def values(self, plugin: Any, requests: Sequence[Request], now: int) -> list[Any]:
        """Return the sort keys for priorities with ties; constant without a key."""
        random = seeded("priorities")
        priorities = [random.choice((0.0, 0.0, -1.5, 2.5, 1e6)) for _ in requests]
        if plugin.key is None:
            return [0] * len(requests)
        return [plugin.key(request, score, now) for request, score in zip(requests, priorities, strict=True)]

    def test_keys_are_in_a_total_order(self) -> None:
        """All keys can be compared, and the comparisons form a total order, which NaN has not."""
        scheduler = self.make()
        for keys in self._all_values(scheduler):
            for one, other in combinations(keys, 2):
                try:
                    _ = one < other
                except TypeError as error:
                    rule = "any two keys must be comparable: end a key with the id of the request, not the request"
                    violated(scheduler, rule, keys=(one, other), raised=error)
            for one, two, three in permutations(keys, 3):
                first, second, both = _order(one, two), _order(two, three), _order(one, three)
                good = first * second < 0 or both == (first or second)
                require(good, scheduler, "keys must be in one order from smallest to largest", keys=(one, two, three))


class PriorityPolicyTests(_OrderSuite):
    """Tests of the rules of `blis_simpy.replica.schedulers.PriorityPolicy`."""

    def values(self, plugin: Any, requests: Sequence[Request], now: int) -> list[Any]:
        """Return the scores."""
        return [plugin.score(request, now) for request in requests]

    def test_scores_are_numbers(self) -> None:
        """A score is an int or a float other than NaN."""
        policy = self.make()
        for scores in self._all_values(policy):
            for score in scores:
                good = isinstance(score, int | float) and not isinstance(score, bool) and score == score
                require(good, policy, "score must return a number", returned=score)


def _order(one: Any, other: Any) -> int:
    """-1, 0 or 1 if the first value is less than, equal to or greater than the second; 0 if they are not comparable."""
    try:
        return bool(other < one) - bool(one < other)
    except TypeError:
        return 0
