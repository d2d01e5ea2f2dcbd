"""Batch formers that are not ours: what they do not grant is not given."""

import pytest

from blis_simpy.replica.batch_policies import ContinuousBatching


class TailFirst(ContinuousBatching):
    """Serves the last of three decodes, then the first, and leaves out the second."""

    is_steady = None

    def form(self, step):
        running = step.running()
        if len(running) == 3 and not step.num_prefilling:
            step.grant(running[2])
            step.grant(running[0])
        else:
            super().form(step)


def test_decode_that_is_left_out_gets_no_token_when_a_granted_one_is_evicted(serve):
    """Six blocks of 4, three prompts of 4. At 500 the last takes the last block, and is evicted for the first.

    The second was granted nothing, so one token is decoded.
    """
    rows = [(4, 6, 0)] * 3
    served = serve(*rows, blocks=6, block_size=4, beta=(100.0, 0.0, 0.0), batching=TailFirst())
    tokens = dict(served.steps("start_us", "decode_tokens"))
    assert served.result.preemptions == [("request_2", 500)]
    assert tokens[500] == 1


class Counted(ContinuousBatching):
    """Counts the steps that it forms; the decode steps are those of its base class."""

    def __init__(self):
        self.num_formed = 0

    def form(self, step):
        self.num_formed += 1
        super().form(step)


@pytest.mark.parametrize("profile", ["blis", "vllm"])
def test_a_subclass_forms_every_single_step(serve, profile):
    """The engine forms decode steps without the built-in policy only: both give the same steps."""
    policy = Counted()
    options = {"profile": profile, "macro_steps": False, "block_size": 4, "beta": (100.0, 0.0, 0.0)}
    counted = serve((4, 9, 0), (6, 20, 350), batching=lambda: policy, **options)
    plain = serve((4, 9, 0), (6, 20, 350), **options)
    columns = ("start_us", "duration_us", "decode_tokens", "prefill_tokens", "batch_size", "used_blocks")
    assert policy.num_formed >= len(counted.steps(*columns)) > 20
    assert counted.steps(*columns) == plain.steps(*columns)
