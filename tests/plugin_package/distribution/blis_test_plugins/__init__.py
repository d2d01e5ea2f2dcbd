"""What somebody else might ship: one plug-in of each of four kinds. Imports nothing of the library."""

import numpy as np


class LongestFirst:
    """Scheduler: longest prompt first."""

    time_invariant = True

    def key(self, request, priority, now):
        return -request.input_tokens


class Beat:
    """Latency model: every step takes 50 µs."""

    def __init__(self, inputs):
        del inputs

    def step_time(self, batch):
        return 50

    def queueing_time(self, input_tokens):
        return 0

    def output_token_processing_time(self):
        return 0

    def post_decode_overhead(self):
        return 0


class OneAtATime:
    """Batch former: the next request joins when the batch is empty."""

    def form(self, step):
        for sequence in step.running():
            step.grant(sequence)
        if step.num_waiting and not step.running():
            step.admit()


class Alternating:
    """Length distribution: two lengths by turns."""

    def __init__(self, first, second):
        self.lengths = (first, second)

    def sample(self, rng, n):
        return np.resize(np.array(self.lengths, dtype=np.int64), n)
