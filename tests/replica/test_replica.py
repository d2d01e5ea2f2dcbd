"""The replica as a process among others.

A step takes 100 + prompt tokens + 10 x decode tokens, a block has 16 tokens.
"""


def hold_blocks(simulation, at, blocks, until, log=None):
    """Take some KV blocks from a tick, or as soon as they are free, until another."""
    env, kv_blocks = simulation.env, simulation.replicas[0].kv_blocks

    def hold():
        yield env.timeout(at)
        yield kv_blocks.get(blocks)
        if log is not None:
            log.append(env.now)
        yield env.timeout(max(until - env.now, 0))
        yield kv_blocks.put(blocks)

    env.process(hold())


def hold_slot(simulation, at, until):
    """Take a batch slot from a tick, or as soon as one is free, until another."""
    env, slots = simulation.env, simulation.replicas[0].slots

    def hold():
        yield env.timeout(at)
        with slots.request() as slot:
            yield slot
            yield env.timeout(max(until - env.now, 0))

    env.process(hold())


def test_blocked_replica_takes_the_blocks_that_are_put_back(prepare):
    """The prompt needs 5 of 10 blocks; another process has 8 of them until 1000."""
    simulation = prepare((80, 1, 100), blocks=10)
    hold_blocks(simulation, 0, 8, 1000)
    result = simulation.run()
    assert result.requests["scheduled_at_us"].tolist() == [1000]
    assert simulation.replicas[0].kv_blocks.level == 10


def test_blocked_replica_waits_behind_a_process_that_asked_for_blocks_before(prepare):
    """8 of 10 blocks are held until 1000, another process asks for 6 at 50, the prompt needs 5 at 100."""
    simulation, log = prepare((80, 1, 100), blocks=10), []
    hold_blocks(simulation, 0, 8, 1000)
    hold_blocks(simulation, 50, 6, 2000, log)
    result = simulation.run()
    assert log == [1000]
    assert result.requests["scheduled_at_us"].tolist() == [2000]


def test_process_that_asks_for_blocks_later_waits_behind_a_blocked_replica(prepare):
    """As above, but the process asks at 150. The request computes 80 tokens from 1000 and ends in the same step."""
    simulation, log = prepare((80, 2, 100), blocks=10), []
    hold_blocks(simulation, 0, 8, 1000)
    hold_blocks(simulation, 150, 6, 2000, log)
    result = simulation.run()
    assert result.requests["scheduled_at_us"].tolist() == [1000]
    assert log == [1000 + 180]  # when its last step starts


def test_replica_without_a_free_slot_waits_behind_a_process_that_asked_before(prepare):
    simulation = prepare((10, 1, 100), max_num_seqs=1)
    hold_slot(simulation, 0, 1000)
    hold_slot(simulation, 50, 2000)
    assert simulation.run().requests["scheduled_at_us"].tolist() == [2000]
    assert simulation.replicas[0].slots.count == 0


def test_process_that_asks_for_a_slot_later_waits_behind_the_replica(prepare):
    simulation = prepare((10, 3, 100), max_num_seqs=1)
    hold_slot(simulation, 0, 1000)
    hold_slot(simulation, 150, 2000)
    assert simulation.run().requests["scheduled_at_us"].tolist() == [1000]


def test_blocked_replica_goes_on_with_the_next_request_when_the_first_times_out(prepare):
    """Two blocks are free: too few for the first prompt, which gives up at 500, enough for the second."""
    simulation = prepare((80, 1, 100, {"deadline": 500}), (10, 1, 200), blocks=10)
    hold_blocks(simulation, 0, 8, 1000)
    result = simulation.run()
    assert result.requests["outcome"].tolist() == ["timed_out", "completed"]
    assert result.requests["scheduled_at_us"].tolist() == [-1, 500]


def test_blocked_replica_keeps_its_place_when_another_request_arrives(prepare):
    """Ahead of the process that asks at 150, although a request arrives at 200."""
    simulation, log = prepare((80, 1, 100), (10, 1, 200), blocks=10), []
    hold_blocks(simulation, 0, 8, 1000)
    hold_blocks(simulation, 150, 6, 2000, log)
    result = simulation.run()
    assert result.requests["scheduled_at_us"].tolist() == [1000, 1000]
    assert log == [1000]  # both end in the step that starts at 1000


def test_blocked_replica_leaves_the_queue_of_the_resource_when_its_own_queue_is_empty(prepare):
    simulation, log = prepare((80, 1, 100, {"deadline": 500}), blocks=10), []
    hold_blocks(simulation, 0, 8, 1000)
    hold_blocks(simulation, 150, 2, 2000, log)
    simulation.run()
    assert log == [500]
    assert not simulation.replicas[0].kv_blocks.get_queue


def test_waiting_for_blocks_evicts_nothing(prepare):
    """r0 leaves 4 cached blocks; r1, with the same prompt and one token more, finds them all after its wait."""
    same = {"prefix": ("same", 64)}
    simulation = prepare((64, 1, 0, same), (65, 1, 1000, same), blocks=6)
    hold_blocks(simulation, 500, 2, 2000)
    result = simulation.run()
    assert result.requests["scheduled_at_us"].tolist() == [0, 2000]
    assert simulation.replicas[0]._kv.hits == 4


def test_slots_and_blocks_set_aside_are_counted_as_taken(prepare):
    """Between the put at 1000 and the step at 1000 the five blocks are reserved."""
    simulation = prepare((80, 1, 100), blocks=10)
    replica, seen = simulation.replicas[0], []
    hold_blocks(simulation, 0, 8, 1000)

    def look():
        yield simulation.env.timeout(1000)
        yield simulation.env.timeout(0)
        yield simulation.env.timeout(0)
        seen.append((replica.kv_blocks.num_reserved, replica.kv_blocks.level, replica.used_blocks))
        yield simulation.env.timeout(1)
        seen.append((replica.kv_blocks.num_reserved, replica.kv_blocks.level, replica.used_blocks))

    simulation.env.process(look())
    simulation.run()
    assert seen == [(5, 5, 5), (0, 10, 0)]


def test_failure_of_a_blocked_replica_ends_its_wait(prepare):
    simulation = prepare((80, 1, 100), blocks=10)
    hold_blocks(simulation, 0, 8, 1000)

    def outage():
        yield simulation.env.timeout(500)
        simulation.cluster.fail(0)

    simulation.env.process(outage())
    assert simulation.run().requests["outcome"].tolist() == ["rejected"]
    assert simulation.replicas[0].is_idle
