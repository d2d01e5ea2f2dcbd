"""Plug-ins, hooks, processes and metrics that raise, return nonsense, change what they must not, or do nothing."""

import re
from importlib.metadata import packages_distributions, requires

import joblib
import numpy as np
import pytest
import scipy.optimize

import blis_simpy as blis
from blis_simpy.core.plugin_faults import _OWN_MODULES, named_faults
from blis_simpy.experiment.measurement import Metrics, measure
from blis_simpy.replica.kv_store import SingleTier

BASE = blis.Scenario(
    model="my/model",
    hardware="H100",
    tp=1,
    engine={"profile": "blis", "max_num_seqs": 4},
    kv=blis.KVSettings(blocks=200),
    latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(5000, 10, 1)),
    workload=blis.Workload(rate=50, num_requests=12),
)


def fail():
    return 1 // 0


class Latency:
    def __init__(self, inputs):
        pass

    def step_time(self, batch):
        return 5000

    def queueing_time(self, num_tokens):
        return 0

    def output_token_processing_time(self):
        return 0

    def post_decode_overhead(self):
        return 0


def named(name, function):
    """Return a method of a name, as tracebacks show it."""

    def method(self, *_arguments):
        return function()

    method.__code__ = method.__code__.replace(co_name=name, co_qualname=f"Mine.{name}")
    return method


def latency(**methods):
    made = {name: named(name, function) for name, function in methods.items()}
    return {"latency.backend": type("Mine", (Latency,), made), "workload.rate": 2}


def plugin(**methods):
    return type("Mine", (), {name: named(name, function) for name, function in methods.items()})


def scheduler(key):
    return {"engine.scheduler": plugin(key=key)}


def priority(score):
    return {"engine.scheduler": "priority-fcfs", "engine.priority": plugin(score=score)}


class Changing:
    def route(self, request, state):
        request.arrived_at = 10**12
        return 0


class Peeking:
    def route(self, request, state):
        return request.output_tokens % 1


class NeverAdmits:
    def form(self, step):
        pass


AT = r".*tick \d+"
CASES = {
    "scheduler raises": (
        scheduler(fail),
        r"scheduler Mine raised ZeroDivisionError\(.*\) in key \(request" + AT,
    ),
    "scheduler gives NaN": (scheduler(lambda: (1, np.nan)), r"scheduler Mine key must .* got \(1, nan\); request" + AT),
    "scheduler gives None": (scheduler(lambda: None), "scheduler Mine key must return .*, got None; request" + AT),
    "scheduler gives what has no order": (
        scheduler(lambda: 1j),
        "scheduler Mine gives keys that cannot be sorted" + AT,
    ),
    "priority raises": (priority(fail), r"Mine raised ZeroDivisionError\(.*\) in score \(request" + AT),
    "priority gives None": (priority(lambda: None), "priority Mine score must return a number, got None; request" + AT),
    "priority gives NaN": (priority(lambda: np.nan), "priority Mine score must return a number, got nan" + AT),
    "latency raises": (
        latency(step_time=fail),
        r"latency model Mine raised ZeroDivisionError.* in step_time" + AT,
    ),
    "step of negative time": (latency(step_time=lambda: -3), "latency model Mine step_time must be >= 0, got -3" + AT),
    "step of fractional time": (
        latency(step_time=lambda: 0.5),
        "Mine step_time must return a whole number .* got 0.5" + AT,
    ),
    "queueing in the past": (latency(queueing_time=lambda: -5), "Mine queueing_time must return .* >= 0, got -5" + AT),
    "queueing for None": (latency(queueing_time=lambda: None), "Mine queueing_time must return .* >= 0, got None" + AT),
    "token before it is made": (
        latency(output_token_processing_time=lambda: -1),
        "Mine output_token_processing_time must return a whole number of microseconds >= 0, got -1",
    ),
    "end before the last token": (
        latency(post_decode_overhead=lambda: 0.5),
        "Mine post_decode_overhead must return a whole number of microseconds >= 0, got 0.5",
    ),
    "decode steps of negative time": (
        latency(decode_step_times=lambda: -5),
        "Mine decode_step_times must return whole numbers of microseconds >= 1, got -5" + AT,
    ),
    "decode steps of fractional time": (
        latency(decode_step_times=lambda: 0.5),
        "Mine decode_step_times must return whole numbers of microseconds >= 1, got 0.5" + AT,
    ),
    "batch policy raises": (
        {"engine.batching": plugin(form=fail)},
        r"batch policy Mine raised ZeroDivisionError.* in form" + AT,
    ),
    "batch policy makes no progress": (
        {"engine.batching": NeverAdmits},
        "batch policy NeverAdmits form makes no progress" + AT,
    ),
    "batch policy makes no progress in vllm": (
        {"engine.batching": NeverAdmits, "engine.profile": "vllm"},
        "batch policy NeverAdmits form makes no progress" + AT,
    ),
    "router changes a request": (
        {"router": Changing},
        "policy Changing raised AttributeError.*must not change request.arrived_at",
    ),
    "router reads the output length": (
        {"router": Peeking},
        "policy Peeking raised AttributeError.*must not use request.output_tokens",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plugin_that_breaks_its_protocol_is_named(case, monkeypatch):
    monkeypatch.setattr("blis_simpy.replica.engine._MAX_EMPTY_STEPS", 100)
    changes, message = CASES[case]
    with pytest.raises(blis.PluginError, match=message) as caught:
        BASE.with_(**changes).run()
    assert len(caught.value.problems) == 1


class Store(SingleTier):
    """Keeps the rules until a method is replaced."""


ANSWERS = {
    "blocks of None": ({"kv.store": type("Mine", (Store,), {"blocks_to_admit": lambda *_: None})}, "KV store Mine"),
    "prefix of None": ({"kv.store": type("Mine", (Store,), {"cached_prefix": lambda *_: None})}, "KV store Mine"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_plugin_whose_answer_cannot_be_used_is_named(case):
    changes, name = ANSWERS[case]
    with pytest.raises(
        blis.PluginError, match=f"{name} has an answer or a method that cannot be used: TypeError.*tick"
    ):
        BASE.with_(**{"engine.profile": "vllm", **changes}).run()


def test_a_plugin_that_raises_stop_iteration_is_named():
    with pytest.raises(blis.PluginError, match=r"batch policy Mine raised StopIteration\(\) in form \(tick \d+\)"):
        BASE.with_(**{"engine.batching": plugin(form=lambda: next(iter(())))}).run()


class Nothing:
    def __init__(self, *_arguments):
        pass


SHAPES = {
    "router": (Nothing, "routing policy Nothing has no method route; route(request, state)"),
    "admission": (Nothing, "admission policy Nothing has no method admit; admit(request, state)"),
    "engine.scheduler": (Nothing, "scheduler Nothing has no method key; key(request, priority, now)"),
    "engine.priority": (Nothing, "priority policy Nothing has no method score; score(request, now)"),
    "engine.batching": (Nothing, "batch policy Nothing has no method form; form(step)"),
    "latency.backend": (Nothing, "latency model Nothing has no method step_time; step_time(batch)"),
    "kv.store": (Nothing, "KV store Nothing has no method cached_prefix; cached_prefix(leg)"),
    "workload.arrivals": (
        Nothing,
        "arrival process Nothing has no method inter_arrival_times; inter_arrival_times(rng, rate_per_s, n)",
    ),
    "workload.prompt": (Nothing, "length distribution Nothing has no method sample; sample(rng, n)"),
}


@pytest.mark.parametrize("path", SHAPES)
def test_a_plugin_without_a_method_of_its_kind_is_named_with_the_method(path):
    changed, message = SHAPES[path]
    with pytest.raises(blis.PluginError, match=f"^{re.escape(message)}"):
        BASE.with_(**{path: changed}).run()


def test_a_method_with_other_parameters_is_named_with_its_arguments():
    class Key:
        def key(self, request):
            return 0

    message = r"^scheduler Key key must take the arguments \(request, priority, now\)"
    with pytest.raises(blis.PluginError, match=message):
        BASE.with_(**{"engine.scheduler": Key}).run()


def test_more_parameters_with_defaults_are_no_fault():
    class Key:
        def key(self, *of_request, **_options):
            return 0

    assert BASE.with_(**{"engine.scheduler": Key}).run().summary["completed_requests"] == 12


def test_a_function_in_place_of_a_policy_is_told_what_to_write():
    message = (
        "routing policy <lambda> is a function, which must return a routing policy when it is called without "
        "arguments; write a class with the method route(request, state)"
    )
    with pytest.raises(blis.PluginError, match=f"^{re.escape(message)}$"):
        BASE.with_(router=lambda request, state: 0).run()


def test_hooks_and_observers_with_other_parameters_are_refused_when_they_are_added():
    class Watches:
        def routed(self):
            pass

    simulation = blis.Simulation(BASE)
    with pytest.raises(blis.ScenarioError, match=r"^hook must be a function that takes a request, got <"):
        simulation.on_first_token(lambda: None)
    with pytest.raises(blis.ScenarioError, match=r"^observer Watches routed must take the arguments \(route\)"):
        simulation.add_observer(Watches())


def test_a_process_that_yields_a_number_is_named_with_the_line():
    def waits(simulation):
        yield simulation.env.timeout(7)
        yield 5

    line = waits.__code__.co_firstlineno + 2
    message = rf"^process waits must yield events in line {line} \(tick 7\), got 5; such as simulation.env.timeout"
    with pytest.raises(blis.PluginError, match=message):
        BASE.with_(processes=[waits]).run()


def test_a_process_without_a_file_that_yields_nothing_is_named_too():
    names = {}
    exec(compile("def waits(simulation):\n    yield", "<cell 1>", "exec"), names)
    with pytest.raises(blis.PluginError, match=r"^process waits must yield events in line 2 \(tick 0\), got None"):
        BASE.with_(processes=[names["waits"]]).run()


@pytest.mark.parametrize("delay", ["5s", 0.5, -1, True])
def test_a_wrong_delay_of_a_process_is_named(delay):
    def waits(simulation):
        yield simulation.env.timeout(delay)

    with pytest.raises(blis.SimulationError, match=rf"^delay must be .*, got {delay!r}"):
        BASE.with_(processes=[waits]).run()


def test_an_oracle_gets_the_output_length():
    class Oracle(Peeking):
        knows_output_length = True

    assert BASE.with_(router=Oracle).run().summary["completed_requests"] == 12


def test_views_of_a_request_are_equal():
    seen = {}

    class Counting:
        def admit(self, request, state):
            seen[request] = seen.get(request, 0) + 1
            return True

        def route(self, request, state):
            seen[request] += 1
            return 0

    BASE.with_(admission=Counting, router=Counting).run()
    assert set(seen.values()) == {2}


def test_a_process_and_a_hook_that_raise_are_named():
    def fails(simulation):
        yield simulation.env.timeout(7)
        raise ValueError("mine")

    with pytest.raises(blis.PluginError, match=re.escape("function fails raised ValueError('mine') in fails (tick 7)")):
        BASE.with_(processes=[fails]).run()


def test_a_metric_that_raises_is_named():
    result = BASE.run()
    metrics = Metrics.of({"mine": lambda part: part.nothing})
    with pytest.raises(blis.PluginError, match="raised AttributeError"):
        measure(result, metrics)


def fails_in_scipy():
    return scipy.optimize.brentq(lambda x: x * x + 1, 0.0, 1.0)


def test_the_plugin_is_named_whose_call_of_a_library_fails():
    with pytest.raises(blis.PluginError, match=r"Mine raised ValueError\(.*\) in score \(request" + AT):
        BASE.with_(**priority(fails_in_scipy)).run()


@pytest.mark.parametrize("call", ["scipy.optimize.brentq(abs, 1.0, 2.0)", "joblib.load('/')"])
def test_code_of_the_libraries_that_this_one_calls_is_not_taken_for_a_plugin(call):
    """The caller is a module of this library."""
    caller = {"__name__": "blis_simpy.any", "scipy": scipy, "joblib": joblib, "named_faults": named_faults}
    with pytest.raises((ValueError, OSError)):
        exec(f"with named_faults(): {call}", caller)


def test_the_libraries_that_it_requires_are_not_taken_for_plugins():
    """Each module of a requirement, as far as they are installed; the rest are tools for development."""
    extras = ("hub", "plot", "tables", "dask", "ray")
    needed = [
        line for line in requires("blis-simpy") if "extra" not in line or any(f"'{name}'" in line for name in extras)
    ]
    names = {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in needed} - {"blis-simpy"}
    for module, owners in packages_distributions().items():
        if names & {owner.lower().replace("_", "-") for owner in owners} and module.isidentifier():
            assert module in _OWN_MODULES or module.startswith("_") or module in ("pylab", "mpl_toolkits"), module


def test_the_point_and_the_seed_of_an_experiment_are_named():
    with pytest.raises(blis.PluginError, match=r"workload.rate=7: scheduler Mine raised .*seed \d+"):
        blis.sweep(BASE.with_(**scheduler(fail)), {"workload.rate": [7.0]}, replications=2, executor="serial")


def test_figures_until_an_error_are_available_and_the_simulation_does_not_go_on():
    class Fails:
        def __init__(self):
            self.left = 6

        def route(self, request, state):
            self.left -= 1
            return 0 // self.left

    simulation = blis.Simulation(BASE.with_(router=Fails, replicas=2))
    with pytest.raises(blis.PluginError, match="policy Fails raised ZeroDivisionError"):
        simulation.run()
    assert simulation.result().summary["completed_requests"] < 12
    with pytest.raises(blis.ScenarioError, match="cannot go on: an error ended the simulation at tick"):
        simulation.run()


def test_a_time_beyond_64_bits_is_one_line():
    with pytest.raises(blis.ScenarioError, match=r"a time is beyond 2\*\*62 us"):
        BASE.with_(**{"latency.beta": (1e18, 0, 0), "workload.rate": 1}).run()
