"""For each rule of latency models, arrivals, lengths and metrics, a plug-in that breaks this rule alone."""

import itertools

import numpy as np
import pytest
from broken_rules import assert_breaks, failures, rules_of

from blis_simpy.results.metrics import LatencyFamily, Metric
from blis_simpy.testing import ArrivalProcessTests, LatencyModelTests, LengthDistributionTests, MetricTests


class Linear:
    """100 µs and 1 more for each new token and each 1,000 tokens of context."""

    def step_time(self, batch):
        context = sum(batch.decode_contexts())
        return 100 + sum(member.new_tokens for member in batch.prefills) + batch.num_decodes + context // 1000

    def queueing_time(self, input_tokens):
        return input_tokens // 10

    def output_token_processing_time(self):
        return 2

    def post_decode_overhead(self):
        return 0


class InRuns(Linear):
    def decode_step_times(self, batch, steps):
        context = batch.decode_context_tokens + batch.num_decodes * np.arange(steps, dtype=np.int64)
        return 100 + batch.num_decodes + context // 1000


class FloatSteps(Linear):
    def step_time(self, batch):
        return float(super().step_time(batch))


class NoTime(Linear):
    def step_time(self, batch):
        return batch.num_decodes


class WarmsUp(Linear):
    def __init__(self):
        self.steps = itertools.count()

    def step_time(self, batch):
        return super().step_time(batch) + max(20 - next(self.steps), 0)


class FirstStepOnly(InRuns):
    def decode_step_times(self, batch, steps):
        return self.step_time(batch)


class OneTooFew(InRuns):
    def decode_step_times(self, batch, steps):
        return super().decode_step_times(batch, steps)[: max(steps - 1, 1)]


class FloatRuns(InRuns):
    def decode_step_times(self, batch, steps):
        return super().decode_step_times(batch, steps).astype(float)


class FloatDelay(Linear):
    def queueing_time(self, input_tokens):
        return input_tokens / 10


class FasterWithMore(Linear):
    def step_time(self, batch):
        return 200_000 - super().step_time(batch)


WHOLE = "step_time must be an int, the duration in whole µs, from 1 to 2**63 - 1"
RUN = "decode_step_times must return an int, or one whole number of µs >= 1 for each step"
LATENCY = [
    ("test_step_time_is_whole_microseconds", FloatSteps, "step_time must be an int >= 0 without members"),
    ("test_step_time_is_whole_microseconds", NoTime, WHOLE),
    ("test_equal_batches_take_equal_times", WarmsUp, "step_time must depend on the batch alone"),
    (
        "test_decode_step_times_equal_single_steps",
        FirstStepOnly,
        "decode_step_times must equal step_time after each step, bit for bit",
    ),
    ("test_decode_step_times_are_one_duration_a_step", OneTooFew, RUN),
    ("test_decode_step_times_are_one_duration_a_step", FloatRuns, RUN),
    ("test_delays_are_whole_microseconds", FloatDelay, "queueing_time must be an int >= 0, the same each time"),
    (
        "test_more_work_takes_no_less_time_if_it_says_so",
        FasterWithMore,
        "is monotone, so a step must not get shorter with another decoding request",
    ),
]


class Exponential:
    def inter_arrival_times(self, rng, rate_per_s, n):
        return np.clip(1e6 / rate_per_s * rng.exponential(size=n), 1, 2**62).astype(np.int64)


class Seconds(Exponential):
    def inter_arrival_times(self, rng, rate_per_s, n):
        return np.maximum(super().inter_arrival_times(rng, rate_per_s, n) // 1_000_000, 1)


class Floats(Exponential):
    def inter_arrival_times(self, rng, rate_per_s, n):
        return super().inter_arrival_times(rng, rate_per_s, n).astype(float)


class OwnStream(Exponential):
    rng = np.random.default_rng(3)

    def inter_arrival_times(self, rng, rate_per_s, n):
        return super().inter_arrival_times(self.rng, rate_per_s, n)


class Bursts(Exponential):
    """Every other gap of the instance is long; two clients take them from each other."""

    def __init__(self):
        self.count = 0

    def inter_arrival_times(self, rng, rate_per_s, n):
        gaps = super().inter_arrival_times(rng, rate_per_s, n)
        factors = np.where((self.count + np.arange(n)) % 2, 0.5, 1.5)
        self.count += n
        return np.maximum((gaps * factors).astype(np.int64), 1)


class Sorted(Exponential):
    def inter_arrival_times(self, rng, rate_per_s, n):
        return np.sort(super().inter_arrival_times(rng, rate_per_s, n))


class Truncated(Exponential):
    def inter_arrival_times(self, rng, rate_per_s, n):
        return (1e6 / rate_per_s * rng.exponential(size=n)).astype(np.int64)


CHANCE = "must draw from the given stream alone, so that equal streams give equal numbers"
SHARED = "must keep no state between calls: an instance serves several clients in turn"
ARRIVALS = [
    ("test_rate_is_the_one_asked_for", Seconds, "the mean rate must be within 10% of rate_per_s"),
    (
        "test_numbers_are_whole_and_in_range",
        Floats,
        "inter_arrival_times must return an int64 array of shape (1,)",
    ),
    ("test_equal_streams_give_equal_numbers", OwnStream, CHANCE),
    ("test_one_instance_serves_several_clients", Bursts, SHARED),
    ("test_asking_twice_equals_asking_once", Sorted, "drawing 1 and then 9 numbers must equal drawing 10 at once"),
    ("test_gaps_are_at_least_a_tick_at_any_rate", Truncated, "gaps must be >= 1 µs at any rate"),
]


class Uniform:
    def sample(self, rng, n):
        return rng.integers(1, 100, size=n)


class Negative(Uniform):
    def sample(self, rng, n):
        return super().sample(rng, n) - 50


class Stateful(Uniform):
    def __init__(self):
        self.count = 0

    def sample(self, rng, n):
        self.count += n
        return (self.count - n + np.arange(n)) % 7


class ByTurns(Uniform):
    """Restarts with each call, so that the lengths depend on how many are drawn at a time."""

    def sample(self, rng, n):
        return np.resize(np.array([10, 20]), n)


class OwnChance(Uniform):
    rng = np.random.default_rng(3)

    def sample(self, rng, n):
        return super().sample(self.rng, n)


LENGTHS = [
    ("test_numbers_are_whole_and_in_range", Negative, "must draw numbers >= 0"),
    ("test_one_instance_serves_several_clients", Stateful, SHARED),
    ("test_equal_streams_give_equal_numbers", OwnChance, CHANCE),
    ("test_asking_twice_equals_asking_once", ByTurns, "drawing 1 and then 1 numbers must equal drawing 2 at once"),
]
CASES = [
    *((LatencyModelTests, *case) for case in LATENCY),
    *((ArrivalProcessTests, *case) for case in ARRIVALS),
    *((LengthDistributionTests, *case) for case in LENGTHS),
]


@pytest.mark.parametrize(("suite", "test", "plugin", "rule"), CASES)
def test_a_plugin_that_breaks_a_rule_fails_its_test_alone(suite, test, plugin, rule):
    claims = {"is_monotone": True} if plugin is FasterWithMore else {}
    assert_breaks(suite, test, lambda self: plugin(), f"{plugin.__name__}: {rule}", **claims)


def test_the_message_shows_where_two_series_differ():
    found = failures(LengthDistributionTests, lambda self: ByTurns())
    assert found["test_asking_twice_equals_asking_once"] == (
        "ByTurns: drawing 1 and then 1 numbers must equal drawing 2 at once\n"
        "  first difference at: 1\n  at once: [20]\n  in turn: [10]"
    )


@pytest.mark.parametrize(
    ("suite", "plugin"),
    [
        (LatencyModelTests, Linear),
        (LatencyModelTests, InRuns),
        (ArrivalProcessTests, Exponential),
        (LengthDistributionTests, Uniform),
    ],
)
def test_a_plugin_of_a_few_lines_passes(suite, plugin):
    assert failures(suite, lambda self: plugin()) == {}


def test_a_model_that_is_not_monotone_need_not_be():
    assert failures(LatencyModelTests, lambda self: FasterWithMore()) == {}


def test_a_process_of_long_bursts_may_say_that_its_rate_shows_late():
    assert failures(ArrivalProcessTests, lambda self: Seconds(), rate_tolerance=1e9) == {}


def metric(**changes):
    options = {
        "name": "prompt_tokens",
        "label": "prompt tokens",
        "unit": "tokens",
        "direction": None,
        "definition": "Tokens of all prompts.",
        "function": lambda subset: int(subset.requests["input_tokens"].sum()),
    }
    return Metric(**{**options, **changes})


def family(**changes):
    options = {"name": "wait", "label": "wait", "definition": "Time in the queue.", "function": lambda of: of.ttft}
    return LatencyFamily(**{**options, **changes})


CALLS = itertools.count()
METRICS = [
    (
        "test_it_describes_itself",
        metric(name="Prompt tokens"),
        "metric 'Prompt tokens': the name must be of lower-case letters, digits and underscores",
    ),
    ("test_it_describes_itself", metric(definition=""), "metric 'prompt_tokens': definition must not be empty"),
    (
        "test_it_describes_itself",
        metric(direction="up"),
        "metric 'prompt_tokens': direction must be one of ('lower', 'higher', None)",
    ),
    (
        "test_values_are_numbers_for_any_requests",
        metric(function=lambda subset: 1 / subset.requests.num_rows),
        "metric 'prompt_tokens': the function must return a finite number, or NaN where there is no value",
    ),
    (
        "test_equal_runs_have_equal_values",
        metric(function=lambda subset: next(CALLS)),
        "metric 'prompt_tokens': must have the same value each time, and for an equal run",
    ),
]


@pytest.mark.parametrize(("test", "plugin", "line"), METRICS)
def test_a_metric_that_breaks_a_rule_fails_its_test_alone(test, plugin, line):
    assert_breaks(MetricTests, test, lambda self: plugin, line)


@pytest.mark.parametrize("plugin", [metric(), family(), metric(scope="run", function=lambda result: result.seed)])
def test_a_metric_of_a_few_lines_passes(plugin):
    assert failures(MetricTests, lambda self: plugin) == {}


@pytest.mark.parametrize("suite", [LatencyModelTests, ArrivalProcessTests, LengthDistributionTests, MetricTests])
def test_every_rule_is_broken_by_a_plugin(suite):
    cases = [*CASES, *((MetricTests, *case) for case in METRICS)]
    assert {test for of, test, *_ in cases if of is suite} == rules_of(suite)
