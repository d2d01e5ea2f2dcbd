"""A process of your own: a replica goes down in the middle of its work, and comes back half a minute later.

Its requests enter the cluster again and start over elsewhere; the replica loads the model before it serves again.
"""

import blis_simpy as blis
from blis_simpy.cluster.settings import LifecycleSettings

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
    lifecycle=LifecycleSettings(loading_delay=20 * blis.SECOND),
    workload=blis.Workload(
        rate=18.0,
        num_requests=1_800,
        arrivals="poisson",
        prompt=blis.Gaussian(512, 256, 16, 2048),
        output=blis.Gaussian(200, 100, 8, 1024),
    ),
)


def outage(simulation):
    """Take replica 0 down at 20 s and start it again at 30 s, telling what happens."""
    env, cluster = simulation.env, simulation.cluster
    for wait, act in ((20, cluster.fail), (10, cluster.restore), (21, None)):
        yield env.timeout(wait * blis.SECOND)
        before = cluster.in_flight(0)
        if act is not None:
            act(0)
        after, state = cluster.in_flight(0), cluster.state(0)
        print(f"at {env.now // blis.SECOND} s replica 0 is {state}: {before} -> {after} requests")


def main():
    """Compare the run with one in which nothing fails."""
    calm = SCENARIO.run()
    simulation = blis.Simulation(SCENARIO)
    simulation.env.process(outage(simulation))
    hit = simulation.run()
    print(f"\n{'':<10}{'completed':>10}{'started over':>14}{'TTFT mean':>12}{'TTFT p99':>12}   (ms)")
    for name, result in (("calm", calm), ("outage", hit)):
        s, again = result.summary, int(result.requests["num_preemptions"].sum())
        row = f"{name:<10}{s['completed_requests']:>10}{again:>14}{s['ttft_mean_ms']:>12.1f}{s['ttft_p99_ms']:>12.1f}"
        print(row)


if __name__ == "__main__":
    main()
