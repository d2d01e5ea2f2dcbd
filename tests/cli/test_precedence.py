"""What a flag or a policy bundle says wins over the options that a scenario writes beside a policy."""

import json

import pytest

from blis_simpy.cli.main import main

SCENARIO = """
model: m
horizon: 60s
latency: {backend: blackbox, alpha: [0, 0, 0], beta: [1000, 1, 1]}
kv: {blocks: 1000}
admission: {policy: token-bucket, capacity: 50, refill_rate: 1}
workload: {rate: 10, num_requests: 20, prompt: {type: constant, value: 40}, output: {type: constant, value: 2}}
"""
BUNDLE = "admission: {policy: token-bucket, token_bucket_capacity: 1000000, token_bucket_refill_rate: 1}\n"


@pytest.fixture
def completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(SCENARIO)
    (tmp_path / "bundle.yaml").write_text(BUNDLE)

    def run(*flags):
        assert main(["run", "x.yaml", *flags, "--report", "none", "--results-path", "out.json"]) == 0
        return json.loads((tmp_path / "out.json").read_text())["completed_requests"]

    return run


def test_options_of_the_file_count_where_nothing_else_is_said(completed):
    """A bucket of 50 tokens that hardly refills lets one prompt of 40 in."""
    assert completed() == 1


def test_a_flag_wins_over_the_option_of_the_file(completed):
    assert completed("--token-bucket-capacity", "1000000") == 20


def test_the_option_that_no_flag_names_stays(completed):
    """90 tokens let two prompts of 40 in; the bucket still hardly refills."""
    assert completed("--token-bucket-capacity", "90") == 2


def test_a_bundle_wins_over_the_option_of_the_file_and_a_flag_over_the_bundle(completed):
    assert completed("--policy-config", "bundle.yaml") == 20
    assert completed("--policy-config", "bundle.yaml", "--token-bucket-capacity", "90") == 2
