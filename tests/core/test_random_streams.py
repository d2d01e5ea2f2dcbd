import os
import subprocess
import sys

import numpy as np
import pytest

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import SimulationError


def draws(seed, name, n=4):
    return RandomStreams(seed).generator(name).integers(2**63, size=n).tolist()


def test_figures_of_a_stream_are_pinned():
    """Changing how a stream is seeded changes every figure anyone has published."""
    assert draws(42, "workload/client-0/arrivals", 2) == [5594564407375478065, 6706260738365840363]


def test_same_seed_and_name_give_the_same_draws():
    assert draws(7, "a") == draws(7, "a")


@pytest.mark.parametrize(("seed", "name"), [(8, "a"), (-7, "a"), (7, "b"), (7, "A"), (77, "")])
def test_another_seed_or_name_gives_other_draws(seed, name):
    assert draws(seed, name) != draws(7, "a")


def test_numpy_integers_are_seeds_like_pythons():
    assert draws(np.int64(7), "a") == draws(7, "a")


def test_a_new_consumer_leaves_the_others_alone():
    streams = RandomStreams(1)
    streams.generator("newcomer").random(100)
    assert streams.generator("a").integers(2**63, size=4).tolist() == draws(1, "a")


def test_a_stream_has_one_owner():
    streams = RandomStreams(1)
    streams.generator("router")
    with pytest.raises(SimulationError) as caught:
        streams.generator("router")
    assert str(caught.value) == "random stream 'router' has an owner already"


def test_draws_do_not_depend_on_the_hash_seed():
    call = "RandomStreams(42).generator('x').integers(2**63, size=4).tolist()"
    program = f"from blis_simpy.core.random_streams import RandomStreams; print({call})"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1")
    }
    assert outputs == {f"{draws(42, 'x')}\n"}
