"""Every mistake of the user: one line on stderr, exit status 2, nothing on stdout, no traceback."""

from __future__ import annotations

import pytest

from blis_simpy import registry
from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.cli.main import main
from blis_simpy.load_files import shipped_scenarios

MODEL = ["run", "--model", "qwen/qwen3-14b"]
TRACE_COLUMNS = (
    "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,streaming,input_tokens,output_tokens,"
    "text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,server_input_tokens,"
    "arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,error_message,finish_reason\n"
)
ROW = "0,,,,,0,,false,{},3,0,0,0,0,0,,0,0,{},0,0,0,0,ok,,\n"
FILES = {
    "broken.yaml": "a: [1,\n",
    "empty.yaml": "",
    "list.yaml": "- 1\n",
    "twice.yaml": "model: a\ntp: 1\nmodel: b\n",
    "nomodel.yaml": "tp: 1\n",
    "two.yaml": "model: qwen/qwen3-14b\nengine:\n  max_num_seq: 3\nworkload:\n  rate: -1\n",
    "types.yaml": "model: qwen/qwen3-14b\ntp: '1'\nseed: 1.5\nreplicas: true\nworkload: {rate: .nan}\n",
    "policy.yaml": "model: qwen/qwen3-14b\nengine:\n  scheduler: {type: sfj}\n",
    "lengths.yaml": "model: qwen/qwen3-14b\nworkload:\n  prompt: {type: gaussian, mean: 9}\n",
    "gpu.yaml": "model: qwen/qwen3-14b\nhardware: H999\n",
    "good.yaml": "model: qwen/qwen3-14b\nworkload: {num_requests: 1}\n",
    "header.yaml": "trace_version: 2\ntime_unit: microseconds\nmode: generated\nwarm_up_requests: 0\n",
    "good.csv": TRACE_COLUMNS + ROW.format(17, 5),
    "negative.csv": TRACE_COLUMNS + ROW.format(17, 5) + ROW.format(-17, 9),
    "short.csv": TRACE_COLUMNS + "0,,,,\n",
    "none.csv": TRACE_COLUMNS,
}
SCHEDULERS = "known: fcfs, priority, priority-fcfs, reverse-priority, sjf"
TRACE_FORMATS = ", ".join(registry.names("trace_format"))
COEFFICIENTS = ["--alpha-coeffs", "1,2,3", "--beta-coeffs", "1,2,3"]
REPLAY = ["replay", "--model", "qwen/qwen3-14b", "--trace-header", "header.yaml", "--trace-data"]

MISTAKES = [
    # words
    (
        ["rnu"],
        (
            "command is unknown, got 'rnu'; did you mean 'run'? known: run, replay, observe, calibrate, fit, compare, "
            "sweep, capacity, explain, workload, compose, convert, list, completion, schema"
        ),
    ),
    (["run", "a.yaml", "b.yaml"], "unexpected argument 'b.yaml'"),
    (
        ["run", "quikstart"],
        (f"scenario is unknown, got 'quikstart'; did you mean 'quickstart'? known: {', '.join(shipped_scenarios())}"),
    ),
    (["run"], "--model is required; or name a scenario: 'blis list scenarios' lists them"),
    (["explain"], "explain needs a topic; known: latency"),
    (["explain", "latncy"], "explain is unknown, got 'latncy'; did you mean 'latency'? known: latency"),
    (["explain", "latency"], "--model is required; or name a scenario: 'blis list scenarios' lists them"),
    (["explain", "latency", "--model", "x", "--decodes", "0"], "--decodes must be an integer >= 1, got 0"),
    (["explain", "latency", "--model", "x", "--context", "1.5"], "--context must be an integer >= 1, got '1.5'"),
    (["run", "--model", ""], "--model is required; or name a scenario: 'blis list scenarios' lists them"),
    ([*MODEL, "--tpp", "2"], "--tpp is not a flag; did you mean --tp?"),
    ([*MODEL, "--replicas", "4"], "--replicas is not a flag; did you mean --num-instances?"),
    ([*MODEL, "--max-num-seqs", "4"], "--max-num-seqs is not a flag; did you mean --max-num-running-reqs?"),
    (["run", "--quik", "quickstart"], "--quik is not a flag"),
    ([*MODEL, "--total-kv-block=2"], "--total-kv-block is not a flag; did you mean --total-kv-blocks?"),
    ([*MODEL, "-x"], "-x is not a flag"),
    ([*MODEL, "--tp"], "--tp needs a value"),
    # scenario files
    (["run", "missing.yaml"], "missing.yaml: cannot be read: No such file or directory"),
    (
        ["run", "broken.yaml"],
        "broken.yaml: is not valid YAML: while parsing a flow node, did not find expected node content (line 2)",
    ),
    (["run", "empty.yaml"], "empty.yaml: is empty"),
    (["run", "list.yaml"], "list.yaml: must be a mapping of settings, got [1]"),
    (["run", "twice.yaml"], "twice.yaml: model is given twice (line 3); first on line 1"),
    (["run", "nomodel.yaml"], "nomodel.yaml: model is required"),
    (
        ["run", "two.yaml"],
        (
            "two.yaml: engine.max_num_seq is not a setting (line 3); did you mean max_num_seqs?\n"
            "two.yaml: workload.rate must be > 0, got -1 (line 5)"
        ),
    ),
    (
        ["run", "types.yaml"],
        (
            "types.yaml: tp must be an integer, got '1' (line 2)\n"
            "types.yaml: seed must be an integer, got 1.5 (line 3)\n"
            "types.yaml: replicas must be an integer, got True (line 4)\n"
            "types.yaml: workload.rate must be a finite number, got nan (line 5)"
        ),
    ),
    (
        ["run", "policy.yaml"],
        f"policy.yaml: engine.scheduler.type is unknown, got 'sfj' (line 3); did you mean 'sjf'? {SCHEDULERS}",
    ),
    (["run", "lengths.yaml"], "lengths.yaml: workload.prompt.std_dev is required (line 3)"),
    (
        ["run", "gpu.yaml"],
        (
            "gpu.yaml: hardware is not a GPU of hardware_config.json, got 'H999' (line 2); "
            f"known: {', '.join(sorted(load_gpus()))}"
        ),
    ),
    (["run", "good.yaml", "--tp", "0x"], "--tp must be an integer, got '0x'"),
    # single flags
    ([*MODEL, "--tp", "1.5"], "--tp must be an integer, got '1.5'"),
    ([*MODEL, "--tp", "-1"], "--tp must be >= 1, got -1"),
    ([*MODEL, "--rate", "0"], "--rate must be > 0, got 0"),
    ([*MODEL, "--rate", "-2.5"], "--rate must be > 0, got -2.5"),
    ([*MODEL, "--rate", "NaN"], "--rate must be a finite number, got nan"),
    ([*MODEL, "--rate", "NaN"], "--rate must be a finite number, got nan"),
    ([*MODEL, "--rate", "5/x"], "--rate must be a rate such as 20/s, 600/min or a number per second, got '5/x'"),
    ([*MODEL, "--seed", "x"], "--seed must be an integer, got 'x'"),
    ([*MODEL, "--horizon", "0"], "--horizon must be > 0, got 0"),
    ([*MODEL, "--horizon", "1.5us"], "--horizon must be a whole number of microseconds, got '1.5us'"),
    ([*MODEL, "--num-requests", "-1"], "--num-requests must be >= 0, got -1"),
    ([*MODEL, "--num-requests", "0"], "--num-requests must be > 0 unless there is a horizon, got 0"),
    ([*MODEL, "--prefix-tokens=-1"], "--prefix-tokens must be >= 0, got -1"),
    ([*MODEL, "--scheduler", "fcsf"], f"--scheduler is unknown, got 'fcsf'; did you mean 'fcfs'? {SCHEDULERS}"),
    (
        [*MODEL, "--priority-policy", "slo"],
        "--priority-policy is unknown, got 'slo'; known: constant, inverted-slo, slo-based",
    ),
    ([*MODEL, "--total-kv-blocks", "0"], "--total-kv-blocks must be >= 1, got 0"),
    ([*MODEL, "--block-size-in-tokens", "0"], "--block-size-in-tokens must be >= 1, got 0"),
    ([*MODEL, "--max-num-running-reqs", "0"], "--max-num-running-reqs must be >= 1, got 0"),
    ([*MODEL, "--max-num-scheduled-tokens", "0"], "--max-num-scheduled-tokens must be >= 1, got 0"),
    ([*MODEL, "--long-prefill-token-threshold=-1"], "--long-prefill-token-threshold must be >= 0, got -1"),
    ([*MODEL, "--max-model-len", "-1"], "--max-model-len must be >= 0, got -1"),
    ([*MODEL, "--gpu-memory-utilization", "0"], "--gpu-memory-utilization must be > 0, got 0"),
    ([*MODEL, "--gpu-memory-utilization", "1.5"], "--gpu-memory-utilization must be <= 1, got 1.5"),
    ([*MODEL, "--num-instances", "0"], "--num-instances must be >= 1, got 0"),
    (
        [*MODEL, "--log", "loud"],
        "--log is unknown, got 'loud'; known: trace, debug, info, warn, warning, error, fatal, panic",
    ),
    ([*MODEL, "--report", "html"], "--report is unknown, got 'html'; known: summary, json, blis, none"),
    ([*MODEL, "--plain-steps=maybe"], "--plain-steps must be true or false, got 'maybe'"),
    ([*MODEL, "--prompt-tokens", "9000"], "--prompt-tokens must be within [2, 7000], got 9000"),
    ([*MODEL, "--prompt-tokens-stdev=-0.5"], "--prompt-tokens-stdev must be >= 0, got -0.5"),
    ([*MODEL, "--output-tokens-stdev=-1"], "--output-tokens-stdev must be >= 0, got -1"),
    ([*MODEL, "--output-tokens-min", "0"], "--output-tokens-min must be >= 1, got 0"),
    ([*MODEL, "--output-tokens-max", "1"], "--output-tokens-min must be <= max (1), got 2"),
    ([*MODEL, "--prompt-tokens-max", "x"], "--prompt-tokens-max must be an integer, got 'x'"),
    # flags together
    ([*MODEL, "--tp", "x", "--rate", "0"], "--tp must be an integer, got 'x'\n--rate must be > 0, got 0"),
    ([*MODEL, "--alpha-coeffs", "1,2,3"], "--alpha-coeffs must come with beta coefficients"),
    ([*MODEL, "--beta-coeffs", "1,2,3"], "--beta-coeffs must come with alpha coefficients"),
    ([*MODEL, *COEFFICIENTS, "--beta-coeffs", "-2"], "--beta-coeffs[3] must be >= 0, got -2"),
    ([*MODEL, *COEFFICIENTS, "--alpha-coeffs", "x"], "--alpha-coeffs[3] must be a number, got 'x'"),
    (
        [*MODEL, *COEFFICIENTS, "--latency-model", "roofline"],
        "--alpha-coeffs must not be given: the latency model takes no coefficients",
    ),
    # results
    ([*MODEL, "--results-path", "no/x.json"], "no/x.json: cannot be written: there is no directory no"),
    ([*MODEL, "--results-path", "."], ".: cannot be written: it is a directory"),
    # catalog
    ([*MODEL, "--model-config-folder", "nowhere"], "nowhere: cannot be read: No such file or directory"),
    (
        [*MODEL, "--hardware", "h10"],
        (
            "--hardware is not a GPU of hardware_config.json, got 'h10'; did you mean 'H100'? "
            f"known: {', '.join(sorted(load_gpus()))}"
        ),
    ),
    (
        ["run", "--model", "nothing", "--hardware", "H100", "--tp", "1"],
        (
            "--model is not in the catalog, and its name is not that of a Hugging Face repository: organisation/name, "
            "got 'nothing'; or give model_config, a folder with its config.json"
        ),
    ),
    (
        [*MODEL, "--workload", "chatbo"],
        (
            "--workload is not a preset of defaults.yaml, got 'chatbo'; "
            "did you mean 'chatbot'? known: chatbot, contentgen, summarization, multidoc"
        ),
    ),
    (
        [*MODEL, *COEFFICIENTS, "--total-kv-blocks", "10", "--max-model-len", "1000"],
        (
            "--max-model-len needs 63 KV blocks of 16 tokens, but the KV cache has 10: "
            "KV cache too small for max model length, got 1000"
        ),
    ),
    # traces
    (["replay", "--model", "x"], "--trace-header is required\n--trace-data is required"),
    ([*REPLAY, "missing.csv"], "missing.csv: cannot be read: No such file or directory"),
    ([*REPLAY, "negative.csv"], "negative.csv: input_tokens must be a 64-bit integer >= 0, got '-17' (line 3)"),
    (
        [*REPLAY, "short.csv"],
        "short.csv: round_index is missing: a row must have at least 25 fields, got 5 (line 2)",
    ),
    (["replay", "--model", "qwen/qwen3-14b", "--trace-format", "azure"], "--trace-data is required"),
    (
        ["replay", "--model", "qwen/qwen3-14b", "--trace-format", "azur", "--trace-data", "good.csv"],
        f"--trace-format is unknown, got 'azur'; did you mean 'azure'? known: {TRACE_FORMATS}",
    ),
    (
        ["replay", "--model", "qwen/qwen3-14b", "--trace-format", "azure", "--trace-data", "none.csv"],
        (
            "none.csv: TIMESTAMP is missing among the columns (line 1); there are: request_id, client_id, tenant_id, "
            "slo_class, session_id, round_index, prefix_group, streaming, input_tokens, output_tokens, text_tokens, "
            "image_tokens, ..."
        ),
    ),
    ([*REPLAY, "none.csv"], "none.csv: is an empty trace: it has no requests"),
    (
        [*REPLAY, "good.csv", "--rate", "3"],
        "--rate is not an option of the format trace-v2; known: --limit, --start, --end, --scale",
    ),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("words", "lines"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_line_a_problem_and_status_2(words, lines, capsys):
    status = main(words)
    printed = capsys.readouterr()
    assert printed.err == lines + "\n"
    assert (status, printed.out) == (2, "")


def test_a_mistake_leaves_no_results_file(folder):
    before = set(folder.iterdir())
    assert main([*MODEL, "--tp", "x", "--results-path", "results.json"]) == 2
    assert set(folder.iterdir()) == before


@pytest.mark.usefixtures("folder")
def test_the_files_of_the_table_are_otherwise_good(capsys):
    assert main(["run", "good.yaml"]) == 0
    assert main([*REPLAY, "good.csv"]) == 0
    assert '"completed_requests": 1' in capsys.readouterr().out
