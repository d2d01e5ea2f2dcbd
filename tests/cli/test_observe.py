"""Flags of ``blis observe``. What it does with a server is tested in `tests/realserver`."""

import signal

import pytest

from blis_simpy.cli.main import main
from blis_simpy.workload.arrivals import ConstantArrivals
from blis_simpy.workload.lengths import Gaussian
from blis_simpy.workload.settings import Workload

SPEC = """version: '2'
seed: 7
aggregate_rate: 4
num_requests: 6
clients:
- id: a
  rate_fraction: 1
  arrival: {process: constant}
  input_distribution: {type: constant, params: {value: 10}}
  output_distribution: {type: constant, params: {value: 5}}
"""
FILES = ("--trace-header", "h.yaml", "--trace-data", "d.csv")
NEEDED = ("--server-url", "http://localhost:8000", "--model", "m", *FILES)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.yaml").write_text(SPEC)
    return tmp_path


@pytest.fixture
def sent(monkeypatch):
    """What the command would send, and how; nothing is sent."""
    calls = []

    class Nothing:
        def write(self, header, data):
            calls.append((header, data))

    def send(workload, **options):
        calls.append((workload, {name: value for name, value in options.items() if name != "progress"}))
        return Nothing()

    monkeypatch.setattr("blis_simpy.realserver.observe.observe", send)

    def sent(*words):
        assert main(["observe", *NEEDED, *words]) == 0
        return calls[0]

    return sent


def problems(capsys, *words):
    assert main(["observe", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_all_that_is_missing_is_told_at_once(capsys):
    assert problems(capsys) == [
        "--server-url is required",
        "--model is required",
        "--trace-header is required",
        "--trace-data is required",
        "--workload-spec or --rate is required",
    ]


def test_all_that_is_wrong_is_told_before_anything_is_read_or_sent(capsys):
    words = ["--server-url", "http://h", "--model", "m", "--trace-header", "no/h", "--trace-data", "d.csv"]
    words += ["--rate", "0", "--max-concurrency", "0", "--rtt-ms", "inf", "--timeout", "soon", "--seed", "x"]
    words += ["--extra-body", "[1", "--api-format", "foo", "--warmup-requests", "-1", "--workload-spec", "no.yaml"]
    assert problems(capsys, *words) == [
        "--extra-body must be a JSON object, got '[1'",
        "--api-format is unknown, got 'foo'; known: completions, chat",
        "--max-concurrency must be > 0, got 0",
        "--warmup-requests must be >= 0, got -1",
        "--timeout must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got 'soon'",
        "--rtt-ms must be a finite number, got inf",
        "--seed must be an integer, got 'x'",
        "no/h: cannot be written: there is no directory no",
        "--rate must be > 0, got 0",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--rate", "5"), "--num-requests or --horizon is required"),
        (("--rate", "5", "--num-requests", "-1", "--horizon", "0"), "--num-requests must be > 0 unless there is"),
        (("--workload-spec", "no.yaml"), "no.yaml: cannot be read: "),
        (("--rate", "nan", "--num-requests", "1"), "--rate must be a finite number, got nan"),
        (("--rate", "1", "--num-requests", "1", "--prompt-tokens-min", "3000"), "--prompt-tokens-min must be <= max"),
        (("--rate", "1", "--num-requests", "1", "--server-url", "h:1"), "--server-url must begin with http:// or"),
        (
            ("--rate", "1", "--num-requests", "1", "--trace-data", "./h.yaml"),
            "--trace-data must be another file than --trace-h",
        ),
        (("--rate", "1", "--num-requests", "1", "--extra-body", '{"a": NaN}'), "--extra-body must be a JSON object"),
        (("--rate", "1", "--num-requests", "1", "--extra-body", '{"model": 1}'), "--extra-body.model is set by the"),
        (("--rate", "1", "--num-requests", "1", "--stream"), "--stream is not a flag; did you mean --streaming?"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(capsys, words, line):
    [problem] = problems(capsys, *NEEDED, *words)
    assert problem.startswith(line)


def test_lengths_have_defaults_of_their_own(sent):
    workload, options = sent("--rate", "5", "--num-requests", "3", "--output-tokens", "20", "--prefix-tokens", "9")
    prompt, output = Gaussian(512, 50, 1, 2048), Gaussian(20, 50, 1, 2048)
    assert workload == Workload(rate=5, num_requests=3, prompt=prompt, output=output, prefix_tokens=9)
    assert workload.arrivals == ConstantArrivals()
    assert options == {
        "seed": None,
        "horizon": None,
        "workload_file": "",
        "url": "http://localhost:8000",
        "model": "m",
    }


def test_a_rate_and_a_horizon_are_enough(sent):
    workload, options = sent("--rate", "5", "--horizon", "30s")
    assert workload.num_requests == 0
    assert options["horizon"] == 30_000_000


def test_flags_about_the_server_arrive(sent):
    words = ["--api-format", "chat", "--no-streaming", "--unconstrained-output", "--max-concurrency", "3"]
    words += ["--api-key", "k", "--server-type", "sglang", "--rtt-ms", "1.5", "--extra-body", '{"ignore_eos": true}']
    words += ["--timeout", "20s", "--warmup-requests", "2", "--seed", "9", "--distinct-prompts"]
    _, options = sent("--rate", "1", "--num-requests", "1", *words)
    assert options == {
        "seed": 9,
        "horizon": None,
        "workload_file": "",
        "url": "http://localhost:8000",
        "model": "m",
        "api_format": "chat",
        "streaming": "never",
        "unconstrained_output": True,
        "max_concurrency": 3,
        "warmup_requests": 2,
        "timeout": "20s",
        "api_key": "k",
        "distinct_prompts": True,
        "server_type": "sglang",
        "rtt_ms": 1.5,
        "extra_body": {"ignore_eos": True},
    }


@pytest.mark.parametrize(
    ("words", "num_requests"), [((), 6), (("--num-requests", "3"), 3), (("--num-requests", "0"), 6)]
)
def test_a_specification_says_what_is_sent(sent, words, num_requests):
    workload, options = sent("--workload-spec", "w.yaml", *words)
    assert workload.num_requests == num_requests
    assert workload.clients[0].id == "a"
    assert options["workload_file"] == "w.yaml"
    assert options["seed"] is None  # the specification's, 7


def test_flags_that_have_no_effect_are_warned_of(sent, capsys):
    sent("--workload-spec", "w.yaml", "--rate", "5", "--prompt-tokens", "9")
    assert capsys.readouterr().err == "warning: no effect beside --workload-spec: --rate, --prompt-tokens\n"


def test_files_that_are_there_are_not_touched_by_a_mistake(capsys, folder):
    (folder / "h.yaml").write_text("old")
    problems(capsys, *NEEDED, "--rate", "5")
    assert (folder / "h.yaml").read_text() == "old"
    assert not (folder / "d.csv").exists()


def test_whoever_presses_control_c_again_does_not_lose_what_was_measured(monkeypatch, folder):
    """The second signal comes while the trace is written."""

    class Interrupted:
        def write(self, header, data):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            (folder / header).write_text("measured")

    monkeypatch.setattr("blis_simpy.realserver.observe.observe", lambda *_, **__: Interrupted())
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["observe", *NEEDED, "--rate", "1", "--num-requests", "1"]) == 0
    assert (folder / "h.yaml").read_text() == "measured"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
