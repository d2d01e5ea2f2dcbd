"""State of a replica at one moment."""

from blis_simpy.replica.observation import Observation


def test_fractions_follow_from_the_counts():
    seen = Observation(at=5, queue_depth=1, batch_size=2, used_blocks=30, total_blocks=40, hit_rate=0.5)
    assert (seen.free_blocks, seen.kv_utilization) == (10, 0.75)


def test_observation_counts_blocks_of_other_processes(prepare):
    """A prompt of one block runs from 0 to 116; another process takes 3 of 10 blocks at 50."""
    simulation = prepare((16, 3, 0), blocks=10)
    replica, seen = simulation.replicas[0], []

    def hold():
        yield simulation.env.timeout(50)
        yield replica.kv_blocks.get(3)
        seen.append(replica.observe())
        yield replica.kv_blocks.put(3)

    simulation.env.process(hold())
    simulation.run()
    assert (seen[0].at, seen[0].batch_size, seen[0].used_blocks, seen[0].total_blocks) == (50, 1, 1 + 3, 10)
