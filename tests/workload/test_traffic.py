import pytest
from workloads import CONSTANT, arrivals, client, fixed, generated, spec, turns

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.registry import added

DISTRIBUTION = {"type": "gaussian", "params": {"mean": 500, "std_dev": 200, "min": 1, "max": 2000}}
POISSON = {"process": "poisson"}


def figures(workload, name=None):
    return [
        (r.arrived_at, r.input_tokens, r.output_tokens, r.session, r.round_index)
        for r in workload.requests
        if name in (None, r.client)
    ]


def test_rate_is_shared_by_fraction_and_ties_go_by_position():
    """3 : 2 of ten a second: gaps of 166 667 and 250 000 us. Equal fractions tie at each arrival."""
    workload = generated(
        client("a", rate_fraction=3.0), client("b", rate_fraction=2.0), aggregate_rate=10.0, num_requests=5
    )
    assert [(r.id, r.client, r.arrived_at) for r in workload.requests] == [
        ("request_0", "a", 166_667),
        ("request_1", "b", 250_000),
        ("request_2", "a", 333_334),
        ("request_3", "b", 500_000),
        ("request_4", "a", 500_001),
    ]
    tied = generated(client("a"), client("b"), num_requests=3)
    assert [(r.client, r.arrived_at) for r in tied.requests] == [("a", 2_000_000), ("b", 2_000_000), ("a", 4_000_000)]


def test_labels_and_budget():
    options = {"tenant": "t", "slo_class": "critical", "model": "m", "streaming": True, "prefix_group": "g"}
    (request,) = generated(client("c", **options), num_requests=1).requests
    assert (request.client, request.tenant, request.slo_class, request.model) == ("c", "t", "critical", "m")
    assert (request.streaming, request.prefix_group, request.session, request.round_index) == (True, "g", "", 0)
    assert (request.output_tokens, request.max_output_tokens, request.output_stream) == (5, 5, None)


@pytest.mark.parametrize(
    ("options", "patience"),
    [
        ({}, 0),
        ({"timeout": 0}, 0),
        ({"timeout": 250_000}, 250_000),
        ({"closed_loop": True}, 300_000_000),
        ({"closed_loop": True, "timeout": 0}, 0),
        ({"reasoning": turns(2, 0)}, 300_000_000),
        ({"reasoning": turns(2, 0), "closed_loop": False}, 300_000_000),
        ({"reasoning": turns(2, 0), "timeout": 0}, 0),
        ({"reasoning": turns(2, 0), "timeout": 9}, 9),
        ({"reasoning": {}}, 0),
    ],
)
def test_deadline_is_arrival_plus_patience(options, patience):
    request = generated(client(**options), num_requests=1).requests[0]
    assert request.deadline == (request.arrived_at + patience if patience else 0)


def test_prefix_of_a_group_is_as_long_as_one_of_its_clients_says():
    """In the profile of the reference, the first client decides; it takes 50 tokens if it says nothing."""
    described = spec(
        client("a", prefix_group="g"),
        client("b", prefix_group="g", prefix_length=99),
        client("c", prefix_group="h"),
        client("d", prefix_length=7),
        num_requests=4,
    )
    for traffic, length in ((described, 99), (described.as_in_blis(), 50)):
        requests = traffic.generate(RandomStreams(1)).requests
        assert [r.input_tokens for r in requests] == [10 + length, 10 + length, 60, 10]
        assert [r.content for r in requests] == [
            *[(Span("prefix:g", 0, length),)] * 2,
            (Span("prefix:h", 0, 50),),
            None,
        ]


def test_windows_thin_and_do_not_postpone():
    """Two a second; the window that opens at 4.5 s lets in that arrival and, one tick before its end, the next."""
    windows = [
        {"start_us": 4_500_000, "end_us": 5_000_001},
        {"start_us": 1_000_000, "end_us": 2_000_000},
        {"start_us": 1_900_000, "end_us": 3_000_000},
        {"start_us": 9_000_000, "end_us": 8_000_000},
    ]
    workload = generated(client(lifecycle={"windows": windows}), aggregate_rate=2.0, num_requests=100)
    assert arrivals(workload) == [1_000_000, 1_500_000, 2_000_000, 2_500_000, 4_500_000, 5_000_000]


def test_client_without_windows_to_be_active_in_sends_nothing():
    assert len(generated(client(lifecycle={"windows": []}), num_requests=5).requests) == 0


def test_waiting_for_a_late_window_is_no_endless_loop():
    late = {"windows": [{"start_us": 10**12, "end_us": 10**12 + 2_500_000}]}
    workload = generated(client(lifecycle=late), num_requests=50)
    assert arrivals(workload) == [10**12, 10**12 + 1_000_000, 10**12 + 2_000_000]


@pytest.mark.parametrize(("horizon", "count"), [(50_000, 4), (50_001, 5), (10_000, 0), (0, 100), (10**9, 100)])
def test_arrivals_lie_strictly_before_the_horizon(horizon, count):
    """A horizon of 0 in a specification means none."""
    assert len(generated(client(), aggregate_rate=100.0, horizon=horizon, num_requests=100).requests) == count


def test_horizon_of_the_simulation_goes_before_that_of_the_specification():
    workload = spec(client(), horizon=5_000_000)
    assert arrivals(workload.generate(RandomStreams(1), 2_500_000)) == [1_000_000, 2_000_000]
    assert len(workload.generate(RandomStreams(1), 0).requests) == 0
    assert len(workload.generate(RandomStreams(1), -5).requests) == 0


def test_workload_without_any_bound_is_refused():
    with pytest.raises(ScenarioError) as caught:
        generated(client())
    assert str(caught.value) == "num_requests must be > 0 unless a horizon is set, got 0"


def test_fractions_too_small_to_count_are_left_out():
    workload = generated(client("a", rate_fraction=1e308), client("b", rate_fraction=1e-300), num_requests=2)
    assert [r.client for r in workload.requests] == ["a", "a"]


def test_open_sessions_follow_their_schedule():
    """Next arrival = arrival + output at 1 us a token + think time; the prefix comes once, the context grows."""
    options = {"closed_loop": False, "prefix_group": "q", "prefix_length": 20}
    workload = generated(client(reasoning=turns(4, 1000, "accumulate"), **options), num_requests=4)
    assert workload.sessions == []
    assert figures(workload) == [
        (1_000_000, 30, 5, "a-0", 0),
        (1_001_005, 45, 5, "a-0", 1),
        (1_002_010, 60, 5, "a-0", 2),
        (1_003_015, 75, 5, "a-0", 3),
    ]
    first, second, *_, last = workload.requests
    assert second.content == (*first.content, Span(first.output_stream, 0, 5), Span("session:a-0:input:1", 0, 10))
    assert [sum(span.tokens for span in r.content) for r in workload.requests] == [30, 45, 60, 75]
    assert last.output_stream is None
    assert {r.prefix_group for r in workload.requests} == {""}


def test_open_sessions_without_growth_stand_alone():
    workload = generated(client(reasoning=turns(2, 100), closed_loop=False), num_requests=4)
    assert figures(workload) == [
        (1_000_000, 10, 5, "a-0", 0),
        (1_000_105, 10, 5, "a-0", 1),
        (2_000_000, 10, 5, "a-1", 0),
        (2_000_105, 10, 5, "a-1", 1),
    ]
    assert workload.requests[1].content is None


def test_rounds_outside_windows_are_left_out_one_by_one():
    windows = [{"start_us": 1_000_000, "end_us": 1_000_100}, {"start_us": 1_002_000, "end_us": 1_003_000}]
    options = {"closed_loop": False, "lifecycle": {"windows": windows}}
    workload = generated(client(reasoning=turns(4, 1000, "accumulate"), **options), num_requests=9)
    assert figures(workload) == [(1_000_000, 10, 5, "a-0", 0), (1_002_010, 40, 5, "a-0", 2)]
    assert [span.stream for span in workload.requests[1].content][1] == "session:a-0:output:0"


def test_single_session_starts_one_gap_after_its_first_window():
    windows = {"windows": [{"start_us": 1_000_000, "end_us": 2_300_000}]}
    workload = generated(
        client(reasoning=turns(6, 249_995, single_session=True), lifecycle=windows, closed_loop=False),
        aggregate_rate=2.0,
        num_requests=90,
    )
    assert arrivals(workload) == [1_500_000, 1_750_000, 2_000_000, 2_250_000]
    assert (
        generated(client(reasoning=turns(3, 10**12, single_session=True)), aggregate_rate=4.0, num_requests=9)
        .requests[0]
        .arrived_at
        == 250_000
    )


@pytest.mark.parametrize(
    ("max_rounds", "think_time_us", "num_requests", "sessions"),
    [(3, 2_500_000, 4, 3), (4, 100_000_000, 4, 2), (4, 1000, 2, 1)],
)
def test_number_of_requests_cuts_the_open_schedule(max_rounds, think_time_us, num_requests, sessions):
    """Later rounds take their place among the earliest; and a client starts no more than 2 N rounds' worth."""
    workload = generated(client(reasoning=turns(max_rounds, think_time_us)), num_requests=num_requests)
    assert len(workload.requests) == len(workload.sessions) == sessions
    assert [r.id for r in workload.requests] == [f"request_{i}" for i in range(sessions)]
    assert {r.round_index for r in workload.requests} == {0}


def test_reasoning_without_rounds_changes_nothing():
    plain, labelled = (
        client(prompt=DISTRIBUTION),
        client(prompt=DISTRIBUTION, reasoning={"reason_ratio_distribution": fixed(30)}),
    )
    assert figures(generated(plain, num_requests=9)) == figures(generated(labelled, num_requests=9))
    assert generated(labelled, num_requests=9).details == {}


@pytest.mark.parametrize(("percent", "ratio"), [(30, 0.3), (0, 0.01), (250, 1.0)])
def test_reason_ratio_is_a_label_of_rounds(percent, ratio):
    reasoning = {**turns(2, 0), "reason_ratio_distribution": fixed(percent)}
    workload = generated(client(reasoning=reasoning), num_requests=2)
    assert workload.details["request_0"].reason_ratio == ratio


def test_multimodal_prompt_is_the_sum_of_its_parts():
    """7 + 2 x 100 + 1 x 50 (a constant count of 0 is 1) + 0 (video has no count), after a prefix of 50."""
    media = {
        "text_distribution": fixed(7),
        "image_distribution": fixed(100),
        "image_count_distribution": fixed(2),
        "audio_distribution": fixed(50),
        "audio_count_distribution": fixed(0),
        "video_distribution": fixed(9),
    }
    workload = generated(client(multimodal=media, prefix_group="p"), num_requests=2)
    details = workload.details["request_1"]
    assert workload.requests[1].input_tokens == 307
    assert (details.text_tokens, details.image_tokens, details.audio_tokens, details.video_tokens) == (7, 200, 50, 0)


def test_multimodal_prompt_without_parts_has_one_token():
    none = {"type": "empirical", "params": {"0": 1}}
    media = {"image_distribution": fixed(576), "image_count_distribution": none}
    workload = generated(client(multimodal=media), num_requests=2)
    assert [r.input_tokens for r in workload.requests] == [1, 1]
    assert workload.details["request_0"].image_tokens == 0


def test_items_of_one_request_are_drawn_one_by_one():
    media = {
        "image_distribution": {"type": "empirical", "params": {"1": 1, "1000": 1}},
        "image_count_distribution": {"type": "empirical", "params": {"0": 1, "3": 1}},
    }
    workload = generated(client(multimodal=media), num_requests=400)
    assert {d.image_tokens for d in workload.details.values()} == {0, 3, 1002, 2001, 3000}


@pytest.mark.parametrize(
    "reasoning",
    [{}, {"reasoning": turns(3, 700_000, "accumulate")}, {"reasoning": turns(3, 700), "closed_loop": False}],
)
def test_adding_a_client_leaves_the_others_as_they_were(reasoning):
    """Rates of the first two stay what they were: half of 2 a second is a third of 3 a second."""
    options = {"arrival": POISSON, "prompt": DISTRIBUTION, "output": DISTRIBUTION}
    two = [client("a", **options), client("b", **options, **reasoning)]
    before = generated(*two, aggregate_rate=2.0, horizon=60_000_000)
    for more in ([client("new", **options, prefix_group="g"), *two], [*two, client("b", **options)]):
        after = generated(*more, aggregate_rate=3.0, horizon=60_000_000)
        assert figures(after, "a") == figures(before, "a")
    assert len(figures(before, "b")) > 20


def test_clients_with_one_name_draw_differently():
    options = {"arrival": POISSON, "prompt": DISTRIBUTION}
    workload = generated(*(client(name, **options) for name in ("", "", "x", "x", "x/prompt")), horizon=60_000_000)
    assert len({r.arrived_at for r in workload.requests}) == len(workload.requests) > 30


def test_changing_one_law_leaves_the_others_as_they_were():
    before = generated(client(arrival=POISSON, prompt=DISTRIBUTION, output=DISTRIBUTION), num_requests=50)
    after = generated(client(arrival=POISSON, prompt=fixed(3), output=DISTRIBUTION), num_requests=50)
    assert [(f[0], f[2]) for f in figures(before)] == [(f[0], f[2]) for f in figures(after)]


@pytest.mark.parametrize("process", ["constant", "poisson", "gamma", "weibull"])
def test_a_shorter_run_is_the_beginning_of_a_longer_one(process):
    clients = [client(name, arrival={"process": process}, prompt=DISTRIBUTION, output=DISTRIBUTION) for name in "abc"]
    longest = figures(generated(*clients, aggregate_rate=500.0, num_requests=20_000))
    assert figures(generated(*clients, aggregate_rate=500.0, num_requests=77)) == longest[:77]
    early = figures(generated(*clients, aggregate_rate=500.0, horizon=4_000_000))
    assert 500 < len(early) < 5000
    assert early == longest[: len(early)]


def test_same_seed_gives_the_same_requests_and_another_seed_others():
    options = client(arrival=POISSON, prompt=DISTRIBUTION)
    assert figures(generated(options, num_requests=50)) == figures(generated(options, num_requests=50))
    assert figures(generated(options, num_requests=50)) != figures(generated(options, num_requests=50, seed=2))


def test_figures_are_plain_integers():
    workload = generated(
        client(arrival=POISSON, prompt=DISTRIBUTION, reasoning=turns(2, 5, "accumulate")), num_requests=3
    )
    names = ("arrived_at", "input_tokens", "output_tokens", "max_output_tokens", "deadline", "round_index")
    assert {type(getattr(request, name)) for request in workload.requests for name in names} == {int}
    assert {type(span.tokens) for request in workload.requests for span in request.content} == {int}


class Twos:
    """A distribution and a process of another package."""

    def __init__(self, **options):
        self.answer = options.get("answer", 2)

    def sample(self, rng, n):
        return [self.answer] * n

    def inter_arrival_times(self, rng, rate_per_s, n):
        return [self.answer] * n


def test_distributions_of_plugins_can_be_used():
    with added("lengths", "twos", Twos), added("arrivals", "twos", Twos):
        workload = generated(
            client(arrival={"process": "twos"}, prompt={"type": "twos", "params": {"answer": 9}}), num_requests=3
        )
    assert [(r.arrived_at, r.input_tokens) for r in workload.requests] == [(2, 9), (4, 9), (6, 9)]


def test_law_that_misbehaves_is_named():
    with (
        added("lengths", "twos", Twos),
        pytest.raises(PluginError, match=r"lengths Twos must return 3 integers >= 0, got \[-1, -1, -1\]"),
    ):
        generated(client(prompt={"type": "twos", "params": {"answer": -1}}, arrival=CONSTANT), num_requests=3)


def test_too_many_items_are_refused():
    media = {"image_distribution": fixed(1), "image_count_distribution": fixed(10**9)}
    with pytest.raises(ScenarioError) as caught:
        generated(client(multimodal=media), num_requests=1)
    assert str(caught.value) == "image_count_distribution must not give more than 100000000 items in all"


def test_second_prefix_length_of_a_group_is_refused_and_in_the_profile_of_the_reference_warned_of(caplog):
    clients = [
        client(name, prefix_group="g", prefix_length=length) for name, length in (("a", 20), ("b", 30), ("c", 0))
    ]
    with pytest.raises(ScenarioError) as caught:
        generated(*clients, num_requests=9)
    rule = "prefix_length of client 'b' must be 20, as of others of prefix group 'g', got 30"
    assert str(caught.value) == rule
    requests = spec(*clients, num_requests=9).as_in_blis().generate(RandomStreams(1)).requests
    assert {request.input_tokens for request in requests} == {requests[0].input_tokens}
    assert caplog.messages == [
        "prefix_group 'g': prefix_length 30 of client 'b' is not used; its first client gives 20"
    ]


@pytest.mark.parametrize("rate", [1e5, 1e18])
def test_a_rate_that_gives_too_many_requests_is_refused_before_they_are_made(rate, monkeypatch):
    monkeypatch.setattr("blis_simpy.workload.arrival_times.MOST_REQUESTS_BY_RATE", 1000)
    with pytest.raises(ScenarioError) as caught:
        generated(client(), aggregate_rate=rate, horizon=1_000_000)
    rule = "num_requests must be given, or a lower rate: more than 1,000 requests would arrive"
    assert str(caught.value) == rule
    assert len(generated(client(), aggregate_rate=rate, horizon=1_000_000, num_requests=1000).requests) == 1000


def test_load_that_windows_take_away_is_reported(caplog):
    """Half of the rate is active for one of four seconds."""
    windows = {"windows": [{"start_us": 0, "end_us": 1_000_000}, {"start_us": 3_900_000, "end_us": 4_000_000}]}
    generated(client("a"), client("b", lifecycle=windows), aggregate_rate=8.0, num_requests=5)
    assert caplog.messages == [
        "clients are inactive outside their windows: until 4s, 5.1 requests/s of the aggregate rate of 8"
    ]
