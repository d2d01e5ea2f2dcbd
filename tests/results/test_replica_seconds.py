"""How long replicas have their GPUs."""

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.units import SECOND


def run(process, *, replicas=2, tp=2, until=10, **settings):
    """Two replicas of two GPUs, of which a request keeps one busy up to 10 s; a process moves them."""
    scenario = blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=tp,
        engine_version="any",
        replicas=replicas,
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(SECOND, 0.0, 0.0)),
        kv=blis.KVSettings(blocks=100),
        **settings,
    )
    simulation = blis.Simulation(scenario, requests=[Request("r", 0, 10, until)])
    simulation.env.process(process(simulation))
    return simulation.run()


def do_nothing(simulation):
    yield simulation.env.timeout(0)


def test_replicas_that_serve_throughout_have_the_whole_run():
    result = run(do_nothing)
    assert (result.metric("duration_s"), result.metric("replica_seconds")) == (10.0, 20.0)
    assert result.metric("gpu_seconds") == 40.0


def test_a_terminated_replica_has_its_gpus_no_more():
    """One is terminated after 3 s; it is restored at 7 s, and loads again, which takes longer than the run does."""

    def scale(simulation):
        yield simulation.env.timeout(3 * SECOND)
        simulation.cluster.drain(1)
        yield simulation.env.timeout(4 * SECOND)
        simulation.cluster.restore(1)

    result = run(scale, lifecycle=blis.LifecycleSettings(loading_delay="5s"))
    assert result.record.replicas[1].placed.tolist() == [[0, 3 * SECOND], [7 * SECOND, 10 * SECOND]]
    assert result.metric("replica_seconds") == 10.0 + 6.0


def test_saved_results_have_them_too(tmp_path):
    result = run(do_nothing)
    result.save(tmp_path / "run.blis")
    assert blis.load_result(tmp_path / "run.blis").metric("gpu_seconds") == 40.0
