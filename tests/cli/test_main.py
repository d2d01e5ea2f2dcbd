"""The program as a whole: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from blis_simpy import registry
from blis_simpy.cli.main import main
from blis_simpy.errors import SimulationError

FEW = ["run", "--model", "qwen/qwen3-14b", "--num-requests", "3"]


def python(code: str, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


def test_version_and_help_exit_with_0(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("blis ")
    for words in ([], ["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith("usage: blis COMMAND [flags]\n")


def test_help_of_a_command_is_a_command_too(capsys):
    assert main(["run", "--help"]) == 0
    expected = capsys.readouterr().out
    assert main(["help", "run"]) == 0
    assert capsys.readouterr().out == expected
    assert main(["help", "rum"]) == 2
    assert capsys.readouterr().err.startswith("command is unknown, got 'rum'; did you mean 'run'?")


def test_the_report_json_has_outcomes_and_metrics(capsys):
    assert main([*FEW, "--report", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["outcomes"]["completed"], report["metrics"]["completed"]) == (3, 3)


@pytest.mark.parametrize("command", ["run", "replay"])
def test_help_of_a_command_lists_its_flags_with_units_and_defaults(command, capsys):
    assert main([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--max-num-running-reqs N Batch slots: maximum number of requests that run at once; unset means 256" in text
    assert ("--num-requests N" in text) == (command == "run")
    assert (
        "--engine-profile TEXT Engine profile: defaults of the settings in which engines differ. One of blis, vllm."
        in text
    )


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("300", 110)])
def test_help_fits_the_terminal(columns, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["run", "--help"]) == 0
    text, _, _ = capsys.readouterr().out.partition("examples:")
    assert width - 10 < max(map(len, text.splitlines())) <= width


def test_help_imports_nothing_it_does_not_need():
    needless = "{'scipy', 'cattrs', 'rich', 'matplotlib'}"
    code = "import sys; from blis_simpy.cli.main import main; main(['run', '--help'])"
    assert python(f"{code}; print({needless} & set(sys.modules))").stdout.endswith("set()\n")


def test_a_run_that_reads_no_file_does_without_cattrs():
    flags = [*FEW, "--rate", "5", "--prompt-tokens", "10", "--report", "none"]
    code = f"import sys; from blis_simpy.cli.main import main; main({flags}); print('cattrs' in sys.modules)"
    assert python(code).stdout == "False\n"


def test_run_prints_the_report_of_the_reference_when_stdout_is_no_terminal(capsys):
    assert main(FEW) == 0
    assert capsys.readouterr().out.startswith('=== Simulation Metrics ===\n{\n  "instance_id": "cluster",\n')


def test_run_writes_its_results_and_prints_nothing_if_so_told(tmp_path, capsys):
    path = tmp_path / "results.json"
    assert main([*FEW, "--report", "none", "--results-path", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert len(json.loads(path.read_text())["requests"]) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_flags_are_laid_over_the_scenario_file(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("model: qwen/qwen3-14b\nworkload: {num_requests: 5, prompt: {type: constant, value: 7}}\n")
    assert main(["run", str(path), "--num-requests", "2"]) == 0
    out = capsys.readouterr().out
    assert '"completed_requests": 2' in out
    assert '"total_input_tokens": 14' in out


def test_a_length_flag_replaces_another_law_by_the_normal_one(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("model: qwen/qwen3-14b\nworkload: {num_requests: 2, prompt: {type: constant, value: 7}}\n")
    given = ["--prompt-tokens=9", "--prompt-tokens-min=9", "--prompt-tokens-max=9", "--prompt-tokens-stdev=9"]
    assert main(["run", str(path), *given]) == 0
    assert '"total_input_tokens": 18' in capsys.readouterr().out


def test_length_flags_are_ignored_beside_a_preset_with_a_warning(capsys):
    assert main([*FEW, "--workload", "chatbot"]) == 0
    alone = capsys.readouterr()
    assert main([*FEW, "--workload", "chatbot", "--prompt-tokens", "5000"]) == 0
    beside = capsys.readouterr()
    assert beside.out == alone.out
    assert beside.err == "warning: flags of the prompt lengths have no effect: the preset chatbot sets them\n"


def test_log_level_hides_warnings(capsys):
    assert main([*FEW, "--workload", "chatbot", "--prompt-tokens", "5000", "--log", "ERROR"]) == 0
    assert capsys.readouterr().err == ""


def test_logging_is_as_before_after_a_run():
    logger = logging.getLogger("blis_simpy")
    before = list(logger.handlers), logger.level, logger.propagate
    main([*FEW, "--log", "debug", "--report", "none"])
    assert (list(logger.handlers), logger.level, logger.propagate) == before


def test_plain_steps_change_no_figure(capsys):
    assert main(FEW) == 0
    fast = capsys.readouterr().out
    assert main([*FEW, "--plain-steps"]) == 0
    assert capsys.readouterr().out == fast


def test_the_same_seed_gives_the_same_output_and_another_seed_another(capsys):
    outs = []
    for seed in ("42", "42", "43"):
        main([*FEW, "--seed", seed])
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] != outs[2]


def test_an_interrupt_is_one_line_and_status_130(capsys):
    def interrupted():
        raise KeyboardInterrupt

    with registry.added("scheduler", "interrupted", interrupted):
        assert main([*FEW, "--scheduler", "interrupted"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_defect_of_the_simulator_is_status_1(capsys):
    def broken():
        raise SimulationError("tick 5: more blocks given back than taken")

    with registry.added("scheduler", "broken", broken):
        assert main([*FEW, "--scheduler", "broken"]) == 1
    assert capsys.readouterr().err == "tick 5: more blocks given back than taken\n"


def test_a_reader_that_goes_away_is_no_error():
    code = f"import sys; from blis_simpy.cli.main import main; sys.exit(main({FEW}))"
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    program.stdout.close()
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait(60) == 0


def test_a_device_is_a_place_for_results(tmp_path):
    code = f"from blis_simpy.cli.main import main; main({[*FEW, '--report', 'none', '--results-path', '/dev/stdout']})"
    assert len(json.loads(python(code, cwd=tmp_path).stdout)["requests"]) == 3


def test_quickstart_is_just_below_saturation_as_its_header_says(capsys):
    """99 % of first tokens within 0.2 s at 22 requests/s; beyond saturation, at 28/s, it takes over 7 s."""
    p99 = {}
    for rate in ("22", "28"):
        assert main(["run", "quickstart", "--rate", rate]) == 0
        out = capsys.readouterr().out
        p99[rate] = json.loads(out[out.index("{") : out.rindex("}") + 1])["ttft_p99_ms"]
    assert 100 < p99["22"] < 200
    assert 7_000 < p99["28"] < 8_000
