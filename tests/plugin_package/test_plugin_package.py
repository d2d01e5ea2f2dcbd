"""A foreign distribution, installed for real into a folder of its own, and found by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PRELUDE = "import blis_simpy as blis\nfrom blis_simpy import registry\n"


def install(source, target):
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("plugins")
    # Built from a copy: building leaves nothing in the checkout.
    source = shutil.copytree(HERE / "distribution", folder / "source")
    install(source, folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def claimed_twice(installed, tmp_path_factory):
    """A second distribution that claims a name of the first."""
    folder = tmp_path_factory.mktemp("rival")
    (folder / "rival_plugins.py").write_text("class Shortest:\n    pass\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "rival-plugins"\nversion = "1"\n'
        '[project.entry-points."blis_simpy.scheduler"]\nlongest-first = "rival_plugins:Shortest"\n'
        '[tool.hatch.build.targets.wheel]\ninclude = ["rival_plugins.py"]\n'
    )
    install(folder, folder / "site")
    return folder / "site"


def python(code, *folders):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    run = subprocess.run([sys.executable, "-W", "error", "-c", PRELUDE + code], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_plugins_run_by_name_from_a_scenario_file(installed, tmp_path):
    """A request every µs, prompts of 10 and 20 by turns, 3 tokens each, every step 50 µs.

    One at a time, so each takes three steps, 150. r0 is alone when it starts at 1; then the longest of those who wait
    comes first: r1 and r3, then r2.
    """
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "model: any/model\nhardware: H100\ntp: 1\nlatency: {backend: beat}\n"
        "engine: {profile: blis, scheduler: longest-first, batching: one-at-a-time, max_model_len: 0}\n"
        "kv: {blocks: 100}\n"
        "workload: {rate: 1000000, num_requests: 4, prompt: {type: alternating, first: 10, second: 20},\n"
        "  output: {type: constant, value: 3}}\n"
    )
    lines = python(
        f"result = blis.load_scenario({str(scenario)!r}).run()\n"
        "print(result.requests['input_tokens'].tolist())\n"
        "print(result.requests['scheduled_at_us'].tolist())\n"
        "print(result.steps['duration_us'].tolist())\n",
        installed,
    )
    assert lines == ["[10, 20, 10, 20]", "[1, 151, 451, 301]", str([50] * 12)]


# One request of 10 + 2 tokens at tick 0; a step takes 100 µs, and 1 more a prompt token and 10 a decode token.
RESULT = (
    "scenario = blis.Scenario(model='any/model', hardware='H100', tp=1, engine_version='any',\n"
    "    latency=blis.LatencySettings(backend='blackbox', alpha=(0, 0, 0), beta=(100, 1, 10)),\n"
    "    kv=blis.KVSettings(blocks=100))\n"
    "request = blis.Request('r0', 0, input_tokens=10, output_tokens=2)\n"
    "result = blis.Simulation(scenario, requests=[request]).run()\n"
)


def test_a_metric_is_known_by_name_everywhere(installed):
    code = (
        "print(result.metric('prompt_tokens'), result.where().summary['prompt_tokens'])\n"
        "options = dict(replications=2, metrics='prompt_tokens', progress=False)\n"
        "workload = blis.Workload(rate=10, num_requests=2, prompt=blis.Constant(30), output=blis.Constant(2))\n"
        "scenario = scenario.with_(workload=workload)\n"
        "found = blis.compare({'a': scenario, 'b': scenario}, **options)\n"
        "print(found.verdict('prompt_tokens'))\n"
    )
    assert python(RESULT + code, installed) == [
        "10.0 10.0",
        "prompt_tokens of b is the same as that of a in all 2 replications",
    ]


def test_a_renderer_shows_every_kind_of_object(installed):
    code = (
        "print(*result.explain('r0').render('markdown').splitlines()[:9], sep='\\n')\n"
        "print(result.requests.take(slice(1)).render('markdown').splitlines()[0][:6])\n"
    )
    assert python(RESULT + code, installed) == [
        "r0: completed",
        "phase||time (ms)|share|",
        "admission|waiting for admission|0.000|0.0%|",
        "routing|routing and processing before the queue|0.000|0.0%|",
        "queue|waiting to join a batch|0.000|0.0%|",
        "preempted|from the first to the last time that it joined a batch|0.000|0.0%|",
        f"prefill|computing the prompt|0.110|50.0%|{'#' * 20}",
        f"decode|first token to last token|0.110|50.0%|{'#' * 20}",
        "total||0.220|100.0%|",
        "row|id",
    ]


def test_a_plot_is_a_method_of_the_result(installed):
    assert python(RESULT + "print(result.plot.finished(scale=2), 'finished' in dir(result.plot))", installed) == [
        "[440] True"
    ]


def test_plugins_are_listed_beside_the_built_in_ones(installed):
    assert python("print(registry.names('batching'), registry.names('scheduler'), sep='\\n')", installed) == [
        "('continuous', 'one-at-a-time')",
        "('broken', 'fcfs', 'longest-first', 'priority', 'priority-fcfs', 'reverse-priority', 'sjf')",
    ]


ASK = "try:\n    registry.get({kind!r}, {name!r})\nexcept blis.PluginError as error:\n    print(error)\n"


def test_unknown_name_tells_the_nearest_and_all_known(installed):
    (line,) = python(ASK.format(kind="scheduler", name="longest_first"), installed)
    assert line == (
        "scheduler is unknown, got 'longest_first'; did you mean 'longest-first'? "
        "known: broken, fcfs, longest-first, priority, priority-fcfs, reverse-priority, sjf"
    )


def test_broken_plugin_harms_nobody_until_it_is_asked_for(installed):
    (line,) = python(ASK.format(kind="scheduler", name="broken"), installed)
    assert line.startswith("scheduler 'broken' cannot be loaded from blis_test_plugins.broken:Anything")
    assert "no licence for this scheduler" in line


def test_name_that_two_distributions_claim_is_refused_with_both(installed, claimed_twice):
    (line,) = python(ASK.format(kind="scheduler", name="longest-first"), installed, claimed_twice)
    assert line.startswith("scheduler 'longest-first' is registered twice: by ")
    assert "blis-test-plugins (blis_test_plugins:LongestFirst)" in line
    assert "rival-plugins (rival_plugins:Shortest)" in line


def test_installing_twice_is_no_second_claim(installed):
    assert python("print(registry.get('latency', 'beat').__name__)", installed, installed) == ["Beat"]
