"""Spoiled inputs of every reader: no traceback, no hang, no more than 1 GB, no file left by a command that failed.

``pytest -m fuzz`` tries 10,000 inputs; without the marker some 2,000 are tried.
"""

import math
import resource
import signal
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, attempt

SECONDS = 10
MEMORY_MB = 1024
FEW, MANY = (math.ceil(total / len(READERS)) for total in (2_000, 10_000))


def fuzz(name, examples, folder):
    reader = READERS[name]()

    # The same inputs each time in CI; the long run tries others each time.
    @settings(
        max_examples=examples,
        derandomize=examples == FEW,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.integers(0, 2**64))
    def try_one(seed):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # CPU time, for machines under load
        try:
            attempt(reader, Random(seed))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    try_one()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    assert used < MEMORY_MB


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    def too_slow(_number, _frame):
        raise TimeoutError(f"took more than {SECONDS} s of CPU")

    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGPROF, too_slow)
    yield tmp_path
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("name", READERS)
def test_an_input_that_is_not_spoiled_is_read(name):
    assert attempt(READERS[name](), None) == 0


@pytest.mark.parametrize("name", READERS)
def test_spoiled_inputs_are_read_or_refused(name, in_folder):
    fuzz(name, FEW, in_folder)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", READERS)
def test_many_spoiled_inputs_are_read_or_refused(name, in_folder):
    fuzz(name, MANY, in_folder)
