"""The list of metrics, and metrics of some requests on the command line."""

import pytest

from blis_simpy.cli.main import main
from blis_simpy.results.metrics import known_metrics, latency_families, metrics


def test_it_lists_every_metric(capsys):
    assert main(["list", "metrics"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0] for line in out.splitlines() if line.strip()}
    families = latency_families()
    of_families = {f"{family.name}_{statistic}_ms" for family in families for statistic in family.statistics}
    assert {f"{family.name}_STATISTIC_ms" for family in families} <= rows
    assert set(known_metrics()) - of_families <= rows
    assert "labels: replica, prefill_replica, slo_class, tenant, model, client, session, prefix_group." in " ".join(
        out.split()
    )
    assert max(map(len, out.splitlines())) <= 110


def test_python_lists_them_as_a_table():
    table = metrics()
    assert table["name"].tolist() == list(known_metrics())
    row = next(row for row in table.rows() if row["name"] == "tpot_mean_ms")
    assert (row["unit"], row["better"], row["formula"]) == ("ms", "lower", "(E2E - TTFT) / (output tokens - 1)")


@pytest.fixture
def scenario(tmp_path):
    file = tmp_path / "shop.yaml"
    client = "rate_fraction: 1, arrival: poisson, input_distribution: 20"
    file.write_text(
        f"""
model: any/model
latency: {{backend: blackbox, alpha: [0, 0, 0], beta: [1000, 10, 5]}}
kv: {{blocks: 1000}}
workload:
  aggregate_rate: 100
  num_requests: 20
  clients:
    - {{id: a, slo_class: critical, tenant: x, {client}, output_distribution: 5}}
    - {{id: b, slo_class: batch, tenant: y, {client}, output_distribution: 50}}
"""
    )
    return str(file)


def test_commas_within_braces_do_not_end_a_name(scenario, capsys):
    names = "completed{slo_class=critical, tenant=x},ttft_p99_ms{replica=0}"
    argv = [
        "sweep",
        scenario,
        "--grid",
        "replicas=1,2",
        "--metrics",
        names,
        "--replications",
        "2",
        "--executor",
        "serial",
    ]
    assert main([*argv, "--log", "error"]) == 0
    assert "completed{slo_class=critical, tenant=x}" in capsys.readouterr().out


def test_a_limit_may_be_of_a_class(scenario, capsys):
    limit = "e2e_p99_ms{slo_class=batch, tenant=y}<=1000"
    argv = ["capacity", scenario, "--slo", limit, "--vary", "replicas", "--low", "1", "--high", "2"]
    assert main([*argv, "--replications", "2", "--executor", "serial", "--log", "error"]) == 0
    assert "e2e_p99_ms{slo_class=batch, tenant=y} <= 1,000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("ttft_p99_ms{class=a}=1", "--slo has an unknown label 'class', got 'ttft_p99_ms{class=a}'; "),
        ("ttft_p99_ms{slo_class=chat}=1", "slo_class of the metric is unknown, got 'chat'; known: batch, critical"),
    ],
)
def test_an_unknown_label_is_one_line(scenario, capsys, limit, message):
    argv = ["capacity", scenario, "--slo", limit, "--vary", "replicas", "--low", "1", "--high", "2"]
    assert main([*argv, "--replications", "2", "--executor", "serial", "--log", "error"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
