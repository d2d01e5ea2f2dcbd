"""The record of steps."""

import numpy as np
import pytest

from blis_simpy.replica.log import BLOCK_STEPS, StepLog


@pytest.fixture
def log():
    """A prefill of 30 µs, and a run of three decode steps with a block in the second, from 100 on."""
    log = StepLog()
    log.step(0, 30, 0, 20, 1, 2, 5)
    log.run(100, np.array([10, 20, 40]), [0, 1, 0], 1, 1, 2, 5)
    return log


def test_run_is_kept_as_one_stretch_and_spread_out_when_it_is_read(log):
    table = log.table()
    assert (len(log), log.num_stretches) == (4, 2)
    assert table["start_us"].tolist() == [0, 100, 110, 130]
    assert table["duration_us"].tolist() == [30, 10, 20, 40]
    assert table["decode_tokens"].tolist() == [0, 1, 1, 1]
    assert table["prefill_tokens"].tolist() == [20, 0, 0, 0]
    assert table["used_blocks"].tolist() == [5, 5, 6, 6]


def test_copy_does_not_grow(log):
    copy = log.copy()
    log.step(200, 1, 1, 0, 1, 0, 6)
    assert (len(copy), len(log)) == (4, 5)


def test_mean_queue_depth_is_over_steps(log):
    log.step(200, 1, 1, 0, 1, 7, 6)
    assert log.queue_depth_mean() == (4 * 2 + 7) / 5
    assert StepLog().queue_depth_mean() == 0.0


def test_arrays_bring_the_log_back(log):
    again = StepLog.of_arrays(log.to_arrays())
    assert {name: column.tolist() for name, column in again.table().items()} == {
        name: column.tolist() for name, column in log.table().items()
    }


def test_a_duration_beyond_32_bits_is_kept_exactly():
    """40 minutes are 2.4e9 µs; the log is the same if it is recorded singly, as a list or as an array."""
    long = 2_400_000_000
    for record in (list, np.array):
        log = StepLog()
        log.step(0, 5, 0, 7, 1, 0, 1)
        log.run(5, record([6, long]), [0, 1], 1, 1, 0, 1)
        log.step(11 + long, long, 1, 0, 1, 0, 2)
        log.run(11 + 2 * long, record([7]), [0], 1, 1, 0, 2)
        assert log.durations().tolist() == [5, 6, long, long, 7]
        assert log.table()["start_us"].tolist() == [0, 5, 11, 11 + long, 11 + 2 * long]
        assert StepLog.of_arrays(log.to_arrays()).table()["start_us"].tolist() == log.table()["start_us"].tolist()


def test_a_step_of_its_own_takes_40_bytes_and_a_planned_one_8():
    log = StepLog()
    columns = (log._durations, log._blocks_taken, log._starts, log._stretches)
    log.step(0, 5, 0, 7, 1, 0, 1)
    first = sum(column.itemsize * len(column) for column in columns)
    log.run(5, [6] * 1000, [0] * 1000, 1, 1, 0, 1)
    assert (first, sum(column.itemsize * len(column) for column in columns) - first) == (40, 8_032)


def test_compressed_blocks_bring_back_every_step():
    """A log of three blocks and a rest, with pauses and a duration beyond 32 bits, as one that is never compressed."""
    rng = np.random.default_rng(7)
    plain, start = {"durations": [], "taken": [], "starts": []}, 0
    log = StepLog()
    while len(log) < 3 * BLOCK_STEPS + 1000:
        number = int(rng.integers(1, 5000))
        durations = 6_000 + np.cumsum(rng.integers(0, 2, number))
        durations[-1] += 3_000_000_000 * (len(log) < 10_000)
        taken = (rng.random(number) < 1 / 16).astype(int).tolist()
        log.run(start, durations, taken, 3, 3, 0, 10)
        plain["durations"] += durations.tolist()
        plain["taken"] += taken
        plain["starts"] += (start + np.cumsum(durations) - durations).tolist()
        start += int(durations.sum()) + int(rng.integers(0, 100_000))
    table = log.table()
    assert len(log) == len(plain["durations"])
    assert log.durations().tolist() == table["duration_us"].tolist() == plain["durations"]
    assert table["start_us"].tolist() == plain["starts"]
    assert np.diff(table["used_blocks"]).sum() + 10 <= 10 + sum(plain["taken"])
    ends = np.array(plain["starts"]) + plain["durations"]
    assert log.gaps().tolist() == np.diff(ends, prepend=0).tolist()
    assert [len(block) for block in log.gap_blocks()] == [len(block) for block in log.duration_blocks()]
    assert log.copy().durations().tolist() == plain["durations"]


def test_a_planned_step_takes_less_than_half_a_byte_once_it_is_compressed():
    """One request at a time, 390 steps each, whose duration grows by 1 µs every 20 steps; a block every 16."""
    durations = 5_759 + np.arange(390) // 20
    taken = [int(step % 16 == 0) for step in range(390)]
    log = StepLog()
    while not log._packed:
        log.run(0, durations, taken, 1, 1, 0, 1)
    (block,) = log._packed
    columns = (block.durations, block.blocks_taken, *block.stretches)
    assert sum(len(column.data) for column in columns) < 0.5 * BLOCK_STEPS
