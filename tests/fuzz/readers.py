"""Every reader of files from outside, with a valid input of each, and ways to spoil it."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import blis_simpy as blis
from blis_simpy.cli.main import main
from blis_simpy.experiment.measurement import Measurement
from blis_simpy.experiment.store import Store
from blis_simpy.results.stationarity import Stationarity

if TYPE_CHECKING:
    from random import Random

__all__ = ["READERS", "Reader", "attempt", "spoiled"]

TRACES = Path(__file__).parents[1] / "data" / "traces"
FORMATS = {
    "aiperf.jsonl": "aiperf",
    "azure-2023.csv": "azure",
    "azure-2024.csv": "azure",
    "bailian.jsonl": "bailian",
    "burstgpt-v1.csv": "burstgpt",
    "burstgpt-v2.csv": "burstgpt",
    "genai-perf.json": "genai-perf",
    "guidellm.json": "guidellm",
    "inference-perf-requests.json": "inference-perf-requests",
    "mooncake.jsonl": "mooncake",
    "otel.json": "otel",
    "sessions.jsonl": "sessions",
    "sglang-benchmark.jsonl": "sglang-benchmark",
    "sharegpt.json": "sharegpt",
    "table.jsonl": "table",
    "vllm-benchmark.json": "vllm-benchmark",
    "weka.jsonl": "weka",
}
HEADER = """\
trace_version: 2
time_unit: microseconds
mode: real
warm_up_requests: 1
server: {type: vllm, model: my/model}
"""
CONFIGURATION = """\
load:
  type: poisson
  interval: 2
  stages: [{rate: 5, duration: 10}, {rate: 8, duration: 5}]
data:
  type: random
  input_distribution: {min: 10, max: 900, mean: 200, std_dev: 50}
  output_distribution: {type: lognormal, mean: 60, std_dev: 20, min: 1, max: 400}
server: {type: vllm, model_name: my/model}
api: {type: completion, streaming: true}
"""
SCENARIO = """\
model: my/model
hardware: H100
tp: 1
replicas: 2
seed: 7
horizon: 2s
latency: {alpha: [0, 0, 0], beta: [5000, 10, 1]}
kv: {blocks: 1000, block_size: 16}
engine: {profile: blis, max_num_seqs: 8, max_num_batched_tokens: 512, scheduler: sjf}
router: {policy: weighted, scorers: "queue-depth:1", delay: 1ms, snapshot_interval: 5ms}
admission: {policy: token-bucket, capacity: 1000, refill_rate: 500}
workload: {rate: 2, num_requests: 5, prompt: {type: constant, value: 20}, output: {type: constant, value: 5}}
"""
WORKLOAD = """\
version: "2"
seed: 3
aggregate_rate: 20
num_requests: 20
clients:
  - id: a
    tenant_id: t
    rate_fraction: 0.7
    arrival: {process: gamma, cv: 2}
    input_distribution: {type: gaussian, params: {mean: 100, std_dev: 20, min: 10, max: 300}}
    output_distribution: {type: exponential, params: {mean: 30}}
    streaming: true
  - id: b
    rate_fraction: 0.3
    prefix_group: p
    prefix_length: 64
    arrival: {process: poisson}
    input_distribution: {type: constant, params: {value: 50}}
    output_distribution: {type: constant, params: {value: 5}}
"""
BUNDLE = """\
admission: {policy: token-bucket, token_bucket_capacity: 500, token_bucket_refill_rate: 10}
routing: {policy: weighted, scorers: [{name: queue-depth, weight: 2}]}
priority: {policy: constant}
scheduler: fcfs
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 4,
    "vocab_size": 1000,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "max_position_embeddings": 2048,
    "rope_scaling": {"type": "linear", "factor": 2.0},
}
GPUS = {"H100": {"TFlopsPeak": 989.5, "BwPeakTBs": 3.35, "mfuPrefill": 0.45, "mfuDecode": 0.3, "MemoryGiB": 80.0}}
DEFAULTS = """\
deployments:
  my/model: {gpu: H100, tp: 1, engine_version: "v1"}
blackbox:
  my/model:
    - {gpu: H100, tp: 1, engine_version: "v1", published_kv_blocks: 1000, alpha: [1, 2, 3], beta: [5000, 10, 1]}
presets:
  chat: {prefix_tokens: 0, prompt_tokens: 256, prompt_tokens_stdev: 100, prompt_tokens_min: 2, prompt_tokens_max: 800,
    output_tokens: 256, output_tokens_stdev: 100, output_tokens_min: 1, output_tokens_max: 1024}
"""


@attrs.frozen
class Reader:
    """One reader.

    Attributes
    ----------
    files : dict of str to bytes
        Valid input, by name of the file.
    words : tuple of str
        Command line that reads it and writes nothing but ``out*``.
    function : callable or None
        What reads it in place of a command.
    make : callable or None
        Makes another valid input of the same form at random, which is spoiled half of the time.
    """

    files: dict[str, bytes]
    words: tuple[str, ...] = ()
    function: Callable[[], object] | None = None
    make: Callable[..., bytes] | None = None


def _trace(name: str) -> Reader:
    rate = ("--rate", "5") if name == "sharegpt.json" else ()
    words = ("convert", FORMATS[name], "--path", name, "--output", "out", *rate)
    return Reader({name: (TRACES / name).read_bytes()}, words)


def _parquet(random: Random | None) -> bytes:
    """Make a Parquet file; with a random generator, of odd types, values, encodings and row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {"arrival": [0.0, 1.5, 2.0], "input_tokens": [10, 20, 30], "output_tokens": [5, 6, 7]}
    if random is not None:
        for name in list(columns):
            columns[name] = random.choice((columns[name], *ODD_COLUMNS)) if random.random() < 0.5 else columns[name]
        names = random.sample(list(columns), random.choice((2, 3, 3, 3)))
        columns = {name: columns[name] for name in names}
    table = pa.table({name: value if isinstance(value, list) else value(pa) for name, value in columns.items()})
    if random is not None and random.random() < 0.1:
        table = table.rename_columns(["arrival"] * table.num_columns)
    sink = io.BytesIO()
    options: dict[str, Any] = {}
    if random is not None:
        options["compression"] = random.choice(("none", "snappy", "gzip", "zstd"))
        options["row_group_size"] = random.choice((1, 2, 100))
        options["use_dictionary"] = random.random() < 0.5
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def _saved() -> bytes:
    scenario, path = Path("scenario.tmp"), Path("saved.tmp")
    scenario.write_text(SCENARIO)
    blis.load_scenario(scenario).run().save(path)
    data = path.read_bytes()
    scenario.unlink()
    path.unlink()
    return data


def _use_saved() -> None:
    result = blis.load_result("saved")
    assert result.render("text")
    result.blis_report("run")


def _kept() -> bytes:
    measurement = Measurement(
        metrics={"a": 1.5, "b": 2.0}, traffic="x", warm_up_us=3, stationarity=Stationarity(0.1, 0.2, 3)
    )
    Store("store").put("key", measurement, {"seed": 3})
    return Path("store/key.json").read_bytes()


def _use_kept() -> None:
    found = Store("store").get("key")
    assert found is None or found.metrics["b"] == 2.0


CONFIG_TEXT = json.dumps(CONFIG, indent=1).encode()
SHOW = ("--show-config",)
FIXED = ("--model", "my/model", "--alpha-coeffs", "0,0,0", "--beta-coeffs", "5000,10,1", "--total-kv-blocks", "1000")
READERS: dict[str, Callable[[], Reader]] = {
    "scenario": lambda: Reader({"s.yaml": SCENARIO.encode()}, ("run", "s.yaml", *SHOW)),
    "scenario that runs": lambda: Reader(
        {"s.yaml": SCENARIO.encode()}, ("run", "s.yaml", "--num-requests", "5", "--horizon", "1s", "--report", "blis")
    ),
    "workload": lambda: Reader({"w.yaml": WORKLOAD.encode()}, ("workload", "w.yaml")),
    "policy bundle": lambda: Reader(
        {"s.yaml": SCENARIO.encode(), "p.yaml": BUNDLE.encode()}, ("run", "s.yaml", "--policy-config", "p.yaml", *SHOW)
    ),
    "config.json": lambda: Reader(
        {"m/config.json": CONFIG_TEXT},
        ("run", "--model", "m", "--hardware", "H100", "--tp", "1", "--rate", "1", *SHOW),
    ),
    "hardware": lambda: Reader(
        {"m/config.json": CONFIG_TEXT, "h.json": json.dumps(GPUS).encode()},
        ("run", "--model", "m", "--hardware", "H100", "--tp", "1", "--hardware-config", "h.json", *SHOW),
    ),
    "defaults": lambda: Reader(
        {"d.yaml": DEFAULTS.encode()},
        ("run", "--model", "my/model", "--latency-model", "blackbox", "--defaults-filepath", "d.yaml", *SHOW),
    ),
    "servegen": lambda: Reader(
        {
            "sg/chunk-0-trace.csv": b"0,2.5,1.2,Gamma,1,2\n600,1.5,0.8,Weibull,1,2\n",
            "sg/chunk-0-dataset.json": json.dumps(
                {str(at): {"input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": "{5: 1.0}"} for at in (0, 600)}
            ).encode(),
        },
        ("convert", "servegen", "--path", "sg"),
    ),
    "trace-v2": lambda: Reader(
        {"t.yaml": HEADER.encode(), "t.csv": (TRACES / "trace-v2.csv").read_bytes()},
        ("replay", "--trace-header", "t.yaml", "--trace-data", "t.csv", *FIXED, "--horizon", "1s", "--report", "none"),
    ),
    "table.csv": lambda: Reader(
        {"table.csv": (TRACES / "table.csv").read_bytes()},
        (
            *("convert", "table", "--path", "table.csv", "--output", "out"),
            *("--columns", "arrival=ts,input_tokens=prompt,output_tokens=completion"),
        ),
    ),
    "parquet": lambda: Reader(
        {"t.parquet": _parquet(None)}, ("convert", "table", "--path", "t.parquet", "--output", "out"), make=_parquet
    ),
    "inference-perf": lambda: Reader({"config.yml": CONFIGURATION.encode()}, ("workload", "config.yml")),
    "saved result": lambda: Reader({"saved": _saved()}, function=_use_saved),
    "store": lambda: Reader({"store/key.json": _kept()}, function=_use_kept),
    "flags": lambda: Reader(
        {
            "s.yaml": SCENARIO.encode(),
            "words": b"--num-instances 2 --max-num-running-reqs 9 --seed 3 --total-kv-blocks 900",
        },
    ),
    **{name: (lambda name=name: _trace(name)) for name in FORMATS},
}

ODD_COLUMNS: tuple[Any, ...] = (
    lambda pa: pa.array([None, None, None]),
    lambda pa: pa.array([True, False, True]),
    lambda pa: pa.array([b"1", b"\xff", b""]),
    lambda pa: pa.array(["1", "x" * 3000, "\x1b[31m"]),
    lambda pa: pa.array([1, 2**62, 2**64 - 1], pa.uint64()),
    lambda pa: pa.array([-1, 0, -(2**63)]),
    lambda pa: pa.array([float("nan"), float("inf"), 1e308]),
    lambda pa: pa.array([[1], [], None]),
    lambda pa: pa.array([{"a": 1}, None, {"a": 2}]),
    lambda pa: pa.array([0, 10**12, 2**62], pa.timestamp("ns")),
    lambda pa: pa.array([0, 10**12, -(2**62)], pa.timestamp("us", tz="UTC")),
    lambda pa: pa.array([0, 1, 2**50], pa.timestamp("s")),
    lambda pa: pa.array([0, 1, 2**31 - 1], pa.date32()),
    lambda pa: pa.array([0, 86_399, 5], pa.time32("s")),
    lambda pa: pa.array([0, 1, 2**62], pa.duration("s")),
    lambda pa: pa.array([1, 2, 3], pa.decimal128(38, 10)),
    lambda pa: pa.array(["a", "b", "a"]).dictionary_encode(),
    [7, None, 7],
)
"""Columns of Parquet files as nobody should write them."""

NUMBERS = (
    *b"0 -1 7 65536 100000 2147483647 1e15 1e18 1e308 -1e308 5e-324 0.3 -0.0 9223372036854775807".split(),
    *b"1000000000000000 9223372036854775808 4611686018427387904 NaN Infinity .inf 1e999".split(),
    b"1" + b"0" * 400,
)
OTHERS = (*NUMBERS, *b"0x10 1_000 true null '' [] {}".split())
PIECES = (
    *b"\" ' { } [ ] : , &a *a <<: !!python - ? # % $x$ ../ /dev/zero".split(),
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b"\x1b[31m", "\u202e".encode()),
)


def spoiled(data: bytes, random: Random) -> bytes:
    """Spoil data in one to three ways; half of the time only numbers change, so that the form stays right."""
    ways = (_number,) if random.random() < 0.5 else (_number, _piece, _cut, _repeat, _byte, _word, _packed)
    for _ in range(random.randint(1, 3)):
        data = random.choice(ways)(data, random)
    return data


def _number(data: bytes, random: Random) -> bytes:
    places = [match.span() for match in re.finditer(rb"-?\d+(?:\.\d+)?", data)]
    if not places:
        return data
    start, end = random.choice(places)
    return data[:start] + random.choice(NUMBERS) + data[end:]


def _piece(data: bytes, random: Random) -> bytes:
    place = random.randint(0, len(data))
    return data[:place] + random.choice(PIECES) + data[place:]


def _cut(data: bytes, random: Random) -> bytes:
    start = random.randint(0, len(data))
    return data[:start] + data[start + random.randint(0, 40) :] if random.random() < 0.8 else data[:start]


def _repeat(data: bytes, random: Random) -> bytes:
    start = random.randint(0, len(data))
    return data[:start] + data[start : start + 50] * random.choice((2, 3, 200)) + data[start:]


def _byte(data: bytes, random: Random) -> bytes:
    place = random.randint(0, len(data))
    return data[:place] + bytes([random.randint(0, 255)]) + data[place + 1 :]


def _word(data: bytes, random: Random) -> bytes:
    words = re.findall(rb"\w+", data)
    return data.replace(random.choice(words), random.choice((*words, *OTHERS)), 1) if words else data


def _packed(data: bytes, random: Random) -> bytes:
    if random.random() < 0.8:
        return data
    packed = gzip.compress(data, mtime=0)
    return packed if random.random() < 0.5 else packed[: random.randint(0, len(packed))]


def attempt(reader: Reader, random: Random | None) -> int:
    """Spoil one file of a reader, unless `random` is None, and read it, in the present folder.

    Returns
    -------
    int
        Exit status: 0, or 2 with clean lines on stderr.

    Raises
    ------
    Exception
        Any but those of the library: a traceback.
    """
    for name, data in reader.files.items():
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    content = reader.files.get("words", b"")
    if random is not None:
        name = "words" if content else random.choice(list(reader.files))
        content = reader.files[name]
        if reader.make is not None:
            content = reader.make(random)
        if reader.make is None or random.random() < 0.5:
            content = spoiled(content, random)
        Path(name).write_bytes(content)
    words = reader.words
    if reader.function is not None:
        try:
            reader.function()
        except blis.BlisError:
            return 2
        return 0
    if not words:
        words = ("run", "s.yaml", *content.decode("utf-8", "replace").replace("\0", "").split(), *SHOW)
    before = {path.name for path in Path().iterdir()}
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        status = main(words)
    lines = errors.getvalue().splitlines()
    assert status in (0, 2), (status, lines)
    assert status == 0 or lines
    assert len(lines) <= 40, lines
    assert all(len(line) < 2000 and "Traceback" not in line for line in lines), lines
    if status:
        assert {path.name for path in Path().iterdir()} <= before, "a file is left although the command failed"
    for left in Path().glob("out*"):
        left.unlink()
    return status
