"""A user process: a replica fails at 20 s, is restored at 30 s, and is active again at 50 s.

Its requests are submitted to the router again and start over on other replicas; the replica loads the model before it
serves again.
"""

import blis_simpy as blis

SCENARIO = blis.Scenario(
    model="any/model",
    hardware="H100",
    tp=1,
    engine_version="any",
    replicas=3,
    router="least-loaded",
    latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(8_000.0, 20.0, 40.0)),
    engine=blis.EngineSettings(max_num_seqs=16),
    kv=blis.KVSettings(blocks=4_000),
    lifecycle=blis.LifecycleSettings(loading_delay=20 * blis.SECOND),
    workload=blis.Workload(
        rate=18.0,
        num_requests=1_800,
        arrivals="poisson",
        prompt=blis.Gaussian(512, 256, 16, 2048),
        output=blis.Gaussian(200, 100, 8, 1024),
    ),
)


def outage(simulation):
    """Fail replica 0 at 20 s and restore it at 30 s, printing its state."""
    env, cluster = simulation.env, simulation.cluster
    for wait, act in ((20, cluster.fail), (10, cluster.restore), (21, None)):
        yield env.timeout(wait * blis.SECOND)
        before = cluster.in_flight(0)
        if act is not None:
            act(0)
        after, state = cluster.in_flight(0), cluster.state(0)
        print(f"at {env.now // blis.SECOND} s replica 0 is {state}: {before} -> {after} requests")


def main():
    """Compare runs with and without the outage."""
    steady = SCENARIO.run()
    failing = SCENARIO.with_(processes=[outage]).run()
    print(f"\n{'':<10}{'completed':>10}{'started over':>14}{'TTFT mean':>12}{'TTFT p99':>12}   (ms)")
    for name, result in (("steady", steady), ("outage", failing)):
        s, again = result.summary, int(result.requests["num_preemptions"].sum())
        row = f"{name:<10}{s['completed_requests']:>10}{again:>14}{s['ttft_mean_ms']:>12.1f}{s['ttft_p99_ms']:>12.1f}"
        print(row)


if __name__ == "__main__":
    main()
