import numpy as np
import pytest
import simpy

from blis_simpy.core.environment import (
    CONTROL_PLANE,
    ControlEvent,
    Environment,
    ReplicaEvent,
    event_priority,
    replica_actor,
)
from blis_simpy.errors import SimulationError


@pytest.fixture
def env():
    return Environment()


def test_turns_of_one_tick_come_in_the_total_order(env):
    """User processes, control plane, replica 0, replica 1; within a replica by kind, then as they were asked for."""
    log = []

    def user():
        yield env.timeout(5)
        log.append("user")

    turns = {
        "replica 1 queued": event_priority(replica_actor(1), ReplicaEvent.QUEUED),
        "replica 0 timeout": event_priority(replica_actor(0), ReplicaEvent.TIMEOUT),
        "replica 0 step": event_priority(replica_actor(0), ReplicaEvent.STEP),
        "routing": event_priority(CONTROL_PLANE, ControlEvent.ROUTING),
        "arrival": event_priority(CONTROL_PLANE, ControlEvent.ARRIVAL),
        "replica 0 queued": event_priority(replica_actor(0), ReplicaEvent.QUEUED),
    }
    for name, priority in turns.items():
        env.call_at(5, priority, lambda event: log.append(event.value), name)
    env.call_at(5, turns["replica 0 queued"], lambda event: log.append(event.value), "replica 0 queued, later")
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


def test_index_orders_turns_of_one_lane_and_kind():
    first, second = (event_priority(0, ControlEvent.ARRIVAL, index) for index in (0, 1))
    assert (
        first < second < event_priority(0, ControlEvent.ARRIVAL, 2**32 - 1) < event_priority(0, ControlEvent.ADMISSION)
    )


def test_place_is_the_farthest_turn_of_the_tick_and_starts_anew_with_the_next(env):
    step = event_priority(replica_actor(0), ReplicaEvent.STEP)
    places = []

    def user():
        yield env.event_at(3, step)
        places.append(env.tick_position)
        yield env.timeout(0)
        places.append(env.tick_position)
        yield env.timeout(1)
        places.append(env.tick_position)

    env.process(user())
    env.run()
    assert places == [step, step, simpy.events.NORMAL]


@pytest.mark.parametrize("delay", [1.0, np.int64(1), True, 0.5])
def test_clock_refuses_whatever_is_not_an_int(env, delay):
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
