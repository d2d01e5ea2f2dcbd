"""The processes that send requests, by themselves and in a simulation."""

import pytest
from workloads import client, generated, spec, turns

import blis_simpy as blis
from blis_simpy.core.environment import FOLLOWING_ARRIVAL, Environment
from blis_simpy.core.request import Leg, Request, RequestOutcome
from blis_simpy.core.request_log import RequestLog
from blis_simpy.workload.clients import ClientProcesses
from blis_simpy.workload.generator import GeneratedWorkload

BLACKBOX = blis.LatencySettings(alpha=(0, 0, 0), beta=(5000, 10, 10))


class CountingEnvironment(Environment):
    """An environment that keeps the names of the processes that are started."""

    def __init__(self):
        super().__init__()
        self.started = []

    def process(self, generator):
        self.started.append(generator.__name__)
        return super().process(generator)


class Sink:
    """Receives requests in place of a router; each completes after a number of ticks."""

    def __init__(self, service_us=0, outcome=RequestOutcome.COMPLETED):
        self.env = CountingEnvironment()
        self.log = []
        self.num_sessions_over = 0
        self.service_us = service_us
        self.outcome = outcome
        self.processes = ClientProcesses(
            self.env, submit=self.submit, on_request=lambda request: None, on_session_end=self.session_over
        )

    def submit(self, request, *, ends_turn):
        self.log.append((self.env.now, request.client or request.id))
        if request.done is None:
            return
        request.leg = leg = Leg(request, replica=0)
        leg.outcome = self.outcome
        leg.generated_tokens = request.output_tokens
        leg.finished_at = self.env.now + self.service_us
        self.env.call_at(request.finished_at, 1, lambda _: request.done.succeed())

    def session_over(self):
        self.num_sessions_over += 1

    def run(self, workload):
        self.processes.start(workload, RequestLog(workload.requests))
        self.env.run()
        return self.log


def test_each_client_and_each_cohort_has_one_process():
    sink = Sink()
    workload = generated(client("a"), client("b"), cohorts=[{**client("c"), "population": 3}], num_requests=40)
    assert [part.client for part in workload.clients] == ["a", "b", "c"]
    sink.run(workload)
    assert sink.env.started == ["send_requests"] * 3


def test_client_without_requests_has_no_process():
    never = client("never", lifecycle={"windows": []})
    assert [part.client for part in generated(client("a"), never, num_requests=4).clients] == ["a"]


def test_simultaneous_requests_of_several_processes_come_in_the_order_of_the_workload():
    """Two clients and three members tie at each arrival; the order is that of the specification every time."""
    workload = generated(
        client("a"), client("b"), cohorts=[{**client("c"), "population": 3, "rate_fraction": 3.0}], num_requests=20
    )
    log = Sink().run(workload)
    assert log == [(request.arrived_at, request.client) for request in workload.requests]
    assert [name for _, name in log[:5]] == ["a", "b", "c-0", "c-1", "c-2"]
    assert {tick for tick, _ in log[:5]} == {log[0][0]}


def test_requests_that_exist_already_are_sent_by_arrival_then_by_position():
    requests = [Request(name, tick, 1, 1) for name, tick in (("late", 9), ("first", 3), ("second", 3))]
    assert Sink().run(GeneratedWorkload.of_requests(requests)) == [(3, "first"), (3, "second"), (9, "late")]


def test_session_is_a_process_that_starts_with_its_first_round():
    """Rounds at 1 s, then 100 us of service and 50 us of thinking after the round before."""
    sink = Sink(service_us=100)
    workload = generated(client(reasoning=turns(3, 50)), num_requests=3)
    assert [tick for tick, _ in sink.run(workload)] == [1_000_000, 1_000_150, 1_000_300]
    assert sink.env.started == ["send_requests", "converse"]
    assert sink.num_sessions_over == 1


def test_session_is_over_if_its_first_round_ends_at_once():
    sink = Sink(outcome=RequestOutcome.REJECTED)
    assert len(sink.run(generated(client(reasoning=turns(3, 50)), num_requests=3))) == 1
    assert sink.num_sessions_over == 1


def test_later_rounds_come_after_the_requests_of_the_workload_in_the_same_tick():
    """A round is due 1 s after the first one, just when the next request of the other client arrives."""
    sink = Sink()
    chat = client("chat", reasoning=turns(2, 1_000_000, single_session=True))
    log = sink.run(generated(chat, client("plain"), aggregate_rate=2.0, num_requests=4))
    assert log[:4] == [(1_000_000, "chat"), (1_000_000, "plain"), (2_000_000, "plain"), (2_000_000, "chat")]
    assert FOLLOWING_ARRIVAL > 2**32 - 1


@pytest.mark.parametrize("clients", [1, 2, 5])
def test_a_process_costs_two_events_beyond_those_of_its_requests(clients):
    """The start and the end of each process; the arrivals themselves are one event each."""
    sink = Sink()
    sink.run(generated(*(client(str(number)) for number in range(clients)), num_requests=40))
    assert next(sink.env._eid) == 40 + 2 * clients


def served(workload):
    scenario = blis.Scenario(model="any/model", latency=BLACKBOX, kv=blis.KVSettings(blocks=1000), workload=workload)
    simulation = blis.Simulation(scenario)
    simulation.run()
    return [(request.arrived_at, request.ttft, request.e2e) for request in simulation.requests]


def test_figures_do_not_depend_on_the_number_of_processes():
    """Six equal clients, or a cohort of six: the same requests at the same ticks, so the same figures."""
    clients = served(spec(*(client(f"c-{number}") for number in range(6)), aggregate_rate=60.0, num_requests=300))
    cohort = served(spec(cohorts=[{**client("c"), "population": 6}], aggregate_rate=60.0, num_requests=300))
    assert clients == cohort


def test_most_urgent_client_is_served_first():
    """One slot. A client and a cohort send one request each at 1, 2 and 3 s; a request takes 5 steps of 1 s.

    All are there when the first has ended at 6 s, so the client with the larger number waits for all of the cohort.
    """
    bulk = client("bulk", priority=5, rate_fraction=1.0)
    urgent = {**client("urgent", priority=0, rate_fraction=1.0), "population": 1}
    workload = spec(bulk, cohorts=[urgent], aggregate_rate=2.0, num_requests=6)
    scenario = blis.Scenario(
        model="any",
        workload=workload,
        latency=blis.LatencySettings(alpha=(0, 0, 0), beta=(1_000_000, 0, 0)),
        engine=blis.EngineSettings(
            profile="vllm", max_num_seqs=1, max_num_batched_tokens=100, scheduler="priority", async_scheduling=False
        ),
        kv=blis.KVSettings(blocks=100),
    )
    requests = scenario.run().requests
    served = requests["first_scheduled_at_us"].argsort()
    assert requests["client"][served].tolist() == ["urgent-0"] * 3 + ["bulk"] * 3
    assert requests["priority"][served].tolist() == [0, 0, 0, 5, 5, 5]
