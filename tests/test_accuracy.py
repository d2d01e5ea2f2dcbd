"""The comparison with measurements of real servers: its load, its sums and its tables."""

import csv
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import blis_simpy as blis

ROOT = Path(__file__).parent.parent
DATA = ROOT / "benchmarks" / "accuracy_data"
SHARED = ROOT.parent / "shared" / "accuracy"
SILICON = ROOT.parent / "shared" / "silicon"
NAMES = sorted(path.stem for path in DATA.glob("*.json"))


@pytest.fixture
def accuracy(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("accuracy")


@pytest.fixture
def experiment(accuracy, tmp_path):
    """Llama-2-7B with two stages of 5 and 10 requests/s, 30 s each; its measured figures are made up: all 100 ms."""
    facts = json.loads((DATA / "llama-2-7b-tp1-codegen.json").read_text())
    facts["workload"]["stages"] = [{"rate_per_s": rate, "duration_s": 30, "requests": 30 * rate} for rate in (5, 10)]
    flat = {
        name: dict.fromkeys(("mean", "p50", "p90", "p98", "p99"), 100.0) for name in ("ttft_ms", "itl_ms", "e2e_ms")
    }
    part = {"requests": {"sent": 1, "succeeded": 1, "failed": 0}, **flat}
    facts["measured"] = {"overall": part, "stages": [part, part]}
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(facts))
    return accuracy.Experiment.load(path)


def test_load_cycles_through_a_hundred_prompts_of_ten_groups(experiment):
    requests = experiment.requests(seed=1)
    contents = [request.content for request in requests]
    assert len(set(contents[:100])) == 100
    assert contents[100:200] == contents[:100]
    assert len({content[0] for content in contents}) == 10
    assert {content[0].tokens for content in contents} == {100}


def test_prompt_lengths_follow_the_known_quantiles(experiment):
    lengths = [request.input_tokens for request in experiment.requests(seed=1)[:100]]
    assert min(lengths) == 580
    assert max(lengths) == 604
    assert np.mean(lengths) == pytest.approx(591.63, abs=0.5)


def test_stages_send_exactly_their_requests_and_do_not_overlap(experiment):
    requests = experiment.requests(seed=1)
    first, second = requests[:150], requests[150:]
    assert len(second) == 300
    assert first[-1].arrived_at == 30 * blis.SECOND
    assert second[-1].arrived_at - (first[-1].deadline + blis.SECOND) == 30 * blis.SECOND


def test_after_the_first_cycle_only_the_end_of_a_prompt_is_computed(experiment, tmp_path):
    """From a hit on, the cache holds all whole blocks before the last token: 1 to 16 tokens are left."""
    requests = experiment.requests(seed=1)
    simulation = blis.Simulation(experiment.scenario("roofline", str(tmp_path)), requests=requests)
    steps = simulation.run().steps
    second_stage = steps["start_us"] >= requests[150].arrived_at
    assert 1 <= steps["prefill_tokens"][second_stage].sum() / 300 <= 16
    assert steps["prefill_tokens"].sum() > 100 * 480


def test_figures_of_all_stages_are_those_of_the_whole_run(accuracy, experiment, tmp_path):
    overall, *stages = accuracy.simulate(experiment, "trained-physics", 1)
    scenario = experiment.scenario("trained-physics", str(tmp_path))
    summary = blis.Simulation(scenario, requests=experiment.requests(seed=1)).run().summary
    for name in ("ttft", "itl", "e2e"):
        assert overall[name]["mean"] == summary[f"{name}_mean_ms"]
        assert overall[name]["p90"] == summary[f"{name}_p90_ms"]
        means = [stage[name]["mean"] for stage in stages]
        assert overall[name]["mean"] == pytest.approx((150 * means[0] + 300 * means[1]) / 450)
    assert [part["finished"] for part in (overall, *stages)] == [1.0, 1.0, 1.0]


def test_errors_are_signed_and_summed_up_over_stable_runs_only(accuracy, experiment):
    """Draws of 70 and 90 ms average 80, against 100 measured: 20 % too low; half of their range is 10 of 80."""

    def part(milliseconds):
        return {"finished": 1.0, **{n: dict.fromkeys(f, milliseconds) for n, f in accuracy.FIGURES.items()}}

    row = accuracy.compare(experiment, "roofline", [[part(70.0)] * 3, [part(90.0)] * 3])
    assert row["overall"]["error_percent"]["e2e"]["mean"] == pytest.approx(-20)
    assert row["overall"]["spread_percent"]["e2e"]["mean"] == pytest.approx(12.5)
    better = accuracy.compare(experiment, "roofline", [[part(110.0)] * 3])
    overloaded = {**accuracy.compare(experiment, "roofline", [[part(900.0)] * 3]), "regime": "overloaded"}
    summary = accuracy.summarize([row, better, overloaded])["roofline"]
    assert [round(summary[label]["ttft"]["mean"]) for label in ("median", "mean", "largest", "signed")] == [
        15,
        15,
        20,
        -5,
    ]
    text = accuracy.markdown({"summary": {"roofline": summary}, "capacities": [], "experiments": [row, overloaded]})
    minus_20 = "\N{MINUS SIGN}20"
    assert f"| llama-2-7b-tp1-codegen | {' / '.join([minus_20] * 4)} |" in text
    assert "| llama-2-7b-tp1-codegen | overloaded | roofline | 100 | 100 | +800 / +800 / +800 |" in text


@pytest.mark.parametrize("name", ["codellama-34b-tp2-roleplay", "llama-2-70b-tp4-roleplay", "llama-2-7b-tp1-roleplay"])
def test_kernels_predict_stable_runs_of_three_models(accuracy, name):
    """One draw of the arrivals; three per cent is above what draws differ by and below what a wrong term costs."""
    experiment = accuracy.Experiment.load(DATA / f"{name}.json")
    row = accuracy.compare(experiment, "kernels", [accuracy.simulate(experiment, "kernels", 1)])
    errors = row["overall"]["error_percent"]
    assert max(abs(errors[kind]["mean"]) for kind in ("ttft", "itl", "e2e")) < 3
    assert abs(errors["ttft"]["p50"]) < 3


def test_loads_are_listed_by_rate(accuracy, experiment):
    part = {"finished": 1.0, **{n: dict.fromkeys(f, 110.0) for n, f in accuracy.FIGURES.items()}}
    row = accuracy.compare(experiment, "kernels", [[part] * 3])
    assert [stage["rate_per_s"] for stage in row["stages"]] == [5, 10]
    summary = accuracy.summarize([row])
    text = accuracy.markdown({"summary": summary, "capacities": [], "experiments": [row]})
    assert "| llama-2-7b-tp1-codegen | 10 | 0 | +10 / +10 / +10 / +10 |" in text


@pytest.fixture
def recorded(accuracy, tmp_path):
    """Sixty requests on an RTX PRO 6000 whose memory is a fifth slower, as a file; one prompt begins like another."""
    runs = importlib.import_module("accuracy_runs")
    server = runs.SERVERS["llmservingsim-rtxpro6000-llama-3.1-8b"]
    scenario = runs.scenario_of(server, str(tmp_path)).with_(**{"latency.backend": {"type": "kernels", "mem": 1.2}})
    lengths = {"prompt": blis.Gaussian(600, 300), "output": blis.Gaussian(60, 30)}
    requests = scenario.with_(workload=blis.Workload(rate=4, num_requests=60, **lengths)).run().requests
    lines = ["id,arrival_s,input_tokens,output_tokens,first_token_s,last_token_s,shared_blocks,shared_with"]
    for row in range(60):
        arrived, first, last = (requests[name][row] / 1e6 for name in ("arrived_at_us", "ttft_us", "e2e_us"))
        tokens = ",".join(str(requests[name][row]) for name in ("input_tokens", "output_tokens"))
        lines.append(f"{row},{arrived},{tokens},{arrived + first},{arrived + last},{2 if row == 9 else 0},3")
    path = tmp_path / "llmservingsim-rtxpro6000-llama-3.1-8b.csv"
    path.write_text("\n".join(lines))
    return path


def test_recorded_requests_are_compared_before_and_after_a_fit(accuracy, recorded):
    row = accuracy.fitted(recorded)
    assert row["before"]["e2e"] < -8
    assert abs(row["held out"]["e2e"]) < 2
    text = accuracy.markdown({"summary": {}, "capacities": [], "experiments": [], "runs": [row]})
    assert "| llmservingsim-rtxpro6000-llama-3.1-8b | " in text


def test_factors_of_a_fit_are_tried_on_other_runs_with_the_same_gpu(accuracy, recorded):
    """A fit of another run that says a fifth: the recorded server, which is that slow, is predicted."""
    of_another = {"run": "llmservingsim-rtxpro6000-qwen3-32b", "options": {"mem": 1.2, "comp": 1.0, "link": 3.0}}
    of_another_gpu = {**of_another, "run": "llmservingsim-rtx4090-llama-3.1-8b"}
    (row,) = accuracy.transferred([recorded], [of_another, of_another_gpu, {**of_another, "run": recorded.stem}])
    assert row["options"] == {"mem": 1.2, "comp": 1.0}
    assert row["errors"]["e2e"] == pytest.approx(0, abs=0.1)
    text = accuracy.markdown({"summary": {}, "capacities": [], "experiments": [], "transfers": [row]})
    assert "| llmservingsim-rtxpro6000-llama-3.1-8b | llmservingsim-rtxpro6000-qwen3-32b | 1.20, 1.00 |" in text


def test_recorded_prompts_share_the_blocks_that_the_file_says(recorded):
    runs = importlib.import_module("accuracy_runs")
    requests = runs.read_run(recorded).requests()
    shared, own = requests[9].content
    assert (shared.stream, shared.start, shared.tokens) == ("own 3", 0, 32)
    assert (own.stream, shared.tokens + own.tokens) == ("own 9", requests[9].input_tokens)


def test_token_time_of_a_measured_row_is_that_of_its_steps(accuracy, tmp_path):
    """Four H100 with FP8 weights take some 20 ms for 64 requests about 1,400 tokens into their contexts."""
    path = tmp_path / "rows.csv"
    path.write_text(
        "model,system,prec,tp,ver,isl,osl,concurrency,measured_tpot_ms\n"
        "Llama-3.1-70B,h100_sxm,fp8,4,0.15.1,1024,1024,64.0,20\n"
        "Llama-3.1-70B,h100_sxm,fp8,4,0.12.0,1024,1024,64.0,10\n"
    )
    rows = importlib.import_module("accuracy_rows")
    by_group = {row["group"]: row for row in rows.compare_rows(path)}
    assert {name: row["rows"] for name, row in by_group.items()} == {
        "Llama-3.1-70B, H100, FP8": 1,
        "Llama-3.1-70B, H100, FP8, vLLM 0.11 and 0.12": 1,
        "32 to 127 requests at once": 1,
        "tp 4": 1,
        "all but vLLM 0.11 and 0.12": 1,
        "all rows": 2,
    }
    error = by_group["all but vLLM 0.11 and 0.12"]["signed"]
    predicted = rows.predicted_tpot_ms(next(csv.DictReader(path.read_text().splitlines())))
    assert error == pytest.approx(100 * (predicted / 20 - 1))
    assert 14 < predicted < 24
    text = accuracy.markdown({"summary": {}, "capacities": [], "experiments": [], "rows": list(by_group.values())})
    assert "| Llama-3.1-70B, H100, FP8 | 1 |" in text


def test_shipped_decode_times_are_within_eight_per_cent_in_the_median(accuracy):
    rows = importlib.import_module("accuracy_rows").compare_rows(accuracy.ROWS)
    by_group = {row["group"]: row for row in rows}
    assert by_group["all rows"]["rows"] == 890
    assert by_group["all but vLLM 0.11 and 0.12"]["median"] < 8


def test_blackbox_is_compared_only_where_it_has_coefficients(accuracy):
    able = [name for name in NAMES if accuracy.Experiment.load(DATA / f"{name}.json").can_use("blackbox")]
    assert able == ["mixtral-8x7b-tp2-codegen", "mixtral-8x7b-tp2-general"]


def test_computed_capacity_is_at_most_eleven_per_cent_below_that_of_the_servers(accuracy):
    """With memory divided by TP only once, the tensor-parallel ones would come out two to four times too high."""
    rows = accuracy.capacities([accuracy.Experiment.load(DATA / f"{name}.json") for name in NAMES])
    assert {row["tp"] for row in rows} == {1, 2, 4}
    for row in rows:
        assert 0.885 < row["computed"] / row["server"] < 1


def test_published_tables_cover_all_experiments():
    text = (ROOT / "docs" / "accuracy-table.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| ([a-z0-9-]+-tp\d-\w+) \|", text, re.MULTILINE)) == set(NAMES)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the corpus is not beside the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_shipped_facts_agree_with_the_corpus(name):
    def check(part, whole):
        if isinstance(part, dict):
            for key, value in part.items():
                check(value, whole[key])
        elif isinstance(part, list):
            for ours, theirs in zip(part, whole, strict=True):
                check(ours, theirs)
        else:
            assert part == whole

    check(json.loads((DATA / f"{name}.json").read_text()), json.loads((SHARED / f"{name}.json").read_text()))


@pytest.mark.skipif(not SILICON.is_dir(), reason="the corpus is not beside the checkout")
def test_shipped_recordings_agree_with_the_corpus(accuracy):
    sources = {path: SILICON / path.name for path in accuracy.RUNS}
    sources[accuracy.ROWS] = SILICON / "silicon-vllm-tpot.csv"
    assert len(sources) == 5
    for ours, theirs in sources.items():
        with ours.open(newline="") as file, theirs.open(newline="") as other:
            for row, whole in zip(csv.DictReader(file), csv.DictReader(other), strict=True):
                assert row.items() <= whole.items()
