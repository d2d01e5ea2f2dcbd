"""Closed-loop users: worked examples of queueing theory, stages, stops, rejections."""

import math

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy import load_files
from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.intervals import t_interval


def scenario(*, step_us=50_000, **workload):
    """One slot whose service takes a step a token."""
    workload = {"prompt": 1, "output": 1, **workload}
    return blis.Scenario(
        model="any/model",
        hardware="H100",
        tp=1,
        engine_version="any",
        latency=blis.LatencySettings(backend="blackbox", alpha=(0.0, 0.0, 0.0), beta=(float(step_us), 0.0, 0.0)),
        engine=blis.EngineSettings(profile="blis", max_num_seqs=1, max_model_len=0),
        kv=blis.KVSettings(blocks=10_000),
        workload=blis.UserWorkload(**workload),
    )


class Geometric:
    """Lengths of 500 tokens on average."""

    def sample(self, rng, n):
        return rng.geometric(1 / 500, n)


def column(result, name):
    return result.requests[name].tolist()


def test_users_send_the_next_request_when_the_last_token_of_the_previous_one_arrives():
    result = scenario(users=4, num_requests=12).run()
    # One slot of 50 ms, four users, no think time: each waits for the other three.
    assert column(result, "e2e_us") == [50_000, 100_000, 150_000, *[200_000] * 9]
    assert result.metric("requests_per_s") == 20.0


def test_the_think_time_starts_with_the_last_token():
    result = scenario(users=1, num_requests=3, output=4, think_time="1s").run()
    assert column(result, "arrived_at_us") == [0, 1_200_000, 2_400_000]
    assert column(result, "e2e_us") == [200_000] * 3


@pytest.mark.parametrize("profile", ["blis", "vllm"])
def test_the_interactive_law_holds_exactly(profile):
    run = scenario(users=5, requests_per_user=40, think_time="120ms").with_(**{"engine.profile": profile}).run()
    # N = X (R + Z), where the last think times count: each user is busy or thinks from tick 0 on.
    ends = run.sessions["duration_us"] + 120_000
    cycles = run.requests["e2e_us"].sum() + 120_000 * run.requests.num_rows
    assert ends.sum() == cycles
    assert run.sessions["completed"].tolist() == [40] * 5


def test_the_machine_repairman_has_the_throughput_and_the_response_time_of_theory():
    ratio, users = 0.25, 4
    terms = [math.perm(users, n) * ratio**n for n in range(users + 1)]
    throughput = (1 - 1 / sum(terms)) / 0.050
    response_ms = 1000 * users / throughput - 200
    assert (sum(terms), round(throughput, 4), round(response_ms, 2)) == (3.21875, 13.7864, 90.14)
    # Nearly exponential service: 500 steps of 0.1 ms on average.
    base = scenario(step_us=100, users=users, output=Geometric, think_time="200ms", think_time_cv=1, num_requests=4_000)
    runs = [base.run(seed=seed) for seed in range(12)]
    rates = t_interval([run.metric("requests_per_s") for run in runs], confidence=0.999)
    times = t_interval([run.metric("e2e_mean_ms") for run in runs], confidence=0.999)
    assert rates.low < throughput < rates.high
    assert times.low < response_ms < times.high
    assert rates.half_width < 0.03 * throughput


def test_throughput_stays_below_the_bounds_of_a_closed_loop():
    run = scenario(users=3, requests_per_user=30, output=2, think_time="50ms", think_time_cv=2).run()
    assert run.metric("requests_per_s") <= min(1 / 0.1, 3 / 0.15)


def test_requests_of_a_user_do_not_overlap_and_no_more_than_all_users_are_served():
    run = scenario(users=6, num_requests=90, output=Geometric, step_us=100, think_time="20ms", think_time_cv=1).run()
    arrived, ends = run.requests["arrived_at_us"], run.requests["arrived_at_us"] + run.requests["e2e_us"]
    assert len(arrived) == 90
    for user in set(column(run, "session")):
        own = run.requests["session"] == user
        assert (arrived[own][1:] >= ends[own][:-1]).all()
    in_system = [int(((arrived <= tick) & (ends > tick)).sum()) for tick in arrived]
    assert max(in_system) == 6


def test_a_user_draws_the_same_requests_whatever_the_others_do():
    own = {}
    for users in (2, 5):
        run = scenario(users=users, requests_per_user=8, output=Geometric, step_us=100).run()
        own[users] = run.requests["output_tokens"][run.requests["session"] == "user-1"].tolist()
    assert own[2] == own[5]


def test_a_ramp_spreads_the_starts_of_the_users():
    run = scenario(users=4, requests_per_user=1, ramp="10s").run()
    assert column(run, "arrived_at_us") == [0, 2_500_000, 5_000_000, 7_500_000]


def test_a_duration_ends_the_sending_and_requests_in_service_are_completed():
    run = scenario(users=1, duration="190ms").run()
    assert column(run, "arrived_at_us") == [0, 50_000, 100_000, 150_000]
    assert set(column(run, "outcome")) == {"completed"}


def test_thinking_users_do_not_prolong_a_run():
    simulation = blis.Simulation(scenario(users=2, num_requests=2, think_time="1h"))
    simulation.run()
    assert simulation.env.now == 100_000


def test_users_without_an_end_are_refused_unless_there_is_a_horizon():
    endless = scenario(users=2)
    with pytest.raises(ScenarioError, match=r"workload.num_requests must be > 0 unless a horizon"):
        endless.run()
    assert endless.with_(horizon="1s").run().requests.num_rows == 22


def test_stages_change_the_number_of_users():
    stages = [
        {"users": 1, "duration": "200ms"},
        {"users": 3, "duration": "400ms"},
        {"users": 1, "num_requests": 2},
    ]
    run = scenario(stages=stages).run()
    # Two requests join at 200 ms; at 600 ms two users leave after the requests that they have sent already.
    assert column(run, "arrived_at_us") == [
        *(50_000 * number for number in range(4)),
        *(200_000, 200_000, 200_000),
        *(50_000 * number for number in range(5, 12)),
        *(700_000, 750_000),
    ]
    assert column(run, "session") == [
        *["user-0"] * 4,
        *["user-0", "user-1", "user-2"] * 3,
        *["user-0"] * 3,
    ]


def test_a_stage_that_drains_lets_all_users_start_anew():
    stages = [{"users": 3, "num_requests": 4, "drain": True}, {"users": 2, "num_requests": 2}]
    run = scenario(stages=stages).run()
    # Requests 1 to 3 at tick 0, the fourth when the first one has ended; the next stage when all four have.
    assert column(run, "arrived_at_us") == [0, 0, 0, 50_000, 200_000, 200_000]


def test_a_user_who_thinks_through_a_smaller_stage_goes_on_in_the_next():
    stages = [
        {"users": 2, "duration": "60ms"},
        {"users": 1, "duration": "60ms"},
        {"users": 2, "duration": "500ms"},
    ]
    run = scenario(stages=stages, think_time="200ms").run()
    assert run.requests["arrived_at_us"][run.requests["session"] == "user-1"].tolist() == [0, 300_000, 600_000 - 50_000]


@pytest.mark.parametrize(
    ("on_rejection", "lengths"),
    [("continue", [1, 2, 3, 4]), ("retry", [1, 1, 1, 1]), ("leave", [1])],
)
def test_a_rejection_makes_a_user_continue_retry_or_leave(on_rejection, lengths):
    refusing = scenario(users=1, num_requests=4, output=Counting, on_rejection=on_rejection, backoff="300ms").with_(
        admission="reject-all"
    )
    run = refusing.run()
    assert column(run, "output_tokens") == lengths
    assert column(run, "arrived_at_us") == [300_000 * number for number in range(len(lengths))]


class Counting:
    """Lengths 1, 2, 3, ..."""

    def __init__(self):
        self.last = 0

    def sample(self, rng, n):
        self.last += n
        return np.arange(self.last - n + 1, self.last + 1)


def test_a_timed_out_request_frees_its_user():
    run = scenario(users=1, num_requests=2, output=100, timeout="1s").run()
    assert column(run, "outcome") == ["timed_out", "timed_out"]
    assert column(run, "arrived_at_us") == [0, 1_000_000]


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        ({}, "^users must be given, or stages"),
        ({"stages": [{"users": 2}, {"users": 1, "duration": "1s"}]}, r"stages\[0\].duration must be given"),
        ({"stages": [{"users": 2, "duration": "1s"}], "ramp": "1s"}, "ramp must not be given beside stages"),
        ({"users": 0}, "users must be >= 1"),
        ({"users": 1, "on_rejection": "cry"}, "on_rejection is unknown"),
    ],
)
def test_a_wrong_workload_of_users_names_the_setting(workload, message):
    with pytest.raises(ScenarioError, match=message):
        blis.UserWorkload(**workload)


def test_users_are_read_from_yaml_and_written_again():
    text = "model: qwen/qwen3-14b\nworkload:\n  users: 8\n  think_time: 2s\n  num_requests: 100\n  prompt: 512\n"
    read = load_files.parse_scenario(text)
    assert read.workload == blis.UserWorkload(users=8, think_time="2s", num_requests=100, prompt=512)
    assert load_files.parse_scenario(read.to_yaml()) == read
    assert read.with_(**{"workload.users": 16}).workload.users == 16


def test_a_preview_of_users_shows_their_first_requests():
    preview = scenario(users=4, num_requests=40, ramp="4s").preview()
    assert preview.arrived_at.tolist() == [0, 1_000_000, 2_000_000, 3_000_000]
    assert "first requests of up to 4 users" in repr(preview)


def test_a_cap_on_requests_in_flight_keeps_both_times():
    capped = scenario(users=1).with_(
        workload=blis.Workload(rate=math.inf, num_requests=5, prompt=1, output=1, max_in_flight=2)
    )
    run = capped.run()
    assert column(run, "arrived_at_us") == [0, 0, 50_000, 100_000, 150_000]
    assert column(run, "due_at_us") == [-1, -1, 0, 0, 0]
    assert column(run, "e2e_us") == [50_000, 100_000, 100_000, 100_000, 100_000]
    assert run.metric("e2e_mean_ms") == 90.0
    assert run.metric("e2e_from_due_mean_ms") == 150.0
    assert run.metric("ttft_from_due_p100_ms") == 250.0


def test_without_a_cap_planned_and_actual_arrivals_are_the_same():
    run = scenario(users=1).with_(workload=blis.Workload(rate=10, num_requests=5, prompt=1, output=1)).run()
    assert run.metric("ttft_from_due_mean_ms") == run.metric("ttft_mean_ms")
    assert not run.where().has_held_requests


def test_the_deadline_of_a_request_that_waits_for_a_place_moves_with_it():
    client = blis.Client(
        rate_fraction=1, arrival="constant", input_distribution=1, output_distribution=1, timeout="120ms"
    )
    spec = blis.WorkloadSpec(clients=[client], aggregate_rate=1_000, num_requests=4, max_in_flight=1)
    run = scenario(users=1).with_(workload=spec).run()
    assert column(run, "outcome") == ["completed"] * 4
    assert (run.requests["deadline_us"] - run.requests["arrived_at_us"]).tolist() == [120_000] * 4


def test_sessions_have_their_times_and_counts():
    run = scenario(users=2, requests_per_user=3, prompt=10, output=2, think_time="1s").run()
    sessions = run.sessions
    assert sessions["session"].tolist() == ["user-0", "user-1"]
    assert sessions["requests"].tolist() == sessions["completed"].tolist() == [3, 3]
    assert sessions["output_tokens"].tolist() == [6, 6]
    assert (sessions["service_us"] + sessions["pause_us"]).tolist() == sessions["duration_us"].tolist()
    assert sessions["pause_us"].tolist() == [2_000_000, 2_000_000]


def test_conversations_are_sessions_with_a_hit_rate():
    chat = blis.Client(
        id="chat",
        rate_fraction=1,
        arrival="constant",
        input_distribution=64,
        output_distribution=1,
        reasoning={"multi_turn": {"max_rounds": 3, "think_time_us": "1s", "context_growth": "accumulate"}},
    )
    spec = blis.WorkloadSpec(clients=[chat], aggregate_rate=1, num_requests=1)
    sessions = scenario(users=1).with_(workload=spec).run().sessions
    assert sessions["completed"].tolist() == [3]
    assert sessions["input_tokens"].tolist() == [64 + 129 + 194]
    assert 0 < sessions["hit_rate"][0] < 1
    assert sessions["hit_rate"][0] == sessions["cached_tokens"][0] / sessions["input_tokens"][0]


def test_a_run_without_sessions_has_an_empty_table_of_them():
    run = scenario(users=1).with_(workload=blis.Workload(rate=10, num_requests=5)).run()
    assert run.sessions.num_rows == 0


@pytest.mark.parametrize(("slo_class", "named"), [("batch", "batch"), ("", "default"), ("batch", "*")])
def test_users_have_slo_targets(slo_class, named):
    targeted = scenario(users=2, num_requests=4, slo_class=slo_class).with_(slo={named: {"ttft": "60ms"}})
    assert targeted.run().metric("attainment") == 0.25, "the second user waits for the first one"


def test_an_slo_class_that_users_do_not_have_is_named():
    other = scenario(users=1, num_requests=1, slo_class="batch").with_(slo={"critical": {"ttft": "60ms"}})
    with pytest.raises(ScenarioError, match=r"slo\.critical is no SLO class of the requests; known: batch"):
        other.run()
