"""Idioms of the documentation, for a type checker; nothing here is run."""

from pathlib import Path

import blis_simpy as blis


class Sticky:
    def route(self, request: blis.Request, state: blis.RouterState) -> int:
        return state.snapshots[0].replica


spec = blis.WorkloadSpec(
    aggregate_rate="30/s",
    num_requests=100,
    clients=[
        blis.Client(
            id="chat",
            rate_fraction=1,
            arrival=blis.Arrival("gamma", cv=2.0),
            timeout="12s",
            input_distribution=blis.LengthDistribution("constant", {"value": 100}),
            output_distribution={"type": "constant", "params": {"value": 20}},
            reasoning=blis.Reasoning(multi_turn=blis.MultiTurn(max_rounds=3, think_time_us="2s")),
        ),
        {
            "rate_fraction": 1,
            "arrival": {"process": "poisson"},
            "input_distribution": {"type": "constant", "params": {"value": 1}},
            "output_distribution": {"type": "constant", "params": {"value": 1}},
        },
    ],
)
scenario = blis.Scenario(
    model="qwen/qwen3-14b",
    hardware="H100",
    tp=1,
    horizon="60s",
    admission=blis.AdmissionSettings(policy=blis.TokenBucket(capacity=1000), delay="5ms"),
    router={"policy": "weighted", "scorers": {"queue-depth": 2}, "snapshot_interval": "50ms"},
    engine={"max_num_seqs": 8},
    kv=blis.KVSettings(blocks=100, transfer_base_latency="3us"),
    latency=blis.LatencySettings(backend="blackbox", alpha=[0, 0, 0], beta=[1000.0, 1, 1]),
    groups=[blis.ReplicaGroup(replicas=2), {"hardware": "A100-80"}],
    node_pools=[blis.NodePool(name="a", gpu_type="H100", provisioning_delay="30s")],
    lifecycle=blis.LifecycleSettings(loading_delay="30s"),
    workload=spec,
    model_config=Path("configs"),
)
for other in (scenario.with_(router=Sticky), scenario.with_(router=Sticky())):
    print(other.router.policy)
blis.Scenario(model="m", router=Sticky, admission="always-admit", workload="traffic.yaml")
blis.Scenario(model="m", router=Sticky(), admission=blis.AlwaysAdmit, workload={"rate": "20/s"})
blis.Scenario(model="m", router=blis.Weighted(scorers=[("queue-depth", 1.0)]), latency="roofline")
rate: float = blis.Workload(rate="20/s", prompt=blis.Gaussian(512, 128, 32, 2048), arrivals="poisson").rate
blis.Workload(prompt={"type": "constant", "value": 3}, arrivals={"type": "gamma", "cv": 2})
horizon: int | None = scenario.horizon
groups: tuple[blis.ReplicaGroup, ...] = scenario.groups
