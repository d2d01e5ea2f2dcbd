"""A routing policy of your own: look at two replicas picked at random, and take the one with less to do.

"The power of two choices" needs two looks a request instead of one at every replica, and comes close to the best.
"""

import blis_simpy as blis

SCENARIO = blis.Scenario(
    model="any/model",
    hardware="H100",
    tp=1,
    engine_version="any",
    replicas=16,
    latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(8_000.0, 20.0, 40.0)),
    engine=blis.EngineSettings(max_num_seqs=8),
    kv=blis.KVSettings(blocks=4_000),
    workload=blis.Workload(
        rate=45.0,
        num_requests=3_000,
        arrivals="poisson",
        prompt=blis.Gaussian(512, 256, 16, 2048),
        output=blis.Gaussian(256, 200, 8, 1024),
    ),
)


class TwoChoices:
    """The less loaded of two replicas picked at random."""

    def start(self, context):
        """Take a stream of random numbers for this run."""
        self.random = context.streams.generator("two-choices")

    def route(self, request, state):
        """Pick two, compare their load."""
        first, second = (state.snapshots[self.random.integers(len(state.snapshots))] for _ in range(2))
        return min(first, second, key=lambda snapshot: snapshot.effective_load).replica


def main():
    """Compare it with policies that look at nobody, and at everybody."""
    print(f"{'routing':<14}{'TTFT mean':>12}{'TTFT p99':>12}   (ms)")
    for routing in ("round-robin", TwoChoices, "least-loaded"):
        summary = SCENARIO.with_(router=routing).run().summary
        name = routing if isinstance(routing, str) else routing.__name__
        print(f"{name:<14}{summary['ttft_mean_ms']:>12.1f}{summary['ttft_p99_ms']:>12.1f}")


if __name__ == "__main__":
    main()
