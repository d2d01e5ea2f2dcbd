"""An admission policy that rejects batch requests under load, so that interactive requests do not wait."""

import blis_simpy as blis
from blis_simpy import Request

SCENARIO = blis.Scenario(
    model="any/model",
    hardware="H100",
    tp=1,
    engine_version="any",
    replicas=2,
    router="least-loaded",
    latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(8_000.0, 20.0, 40.0)),
    engine=blis.EngineSettings(max_num_seqs=16),
    kv=blis.KVSettings(blocks=4_000),
)


def traffic(count=1_000):
    """Make a request every 50 ms, alternately interactive and batch: somewhat more than two replicas can serve."""
    return [
        Request(
            id=f"request_{i}",
            arrived_at=i * 50 * blis.MS,
            input_tokens=512,
            output_tokens=200,
            slo_class="batch" if i % 2 else "interactive",
        )
        for i in range(count)
    ]


class ShedBatch:
    """Admits batch requests only while a replica has a short queue."""

    def __init__(self, longest_queue=0):
        self.longest_queue = longest_queue

    def admit(self, request, state):
        """Admit a batch request if a replica has a queue of at most `longest_queue`."""
        if request.slo_class != "batch":
            return True
        return any(snapshot.queue_depth <= self.longest_queue for snapshot in state.snapshots)


def main():
    """Compare it with the admission of all requests."""
    print(f"{'admission':<14}{'rejected':>12}{'interactive TTFT p99 (ms)':>28}")
    for admission in ("always-admit", ShedBatch()):
        result = blis.Simulation(SCENARIO.with_(admission=admission), requests=traffic()).run()
        name = admission if isinstance(admission, str) else type(admission).__name__
        ttft = result.slo_classes["interactive"]["ttft"].percentile_ms(99)
        print(f"{name:<14}{len(result.rejected):>12}{ttft:>28.1f}")


if __name__ == "__main__":
    main()
