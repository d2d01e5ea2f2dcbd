"""``blis workload``, ``blis compose`` and ``blis convert``."""

import pytest

from blis_simpy import registry
from blis_simpy.cli.main import main
from blis_simpy.settings.loader import parse
from blis_simpy.workload.load_workload import read_workload

SPEC = """version: '2'
{bounds}
aggregate_rate: {rate}
clients:
- id: {name}
  rate_fraction: {fraction}
  arrival: {{process: constant}}
  input_distribution: {{type: constant, params: {{value: 10}}}}
  output_distribution: {{type: constant, params: {{value: 5}}}}
"""
SOURCES = ", ".join(["servegen", "preset", "inference-perf", *registry.names("trace_format")])
LOAD = """
seed: 4
inference_perf:
  stages: [{rate: 3, duration: 1}]
  shared_prefix: {num_unique_system_prompts: 1, num_users_per_system_prompt: 2}
"""


def text(name, rate, fraction=1.0, bounds=""):
    return SPEC.format(name=name, rate=rate, fraction=fraction, bounds=bounds)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text("a", 20))
    (tmp_path / "b.yaml").write_text(text("b", 50))
    (tmp_path / "bounded.yaml").write_text(text("c", 10, bounds="seed: 3\nnum_requests: 6"))
    (tmp_path / "half.yaml").write_text(text("d", 5, fraction=0.5))
    (tmp_path / "load.yaml").write_text(LOAD)
    (tmp_path / "day.yaml").write_text(text("x", 5).replace("clients:\n-", "cohorts:\n- population: 2\n "))
    for chunk, rate in (("0", 20), ("1", 9)):
        (tmp_path / f"chunk-{chunk}-trace.csv").write_text(f"0,5,1,\n600,{rate},1,gamma\n")
        (tmp_path / f"chunk-{chunk}-dataset.json").write_text(
            '{"0": {"input_tokens": "{1: 1}", "output_tokens": "{2: 1}"}}'
        )
    return tmp_path


def outcome(capsys, *words):
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


def printed_spec(capsys, *words):
    status, out, lines = outcome(capsys, *words)
    assert (status, lines) == (0, [])
    return read_workload(parse(out))


SCENARIO = """model: qwen/qwen3-14b
seed: 11
workload: bounded.yaml
"""


def test_traffic_of_a_scenario_is_shown_with_its_own_seed_and_flags_change_it(folder, capsys):
    (folder / "s.yaml").write_text(SCENARIO)
    poisson = (folder / "bounded.yaml").read_text().replace("constant}\n", "poisson}\n", 1)
    (folder / "bounded.yaml").write_text(poisson)
    shown = {
        words: outcome(capsys, "workload", *words.split())[1]
        for words in ("s.yaml", "bounded.yaml --seed 11", "bounded.yaml", "s.yaml --num-requests 2")
    }
    assert shown["s.yaml"] == shown["bounded.yaml --seed 11"] != shown["bounded.yaml"]
    assert shown["s.yaml --num-requests 2"].startswith("2 requests in ")


def test_traffic_of_a_shipped_scenario_is_shown_by_its_name(capsys):
    status, out, _ = outcome(capsys, "workload", "multi-tenant")
    assert status == 0
    assert "1,500 requests" in out


def test_compose_weights_clients_by_rate(capsys):
    found = printed_spec(capsys, "compose", "--from", "a.yaml", "--from=b.yaml")
    assert found.aggregate_rate == 70.0
    assert [(c.id, c.rate_fraction) for c in found.clients] == [("a", 0.2857142857142857), ("b", 0.7142857142857143)]


def test_compose_tells_what_it_does_not_keep(capsys):
    status, out, lines = outcome(capsys, "compose", "--from", "bounded.yaml", "--from", "half.yaml")
    assert status == 0
    assert read_workload(parse(out)).aggregate_rate == 15.0
    assert lines == [
        "warning: bounded.yaml: seed, num_requests not kept; set them in the result",
        (
            "warning: half.yaml: rate fractions add up to 0.5, not 1: in the result the weight of its clients is "
            "multiplied by 0.5"
        ),
    ]


def test_compose_refuses_to_lose_traffic(capsys):
    assert outcome(capsys, "compose", "--from", "a.yaml", "--from", "day.yaml", "--from", "load.yaml") == (
        2,
        "",
        [
            "day.yaml: cohorts cannot be composed; write the members as clients",
            ("load.yaml: inference_perf cannot be composed; convert it with 'blis convert inference-perf' first"),
        ],
    )


def test_convert_servegen_keeps_the_measured_load(capsys):
    found = printed_spec(capsys, "convert", "servegen", "--path", ".")
    assert found.aggregate_rate == 0
    rates = [client.lifecycle.windows[0].rate for client in found.clients]
    assert rates == [client.rate_fraction for client in found.clients]
    cut = printed_spec(capsys, "convert", "servegen", "--path", ".", "--span-start", "600", "--span-end", "700")
    assert cut.horizon == 100_000_000
    assert len(cut.clients) < len(found.clients)


def test_convert_preset_spells_it_out(capsys):
    found = printed_spec(capsys, "convert", "preset", "--name", "chatbot", "--rate", "2.5", "--num-requests", "30")
    assert (found.aggregate_rate, found.num_requests, found.clients[0].id) == (2.5, 30, "preset-chatbot")
    found = printed_spec(capsys, "convert", "preset", "--name", "chatbot")
    assert (found.aggregate_rate, found.num_requests) == (1.0, 100)


def test_convert_inference_perf_spells_it_out(capsys):
    found = printed_spec(capsys, "convert", "inference-perf", "--spec", "load.yaml")
    assert (found.seed, found.aggregate_rate, len(found.clients)) == (4, 3.0, 2)


def test_workload_prints_a_sample(capsys):
    status, out, lines = outcome(capsys, "workload", "bounded.yaml", "--num-requests", "4")
    assert (status, lines) == (0, [])
    assert out.startswith("4 requests in 400ms: 10.00 requests/s\n")
    assert outcome(capsys, "workload", "a.yaml", "--horizon", "1s")[1].startswith("19 requests in 950ms")


def test_workload_samples_differ_by_seed(capsys, folder):
    (folder / "p.yaml").write_text(text("p", 10, bounds="num_requests: 9").replace("constant}", "poisson}", 1))
    one, again, other = (outcome(capsys, "workload", "p.yaml", "--seed", seed)[1] for seed in ("1", "1", "2"))
    assert one == again != other


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("compose", "--from is required"),
        ("compose --from none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("compose --form=a.yaml", "--form is not a flag; did you mean --from?"),
        ("convert", f"convert needs a source; known: {SOURCES}"),
        (
            "convert presets",
            f"convert is unknown, got 'presets'; did you mean 'preset'? known: {SOURCES}",
        ),
        ("convert servegen", "--path is required"),
        ("convert servegen --path=", "--path is required"),
        (
            "convert servegen --path none",
            "--path must be a folder with chunk-*-trace.csv files, got 'none'",
        ),
        ("convert preset", "--name is required"),
        (
            "convert preset --name chatbott",
            (
                "--name is not a preset of defaults.yaml, got 'chatbott'; did you mean 'chatbot'? "
                "known: chatbot, contentgen, summarization, multidoc"
            ),
        ),
        ("convert preset --name chatbot --rate 0", "--rate must be > 0, got 0; it has no default"),
        ("convert preset --name chatbot --rate fast", None),
        ("convert preset --name chatbot --rate nan", "--rate must be a finite number, got nan"),
        ("convert preset --name chatbot --num-requests 0", "--num-requests must be > 0, got 0"),
        ("convert preset --name chatbot --num-requests x", "--num-requests must be an integer, got 'x'"),
        ("convert preset --name chatbot --defaults-filepath none", None),
        ("convert inference-perf", "--spec is required"),
        ("convert inference-perf --spec a.yaml", "a.yaml: inference_perf is required"),
        ("workload", "workload needs a file or the name of a scenario"),
        ("workload --seed 1", "workload needs a file or the name of a scenario"),
        ("workload none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("workload a.yaml", "--num-requests must be > 0 unless a horizon is set, got 0"),
        ("workload a.yaml --seed x", "--seed must be an integer, got 'x'"),
        ("workload a.yaml b.yaml", "unexpected argument 'b.yaml'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words, line, capsys):
    status, out, lines = outcome(capsys, *words.split())
    assert (status, out, len(lines)) == (2, "", 1)
    assert line is None or lines == [line]


@pytest.mark.parametrize("command", ["workload", "compose", "convert", "convert servegen", "convert preset"])
def test_help_is_there(command, capsys):
    status, out, lines = outcome(capsys, *command.split(), "--help")
    assert (status, lines) == (0, [])
    assert out.startswith(f"usage: blis {command}")
