import numpy as np
import pytest
import simpy

from blis_simpy.core.environment import (
    CONTROL_PLANE,
    ControlEvent,
    Environment,
    OrderedEvent,
    ReplicaEvent,
    Wakeup,
    event_priority,
    replica_actor,
)
from blis_simpy.errors import SimulationError


@pytest.fixture
def env():
    return Environment()


def test_events_of_one_tick_happen_in_the_total_order(env):
    """User processes, control plane, replica 0, replica 1; within a replica by kind, then as they were scheduled."""
    log = []

    def user():
        yield env.timeout(5)
        log.append("user")

    priorities = {
        "replica 1 queued": event_priority(replica_actor(1), ReplicaEvent.QUEUED),
        "replica 0 timeout": event_priority(replica_actor(0), ReplicaEvent.TIMEOUT),
        "replica 0 step": event_priority(replica_actor(0), ReplicaEvent.STEP),
        "routing": event_priority(CONTROL_PLANE, ControlEvent.ROUTING),
        "arrival": event_priority(CONTROL_PLANE, ControlEvent.ARRIVAL),
        "replica 0 queued": event_priority(replica_actor(0), ReplicaEvent.QUEUED),
    }
    for name, priority in priorities.items():
        env.call_at(5, priority, lambda event: log.append(event.value), name)
    env.call_at(5, priorities["replica 0 queued"], lambda event: log.append(event.value), "replica 0 queued, later")
    env.process(user())
    env.run()
    assert log == [
        "user",
        "arrival",
        "routing",
        "replica 0 queued",
        "replica 0 queued, later",
        "replica 0 step",
        "replica 0 timeout",
        "replica 1 queued",
    ]


def test_index_orders_events_of_one_actor_and_kind():
    first, second = (event_priority(0, ControlEvent.ARRIVAL, index) for index in (0, 1))
    assert (
        first < second < event_priority(0, ControlEvent.ARRIVAL, 2**32 - 1) < event_priority(0, ControlEvent.ADMISSION)
    )


def test_tick_position_is_the_largest_priority_of_the_tick_so_far(env):
    step = event_priority(replica_actor(0), ReplicaEvent.STEP)
    positions = []

    def user():
        yield env.event_at(3, step)
        positions.append(env.tick_position)
        yield env.timeout(0)
        positions.append(env.tick_position)
        yield env.timeout(1)
        positions.append(env.tick_position)

    env.process(user())
    env.run()
    assert positions == [step, step, simpy.events.NORMAL]


@pytest.mark.parametrize("delay", [1.0, np.float64(1), True, 0.5])
def test_delay_that_is_not_an_int_is_refused(env, delay):
    with pytest.raises(SimulationError, match="delay must be a whole number of microseconds"):
        env.timeout(delay)


def test_clock_stays_an_int(env):
    env.timeout(3)
    env.run()
    assert type(env.now) is int


def test_error_of_a_process_ends_the_run(env):
    def fails():
        yield env.timeout(1)
        raise ValueError("mine")

    env.process(fails())
    with pytest.raises(ValueError, match="mine"):
        env.run()


def test_stop_leaves_the_rest_of_the_tick_for_the_next_run(env):
    log = []
    env.call_at(2, 20, env.stop)
    env.call_at(2, 21, lambda _: log.append(env.now))
    env.run()
    assert (env.now, log) == (2, [])
    env.run()
    assert log == [2]


def test_entries_of_the_heap_are_as_ordered_events_assume(env):
    """SimPy's own entries and ours: tick, priority, sequence number, event; the numbers are drawn from one counter."""
    timeout = env.timeout(5)
    ordered = OrderedEvent(env, 5, 20, "value")
    (timeout_entry, ordered_entry) = env._queue
    assert timeout_entry == (5, simpy.events.NORMAL, timeout_entry[2], timeout)
    assert ordered_entry == (5, 20, timeout_entry[2] + 1, ordered)
    assert (ordered.triggered, ordered.ok, ordered.value) == (True, True, "value")


def test_ordered_event_behaves_like_an_event_of_simpy(env):
    log = []

    def wait():
        log.append((yield env.event_at(4, 20, "a")))
        both = yield env.event_at(6, 20, "b") & env.timeout(3, "c")
        log.append(list(both.values()))

    env.process(wait())
    env.run()
    assert (log, env.now) == (["a", ["b", "c"]], 7)


@pytest.fixture
def sleeper(env):
    """A process that records when its wake-up comes."""
    wakeup, log = Wakeup(env, 20), []

    def sleep():
        try:
            yield wakeup.never()
            log.append(env.now)
            yield wakeup.at(env.now + 10)
            log.append(env.now)
        except simpy.Interrupt:
            log.append("interrupted")

    wakeup.process = env.process(sleep())
    return wakeup, log


def test_wakeup_that_is_moved_to_its_tick_needs_no_other_event(env, sleeper):
    wakeup, log = sleeper
    env.run(until=1)
    wakeup.move(3)
    wakeup.move(3)
    env.run(until=4)
    wakeup.move(13)
    env.step()
    assert log == [3, 13]
    env.step()  # the end of the process
    assert env.peek() == float("inf")


@pytest.mark.parametrize(("moved_to", "woken"), [(None, [3, 13]), (7, [3, 7]), (20, [3, 20])])
def test_wakeup_can_be_moved_earlier_and_later(env, sleeper, moved_to, woken):
    wakeup, log = sleeper
    env.run(until=1)
    wakeup.move(3)
    env.run(until=5)
    if moved_to is not None:
        wakeup.move(moved_to)
    env.run()
    assert log == woken


def test_process_whose_wakeup_was_moved_can_be_interrupted(env, sleeper):
    wakeup, log = sleeper
    env.run(until=1)
    wakeup.move(30)
    wakeup.process.interrupt()
    env.run()
    assert log == ["interrupted"]
