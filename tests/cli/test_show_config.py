"""What would be simulated, and where each value comes from."""

import re

import pytest

from blis_simpy.cli.main import main

FILE = """model: qwen/qwen3-14b
tp: 2
engine:
  max_num_seqs: 256
workload:
  num_requests: 3
  prompt: {type: constant, value: 7}
"""


@pytest.fixture
def show(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(FILE)

    def show(*words):
        assert main([*words, "--show-config"]) == 0
        return capsys.readouterr().out

    return show


def settings(text):
    """Value and origin by name."""
    rows = (re.fullmatch(r" *(\w+): (.*?) +# (.*)", line) for line in text.splitlines())
    return {row[1]: (row[2], row[3]) for row in rows if row}


def test_every_line_says_where_its_value_comes_from(show):
    found = settings(show("run", "x.yaml", "--rate", "5", "--total-kv-blocks", "9000", "--latency-model", "roofline"))
    assert found["model"] == ("qwen/qwen3-14b", "file x.yaml:1")
    assert found["tp"] == ("2", "file x.yaml:2")
    assert found["max_num_seqs"] == ("256", "file x.yaml:4")  # also where it is the default
    assert found["prompt"] == ("{type: constant, value: 7}", "file x.yaml:7")
    assert found["rate"] == ("5", "flag")
    assert found["blocks"] == ("9000", "flag")
    assert found["backend"] == ("roofline", "flag")
    assert found["hardware"] == ("H100", "catalog: deployments")
    assert found["engine_version"] == ("vllm/vllm-openai:v0.11.0", "catalog: deployments")
    assert found["max_model_len"] == ("40960", "derived from max_position_embeddings of the model")
    assert found["block_size"] == ("16", "default")
    assert found["alpha"] == ("null", "this latency model takes none")


def test_profile_is_named_and_each_value_that_it_sets(show):
    found = settings(show("run", "x.yaml"))
    assert found["profile"] == ("vllm", "default")
    assert found["max_num_batched_tokens"] == ("8192", "profile vllm, server on H100")
    assert found["async_scheduling"] == ("true", "profile vllm")
    assert found["gpu_memory_utilization"] == ("0.92", "profile vllm")
    found = settings(show("run", "x.yaml", "--engine-profile", "blis"))
    assert found["profile"] == ("blis", "flag")
    assert found["max_num_batched_tokens"] == ("2048", "profile blis")
    assert found["max_num_seqs"] == ("256", "file x.yaml:4")
    assert found["backend"] == ("kernels", "default")


def test_origins_stand_in_one_column(show):
    """Only values that are very long push their origin further out."""
    columns = [line.rindex("# ") for line in show("run", "x.yaml").splitlines() if "# " in line]
    assert min(columns) == columns[0]
    assert sum(column > columns[0] for column in columns) <= 3


def test_coefficients_and_their_row_are_shown(show):
    found = settings(show("run", "--model", "qwen/qwen3-14b", "--latency-model", "blackbox"))
    assert found["beta"][0].startswith("[13578.18666")
    assert found["beta"][1] == "catalog: blackbox row of H100 tp 1 vllm/vllm-openai:v0.11.0"


def test_a_preset_is_filled_in(show):
    found = settings(show("run", "x.yaml", "--workload", "chatbot"))
    assert found["prompt"][0].startswith("{type: gaussian, mean: 256")
    assert {found[name][1] for name in ("prompt", "output", "prefix_tokens", "preset")} == {"catalog: presets.chatbot"}


def test_a_switch_of_the_command_counts_as_a_flag(show):
    assert settings(show("run", "x.yaml", "--plain-steps"))["macro_steps"] == ("false", "flag")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "x.yaml", "--latency-model", "trained-physics"],
        ["run", "x.yaml", "--workload", "chatbot", "--prompt-tokens", "5"],
        ["run", "--model", "qwen/qwen3-14b", "--latency-model", "blackbox", "--num-requests", "3"],
        ["run", "quickstart", "--num-requests", "20", "--plain-steps", "--horizon", "500ms"],
    ],
    ids=" ".join,
)
def test_what_is_shown_is_a_scenario_of_the_same_figures(show, tmp_path, capsys, words):
    (tmp_path / "shown.yaml").write_text(show(*words))
    assert main(words) == 0
    figures = capsys.readouterr().out
    assert main(["run", "shown.yaml"]) == 0
    assert capsys.readouterr().out == figures


def test_a_path_is_shown_so_that_it_holds_from_any_folder(show, tmp_path):
    (tmp_path / "gpus.json").write_text('{"H100": {"MemoryGiB": 80}}')
    found = settings(
        show("run", "x.yaml", "--hardware-config", "gpus.json", "--latency-model", "blackbox", "--tp", "1")
    )
    assert found["hardware_config"] == (str(tmp_path / "gpus.json"), "flag")


def test_replay_shows_its_deployment_and_reads_no_trace(show):
    found = show("replay", "x.yaml", "--trace-header", "no.yaml", "--trace-data", "no.csv")
    assert "tp: 2" in found


def test_nothing_is_simulated_or_written(show, tmp_path):
    before = set(tmp_path.iterdir())
    assert "Simulation Metrics" not in show("run", "x.yaml", "--results-path", "results.json")
    assert set(tmp_path.iterdir()) == before


def test_a_mistake_is_found_as_in_a_simulation(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("model: qwen/qwen3-14b\nhardware: H999\n")
    assert main(["run", str(path), "--show-config"]) == 2
    assert capsys.readouterr().err.startswith(
        f"{path}: hardware is not a GPU of hardware_config.json, got 'H999' (line 2)"
    )
