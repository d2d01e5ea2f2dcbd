"""Hooks, samplers and pauses. A step takes 100 µs, 1 more a prompt token and 10 a decode token."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import blis_simpy as blis
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span

ALL = ("arrival", "admitted", "routed", "first_token", "preempt", "complete", "end")


def listen(simulation, *names):
    seen = []
    for name in names:

        def note(request, name=name):
            seen.append((simulation.env.now, name, request.id))

        getattr(simulation, f"on_{name}")(note)
    return seen


def test_hooks_tell_the_life_of_a_request(prepare):
    """Prefill from 5 to 115; its only decode step from 115 to 225, where it completes at the start."""
    simulation = prepare((10, 2, 5))
    seen = listen(simulation, *ALL)
    simulation.run()
    assert seen == [
        *((5, name, "request_0") for name in ("arrival", "admitted", "routed", "first_token")),
        *((115, name, "request_0") for name in ("complete", "end")),
    ]


def test_every_other_end_is_told_too(prepare):
    simulation = prepare(
        (10, 2, 5, {"id": "late", "deadline": 50}),
        (9000, 2, 6, {"id": "long"}),
        (1, 1, 7, {"id": "x", "model": "y"}),
        blocks=10,
    )
    seen = listen(simulation, "complete", "end")
    simulation.run()
    assert seen == [(6, "end", "long"), (7, "end", "x"), (50, "end", "late")]


def test_preemptions_are_told_at_their_tick(prepare):
    simulation = prepare((16, 40, 0), (16, 40, 0), blocks=4)
    seen = listen(simulation, "preempt")
    result = simulation.run()
    assert seen
    assert [(tick, request) for tick, _, request in seen] == [(tick, request) for request, tick in result.preemptions]


def test_hooks_run_in_the_order_in_which_they_were_added_and_may_be_decorators(prepare):
    simulation = prepare((10, 1, 0))
    order = []

    @simulation.on_complete
    def first(request):
        order.append("first")

    simulation.on_complete(lambda request: order.append("second"))
    simulation.run()
    assert order == ["first", "second"]
    assert first is not None


def test_hook_may_act_on_the_cluster(prepare):
    """The first token of r0 lets another process take all free blocks: r1 waits until they are back."""
    simulation = prepare((16, 30, 0), (16, 1, 500), blocks=3)
    replica = simulation.replicas[0]

    @simulation.on_first_token
    def squeeze(request):
        if not request.num_preemptions and request.id == "request_0":
            simulation.env.process(hold())

    def hold():
        taken = replica.kv_blocks.level
        yield replica.kv_blocks.get(taken)
        yield simulation.env.timeout(3000)
        yield replica.kv_blocks.put(taken)

    requests = simulation.run().requests
    assert requests["scheduled_at_us"][1] >= 3000
    assert requests["outcome"].tolist() == ["completed", "completed"]


def test_hooks_change_no_figure(prepare):
    rows = [(37 * i % 90 + 1, 13 * i % 40 + 1, 60 * i, {"deadline": 60 * i + 9000}) for i in range(40)]
    plain = prepare(*rows, blocks=20, max_num_batched_tokens=64).run()
    watched = prepare(*rows, blocks=20, max_num_batched_tokens=64)
    seen = listen(watched, *ALL)
    result = watched.run()
    assert table(result) == table(plain)
    ended = [request for _, name, request in seen if name == "end"]
    assert sorted(ended) == sorted(plain.requests["id"])


def table(result):
    return [{k: v for k, v in row.items() if k != "itl_first_step"} for row in result.requests.rows()]


def test_unused_hooks_are_not_there(prepare):
    simulation = prepare((10, 1, 0))
    observers = simulation._observers
    events = ("arrived", "admitted", "rejected", "enqueued", "scheduled", "first_token", "preempted")
    assert all(getattr(observers, event) is None for event in events)


def test_observer_of_ones_own_sees_legs_and_replicas(prepare):
    """As in tests/replica/test_engine.py: r1 is preempted at 4004 and starts over at 4114."""
    simulation = prepare((32, 40, 0), (32, 40, 0), blocks=8)
    log = []

    class Mine(blis.Observer):
        def scheduled(self, leg):
            log.append((simulation.env.now, "scheduled", leg.request.id, leg.num_preemptions))

        def preempted(self, leg):
            log.append((simulation.env.now, "preempted", leg.request.id, leg.ttft))

        def idle(self, replica):
            log.append((simulation.env.now, "idle", replica))

    simulation.add_observer(Mine())
    simulation.run()
    assert log == [
        (0, "scheduled", "request_0", 0),
        (0, "scheduled", "request_1", 0),
        (4004, "preempted", "request_1", 164),
        (4114, "scheduled", "request_1", 1),
        (8580, "idle", 0),
    ]


def test_object_that_observes_nothing_is_refused(prepare):
    with pytest.raises(blis.ScenarioError, match="observer must have a method named arrived, "):
        prepare().add_observer(object())


def test_samples_are_taken_at_regular_intervals_until_the_end(prepare):
    """In the batch: r0 from 0; its last step starts at 110, and from then on it has left."""
    simulation = prepare((10, 2, 0))
    seen = simulation.sample(50, running=lambda now: now.replicas[0].batch_size)
    simulation.run()
    assert {name: column.tolist() for name, column in seen.table().items()} == {
        "at_us": [0, 50, 100, 150, 200],
        "running": [0, 1, 1, 0, 0],
    }


@pytest.mark.parametrize("every", [0, -5, "soon"])
def test_interval_of_a_sampler_is_checked(prepare, every):
    with pytest.raises(blis.ScenarioError, match="every must be"):
        prepare((1, 1, 0)).sample(every, x=lambda now: 1)


def test_sampler_needs_a_figure(prepare):
    with pytest.raises(blis.ScenarioError, match="needs at least one figure"):
        prepare((1, 1, 0)).sample(5)


def test_paused_run_shows_what_has_happened_and_keeps_showing_it(prepare):
    """At 115 r0 has its first token (110) and has been given one of its two gaps, which lasts to 220."""
    simulation = prepare((10, 3, 0), (10, 1, 400))
    early = simulation.run(until=115)
    assert (simulation.env.now, simulation.is_over) == (115, False)
    assert early.requests["outcome"].tolist() == ["running", "pending"]
    assert (early.requests["itl_count"][0], early.requests["itl_sum_us"][0]) == (1, 110)
    assert early.summary["still_running"] == 1
    assert early.steps.num_rows == 2
    late = simulation.run()
    assert simulation.is_over
    assert late.requests["outcome"].tolist() == ["completed", "completed"]
    assert early.requests["outcome"].tolist() == ["running", "pending"]
    assert (early.steps.num_rows, late.steps.num_rows) == (2, 4)


def test_request_that_outgrows_the_memory_keeps_the_gaps_it_had(prepare):
    """8 prompt tokens and no budget: of 5 blocks of 2 its third output token is the first that finds no place."""
    result = prepare((8, 9, 0, {"max_output_tokens": 0}), blocks=5, block_size=2).run()
    assert result.requests["outcome"].tolist() == ["dropped"]
    assert (result.requests["itl_count"][0], result.requests["itl_sum_us"][0]) == (2, 220)


def test_pause_comes_before_the_events_of_its_tick(prepare):
    simulation = prepare((10, 1, 100))
    assert simulation.run(until="100us").requests["outcome"].tolist() == ["pending"]
    assert simulation.run(until=101).requests["outcome"].tolist() == ["completed"]


def test_pause_beyond_the_end_is_the_end(prepare):
    simulation = prepare((10, 1, 0))
    result = simulation.run(until="1s")
    assert (simulation.is_over, simulation.env.now) == (True, 110)
    assert result.summary == simulation.run().summary


@pytest.mark.parametrize(
    ("until", "message"), [("later", "until must be a duration"), (5, "until must not lie before")]
)
def test_pause_must_be_a_time_to_come(prepare, until, message):
    simulation = prepare((10, 1, 0), (10, 1, 50))
    simulation.run(until=40)
    with pytest.raises(blis.ScenarioError, match=message):
        simulation.run(until=until)


def test_float_is_no_pause(prepare):
    with pytest.raises(blis.ScenarioError, match="until must be a whole number of microseconds or text"):
        prepare((10, 1, 0)).run(until=5.0)


def test_error_of_a_hook_ends_the_simulation_and_keeps_its_figures(prepare):
    """r0 has its first token at the start of the step at 0."""
    simulation = prepare((10, 1, 0), (10, 1, 400))

    @simulation.on_first_token
    def fail(request):
        if request.id == "request_0":
            raise ValueError("mine")

    with pytest.raises(
        blis.PluginError, match=r"fail raised ValueError\('mine'\) in fail \(request request_0, tick 0\)"
    ):
        simulation.run(until=200)
    with pytest.raises(blis.ScenarioError, match="cannot go on: an error ended the simulation at tick 0"):
        simulation.run()
    assert simulation.result().requests["outcome"].tolist() == ["completed", "pending"]


def test_hook_must_be_a_function(prepare):
    with pytest.raises(blis.ScenarioError, match="hook must be a function that takes a request, got None"):
        prepare((10, 1, 0)).on_arrival(None)


def test_figure_of_a_sampler_must_be_a_function(prepare):
    simulation = prepare((10, 1, 0))
    with pytest.raises(blis.ScenarioError, match="running must be a function, got 0"):
        simulation.sample("1ms", running=simulation.replicas[0].batch_size)


def test_last_tick_belongs_to_other_processes_too(prepare):
    """The only step lasts from 0 to 110."""
    simulation = prepare((10, 1, 0))
    seen = simulation.sample(55, pending=lambda now: now.replicas[0].queue_depth)
    simulation.run()
    assert seen.table()["at_us"].tolist() == [0, 55, 110]


def test_submitted_request_is_served_and_counted_like_any_other(prepare):
    """r0 from 0 to 110; mine arrives at 300 and computes its prompt until 420, which the run waits for."""
    simulation = prepare((10, 1, 0))
    seen = listen(simulation, "arrival", "end")
    done = simulation.submit(Request("mine", 300, 20, 1))
    result = simulation.run()
    assert seen == [
        (0, "arrival", "request_0"),
        (0, "end", "request_0"),
        (300, "arrival", "mine"),
        (300, "end", "mine"),
    ]
    assert done.processed
    assert result.requests["id"].tolist() == ["request_0", "mine"]
    assert result.requests["ttft_us"].tolist() == [110, 120]
    assert (result.summary["injected_requests"], result.summary["completed_requests"]) == (2, 2)
    assert simulation.env.now == 420


def test_submitted_requests_give_the_figures_of_those_known_beforehand(prepare):
    rows = [(37 * i % 90 + 1, 13 * i % 40 + 1, 60 * i, {"deadline": 60 * i + 9000}) for i in range(40)]
    plain = prepare(*rows, blocks=20, max_num_batched_tokens=64)
    late = prepare(*rows[:1], blocks=20, max_num_batched_tokens=64)
    for request in prepare(*rows).requests[1:]:
        late.submit(request)
    one, other = plain.run(), late.run()
    assert list(other.requests.rows()) == list(one.requests.rows())
    assert other.summary == one.summary


def test_refused_and_preempted_submissions_have_their_rows(prepare):
    simulation = prepare((16, 40, 0), blocks=4)
    simulation.submit(Request("second", 0, 16, 40))
    simulation.submit(Request("long", 0, 900, 40))
    result = simulation.run()
    assert {request for request, _ in result.preemptions} == {"second"}
    assert result.requests["outcome"].tolist() == ["completed", "completed", "dropped"]


def test_next_request_may_follow_on_the_end_of_one_that_was_refused(prepare):
    """The first is dropped at once, and with it all are done: the run must not end before the next is sent."""
    simulation = prepare(blocks=4)

    def insist():
        yield simulation.submit(Request("first", 0, 900, 1))
        yield simulation.submit(Request("second", simulation.env.now, 10, 1))

    simulation.env.process(insist())
    simulation.submit(Request("other", 0, 900, 1))
    assert simulation.run().requests["outcome"].tolist() == ["dropped", "dropped", "completed"]


def test_hook_may_submit_a_request_when_the_last_one_ends(prepare):
    simulation = prepare((900, 1, 0), blocks=4)

    @simulation.on_end
    def retry(request):
        if request.id == "request_0":
            simulation.submit(Request("again", simulation.env.now, 10, 1))

    assert simulation.run().requests["outcome"].tolist() == ["dropped", "completed"]


def test_run_waits_for_what_it_was_told_to(prepare):
    """A request every 1000 µs, each over in 110: without the process there is nothing to wait for in between."""
    simulation = prepare()

    def visits():
        for number in range(3):
            yield simulation.env.timeout(1000)
            simulation.submit(Request(f"visit_{number}", simulation.env.now, 10, 1))

    simulation.wait_for(simulation.env.process(visits()))
    assert simulation.run(until=1500).requests["outcome"].tolist() == ["completed"]
    assert simulation.run().requests["arrived_at_us"].tolist() == [1000, 2000, 3000]
    assert (simulation.is_over, simulation.env.now) == (True, 3110)


def test_event_of_the_past_is_not_waited_for(prepare):
    simulation = prepare((10, 1, 0))
    past = simulation.env.timeout(5)
    simulation.run(until=50)
    simulation.wait_for(past)
    simulation.run()
    assert simulation.is_over


def test_run_without_requests_ends_though_others_go_on(prepare):
    simulation = prepare()
    seen = simulation.sample("1s", replicas=lambda now: len(now.replicas))
    assert simulation.run().requests.num_rows == 0
    assert (simulation.env.now, seen.table().num_rows) == (0, 1)


def changed_to_half(request):
    request.arrived_at += 0.5
    return request


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("request_0", 90, 10, 1), r"requests\[request_0\] must have an id that no other has"),
        (Request("early", 10, 10, 1), r"requests\[early\] must not arrive before the present tick 50, got 10"),
        (changed_to_half(Request("half", 90, 10, 1)), r"requests\[half\] must have whole numbers"),
        ("mine", "requests must be of type Request, got 'mine'"),
    ],
)
def test_request_that_cannot_be_submitted_is_refused(request_, message, prepare):
    simulation = prepare((10, 1, 0), (10, 1, 100))
    simulation.run(until=50)
    with pytest.raises(blis.ScenarioError, match=message):
        simulation.submit(request_)


def test_nothing_is_submitted_when_all_is_over(prepare):
    simulation = prepare((10, 1, 0))
    simulation.run()
    with pytest.raises(blis.ScenarioError, match="the simulation is over"):
        simulation.submit(Request("late", 500, 10, 1))


def test_round_of_a_conversation_takes_its_id():
    """Rounds that were made after the first submission count as well."""
    scenario = blis.load_scenario("conversations").with_(horizon="3s")
    simulation = blis.Simulation(scenario)
    simulation.submit(Request("mine", 0, 10, 1))
    simulation.run(until="2s")
    name = simulation.requests[-1].id
    with pytest.raises(blis.ScenarioError, match="must have an id that no other has"):
        simulation.submit(Request(name, simulation.env.now, 10, 1))


@pytest.mark.parametrize("seed", ["7", 1.5, -1, True])
def test_seed_must_be_a_natural_number(seed):
    with pytest.raises(blis.ScenarioError, match="seed must be an integer >= 0"):
        blis.load_scenario("quickstart").run(seed=seed)


def test_seed_of_numpy_is_a_seed(tmp_path):
    result = blis.load_scenario("quickstart").with_(**{"workload.num_requests": 5}).run(seed=np.int64(7))
    result.save(tmp_path / "run.blis")
    assert type(blis.load_result(tmp_path / "run.blis").seed) is int


def test_simulation_tells_how_far_it_is_and_cannot_be_copied(prepare):
    simulation = prepare((10, 1, 0), (10, 1, 2_500_000))
    simulation.run(until="2s")
    assert repr(simulation) == "<Simulation at 2.000 s: 1 of 2 requests have ended>"
    simulation.run()
    assert repr(simulation) == "<Simulation at 2.500 s: 2 of 2 requests have ended, over>"
    for copy_ in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be copied or sent to another process"):
            copy_(simulation)


def test_requests_that_wait_for_ever_end_the_run(prepare, caplog):
    simulation = prepare((150, 1, 100), blocks=10)

    def keep():
        yield simulation.replicas[0].kv_blocks.get(5)

    simulation.env.process(keep())
    assert simulation.run().requests["outcome"].tolist() == ["queued"]
    assert simulation.is_over
    (warning,) = caplog.messages
    assert warning.endswith(": 1; what request_0 needs is not released")


request = st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(0, 3000), st.integers(0, 1))


@example(  # request 4 decodes at the pause and is preempted after it
    rows=[
        (1, 1, 235, 0),
        (22, 12, 0, 0),
        (25, 9, 233, 0),
        (26, 8, 234, 0),
        (43, 7, 235, 0),
        (1, 1, 0, 0),
        (1, 1, 233, 0),
    ],
    pauses=[669],
    horizon=1499,
)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(request, min_size=1, max_size=12),
    pauses=st.lists(st.integers(0, 6000), max_size=6),
    horizon=st.none() | st.integers(100, 4000),
)
def test_pauses_change_nothing(rows, pauses, horizon):
    """Whoever stops, makes a result and goes on gets what an uninterrupted run gives."""
    scenario = blis.Scenario(
        model="any/model",
        horizon=horizon,
        replicas=2,
        latency=blis.LatencySettings(backend="blackbox", alpha=(3, 0, 2), beta=(100, 1, 10)),
        engine=blis.EngineSettings(max_num_batched_tokens=48, max_num_seqs=4),
        kv=blis.KVSettings(blocks=12),
    )

    def requests():
        return [
            Request(
                f"request_{i}",
                at,
                length,
                output,
                deadline=at + 2500 if i % 3 == 0 else 0,
                content=(Span("shared", 0, length),) if shared else None,
            )
            for i, (length, output, at, shared) in enumerate(rows)
        ]

    whole = blis.Simulation(scenario, requests=requests()).run()
    halting = blis.Simulation(scenario, requests=requests())
    for pause in sorted(pauses):
        if not halting.is_over and pause >= halting.env.now:
            halting.run(until=pause)
    result = halting.run()
    assert list(result.requests.rows()) == list(whole.requests.rows())
    assert result.summary == whole.summary
    assert list(result.steps.rows()) == list(whole.steps.rows())
    assert result.preemptions == whole.preemptions


def test_result_can_be_sent_to_another_process(prepare):
    result = prepare((10, 3, 0), (30, 2, 10)).run()
    copy = pickle.loads(pickle.dumps(result))
    assert list(copy.requests.rows()) == list(result.requests.rows())
    assert copy.summary == result.summary


def visits(simulation, number=3):
    for visit in range(number):
        yield simulation.env.timeout(1_000)
        yield simulation.submit(Request(f"visit_{visit}", simulation.env.now, input_tokens=10, output_tokens=2))


def test_a_process_that_will_submit_requests_keeps_the_run_alive(prepare):
    simulation = prepare()
    simulation.process(visits(simulation))
    assert simulation.run().metric("completed") == 3


def test_a_process_that_has_submitted_a_request_keeps_the_run_alive_however_it_was_started(prepare):
    simulation = prepare((1000, 1, 0))
    simulation.env.process(visits(simulation))
    assert simulation.run().metric("completed") == 4


def test_a_daemon_does_not_keep_the_run_alive(prepare):
    simulation = prepare((1000, 1, 0))
    simulation.process(visits(simulation, 1_000), daemon=True)
    result = simulation.run()
    assert 1 <= result.metric("completed") < 5


def test_wait_for_takes_a_generator(prepare):
    simulation = prepare()
    simulation.wait_for(visits(simulation))
    assert simulation.run().metric("completed") == 3


@pytest.mark.parametrize("wrong", [visits, 5, None])
def test_only_generators_are_processes(prepare, wrong):
    with pytest.raises(blis.ScenarioError, match="process must be a generator"):
        prepare().process(wrong)
    with pytest.raises(blis.ScenarioError, match="wait_for must be an event or a generator"):
        prepare().wait_for(wrong)


def test_processes_are_the_traffic_of_a_scenario_without_a_workload(prepare):
    scenario = prepare().scenario.with_(processes=[visits])
    assert scenario.run().metric("completed") == 3
    replications = blis.replicate(scenario, 2, metrics="completed", executor="serial", progress=False)
    assert replications.values("completed").tolist() == [3.0, 3.0]


def watch(simulation):
    simulation.sample("1ms", running=lambda now: now.replicas[0].batch_size)


def test_experiments_keep_the_tables_of_samplers(prepare, tmp_path):
    scenario = prepare().scenario.with_(
        processes=[watch], workload=blis.Workload(rate=100, num_requests=20, prompt=10, output=100)
    )
    result = scenario.run(seed=1)
    assert list(result.samples[0]) == ["at_us", "running"]
    options = {"metrics": "completed", "executor": "serial", "progress": False, "store": tmp_path / "store"}
    first, again = (blis.replicate(scenario, 2, **options).samples() for _ in range(2))
    assert first == again
    assert list(first) == ["replication", "at_us", "running"]
    assert set(first["replication"].tolist()) == {0, 1}
    with pytest.raises(blis.ScenarioError, match="sampler is not in every run, got 1"):
        blis.replicate(scenario, 2, **options).samples(1)
