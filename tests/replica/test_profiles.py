"""Engine profiles: what they set where a setting is not given, and which settings contradict each other."""

import attrs
import pytest

import blis_simpy as blis
from blis_simpy.errors import ScenarioError
from blis_simpy.replica.end_of_step import EndOfStepEngine
from blis_simpy.replica.profiles import with_engine_defaults, with_kv_defaults
from blis_simpy.replica.start_of_step import StartOfStepEngine

H100 = {"gpu_name": "H100", "gpu_memory_gib": 80.0, "max_model_len": 0}

BLIS = {
    "max_num_seqs": 256,
    "max_num_batched_tokens": 2048,
    "long_prefill_threshold_if_alone": True,
    "over_length": "drop",
    "step_effects": "start",
    "async_scheduling": False,
    "reserve_full_sequence": False,
    "victim": "latest",
    "resume": "restart",
}
VLLM = {
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 8192,
    "long_prefill_threshold_if_alone": False,
    "over_length": "clip",
    "step_effects": "end",
    "async_scheduling": True,
    "reserve_full_sequence": True,
    "victim": "latest",
    "resume": "recompute",
}
OTHER = {
    "max_num_seqs": 7,
    "max_num_batched_tokens": 77,
    "long_prefill_threshold_if_alone": {True: False, False: True},
    "over_length": {"drop": "clip", "clip": "drop"},
    "reserve_full_sequence": {True: False, False: True},
    "victim": {"latest": "least-urgent"},
    "resume": {"restart": "recompute", "recompute": "restart"},
}
"""A value of each switch that no profile sets, or the other one of two, by that of the profile."""


def completed(profile, **given):
    return with_engine_defaults(blis.EngineSettings(profile=profile, **given), **H100)


@pytest.mark.parametrize(("profile", "defaults"), [("blis", BLIS), ("vllm", VLLM)])
def test_profile_sets_every_switch(profile, defaults):
    settings = attrs.asdict(completed(profile))
    assert {name: settings[name] for name in defaults} == defaults
    assert None not in {name: value for name, value in settings.items() if name != "max_model_len"}.values()


@pytest.mark.parametrize(("profile", "defaults"), [("blis", BLIS), ("vllm", VLLM)])
@pytest.mark.parametrize("switch", OTHER)
def test_given_switch_wins_over_the_profile_and_moves_no_other(profile, defaults, switch):
    other = OTHER[switch][defaults[switch]] if isinstance(OTHER[switch], dict) else OTHER[switch]
    settings = attrs.asdict(completed(profile, **{switch: other}))
    moved = {name for name in defaults if settings[name] != defaults[name]}
    # A server that is given fewer tokens than it would have slots has fewer slots.
    follows = {"max_num_seqs"} if (profile, switch) == ("vllm", "max_num_batched_tokens") else set()
    assert settings[switch] == other
    assert moved == {switch} | follows


def test_synchronous_scheduling_goes_with_effects_at_either_end():
    assert completed("vllm", async_scheduling=False).step_effects == "end"
    assert completed("blis", step_effects="end").async_scheduling is False
    assert completed("blis", step_effects="end", async_scheduling=True).async_scheduling is True


@pytest.mark.parametrize(
    ("profile", "scheduler", "victim"),
    [
        ("vllm", "priority", "least-urgent"),
        ("vllm", "fcfs", "latest"),
        ("vllm", "sjf", "latest"),
        ("blis", "priority", "latest"),
    ],
)
def test_victim_is_the_least_urgent_request_only_under_the_priority_policy_of_vllm(profile, scheduler, victim):
    assert completed(profile, scheduler=scheduler).victim == victim
    assert completed(profile, scheduler=scheduler, victim="latest").victim == "latest"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"profile": "vllm", "step_effects": "start"},
            "engine.async_scheduling must be false with effects at the start of a step, got True",
        ),
        (
            {"profile": "blis", "async_scheduling": True},
            "engine.async_scheduling must be false with effects at the start of a step, got True",
        ),
        (
            {"profile": "vllm", "max_num_seqs": 8, "max_num_batched_tokens": 7},
            "engine.max_num_batched_tokens must be >= engine.max_num_seqs (8) in the profile vllm, got 7",
        ),
    ],
)
def test_contradicting_switches_are_refused(given, line):
    with pytest.raises(ScenarioError) as caught:
        completed(**given)
    assert str(caught.value) == line


def kv_completed(engine, **given):
    return with_kv_defaults(blis.KVSettings(**given), blis.EngineSettings(**engine))


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("blis", ("single-tier", "blis", 0, 0.9)),
        ("vllm", ("block-pool", "vllm", 1, 0.92)),
    ],
)
def test_profile_sets_store_and_capacity(profile, expected):
    kv = kv_completed({"profile": profile})
    store = kv.store if isinstance(kv.store, str) else kv.store["type"]
    assert (store, kv.capacity_rules, kv.reserved_blocks, kv.gpu_memory_utilization) == expected


@pytest.mark.parametrize(
    ("engine", "kv", "line"),
    [
        (
            {"profile": "vllm"},
            {"cpu_blocks": 5},
            (
                "kv.cpu_blocks must be 0 with the KV store block-pool, got 5; set engine.profile (--engine-profile) "
                "to blis, or kv.store to two-tier and engine.resume to restart"
            ),
        ),
        (
            {"profile": "vllm"},
            {"cpu_blocks": 5, "store": "two-tier"},
            "engine.resume must be restart with the KV store two-tier, got 'recompute'",
        ),
        (
            {"profile": "blis", "resume": "recompute"},
            {"cpu_blocks": 5},
            "engine.resume must be restart with the KV store two-tier, got 'recompute'",
        ),
        (
            {"profile": "blis", "resume": "recompute"},
            {"store": {"type": "two-tier", "cpu_blocks": 5}},
            "engine.resume must be restart with the KV store two-tier, got 'recompute'",
        ),
        (
            {"profile": "blis"},
            {"prefix_caching": False},
            "kv.prefix_caching must be true with the KV store single-tier, got False",
        ),
        (
            {"profile": "vllm", "resume": "restart"},
            {"prefix_caching": False, "store": "two-tier", "cpu_blocks": 5},
            "kv.prefix_caching must be true with the KV store two-tier, got False",
        ),
    ],
)
def test_store_that_does_not_support_a_setting_is_refused(engine, kv, line):
    with pytest.raises(ScenarioError) as caught:
        kv_completed(engine, **kv)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("engine", "cls", "steps_ahead"),
    [
        ({"profile": "blis"}, StartOfStepEngine, 0),
        ({"profile": "blis", "step_effects": "end"}, EndOfStepEngine, 0),
        ({"profile": "vllm", "async_scheduling": False}, EndOfStepEngine, 0),
        ({"profile": "vllm"}, EndOfStepEngine, 1),
        ({"profile": "vllm", "async_scheduling": False, "step_effects": "start"}, StartOfStepEngine, 0),
    ],
)
def test_engine_is_chosen_by_switches_not_by_the_profile(prepare, engine, cls, steps_ahead):
    engine = prepare((1, 1, 0), **engine).replicas[0]._engine
    assert type(engine) is cls
    assert engine.steps_ahead == steps_ahead


@pytest.mark.parametrize("profile", ["blis", "vllm"])
def test_two_tiers_serve_both_profiles_if_preempted_requests_start_over(serve, profile):
    """Four blocks of 16 for two requests that need four each: the second is preempted and starts over until then."""
    store = {"type": "two-tier", "cpu_blocks": 10}
    served = serve((16, 40, 0), (16, 40, 0), profile=profile, resume="restart", blocks=4, store=store)
    assert served.column("outcome") == ["completed"] * 2
    assert served.column("num_preemptions")[0] == 0 < served.column("num_preemptions")[1]
