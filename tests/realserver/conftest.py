"""Workloads to send, and servers that misbehave on demand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from llama_server import free_port
from scripted import Script

import blis_simpy as blis


def constant(value):
    return blis.LengthDistribution("constant", {"value": value})


@pytest.fixture
def client():
    """A client of a specification with constant gaps and lengths."""

    def client(name="a", prompt=10, output=5, **others):
        return blis.Client(
            id=name,
            rate_fraction=others.pop("rate_fraction", 1),
            arrival=blis.Arrival("constant"),
            input_distribution=constant(prompt),
            output_distribution=constant(output),
            **others,
        )

    return client


@pytest.fixture
def spec(client):
    """A specification of one such client: so many requests, so many a second."""

    def spec(num_requests, rate=100, clients=None, **options):
        clients = [client(**options)] if clients is None else clients
        return blis.WorkloadSpec(clients=clients, aggregate_rate=rate, num_requests=num_requests)

    return spec


@pytest.fixture
def observed():
    """Observe a scripted server; gives what was observed and the server."""

    def observed(answer, workload, **settings):
        async def run():
            async with Script(answer).running() as script:
                return await blis.observe_async(workload, url=script.url, model="m", **settings), script

        return asyncio.run(run())

    return observed


@pytest.fixture
def katan(tmp_path):
    """Start llm-katan, a mock of OpenAI's interface from PyPI, with the failures that its flags ask for."""
    if find_spec("llm_katan") is None:
        pytest.skip("llm-katan is not installed")
    with contextlib.ExitStack() as running:

        def start(*flags):
            port = free_port()
            command = [sys.executable, "-m", "llm_katan.cli", "--model", "echo", "--backend", "echo"]
            command += ["--host", "127.0.0.1", "--port", str(port), "--disable-dashboard"]
            command += ["--stats-file", tmp_path / "stats.json", *flags]
            log = running.enter_context((tmp_path / f"katan-{port}.log").open("w"))
            # It writes into the home folder too.
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "HOME": str(tmp_path)}
            )
            running.callback(process.wait)
            running.callback(process.kill)  # it would wait for what is under way
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=5).close()
                except OSError:
                    assert process.poll() is None, Path(log.name).read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                else:
                    return url

        yield start
