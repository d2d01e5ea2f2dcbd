"""Runs come to the same wherever they are done, and survive being killed."""

import importlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from experiment_policies import Always, Forgetful, NoPolicy, share_of_first

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.experiment.progress import progress_bar
from blis_simpy.experiment.runner import Job, Runner
from blis_simpy.experiment.store import Store

GRID = {"replicas": [1, 2], "workload.rate": [10, 40]}


@pytest.fixture
def swept(small):
    """What a sweep comes to, as text, and all of its runs."""

    def swept(**options):
        found = blis.sweep(small, GRID, replications=3, **options)
        return found.table().text(), {name: repr(column.tolist()) for name, column in found.runs.items()}

    return swept


def test_figures_do_not_depend_on_how_many_workers_there_are(swept):
    alone = swept(executor="serial")
    assert swept(workers=1) == swept(workers=2) == swept(workers=3) == alone
    assert swept(executor="threads", workers=2) == alone


def test_results_come_back_in_the_order_of_the_jobs(small):
    """The first run takes fifty times as long as the others."""
    jobs = [Job(small.with_(**{"workload.num_requests": n}), seed=1) for n in (2500, 50, 51, 52)]
    found = Runner(workers=2).run(jobs)
    assert [measurement.metrics["requests"] for measurement in found] == [2500, 50, 51, 52]


def test_a_policy_cannot_remember_the_run_before(small):
    """Each run has a policy of its own: the first request of every run goes to the second replica."""
    scenario = small.with_(replicas=2, router=Forgetful())
    for options in ({"executor": "serial"}, {"executor": "threads", "workers": 2}, {"workers": 2}):
        found = blis.replicate(scenario, 3, metrics={"share": share_of_first}, **options)
        assert found.values("share").tolist() == [49 / 50] * 3


def test_a_policy_of_a_class_inside_a_function_cannot_remember_either(small):
    class Inside(Forgetful):
        pass

    found = blis.replicate(
        small.with_(replicas=2, router=Inside()), 3, metrics={"share": share_of_first}, executor="serial"
    )
    assert found.values("share").tolist() == [49 / 50] * 3


def test_plug_ins_that_were_added_here_work_in_other_processes(small):
    class OnlyHere:
        def route(self, request, state):
            return 1

    with registry.added("routing", "only-here", OnlyHere):
        scenario = small.with_(replicas=2, router="only-here")
        found = blis.replicate(scenario, 2, metrics={"share": lambda result: share_of_first(result) + 1}, workers=2)
    assert found.values("share").tolist() == [1.0, 1.0]
    # Nothing of it is left in the workers.
    with pytest.raises(PluginError, match="routing is unknown, got 'only-here'"):
        blis.replicate(scenario, 2, workers=2)


def test_workers_that_are_kept_import_from_where_the_program_does_now(small, tmp_path, monkeypatch):
    blis.replicate(small, 2, workers=2)
    (tmp_path / "later_policy.py").write_text(
        "class Second:\n    def route(self, request, state):\n        return 1\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    router = importlib.import_module("later_policy").Second()
    found = blis.replicate(small.with_(replicas=2, router=router), 2, metrics={"share": share_of_first}, workers=2)
    assert found.values("share").tolist() == [0.0, 0.0]


def test_workers_that_are_kept_find_a_trace_where_the_program_is_now(small, tmp_path, monkeypatch):
    blis.replicate(small, 2, workers=2)
    monkeypatch.chdir(tmp_path)
    Path("day.csv").write_text("arrived_at_s,input_tokens,output_tokens\n0,10,5\n1,10,5\n", encoding="utf-8")
    recorded = small.with_(workload=blis.TraceWorkload(trace="day.csv", format="table"))
    assert blis.replicate(recorded, 2, workers=2, metrics="completed").values("completed").tolist() == [2, 2]


def test_what_cannot_be_sent_is_refused_unless_it_need_not_be(small):
    class Held:
        def __init__(self):
            self.lock = threading.Lock()

        def route(self, request, state):
            return 0

    scenario = small.with_(router=Held())
    with pytest.raises(
        PluginError, match=r"scenario or metrics cannot be sent to other processes: .*use the executor 'threads'"
    ):
        blis.replicate(scenario, 2, workers=2)
    assert len(blis.replicate(scenario, 2, executor="threads")) == 2


@pytest.mark.parametrize("options", [{"executor": "serial"}, {"workers": 2}])
def test_a_scenario_that_cannot_be_simulated_is_named_with_its_settings(small, options):
    with pytest.raises(ScenarioError) as raised:
        blis.sweep(small, {"kv.blocks": [10_000, 5], "engine.max_model_len": [1000]}, **options)
    assert str(raised.value).startswith(
        "kv.blocks=5, engine.max_model_len=1000: engine.max_model_len needs 63 KV blocks"
    )


def test_an_error_without_a_value_says_the_same_from_another_process(small):
    with pytest.raises(PluginError) as raised:
        blis.replicate(small.with_(router=NoPolicy), 2, workers=2)
    assert re.fullmatch(r"routing policy NoPolicy has no method route; .*seed [0-9]+", str(raised.value))


def test_a_metric_that_raises_in_another_process_is_named_with_the_seed_and_its_traceback(small):
    def broken(result):
        raise ZeroDivisionError("by my own hand")

    with pytest.raises(PluginError) as raised:
        blis.replicate(small, 2, metrics={"mine": broken}, workers=2)
    assert re.fullmatch(
        r"function broken raised ZeroDivisionError\('by my own hand'\) in broken; seed [0-9]+", str(raised.value)
    )
    assert "ZeroDivisionError: by my own hand" in str(raised.value.__cause__)


@pytest.mark.parametrize("options", [{"executor": "serial"}, {"executor": "threads", "workers": 2}, {"workers": 2}])
def test_what_is_in_the_store_is_not_run_again(small, tmp_path, options):
    first = blis.replicate(small, 3, store=tmp_path, **options)
    assert len(Store(tmp_path)) == 3
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    more = blis.replicate(small, 5, store=tmp_path, **options)
    assert len(Store(tmp_path)) == 5
    assert more.values("ttft_p99_ms")[:3].tolist() == first.values("ttft_p99_ms").tolist()
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_sweep_and_a_comparison_share_the_store(small, tmp_path):
    blis.sweep(small, {"replicas": [1, 2]}, replications=2, store=tmp_path, executor="serial")
    blis.compare({"one": small, "two": small.with_(replicas=2)}, 2, store=tmp_path, executor="serial")
    assert len(Store(tmp_path)) == 4


@pytest.mark.parametrize(
    "options", [{"warm_up": "1s"}, {"metrics": {"share": share_of_first}}, {"metrics": "ttft_p99.9_ms"}, {"seed": 1}]
)
def test_what_is_measured_otherwise_is_another_run(small, tmp_path, options):
    blis.replicate(small, 1, store=tmp_path, executor="serial")
    blis.replicate(small, 1, store=tmp_path, executor="serial", **options)
    assert len(Store(tmp_path)) == 2


@pytest.mark.parametrize("text", ['{"metrics"', "null", '{"metrics": {}, "traffic": "", "warm_up_us": 0}'])
def test_a_broken_file_is_made_again(small, tmp_path, caplog, text):
    before = blis.replicate(small, 2, store=tmp_path, executor="serial").values("e2e_mean_ms").tolist()
    next(tmp_path.iterdir()).write_text(text)
    assert blis.replicate(small, 2, store=tmp_path, executor="serial").values("e2e_mean_ms").tolist() == before
    assert blis.replicate(small, 2, store=tmp_path, executor="serial").values("e2e_mean_ms").tolist() == before
    assert caplog.text.count("simulated again") == 1


def test_what_has_no_identity_is_not_stored_but_refused(small, tmp_path):
    with pytest.raises(PluginError, match=r"<lambda> cannot be identified: it is defined inside a function; move it"):
        blis.replicate(small, 1, metrics={"mine": lambda result: 1.0}, store=tmp_path, executor="serial")
    assert len(blis.replicate(small.with_(router=Always), 1, store=tmp_path, executor="serial")) == 1


PROGRAM = """
import sys
import blis_simpy as blis

scenario = blis.Scenario(
    model="any/model", hardware="H100", tp=1, engine_version="any",
    latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(5000.0, 1.0, 100.0)),
    kv=blis.KVSettings(blocks=10_000),
    workload=blis.Workload(rate=20, num_requests=500, arrivals="poisson", output=blis.Constant(20)),
)
found = blis.sweep(
    scenario, {"replicas": [1, 2], "workload.rate": [10, 20]}, replications=6, store=sys.argv[1], workers=2
)
print(found.table())
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are those of POSIX")
def test_a_sweep_that_was_killed_goes_on_where_it_was(tmp_path):
    """SIGKILL to the program and its workers, after some of 24 runs: each file is whole, none is made twice."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def start(store):
        argv = [sys.executable, program, tmp_path / store]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def files():
        return {path: path.read_bytes() for path in (tmp_path / "killed").glob("*.json")}

    victim = start("killed")
    deadline = time.monotonic() + 60
    while len(files()) < 3 and time.monotonic() < deadline and victim.poll() is None:
        time.sleep(0.005)
    os.killpg(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    victim.communicate()
    kept = files()
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert 3 <= len(kept) < 24
    time.sleep(0.2)
    assert files() == kept, "a worker has outlived the group"

    resumed, undisturbed = start("killed"), start("undisturbed")
    texts = [process.communicate(timeout=120) for process in (resumed, undisturbed)]
    assert [process.returncode for process in (resumed, undisturbed)] == [0, 0], texts
    assert texts[0] == texts[1]
    assert len(files()) == 24
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    folders = [
        {path.name: path.read_bytes() for path in Path(tmp_path, name).glob("*.json")}
        for name in ("killed", "undisturbed")
    ]
    assert folders[0] == folders[1]


@pytest.mark.notebook
def test_progress_in_a_notebook_is_one_line_that_is_gone_in_the_end():
    """The kernel sends the line once, and then what to put in its place."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    from traitlets.config import Config

    seen = []

    class Client(nbclient.NotebookClient):
        def process_message(self, message, *args):
            if "text/plain" in (shown := message["content"].get("data", {})):
                seen.append(shown["text/plain"])
            return super().process_message(message, *args)

    code = (
        "from blis_simpy.experiment.progress import progress_bar\n"
        "with progress_bar('working', 4, done=1) as advance: advance(); advance()"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket must be short
        sockets = Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})
        Client(notebook, config=sockets, kernel_name="python3").execute()
    assert seen[0] == "working #######....................... 1 of 4 runs"
    assert seen[1].startswith("working ###############............... 2 of 4 runs, ")
    assert seen[1].endswith(" left")
    assert seen[2].startswith("working ######################........ 3 of 4 runs, ")
    assert seen[3:] == [""]


def test_progress_is_shown_where_it_is_wanted_and_nowhere_else(capsys):
    with progress_bar("working", 3) as advance:
        advance()
    assert capsys.readouterr() == ("", "")
    with progress_bar("working", 3, done=1, show=True) as advance:
        advance()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "working" in shown.err
    assert "2/3 runs," in shown.err
    assert "left" in shown.err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: blis.compare([s, s]), "scenarios must be a mapping of names to scenarios"),
        (lambda s: blis.capacity(s, "ttft_p99_ms<100"), "slo must be a mapping of metrics to limits"),
        (
            lambda s: blis.replicate(s, 2, metric="completed"),
            "metric is not an option of experiments",
        ),
    ],
)
def test_a_wrong_call_is_an_error_of_the_library(small, call, message):
    with pytest.raises(blis.ScenarioError) as caught:
        call(small)
    assert str(caught.value).startswith(message)
