"""Conformance suite for migration policies, which are asked in simulations of a cluster."""

from __future__ import annotations

from typing import Any

from blis_simpy.core.request import Request
from blis_simpy.testing.conformance.suite import ConformanceSuite, require

__all__ = ["MigrationPolicyTests"]

_MODEL = "meta-llama/llama-3.1-8b-instruct"


class MigrationPolicyTests(ConformanceSuite):
    """Tests of the rules of `blis_simpy.cluster.policies.MigrationPolicy`.

    Examples
    --------
    >>> class Nothing:
    ...     def migrations(self, state):
    ...         return ()
    >>> class TestNothing(MigrationPolicyTests):
    ...     def make(self):
    ...         return Nothing()
    """

    def _run(self, policy: Any) -> list[list[tuple[str, int]]]:
        """Serve long outputs on one of three replicas and short ones on the others; return the migrations."""
        # Imported here, because pytest loads this module in every run where the library is installed.
        from blis_simpy.scenario import Scenario
        from blis_simpy.simulation import Simulation

        decisions: list[list[tuple[str, int]]] = []

        class Watched:
            def migrations(self, state: Any) -> list[tuple[Request, int]]:
                chosen = list(policy.migrations(state))
                shown = [snapshot.replica for snapshot in state.snapshots]
                for request, replica in chosen:
                    asked = {"shown": shown, "returned": (request, replica), "tick": state.now}
                    rule = "migrations must return requests that state.decoding returns"
                    decoding = [other for number in shown for other in state.decoding(number)]
                    require(any(request is other for other in decoding), policy, rule, **asked)
                    rule = "migrations must return indices of replicas that are shown, other than that of the request"
                    require(replica in shown and replica != request.replica, policy, rule, **asked)
                require(len(chosen) == len({id(request) for request, _ in chosen}), policy, "must not repeat a request")
                decisions.append([(request.id, replica) for request, replica in chosen])
                return chosen

        scenario = Scenario(
            model=_MODEL,
            replicas=3,
            kv={"blocks": 1500, "bytes_per_token": 131_072},
            migration={"policy": Watched(), "interval": "100ms"},
        )
        requests = [Request(f"request_{i}", i * 1000, 500, 20 if i % 3 else 400) for i in range(30)]
        Simulation(scenario, requests=requests, check="full").run()
        return decisions

    def test_migrations_are_possible(self) -> None:
        """Requests decode, and move to other replicas that are shown; all of them complete."""
        self._run(self.make())

    def test_equal_runs_have_equal_answers(self) -> None:
        """New instances give equal answers in equal runs."""
        policy = self.make()
        first, second = self._run(policy), self._run(self.make())
        rule = "must draw random numbers from context.streams alone, so that equal runs are equal"
        require(first == second, policy, rule, first_run=first, second_run=second)
