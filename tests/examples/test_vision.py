"""What users come for, in the words in which they would say it; `docs/` explains each of these."""

import os
import subprocess
import sys

import pytest

import blis_simpy as blis

SCENARIO = blis.Scenario(
    model="qwen/qwen3-14b",
    hardware="H100",
    tp=1,
    replicas=4,
    router={"policy": "weighted", "scorers": "prefix-affinity:3,queue-depth:2,kv-utilization:2"},
    workload=blis.Workload(rate=20.0, prompt=blis.Gaussian(512, 256), output=blis.Gaussian(256, 128), num_requests=200),
)
QUICK = {"executor": "serial", "progress": False}


@pytest.fixture(scope="module")
def result():
    return SCENARIO.run(seed=42)


def test_ten_lines_give_a_result(result):
    assert result.summary["completed_requests"] == 200
    assert sum(replica["completed_requests"] for replica in result.replicas) == 200


def test_a_shipped_scenario_runs_in_one_line():
    assert blis.load_scenario("quickstart").run().summary["completed_requests"] == 2000


def test_a_result_shows_itself_in_a_terminal_and_in_a_notebook(result):
    assert repr(result).startswith("<Result: 200 of 200 requests completed in ")
    html = result._repr_html_()
    assert "TTFT, time to first token" in html
    assert html.count("<table") == 2  # latencies, replicas


def test_requests_become_a_data_frame(result):
    pytest.importorskip("pandas")
    frame = result.requests.to_pandas()
    assert len(frame) == 200
    assert (frame["ttft_us"] <= frame["e2e_us"]).all()
    assert frame["ttft_us"].mean() / 1000 == pytest.approx(result.metric("ttft_mean_ms"))


def test_a_timeline_has_a_lane_a_replica(result):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    lanes = result.plot.timeline()
    assert lanes.shape == (4, 3)
    assert [ax.get_title(loc="left") for ax in lanes[0]] == [
        "queue depth (requests)",
        "batch size (requests)",
        "KV in use (%)",
    ]
    pyplot.close(lanes[0, 0].figure)


def noisy_neighbour(env, replica, seen):
    yield env.timeout(5 * blis.SECOND)
    before = replica.kv_blocks.level
    yield replica.kv_blocks.get(2_000)
    seen.append((env.now, before - replica.kv_blocks.level))
    yield env.timeout(10 * blis.SECOND)
    yield replica.kv_blocks.put(2_000)
    seen.append((env.now, replica.kv_blocks.capacity))


def test_a_process_of_ones_own_squeezes_a_replica():
    """Of 2,700 blocks, 2,000 go to a neighbour for ten seconds; the replica preempts, and the others do not."""
    scenario = SCENARIO.with_(**{"kv.blocks": 2_700, "workload.num_requests": 400})
    sim = blis.Simulation(scenario, seed=42)
    seen = []
    sim.env.process(noisy_neighbour(sim.env, sim.cluster.replicas[0], seen))
    squeezed = sim.run()
    (taken_at, taken), (given_at, capacity) = seen
    assert taken == 2_000
    assert given_at - taken_at == 10 * blis.SECOND
    assert capacity == 2_700
    assert scenario.run(seed=42).metric("preemptions") == 0
    assert squeezed.replicas[0]["preemption_count"] > 0
    assert [replica["preemption_count"] for replica in squeezed.replicas[1:]] == [0, 0, 0]


def test_policies_are_compared_in_one_line():
    a, b = SCENARIO.with_(router="round-robin"), SCENARIO
    table = blis.compare({"rr": a, "prefix": b}, replications=3, **QUICK).table()
    assert str(table) == repr(table)
    title, heading, *_ = str(table).splitlines()
    assert title == "3 paired replications, baseline rr, 95 %, p by Holm"
    assert heading.split() == ["metric", "candidate", "rr", "mean", "change", "p", "finding", "variance", "ratio"]
    assert [row[0] for row in table.rows] == ["ttft_p99_ms", "itl_mean_ms", "e2e_mean_ms", "requests_per_s"]


def test_a_grid_is_swept_in_one_line_and_resumes(tmp_path):
    scenario = SCENARIO.with_(**{"workload.num_requests": 50})
    grid = {"replicas": [1, 2, 4, 8], "workload.rate": [5, 10, 20]}
    swept = blis.sweep(scenario, grid, replications=2, store=tmp_path / "runs", **QUICK)
    assert [point.settings["replicas"] for point in swept.points] == [1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8]
    assert [point.settings["workload.rate"] for point in swept.points] == [5, 10, 20] * 4
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    again = blis.sweep(scenario, grid, replications=2, store=tmp_path / "runs", **QUICK)
    assert repr(again) == repr(swept)
    assert kept
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


POLICY_TEST = """
import pytest
import blis_simpy as blis

rr = blis.load_scenario("prefix-affinity").with_(
    router="round-robin",
    **{"kv.blocks": 6000, "workload.num_requests": 320, "workload.inference_perf.stages[0].duration": 8},
)
prefix = rr.with_(router={"policy": "weighted", "scorers": "prefix-affinity:2,queue-depth:1"})


def test_prefix_affinity_pays(policy_experiment):
    outcome = policy_experiment(baseline=rr, candidate=prefix, replications=5)
    outcome.assert_lower("ttft_p99_ms", by=0.20, confidence=0.95)
"""


def test_a_claim_about_a_policy_is_a_test(tmp_path):
    """The plug-in comes with the package: nothing is imported or configured."""
    (tmp_path / "test_my_policy.py").write_text(POLICY_TEST)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_policy.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shown       ttft_p99_ms of candidate is at least 20 % lower than that of baseline" in done.stdout
