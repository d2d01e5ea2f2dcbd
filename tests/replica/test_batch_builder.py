"""Verbs of a step under formation, as a batch policy uses them. Blocks of 4 tokens, steps of 100 µs."""

import pytest

from blis_simpy.replica.batch_policies import ContinuousBatching

LINE = {"block_size": 4, "beta": (100.0, 0.0, 0.0)}


class FirstVictim(ContinuousBatching):
    """Preempts the member that was admitted first, instead of the latest."""

    is_steady = None

    def form(self, step):
        for leg in step.running():
            while leg.batch_position >= 0 and not step.try_grant(leg):
                step.preempt(step.running()[0])
        while not step.num_preempted and step.num_waiting and step.free_slots > 0 and step.admit():
            pass


def test_policy_may_choose_whom_it_preempts(serve):
    """Two prompts of a block in 3 blocks: at 100 r0 takes the third. At 200 there is none for r1: r0 has to leave."""
    served = serve((4, 6, 0), (3, 6, 0), blocks=3, batching=FirstVictim(), horizon=250, **LINE)
    assert served.result.preemptions[0] == ("request_0", 200)
    ordinary = serve((4, 6, 0), (3, 6, 0), blocks=3, horizon=250, **LINE)
    assert ordinary.result.preemptions[0] == ("request_1", 200)


class Probe(ContinuousBatching):
    """Records what a step shows before it is formed."""

    is_steady = None

    def __init__(self):
        self.seen = []

    def form(self, step):
        self.seen.append(
            (step.now, step.num_prefilling, step.num_decoding, step.num_waiting, step.free_slots, step.token_budget)
        )
        super().form(step)


def test_step_shows_the_state_before_it(serve):
    """Two slots: r0 and r1 prefill at 0 and decode at 100; r2 waits for the slot of r1, which ends at 100."""
    probe = Probe()
    serve((4, 3, 0), (4, 2, 0), (4, 1, 0), max_num_seqs=2, batching=lambda: probe, **LINE)
    assert probe.seen == [(0, 0, 0, 3, 2, 2048), (100, 0, 2, 1, 0, 2048), (200, 0, 1, 1, 1, 2048)]


class Rejecter(ContinuousBatching):
    """Grants every member its token singly and records whether it got it."""

    is_steady = None
    granted: list[bool]

    def form(self, step):
        for leg in step.running():
            if leg.batch_position >= 0:
                self.granted.append(step.grant(leg))
        while not step.num_preempted and step.num_waiting and step.admit():
            pass


def test_grant_fails_only_for_the_latest_member(serve):
    """3 blocks: r0 gets its second at 100, r1 finds none and is the latest; then r0 runs alone until it ends."""
    policy = Rejecter()
    policy.granted = []
    serve((4, 3, 0), (4, 3, 0), blocks=3, batching=lambda: policy, **LINE)
    assert policy.granted[:3] == [True, False, True]


@pytest.mark.parametrize(("budget", "chunks"), [(8, [8, 8, 4]), (6, [6, 6, 6, 2]), (100, [20])])
def test_prompt_is_computed_in_chunks_of_the_token_budget(serve, budget, chunks):
    served = serve((20, 1, 0), max_num_batched_tokens=budget, **LINE)
    assert [tokens for (tokens,) in served.steps("prefill_tokens")] == chunks


def test_threshold_limits_the_chunk_of_a_single_prompt(serve):
    served = serve((20, 1, 0), (20, 1, 0), long_prefill_token_threshold=8, **LINE)
    assert [tokens for (tokens,) in served.steps("prefill_tokens")] == [16, 16, 8]


def test_request_that_outgrows_all_blocks_is_dropped(serve, caplog):
    """4 prompt tokens without a budget, 2 blocks of 4: the sixth output token finds no place."""
    served = serve((4, 9, 0, {"max_output_tokens": 0}), blocks=2, **LINE)
    assert served.column("outcome") == ["dropped"]
    assert served.replica.kv_blocks.level == 2
    assert "request request_0 is dropped at 500 us" in caplog.text
