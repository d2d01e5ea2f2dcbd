"""Settings that cannot change a run because of other settings: which are warned of, and that they change nothing."""

import logging

import pytest

import blis_simpy as blis
from blis_simpy.unused_settings import unused_settings

BASE = blis.Scenario(
    model="my/model",
    hardware="H100",
    tp=1,
    engine={"profile": "blis", "max_num_seqs": 4},
    kv={"blocks": 200},
    latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(5000, 10, 1)),
    workload=blis.Workload(rate=50, num_requests=12),
)


def pause(simulation):
    yield simulation.env.timeout(1)


NO_PRIORITIES = "the scheduler 'fcfs' ignores priorities"
NO_REPLICAS = "replicas that exist at the start are loaded; it needs node_pools, or processes that change replicas"
NO_BLOCKS = "kv.blocks is given, so the number of blocks is not computed"
UNUSED = {
    "engine.priority": ("slo-based", "engine.priority (--priority-policy)", NO_PRIORITIES),
    "engine.long_prefill_token_threshold_adaptive": (True, "", "it needs engine.long_prefill_token_threshold"),
    "engine.long_prefill_threshold_if_alone": (False, "", "it needs engine.long_prefill_token_threshold"),
    "engine.idle_pause": (7, "", "steps take effect at their start"),
    "kv.transfer_bandwidth": (2, "kv.transfer_bandwidth (--kv-transfer-bandwidth)", "it needs kv.cpu_blocks"),
    "kv.transfer_base_latency": (5, "kv.transfer_base_latency (--kv-transfer-base-latency)", "it needs kv.cpu_blocks"),
    "kv.offload_threshold": (0.5, "kv.offload_threshold (--kv-offload-threshold)", "it is accepted for compatibility"),
    "kv.reserved_blocks": (3, "", NO_BLOCKS),
    "kv.gpu_memory_utilization": (0.5, "kv.gpu_memory_utilization (--gpu-memory-utilization)", NO_BLOCKS),
    "disaggregation.decider": ("never", "", "no group is for prefill or decode only"),
    "disaggregation.first_token": ("prefill", "", "no group is for prefill or decode only"),
    "router.snapshot_interval": (
        "50ms",
        "router.snapshot_interval (--snapshot-refresh-interval)",
        "there is only one replica",
    ),
    "router.decision_alternatives": (
        2,
        "router.decision_alternatives (--counterfactual-k)",
        "it needs router.decision_log (--trace-level decisions)",
    ),
    "lifecycle.loading_delay": ("30s", "", NO_REPLICAS),
    "lifecycle.loading_delay_stddev": ("1s", "", NO_REPLICAS),
    "lifecycle.weights_bandwidth": ("1GB/s", "", NO_REPLICAS),
    "lifecycle.weights_size": ("1GB", "", "it needs lifecycle.weights_bandwidth"),
    "lifecycle.warm_up_ttft_factor": (2.0, "", "it needs lifecycle.warm_up_requests"),
    "lifecycle.drain_policy": ("immediate", "", "it needs processes that drain replicas"),
}
USED = {
    "engine.priority": {"engine.scheduler": "priority-fcfs"},
    "engine.long_prefill_token_threshold_adaptive": {"engine.long_prefill_token_threshold": 64},
    "engine.long_prefill_threshold_if_alone": {"engine.long_prefill_token_threshold": 64},
    "engine.idle_pause": {"engine.profile": "vllm"},
    "kv.transfer_bandwidth": {"kv.cpu_blocks": 10},
    "kv.transfer_base_latency": {"kv.cpu_blocks": 10},
    "kv.reserved_blocks": {"kv.blocks": None},
    "kv.gpu_memory_utilization": {"kv.blocks": None},
    "router.snapshot_interval": {"replicas": 2},
    "router.decision_alternatives": {"router.decision_log": True},
    "lifecycle.loading_delay": {"node_pools": [{"name": "a", "gpu_type": "H100"}]},
    "lifecycle.loading_delay_stddev": {"processes": [pause]},
    "lifecycle.weights_bandwidth": {"processes": [pause]},
    "lifecycle.weights_size": {"lifecycle.weights_bandwidth": "1GB/s", "processes": [pause]},
    "lifecycle.warm_up_ttft_factor": {"lifecycle.warm_up_requests": 1},
    "lifecycle.drain_policy": {"processes": [pause]},
}


@pytest.mark.parametrize("path", UNUSED)
def test_a_setting_without_effect_is_warned_of_and_changes_nothing(path, caplog):
    value, name, reason = UNUSED[path]
    changed = BASE.with_(**{path: value})
    with caplog.at_level(logging.WARNING, logger="blis_simpy"):
        result = changed.run()
    assert [record.getMessage() for record in caplog.records] == [f"{name or path} has no effect: {reason}"]
    assert result.requests == BASE.run().requests


@pytest.mark.parametrize("path", USED)
def test_a_setting_beside_what_it_needs_is_not_warned_of(path):
    assert not unused_settings(BASE.with_(**USED[path], **{path: UNUSED[path][0]}))


def test_settings_of_a_group_are_named_with_the_group():
    group = blis.ReplicaGroup(model="my/model", replicas=2, kv={"blocks": 200, "offload_threshold": 0.1})
    expected = "groups[0].kv.offload_threshold (--kv-offload-threshold) has no effect: it is accepted for compatibility"
    assert unused_settings(BASE.with_(groups=[group])) == [expected]


def test_a_scheduler_of_a_user_may_use_priorities():
    class Mine:
        def key(self, request, priority, now):
            return -priority

    assert not unused_settings(BASE.with_(engine={"scheduler": Mine, "priority": "slo-based"}))
