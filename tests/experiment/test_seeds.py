import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.seeds import replication_seeds


def test_a_replication_has_one_seed_however_many_there_are():
    assert (
        replication_seeds(42, 100)[:3]
        == replication_seeds(42, 3)
        == [7880052460224568, 65519398845639, 5664963872013528]
    )
    assert replication_seeds(42, 5, start=95) == replication_seeds(42, 100)[95:]


def test_seeds_are_plain_integers_that_floats_hold():
    assert all(type(seed) is int and seed == int(float(seed)) for seed in replication_seeds(7, 1000))


def test_seeds_of_neighbours_have_nothing_in_common():
    seeds = [seed for base in range(50) for seed in replication_seeds(base, 50)]
    assert len(set(seeds)) == 2500


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1"])
def test_seeds_that_are_none_are_refused(seed):
    with pytest.raises(ScenarioError, match="seed must be an integer >= 0"):
        replication_seeds(seed, 1)
