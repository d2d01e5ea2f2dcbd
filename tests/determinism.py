"""Prints digests of what runs give: texts, figures, files. `test_determinism.py` compares them."""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import blis_simpy as blis
from blis_simpy.cli.main import main

SCENARIOS = ("conversations", "kv-pressure", "multi-tenant", "two-models", "two-tier", "stale-snapshots")
HORIZON = "4s"
OUTPUTS = {
    "--results-path": "results.json",
    "--requests-output": "requests.csv.gz",
    "--perfetto-output": "timeline.json.gz",
    "--trace-output": "trace",
}


def digest(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]


def digests(macro_steps):
    for name in SCENARIOS:
        scenario = blis.load_scenario(name).with_(horizon=HORIZON, **{"engine.macro_steps": macro_steps})
        result = scenario.run()
        yield f"{name}: text", digest(str(result))
        yield f"{name}: summary", digest(repr(sorted(result.summary.items())))
        result.save("saved")
        if macro_steps:  # a setting, which is saved
            yield f"{name}: saved", digest(Path("saved").read_bytes())
    words = [word for flag, file in OUTPUTS.items() for word in (flag, file)]
    assert main(["run", "multi-tenant", "--horizon", HORIZON, "--report", "none", *words]) == 0
    for path in sorted(Path().glob("*.*")):
        yield f"file {path.name}", digest(path.read_bytes())
    options = {"replications": 2, "executor": "serial", "metrics": ["ttft_p99_ms", "e2e_mean_ms"]}
    swept = blis.sweep(blis.load_scenario("quickstart").with_(horizon=HORIZON), {"replicas": [1, 2]}, **options)
    yield "sweep", digest(str(swept))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for what, found in digests(macro_steps="plain" not in sys.argv):
            print(what, found)
