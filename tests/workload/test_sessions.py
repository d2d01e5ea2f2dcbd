import pytest
from workloads import client, generated, turns

from blis_simpy.core.request import Leg, RequestOutcome
from blis_simpy.core.token_spans import Span


def ended(request, outcome=RequestOutcome.COMPLETED, tokens=None):
    request.leg = leg = Leg(request, replica=0)
    leg.outcome = outcome
    leg.generated_tokens = request.output_tokens if tokens is None else tokens
    return request


def played(workload, step_us=1000):
    """Rounds of the first session, on an engine that takes a step for each output token."""
    (request,) = [r for r in workload.requests if r.session == workload.sessions[0].session]
    rounds = [request]
    while request is not None:
        finished_at = request.arrived_at + step_us * max(request.output_tokens, 1)
        request = workload.sessions[0].next_request(ended(request), finished_at, len(rounds))
        rounds += [request] if request else []
    return rounds


@pytest.mark.parametrize(
    ("options", "output", "max_rounds", "prompts"),
    [
        ({}, 5, 5, [10, 25, 40, 55, 70]),
        ({"prefix_group": "g", "prefix_length": 20}, 5, 4, [30, 45, 60, 75]),
        ({"prefix_group": "g"}, 5, 4, [60, 75, 90, 105]),
        ({"prefix_group": "g"}, 1, 3, [60, 71, 82]),
    ],
)
def test_prompt_is_all_that_was_said_before_and_the_new_input(options, output, max_rounds, prompts):
    workload = generated(
        client(output=output, reasoning=turns(max_rounds, 1000, "accumulate"), **options), num_requests=1
    )
    rounds = played(workload)
    assert [request.input_tokens for request in rounds] == prompts
    assert [sum(span.tokens for span in request.content) for request in rounds] == prompts


@pytest.mark.parametrize(("prefix_length", "later"), [(20, 30), (0, 10)])
def test_without_growth_only_a_prefix_of_stated_length_is_sent_again(prefix_length, later):
    options = {"prefix_group": "g", "prefix_length": prefix_length}
    workload = generated(client(reasoning=turns(3, 0), **options), num_requests=1)
    rounds = played(workload)
    assert [request.input_tokens for request in rounds] == [(prefix_length or 50) + 10, later, later]
    assert rounds[1].content == ((Span("prefix:g", 0, 20),) if prefix_length else None)


def test_each_round_has_the_priority_of_its_client():
    workload = generated(client(reasoning=turns(3, 0), priority=-2), num_requests=1)
    assert [request.priority for request in played(workload)] == [-2, -2, -2]


def test_later_prompt_is_made_of_the_earlier_streams():
    workload = generated(
        client(reasoning=turns(3, 0, "accumulate"), prefix_group="g", prefix_length=20), num_requests=1
    )
    first, second, third = played(workload)
    assert first.output_stream == "session:a-0:output:0"
    assert second.content == (*first.content, Span("session:a-0:output:0", 0, 5), Span("session:a-0:input:1", 0, 10))
    assert third.content == (*second.content, Span("session:a-0:output:1", 0, 5), Span("session:a-0:input:2", 0, 10))
    assert third.output_stream is None  # nobody will ever send it back


def test_only_generated_tokens_are_sent_back():
    """A length cap ended the first round after 2 of 5 tokens: 10 + 2 + 10."""
    workload = generated(client(reasoning=turns(2, 0, "accumulate")), num_requests=1)
    follow_up = workload.sessions[0].next_request(ended(workload.requests[0], tokens=2), 7, 1)
    assert follow_up.input_tokens == 22
    assert follow_up.content[1] == Span("session:a-0:output:0", 0, 2)


def test_empty_answer_leaves_no_span():
    zero = {"type": "gaussian", "params": {"mean": 0, "std_dev": 0, "min": 0, "max": 0}}
    workload = generated(client(output=zero, reasoning=turns(2, 0, "accumulate")), num_requests=1)
    rounds = played(workload)
    assert [span.stream for span in rounds[1].content] == ["session:a-0:input:0", "session:a-0:input:1"]


def test_labels_of_a_follow_up():
    workload = generated(
        client("c", tenant="t", slo_class="batch", model="m", streaming=True, reasoning=turns(3, 50)), num_requests=1
    )
    follow_up = workload.sessions[0].next_request(ended(workload.requests[0]), 2_000_000, 17)
    assert follow_up.id == "session_c-0_round_1_17"
    assert (follow_up.arrived_at, follow_up.deadline) == (2_000_050, 302_000_050)
    assert (follow_up.client, follow_up.tenant, follow_up.slo_class, follow_up.model) == ("c", "t", "batch", "m")
    assert (follow_up.session, follow_up.round_index, follow_up.prefix_group) == ("c-0", 1, "")
    assert follow_up.max_output_tokens == follow_up.output_tokens == 5
    assert follow_up.streaming is False


@pytest.mark.parametrize(("timeout", "deadline"), [(0, 0), (40_000, 1_041_000)])
def test_deadline_of_a_follow_up_is_the_patience_of_its_client(timeout, deadline):
    workload = generated(client(reasoning=turns(2, 1000), timeout=timeout), num_requests=1)
    assert workload.sessions[0].next_request(ended(workload.requests[0]), 1_000_000, 1).deadline == deadline


@pytest.mark.parametrize("outcome", [RequestOutcome.TIMED_OUT, RequestOutcome.DROPPED, RequestOutcome.REJECTED])
def test_session_ends_with_a_round_that_was_not_completed(outcome):
    workload = generated(client(reasoning=turns(9, 0)), num_requests=1)
    session = workload.sessions[0]
    assert session.next_request(ended(workload.requests[0], outcome), 5, 1) is None
    assert session.next_request(ended(workload.requests[0]), 5, 1) is None


@pytest.mark.parametrize(("think_time_us", "follows"), [(1500, True), (1501, False)])
def test_a_round_may_arrive_at_the_horizon_but_not_after_it(think_time_us, follows):
    workload = generated(client(reasoning=turns(9, think_time_us)), num_requests=1, horizon=1_002_000)
    assert (workload.sessions[0].next_request(ended(workload.requests[0]), 1_000_500, 1) is not None) is follows


def test_a_session_belongs_to_the_client_that_generated_it():
    """Same tenant, SLO class and model, yet each keeps its own rounds, think time, lengths and prefix."""
    workload = generated(
        client("a", prompt=10, reasoning=turns(2, 100), prefix_group="g", prefix_length=7),
        client("b", prompt=90, reasoning=turns(3, 900)),
        client("c", prompt=40),
        num_requests=9,
    )
    by_client = {session.client: session for session in workload.sessions}
    assert sorted(by_client) == ["a", "b"]
    first = {request.session: request for request in workload.requests if request.session}
    for name, arrived_at, prompt in (("a", 5100, 17), ("b", 5900, 90)):
        follow_up = by_client[name].next_request(ended(first[by_client[name].session]), 5000, 1)
        assert (follow_up.client, follow_up.arrived_at, follow_up.input_tokens) == (name, arrived_at, prompt)


def test_lengths_of_follow_ups_do_not_depend_on_other_sessions():
    """Each session draws from a stream of its own, so it does not matter which one ends first."""
    distribution = {"type": "exponential", "params": {"mean": 400}}

    def follow_ups(order):
        workload = generated(
            client(prompt=distribution, output=distribution, reasoning=turns(2, 10**9)), num_requests=4
        )
        first = {request.session: request for request in workload.requests}
        found = {}
        for session in order(workload.sessions):
            request = session.next_request(ended(first[session.session]), 0, 1)
            found[session.session] = (request.input_tokens, request.output_tokens)
        return found

    assert follow_ups(list) == follow_ups(lambda sessions: sessions[::-1])
    assert len(set(follow_ups(list).values())) == 4
