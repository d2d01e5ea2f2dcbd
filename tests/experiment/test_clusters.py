"""The very same sweep on a Dask cluster and on Ray; both are real, and of this machine alone.

python -m pytest tests/experiment/test_clusters.py -m ray
"""

import warnings

import pytest

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.experiment.store import Store

GRID = {"replicas": [2, 3], "workload.rate": [10, 40]}


def check_sweep(small, executor, folder):
    """Figures as on this machine, plug-ins of this process included; kept as they come; mistakes named."""

    class OnlyHere:
        def route(self, request, state):
            return 1

    metrics = {"share": lambda result: float((result.requests["replica"] == 1).mean()), "e2e_mean_ms": None}
    here, there = (
        blis.sweep(small, GRID, replications=2, executor=e, metrics="e2e_mean_ms") for e in ("serial", executor)
    )
    assert there.table().text() == here.table().text()
    with registry.added("routing", "only-here", OnlyHere):
        found = blis.sweep(small.with_(router="only-here"), GRID, executor=executor, metrics=metrics)
    assert found.runs["share"].tolist() == [1.0] * 4
    kept = blis.replicate(small, 3, executor=executor, store=folder)
    assert len(Store(folder)) == 3
    assert kept.values("e2e_mean_ms").tolist() == blis.replicate(small, 3, store=folder).values("e2e_mean_ms").tolist()
    with pytest.raises(ScenarioError, match=r"kv.blocks=5, engine.max_model_len=1000: engine.max_model_len needs"):
        blis.sweep(small, {"kv.blocks": [5], "engine.max_model_len": [1000]}, executor=executor)


def test_a_sweep_on_a_dask_cluster_is_that_of_this_machine(small, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        check_sweep(small, "dask", tmp_path / "store")


@pytest.mark.ray
def test_a_sweep_on_ray_is_that_of_this_machine(small, tmp_path):
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, at the start
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    try:
        check_sweep(small, "ray", tmp_path / "store")
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("executor", "hint"), [("dask", "make a distributed.Client first"), ("ray", "call ray.init first")]
)
def test_a_cluster_that_is_not_there_is_asked_for(small, executor, hint):
    pytest.importorskip("distributed" if executor == "dask" else "ray")
    with pytest.raises(PluginError) as raised:
        blis.replicate(small, 2, executor=executor)
    assert str(raised.value) == f"executor '{executor}' needs a cluster; {hint}"
