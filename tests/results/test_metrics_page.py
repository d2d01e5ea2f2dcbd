"""The reference page of metrics, which is made from the registered ones."""

import runpy
from pathlib import Path

from blis_simpy import registry
from blis_simpy.results.metrics import Metric, known_metrics, latency_families

DOCS = Path(__file__).parents[2] / "docs"
HOOK = runpy.run_path(str(DOCS / "metrics_hook.py"))


def page():
    return HOOK["on_page_markdown"]((DOCS / "reference" / "metrics.md").read_text(encoding="utf-8"))


def test_the_page_has_every_metric_with_its_definition():
    text = page()
    assert HOOK["MARK"] not in text
    for family in latency_families():
        assert f"| `{family.name}_mean_ms`, `{family.name}_p99_ms` | {family.direction} |" in text
        assert f"{family.definition} | `{family.formula}` |" in text
    latencies = {
        f"{family.name}_{of}_ms"
        for family in latency_families()
        for of in ("mean", "p50", "p90", "p95", "p99", "max", "std")
    }
    for name, metric in known_metrics().items():
        if name not in latencies:
            formula = f"`{metric.formula}`" if metric.formula else ""
            assert f"| `{name}` | {metric.unit} | {metric.direction or ''} | {metric.definition} | {formula} |" in text


def test_the_page_has_the_names_of_other_tools():
    lines = page().splitlines()
    assert "| here | vllm bench serve | GuideLLM | AIPerf, GenAI-Perf | inference-perf | vLLM server |" in lines
    tpot = (
        "| `tpot_mean_ms`, `tpot_p99_ms` | `mean_tpot_ms` | `inter_token_latency_ms` (requests weighted by their gaps) "
        "| `inter_token_latency` | `time_per_output_token` |  |"
    )
    assert tpot in lines
    assert "| `cached_tokens` |  |  |  | `prompt_tokens.cached` | `vllm:prefix_cache_hits` |" in lines


def test_a_registered_metric_is_on_the_page():
    mine = Metric(name="mine", label="mine", unit="s", direction=None, definition="Mine.", function=len, scope="run")
    with registry.added("metric", "mine", mine):
        assert "| `mine` | s |  | Mine. |  |" in page()


def test_other_pages_stay_as_they_are():
    assert HOOK["on_page_markdown"]("# Title") == "# Title"
