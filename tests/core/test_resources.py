import pytest

from blis_simpy.core.environment import Environment
from blis_simpy.core.resources import BatchSlots, KVBlocks
from blis_simpy.errors import SimulationError


@pytest.fixture
def env():
    return Environment()


def test_pool_without_a_replica_is_an_ordinary_container(env):
    pool, log = KVBlocks(env, 5), []

    def other_process():
        yield pool.get(4)
        log.append(pool.level)
        yield pool.put(3)
        log.append(pool.level)

    env.process(other_process())
    env.run()
    assert log == [1, 4]
    assert pool.held_externally == 1


def test_getter_waits_until_enough_blocks_are_put_back(env):
    pool, log = KVBlocks(env, 5), []

    def first():
        yield pool.get(4)
        yield env.timeout(7)
        yield pool.put(4)

    def second():
        yield pool.get(3)
        log.append(env.now)

    env.process(first())
    env.process(second())
    env.run()
    assert log == [7]


@pytest.mark.parametrize("amount", [1.5, 6, True])
def test_amounts_are_whole_and_within_the_capacity(env, amount):
    with pytest.raises(SimulationError, match="kv_blocks amount must be a whole number up to the capacity of 5"):
        KVBlocks(env, 5).get(amount)


def test_only_blocks_that_were_taken_can_be_put_back(env):
    pool = KVBlocks(env, 5)
    pool.get(2)
    with pytest.raises(SimulationError, match="must be <= 2, the blocks held by other processes"):
        pool.put(3)


def test_slots_of_requests_and_of_other_processes_count_together(env):
    slots = BatchSlots(env, 2)
    assert slots.try_acquire()
    first, second = slots.request(), slots.request()
    env.run()
    assert (first.processed, second.triggered, slots.count, slots.free) == (True, False, 2, 0)
    slots.put_back()
    assert (second.triggered, slots.count) == (True, 2)


def test_process_with_a_slot_shrinks_the_batch(prepare):
    """Two slots, one held until 1000: the requests run one after the other until then, then side by side."""
    simulation = prepare((10, 20, 0), (10, 20, 0), (10, 20, 0), max_num_seqs=2)

    def other_process():
        with simulation.replicas[0].slots.request() as slot:
            yield slot
            yield simulation.env.timeout(1000)

    simulation.env.process(other_process())
    steps = simulation.run().steps
    sizes = dict(zip(steps["start_us"].tolist(), steps["batch_size"].tolist(), strict=True))
    assert {size for start, size in sizes.items() if start < 1000} == {1}
    assert max(size for start, size in sizes.items() if start >= 1000) == 2


def test_process_with_blocks_makes_requests_wait_and_be_preempted(prepare):
    """Each request grows to 6 of 12 blocks; with 5 of them gone, the later one gives way until the first is done."""
    simulation = prepare((32, 60, 0), (32, 60, 0), blocks=12)
    replica = simulation.replicas[0]
    seen = []

    def other_process():
        yield simulation.env.timeout(500)
        yield replica.kv_blocks.get(5)
        seen.append(replica.observe().used_blocks)
        yield simulation.env.timeout(2_000)
        yield replica.kv_blocks.put(5)

    simulation.env.process(other_process())
    result = simulation.run()
    assert result.requests["outcome"].tolist() == ["completed"] * 2
    assert {name for name, _ in result.preemptions} == {"request_1"}
    assert seen == [11]  # three each, and those of the process
    assert replica.kv_blocks.level == 12


def test_process_waits_for_blocks_until_a_request_ends(prepare):
    """r0 gives its blocks back when its last step starts, the ninth decode after 164."""
    simulation = prepare((64, 10, 0), blocks=5)
    taken = []

    def other_process():
        yield simulation.env.timeout(10)
        yield simulation.replicas[0].kv_blocks.get(5)
        taken.append(simulation.env.now)

    simulation.env.process(other_process())
    simulation.run()
    assert taken == [164 + 8 * 110]


def test_run_ends_though_a_process_goes_on_for_ever(prepare):
    simulation = prepare((10, 2, 0))

    def clock():
        while True:
            yield simulation.env.timeout(7)

    simulation.env.process(clock())
    assert simulation.run().summary["completed_requests"] == 1


def test_there_is_one_count_of_free_blocks(env):
    """The engine's verbs and SimPy's, and SimPy's own name for the level."""
    pool = KVBlocks(env, 5)
    assert pool.take(2)
    pool.get(1)
    assert (pool.free, pool.level, pool._level) == (2, 2, 2)
    assert not pool.take(3)
    pool.put_back(2)
    assert (pool.free, pool.held_externally) == (4, 1)


def test_there_is_one_count_of_free_slots(env):
    slots = BatchSlots(env, 2)
    assert slots.try_acquire()
    request = slots.request()
    assert (slots.free, slots.count, slots.try_acquire()) == (0, 2, False)
    slots.release(request)
    slots.put_back()
    assert (slots.free, slots.count) == (2, 0)


def test_release_of_a_request_that_holds_no_slot_changes_nothing(env):
    slots = BatchSlots(env, 1)
    first, second = slots.request(), slots.request()
    slots.release(second)
    assert (slots.free, first in slots.users, second.triggered) == (0, True, False)


def test_blocks_that_are_put_back_synchronously_serve_a_waiting_process(env):
    pool = KVBlocks(env, 5)
    pool.take(4)
    waiting = pool.get(3)
    pool.put_back(1)
    assert not waiting.triggered
    pool.put_back(3)
    assert (waiting.triggered, pool.free) == (True, 2)


def test_get_that_is_refused_leaves_the_queue(env):
    pool = KVBlocks(env, 5)
    with pytest.raises(SimulationError):
        pool.get(6)
    assert pool.get(5).triggered


def test_reservation_waits_in_the_queue_of_the_resource_and_serves_none_when_it_ends(env):
    pool = KVBlocks(env, 5)
    pool.take(4)
    first, reservation, last = pool.get(2), pool.reserve(2), pool.get(1)
    pool.put_back(3)
    assert (first.triggered, reservation.triggered, last.triggered) == (True, True, False)
    assert (pool.free, pool.num_reserved, pool.held_externally) == (0, 2, 2)
    reservation.end()
    assert (pool.free, pool.num_reserved, last.triggered) == (2, 0, False)
    pool.serve_waiting()
    assert (pool.free, last.triggered) == (1, True)


def test_reservation_that_was_not_granted_can_be_given_up(env):
    pool, slots = KVBlocks(env, 5), BatchSlots(env, 1)
    pool.take(5)
    slots.try_acquire()
    for resource, reservation, queue in (
        (pool, pool.reserve(1), pool.get_queue),
        (slots, slots.reserve(), slots.put_queue),
    ):
        assert len(queue) == 1
        reservation.end()
        assert (len(queue), resource.num_reserved, resource.free) == (0, 0, 0)
