"""Priority inversions and other anomalies."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.core.request import Leg, Request, RequestOutcome
from blis_simpy.core.request_log import RequestLog
from blis_simpy.results.anomalies import priority_inversions
from blis_simpy.results.requests import RequestTable


@attrs.frozen
class Row:
    arrived_at: int
    e2e: int
    slo_class: str
    completed: bool


def requests_of(rows):
    requests = []
    for index, row in enumerate(rows):
        request = Request(
            id=f"request_{index}",
            arrived_at=row.arrived_at,
            input_tokens=1,
            output_tokens=1,
            slo_class=row.slo_class,
        )
        request.leg = leg = Leg(request, replica=0)
        leg.outcome = RequestOutcome.COMPLETED if row.completed else RequestOutcome.TIMED_OUT
        leg.ttft = leg.e2e = row.e2e
        requests.append(request)
    return RequestTable.of_requests(RequestLog(requests))


rows = st.builds(
    Row, st.integers(0, 5), st.integers(1, 40), st.sampled_from(["", "batch", "chat"]), st.booleans() | st.just(True)
)


@given(st.lists(rows, max_size=25))
def test_inversions_are_counted_as_by_comparing_all_pairs(rows):
    """Earlier by arrival, then by place in the list; same class; more than twice as long."""
    ordered = sorted((r for r in rows if r.completed), key=lambda row: row.arrived_at)
    pairs = [(a, b) for index, a in enumerate(ordered) for b in ordered[index + 1 :] if a.slo_class == b.slo_class]
    assert priority_inversions(requests_of(rows)) == sum(a.e2e > 2 * b.e2e for a, b in pairs)


def test_twice_as_long_is_no_inversion():
    assert priority_inversions(requests_of([Row(0, 20, "", True), Row(1, 10, "", True)])) == 0
    assert priority_inversions(requests_of([Row(0, 21, "", True), Row(1, 10, "", True)])) == 1


def test_inversions_count_only_where_a_priority_policy_is_at_work(serve):
    """One slot: r0 is long, r1 short; r0 took far more than twice as long."""
    rows = ((10, 60, 0), (10, 1, 1))
    for priority, count in (("constant", 0), ("slo-based", 1)):
        anomalies = serve(*rows, priority=priority).result.anomalies
        assert anomalies["priority_inversions"] == count
