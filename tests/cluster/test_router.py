"""The router: what it announces, and when it asks its policies."""

from __future__ import annotations

import pytest
from small_clusters import at, outcomes, prepare, requests

import blis_simpy as blis
from blis_simpy.cluster.admission import AlwaysAdmit
from blis_simpy.cluster.routing import RoundRobin
from blis_simpy.core.observers import EVENTS
from blis_simpy.core.request import Phase, Request


class Recorder:
    """Records every event with its tick; those of legs by request."""

    def __init__(self, simulation):
        self.env, self.log = simulation.env, []
        simulation.add_observer(self)

    def __getattr__(self, event):
        if event not in EVENTS:
            raise AttributeError(event)

        def record(*details):
            subject = getattr(details[0], "request", details[0])
            name = getattr(subject, "id", subject)
            self.log.append((self.env.now, event, name, *map(str, details[1:])))

        return record


def test_life_of_a_request_reads_from_top_to_bottom():
    """A step of 1160 computes the prompt; two decode steps of 1005 follow, of which the last starts at 2165."""
    simulation = prepare(requests(1), replicas=1)
    log = Recorder(simulation).log
    simulation.run()
    assert log == [
        (0, "arrived", "request_0"),
        (0, "admitted", "request_0", ""),
        (0, "routed", "request_0"),
        (0, "enqueued", "request_0"),
        (0, "scheduled", "request_0"),
        (0, "first_token", "request_0"),
        (2165, "leg_finished", "request_0"),
        (2165, "ended", "request_0"),
        (3170, "idle", 0),
    ]


def test_reasons_of_a_rejection_are_announced():
    served = [Request("cheap", 0, 16, 3), Request("dear", 0, 90, 3), Request("other", 1, 1, 1, model="another/model")]
    simulation = prepare(served, admission={"policy": "token-bucket", "capacity": 50.0, "refill_rate": 1e-9})
    log = Recorder(simulation).log
    simulation.run()
    assert [entry for entry in log if entry[1] == "rejected"] == [
        (0, "rejected", "dear", "insufficient tokens"),
        (1, "rejected", "other", "no replica serves this model"),
    ]
    assert [request.admitted_at for request in served] == [0, -1, 1]


def test_failure_leads_back_to_admission():
    """Request 0 runs on replica 0 until that fails at 500."""
    simulation = prepare(requests(1))
    log = Recorder(simulation).log
    at(simulation, 500, simulation.cluster.fail, 0)
    simulation.run()
    assert [entry[:2] for entry in log if 500 <= entry[0] < 2000] == [
        (500, "replica_state"),
        (500, "leg_finished"),
        (500, "admitted"),
        (500, "routed"),
        (500, "enqueued"),
        (500, "scheduled"),
        (500, "first_token"),
        (1160, "idle"),
    ]
    (request,) = simulation.requests
    assert [(leg.replica, leg.outcome.name, leg.finished_at) for leg in request.legs] == [
        (0, "WITHDRAWN", 500),
        (1, "COMPLETED", 500 + 3170),
    ]


def test_route_holds_what_it_was_based_on():
    """Decided at 0 between two idle replicas; the routes of later requests find others in flight."""
    simulation, routes = prepare(requests(3), router={"policy": "least-loaded", "snapshot_interval": "1s"}), []

    class Routes:
        def routed(self, route):
            routes.append((route.at, route.legs, route.reason, [snapshot.replica for snapshot in route.snapshots]))

    simulation.add_observer(Routes())
    simulation.run()
    assert [at for at, *_ in routes] == [0, 10, 20]
    assert sorted(legs[0] for _, legs, *_ in routes[:2]) == [(0, Phase.BOTH), (1, Phase.BOTH)]
    assert [reason for *_, reason, _ in routes] == [f"least-loaded (load={load})" for load in (0, 0, 1)]
    assert [shown for *_, shown in routes] == [[0, 1]] * 3


class Asked(AlwaysAdmit):
    """Records when it is asked, on top of what it inherits."""

    def __init__(self):
        self.asked = []

    def admit(self, request, state):
        self.asked.append((request.id, state.snapshots[0].in_flight))
        return super().admit(request, state)


class AskedOnArrival(Asked):
    may_decide_on_arrival = True


@pytest.mark.parametrize(("policy", "in_flight"), [(Asked, [0, 0]), (AskedOnArrival, [0, 1])])
def test_policy_is_asked_on_arrival_only_if_its_own_class_allows_it(policy, in_flight):
    """Two requests of one tick: both are admitted before one is routed, or one after the other."""
    admission = policy()
    prepare(requests(2, gap=0), replicas=1, admission=lambda: admission).run()
    assert admission.asked == [("request_0", in_flight[0]), ("request_1", in_flight[1])]


@pytest.mark.parametrize(("settings", "events"), [({}, 0), ({"router": {"delay": 1}}, 2), ({"replicas": 2}, 0)])
def test_a_decision_costs_an_event_only_if_it_takes_time(settings, events):
    """For two requests, compared with a single replica that decides at once."""

    def count(**settings):
        simulation = prepare(requests(2, gap=10_000), **{"replicas": 1, **settings})
        simulation.run()
        return next(simulation.env._eid)

    assert count(**settings) - count() == events + settings.get("replicas", 1) - 1


@pytest.mark.parametrize("delay", [0, 1])
def test_arrival_is_decided_on_after_a_request_that_was_submitted_again_before(delay):
    """At 10 a request is submitted again, then request 1 arrives; with a delay both pass the stages one by one."""
    simulation = prepare(requests(2, gap=10), replicas=1, router={"delay": delay})
    log = Recorder(simulation).log

    def resubmit():
        yield simulation.env.timeout(10)
        simulation.router.resubmit(Request("again", 10, 16, 3))

    simulation.env.process(resubmit())
    simulation.env.run(until=50)
    assert [name for _, event, name, *_ in log if event == "routed"] == ["request_0", "again", "request_1"]


def test_routing_policy_with_a_method_of_its_own_is_asked_at_its_place():
    class Own(RoundRobin):
        def route(self, request, state):
            return state.snapshots[0].replica

    simulation = prepare(requests(2, gap=0), replicas=1, router=Own)
    assert not simulation.router._decides_on_arrival
    simulation.run()
    assert outcomes(simulation) == ["COMPLETED"] * 2


def test_observer_has_a_method_for_each_event():
    assert {name for name in dir(blis.Observer) if not name.startswith("_")} == set(EVENTS)
