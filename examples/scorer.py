"""A scorer in the weighted mix that keeps the requests of a tenant on one replica.

Each tenant has its own system prompt. The scorer prefers the last replica of the tenant, which has the prompt in its
prefix cache; the cost is a less even load.
"""

import blis_simpy as blis
from blis_simpy import Request
from blis_simpy.core.token_spans import Span

SCENARIO = blis.Scenario(
    model="any/model",
    hardware="H100",
    tp=1,
    engine_version="any",
    replicas=4,
    router="weighted",
    latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(8_000.0, 50.0, 40.0)),
    kv=blis.KVSettings(blocks=1000),
)


def traffic():
    """Make a request every 20 ms: the 1024 tokens of its tenant, and 64 of its own."""
    tenants = [f"tenant-{i * 7 % 20}" for i in range(2_000)]
    length, gap = {"input_tokens": 1_088, "output_tokens": 100}, 20 * blis.MS
    return [
        Request(id=f"request_{i}", arrived_at=i * gap, tenant=tenant, content=(Span(tenant, 0, 1_024),), **length)
        for i, tenant in enumerate(tenants)
    ]


class SameTenant:
    """1 for the replica that served the tenant last, 0 for the others."""

    def start(self, context):
        """Begin a run without history."""
        self.last = {}

    def score(self, request, snapshots):
        """Rate the replicas."""
        return [float(self.last.get(request.tenant) == snapshot.replica) for snapshot in snapshots]

    def observe(self, request, replica):
        """Record the replica of the request."""
        self.last[request.tenant] = replica


def main():
    """Compare increasing weights of the scorer."""
    print(f"{'weight':>6}{'TTFT mean (ms)':>16}{'prefix hits':>13}")
    for weight in (0.01, 1.0, 9.0):
        scenario = SCENARIO.with_(**{"router.scorers": [("queue-depth", 1.0), (SameTenant, weight)]})
        result = blis.Simulation(scenario, requests=traffic()).run()
        print(f"{weight:>6.2f}{result.summary['ttft_mean_ms']:>16.1f}{result.kv_rates['cache_hit_rate']:>13.1%}")


if __name__ == "__main__":
    main()
