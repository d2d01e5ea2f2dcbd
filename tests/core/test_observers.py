"""Observers of a simulation."""

import pytest

from blis_simpy.core.environment import Environment
from blis_simpy.core.observers import EVENTS, Observer, Observers
from blis_simpy.errors import ScenarioError


@pytest.fixture
def observers():
    return Observers(Environment())


def test_event_without_observers_is_none(observers):
    assert all(getattr(observers, event) is None for event in EVENTS)


def test_functions_are_called_in_the_order_in_which_they_were_added(observers):
    log = []
    for name in "abc":
        observers.add("ended", lambda request, name=name: log.append((name, request)))
    observers.ended("r")
    assert log == [("a", "r"), ("b", "r"), ("c", "r")]


def test_last_function_is_called_after_those_that_are_added_later(observers):
    log = []
    observers.add("ended", lambda request: log.append("last"), last=True)
    observers.add("ended", lambda request: log.append("later"))
    observers.ended("r")
    assert log == ["later", "last"]


def test_single_function_is_called_directly(observers):
    log = []
    observers.add("idle", log.append)
    assert observers.idle == log.append


def test_unknown_event_is_an_error(observers):
    with pytest.raises(KeyError):
        observers.add("finished", print)


class Ends(Observer):
    def __init__(self):
        self.log = []

    def ended(self, request):
        self.log.append(request)


def test_methods_that_are_not_overridden_are_not_called(observers):
    ends = Ends()
    observers.subscribe(ends)
    observers.ended("r")
    assert ends.log == ["r"]
    assert all(getattr(observers, event) is None for event in EVENTS if event != "ended")


def test_any_object_with_a_method_of_the_name_is_an_observer(observers):
    states = []

    class Duck:
        def replica_state(self, replica, state):
            states.append((replica, state))

    observers.subscribe(Duck())
    observers.replica_state(3, "active")
    assert states == [(3, "active")]


@pytest.mark.parametrize("observer", [object(), Observer(), 5])
def test_object_without_such_a_method_is_refused(observers, observer):
    with pytest.raises(ScenarioError, match="observer must have a method named arrived, admitted, rejected, routed"):
        observers.subscribe(observer)


def test_deferred_call_comes_right_after_the_event_at_the_same_tick():
    """Before other events of the tick, even if they were scheduled earlier."""
    env = Environment()
    observers, log = Observers(env), []
    observers.add_deferred("preempted", lambda leg: log.append((env.now, leg)))

    def announce():
        yield env.timeout(5)
        observers.preempted("leg")
        log.append("change complete")

    def other():
        yield env.timeout(5)
        log.append("other process")

    env.process(announce())
    env.process(other())
    env.run()
    assert log == ["change complete", (5, "leg"), "other process"]
