"""Macro-steps: what is planned, and when it is carried out. Decode steps take 110 µs alone, prefills 100 + tokens."""

import numpy as np
import pytest

from blis_simpy.native import is_compiled
from blis_simpy.replica.macro_step import MacroStep


@pytest.mark.parametrize("durations", [30, [30] * 4, np.full(4, 30)])
def test_boundaries_and_started_steps_are_the_same_for_all_kinds_of_durations(durations):
    run = MacroStep(100, durations, 4)
    assert [run.boundary(step) for step in range(5)] == [100, 130, 160, 190, 220]
    assert [run.started(now, at_now=False) for now in (99, 100, 101, 130, 220, 999)] == [0, 0, 1, 1, 4, 4]
    assert [run.started(now, at_now=True) for now in (99, 100, 101, 130, 220, 999)] == [0, 1, 1, 2, 4, 4]
    assert list(run.durations(1, 2)) == [30, 30]


def test_run_ends_before_the_step_in_which_a_request_ends(planned):
    """Prefill 0..110; 48 of the 49 decode steps in one run; the last step singly, as it frees blocks at its start."""
    served = planned((10, 50, 0))
    assert served.replica.steps.num_stretches == 3
    assert len(served.steps("start_us")) == 50
    assert served.column("e2e_us") == [110 + 49 * 110]


def test_run_ends_before_the_step_that_lacks_a_block(planned):
    """Two requests of 2 blocks of 16 in 8 blocks: both need a fifth in their 33rd decode step, which preempts."""
    served = planned((32, 40, 0), (32, 40, 0), blocks=8)
    assert served.result.preemptions == [("request_1", 4004)]
    counts = [start for (start,) in served.steps("start_us") if start <= 4004]
    assert len(counts) == 34


def test_request_that_arrives_within_a_run_joins_at_the_end_of_the_current_step(planned):
    """Decode steps of 110 from 110 on; r1 arrives at 500, within the step 440..550, and has its prompt done at 670."""
    served = planned((10, 50, 0), (10, 1, 500))
    assert served.column("scheduled_at_us") == [0, 550]
    assert served.column("ttft_us")[1] == 550 + 120 - 500


def test_observation_within_a_run_shows_the_steps_that_have_started(planned, prepare):
    """A block of 16 holds the prompt of 10 and 6 tokens: the decode step that starts at 110 + 6 * 110 takes another."""
    simulation = prepare((10, 50, 0), blocks=10)
    replica = simulation.replicas[0]
    seen = []

    def watch():
        for tick in (770, 771):
            yield simulation.env.timeout(tick - simulation.env.now)
            assert replica._planner.run is not None
            seen.append((replica.used_blocks, replica.observe().used_blocks))

    simulation.env.process(watch())
    simulation.run()
    assert seen == [(1, 1), (2, 2)]


def test_latency_model_must_predict_as_many_steps_as_it_was_asked_for(planned):
    import blis_simpy as blis

    class Short:
        def __init__(self, inputs):
            del inputs

        def step_time(self, batch):
            return 100

        def decode_step_times(self, batch, steps):
            return [100] * (steps - 1)

        def queueing_time(self, input_tokens):
            return 0

        output_token_processing_time = post_decode_overhead = lambda self: 0

    with pytest.raises(blis.PluginError, match="latency model Short decode_step_times must return 8 durations"):
        planned((10, 10, 0), backend=Short)


@pytest.fixture
def planned(monkeypatch, serve):
    """Run what `prepare` sets up, with steps planned wherever that is allowed, not only where it pays."""
    from blis_simpy.replica import engine, macro_step

    if is_compiled():
        pytest.skip("replaces an attribute of the engine, which compiled code does not look up")
    monkeypatch.setattr(macro_step, "_WORTH_PLANNING", 1)
    monkeypatch.setattr(engine.Engine, "decision_gap_x8", property(lambda _: 1 << 30, lambda *_: None), raising=False)
    return serve
