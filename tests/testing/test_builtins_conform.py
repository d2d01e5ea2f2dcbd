"""Every plug-in of the library passes the conformance suite of its kind."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

from blis_simpy import registry, testing
from blis_simpy.catalog.defaults import Catalog
from blis_simpy.catalog.hardware import load_gpus
from blis_simpy.latency.base import LatencyInputs
from blis_simpy.latency.kernels import Kernels
from blis_simpy.trace_files.trace_columns import COLUMNS
from blis_simpy.trace_files.trace_v2 import write_trace

TRACES = Path(__file__).parents[1] / "data" / "traces"
SUITES = {
    "admission": testing.AdmissionPolicyTests,
    "arrivals": testing.ArrivalProcessTests,
    "batching": testing.BatchPolicyTests,
    "decider": testing.DeciderTests,
    "kv_store": testing.KVStoreTests,
    "latency": testing.LatencyModelTests,
    "lengths": testing.LengthDistributionTests,
    "metric": testing.MetricTests,
    "migration": testing.MigrationPolicyTests,
    "priority": testing.PriorityPolicyTests,
    "routing": testing.RoutingPolicyTests,
    "scheduler": testing.SchedulerTests,
    "scorer": testing.ScorerTests,
}
OPTIONS = {
    ("admission", "token-bucket"): {"capacity": 1000.0, "refill_rate": 500.0},
    ("arrivals", "gamma"): {"cv": 2.5},
    ("arrivals", "weibull"): {"cv": 1.5},
    ("kv_store", "two-tier"): {"cpu_blocks": 30, "bandwidth": 0.5, "base_latency": 3},
    ("lengths", "constant"): {"value": 512},
    ("lengths", "empirical"): {"lengths": (0, 64, 512), "weights": (1.0, 3.0, 1.0)},
    ("lengths", "exponential"): {"mean": 300.0},
    ("lengths", "gaussian"): {"mean": 512.0, "std_dev": 300.0, "min": 1, "max": 900},
    ("lengths", "lognormal"): {"mu": 5.0, "sigma": 1.0},
    ("lengths", "uniform"): {"min": 16, "max": 900},
    ("lengths", "pareto_lognormal"): {"alpha": 1.5, "xm": 100.0, "mu": 5.0, "sigma": 1.0, "mix_weight": 0.4},
}
CLAIMS = {
    "latency": {"is_monotone": True},
    "kernels": {"is_monotone": False},  # a request more may fill a wave of a kernel better than one fewer
    "two-tier": {"reloads_on_failure": True},
}
"""Attributes of a suite, by kind or name."""


def latency_model(cls, **options):
    catalog, inputs = Catalog.load(), {}
    if cls is not Kernels:
        inputs = {"alpha": (100.0, 0.5, 2.0), "beta": (3000.7, 20.3, 11.9)}
    if hasattr(cls, "global_coefficients"):
        found = catalog.global_coefficients(cls.global_coefficients)
        inputs = {"alpha": found.alpha, "beta": found.beta}
    model = catalog.model("qwen/qwen3-14b")
    return cls(LatencyInputs(model=model, gpu=load_gpus()["H100"], tp=2, **inputs), **options)


def suite_of(kind, name):
    found, options = registry.get(kind, name), OPTIONS.get((kind, name), {})

    def make(self, *arguments):
        if kind == "metric":
            return found
        if kind == "latency":
            return latency_model(found, **options)
        return found(*arguments, **options)

    label = f"Test_{kind}_{name.replace('-', '_')}"
    return type(label, (SUITES[kind],), {"make": make, **CLAIMS.get(kind, {}), **CLAIMS.get(name, {})})


for kind in SUITES:
    for name in registry.names(kind):
        if (kind, name) not in registry.third_party():
            suite = suite_of(kind, name)
            globals()[suite.__name__] = suite


class FormatTests(testing.TraceFormatTests):
    """Reads a file of `tests/data/traces`; a mistake is a part of it that is replaced."""

    format = ""
    options: ClassVar = {}
    mistakes = ()

    def make(self):
        return registry.get("trace_format", self.format)(**self.options)

    def content(self):
        return (TRACES / self.file_name).read_text()

    def broken(self):
        for part, replacement, path, line in self.mistakes:
            assert part in self.content()
            yield testing.BrokenFile(self.content().replace(part, replacement, 1), path, line)


class TestAiperf(FormatTests):
    format = "aiperf"
    file_name = "aiperf.jsonl"
    mistakes = (('"value": 420', '"value": "many"', "metrics.input_sequence_length", 1),)


class TestAzure(FormatTests):
    format = "azure"
    file_name = "azure-2023.csv"
    mistakes = (
        ("3180", "many", "ContextTokens", 3),
        ("2023-11-16 18:17:05.1", "yesterday", "TIMESTAMP", 5),
        (",27", "", "GeneratedTokens", 4),
    )


class TestBailian(FormatTests):
    format = "bailian"
    file_name = "bailian.jsonl"
    mistakes = (("1.25", '"soon"', "timestamp", 2), ('"input_length": 70', '"input_length": -70', "input_length", 3))


class TestBurstGPT(FormatTests):
    format = "burstgpt"
    file_name = "burstgpt-v2.csv"
    mistakes = (("900", "-900", "Request tokens", 2), ("19440161.5", "", "Timestamp", 3))


class TestGenAIPerf(FormatTests):
    format = "genai-perf"
    file_name = "genai-perf.json"
    mistakes = (('"timestamp": 17', '"timestamp": "x", "time": 17', "experiments[0].requests[0].timestamp", None),)


class TestGuideLLM(FormatTests):
    format = "guidellm"
    file_name = "guidellm.json"
    mistakes = (
        (
            '"successful": [',
            '"successful": [1, ',
            "benchmarks[0].requests.successful[0].info.timings.request_start",
            None,
        ),
    )


class TestInferencePerfRequests(FormatTests):
    format = "inference-perf-requests"
    file_name = "inference-perf-requests.json"
    mistakes = (("310.25", '"soon"', "[0].start_time", None),)


class TestMooncake(FormatTests):
    format = "mooncake"
    file_name = "mooncake.jsonl"
    mistakes = (('"timestamp": 3000', '"timestamp": "soon"', "timestamp", 2), ("[5, 1, 2]", "5", "hash_ids", 4))


class TestOwnSessions(FormatTests):
    format = "sessions"
    file_name = "sessions.jsonl"
    mistakes = (
        ('"input": 300', '"input": -3', "calls[1].input", 1),
        ('["1"]', '["5"]', "calls[2].after[0]", 2),
        ('"compact"', '"short"', "calls[2].context", 2),
        ('"hash:1+8', '"hash', "calls[0].content", 3),
    )


class TestOpenTelemetry(FormatTests):
    format = "otel"
    file_name = "otel.json"
    mistakes = (
        (
            '"intValue": "150"',
            '"intValue": "many"',
            "resourceSpans[0].scopeSpans[0].spans[2].attributes.gen_ai.usage.input_tokens",
            None,
        ),
    )


class TestWeka(FormatTests):
    format = "weka"
    file_name = "weka.jsonl"
    mistakes = (
        ('"in": 1300', '"in": "x"', "requests[1].in", 1),
        ('"t": 3.5', '"t": -1', "requests[1].requests[2].t", 2),
        ("[1, 2, 4, 5]", '"1"', "requests[2].hash_ids", 2),
    )


class TestSGLangBenchmark(FormatTests):
    format = "sglang-benchmark"
    file_name = "sglang-benchmark.jsonl"
    mistakes = (("[80, 120]", '[80, "many"]', "input_lens[1]", 1),)


class TestShareGPT(FormatTests):
    format = "sharegpt"
    file_name = "sharegpt.json"
    options: ClassVar = {"rate": 2.0}
    mistakes = (('"from": "system", ', "", "[0].conversations[0].from", None),)


class TestTable(FormatTests):
    format = "table"
    file_name = "table.csv"
    options: ClassVar = {
        "columns": {
            "arrival": "ts",
            "input_tokens": "prompt",
            "output_tokens": "completion",
            "client_id": "user",
            "session_id": "conversation",
        }
    }
    is_recognised = False  # its columns have other names than ours
    mistakes = (("13.25,120", "13.25,many", "prompt", 4),)


class TestTraceV2(FormatTests):
    format = "trace-v2"
    keeps_ticks = True
    mistakes = (("request_id", "request", "column 1", 1), ("7000", "now", "arrival_time_us", 4))

    def content(self):
        lines = [",".join(COLUMNS)]
        for number in range(3):
            known = {
                "request_id": number,
                "streaming": "true",
                "status": "ok",
                "input_tokens": 100 + number,
                "output_tokens": 20,
                "arrival_time_us": 5000 + 1000 * number,
            }
            lines.append(",".join(str(known.get(name, 0)) for name in COLUMNS))
        return "\n".join(lines) + "\n"

    def write(self, trace, path):
        write_trace(trace, path.replace(".csv", ".yaml"), path)


class TestVLLMBenchmark(FormatTests):
    format = "vllm-benchmark"
    file_name = "vllm-benchmark.json"
    mistakes = (("[300, 512, 100]", '[300, 512, "many"]', "input_lens[2]", None),)


def test_every_kind_has_a_suite_but_those_without_rules():
    """What a plot or a renderer shows, and what a process does, follows no rule that a test can check."""
    prefix = registry.GROUP_PREFIX
    kinds = {group.removeprefix(prefix) for group in entry_points().groups if group.startswith(prefix)}
    assert kinds == {*SUITES, "trace_format", "renderer", "plot", "process"}


def test_every_trace_format_is_tested():
    formats = {suite.format for suite in FormatTests.__subclasses__()}
    assert formats == {
        name for name in registry.names("trace_format") if ("trace_format", name) not in registry.third_party()
    }
