"""Requests that are made from columns when they are asked for."""

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.core.request import Request, RequestOutcome
from blis_simpy.core.request_log import RequestLog
from blis_simpy.core.request_rows import PARAMETERS, RequestRows, SharedValues


@pytest.fixture
def made():
    """Rows of all requests that are made."""
    return []


@pytest.fixture
def rows(made):
    def ids(wanted):
        made.extend(wanted.tolist())
        return [f"r{row}" for row in wanted.tolist()]

    columns = {
        "arrived_at": np.array([5, 7, 11]),
        "input_tokens": np.array([10, 20, 30]),
        "output_tokens": np.array([1, 2, 3]),
        "tenant": SharedValues(["a", "b"], np.array([0, 1, 1])),
        "streaming": SharedValues([True], np.zeros(3, dtype=np.int64)),
    }
    return RequestRows(ids, columns)


def given(request):
    return [getattr(request, name) for name in PARAMETERS]


def test_requests_have_the_values_of_their_rows_and_defaults(rows):
    expected = [
        Request("r0", 5, 10, 1, tenant="a", streaming=True),
        Request("r1", 7, 20, 2, tenant="b", streaming=True),
        Request("r2", 11, 30, 3, tenant="b", streaming=True),
    ]
    assert [given(request) for request in rows] == [given(request) for request in expected]
    assert given(rows[-1]) == given(rows[2])
    assert [request.id for request in rows[1:]] == ["r1", "r2"]
    with pytest.raises(IndexError):
        rows[3]


def test_log_makes_a_request_once(rows, made):
    log = RequestLog(rows)
    assert (len(log), made) == (3, [])
    assert log[1] is log[-2] is log.block([1, 2])[0]
    assert made == [1, 2]
    assert [request.row for request in log] == [0, 1, 2]
    assert made == [1, 2, 0]


def test_columns_of_requests_that_are_not_made_are_those_of_their_objects(rows, made):
    log = RequestLog(rows)
    log[1].admitted_at = 8
    names = (
        "arrived_at",
        "tenant",
        "streaming",
        "admitted_at",
        "outcome",
        "ttft",
        "itl_sum",
        "deadline",
        "length_capped",
    )
    columns = {name: log.column(name).tolist() for name in names}
    assert made == [1]
    assert columns == {name: [getattr(request, name) for request in log] for name in names}
    assert RequestLog(rows).column("id").tolist() == ["r0", "r1", "r2"]


def test_requests_of_a_generated_workload_are_made_as_they_arrive():
    """In blocks of 256: of ten million requests, none is made before the first arrival."""
    workload = blis.Workload(rate=1000, num_requests=10_000, prompt=10, output=5)
    simulation = blis.Simulation(
        blis.Scenario(model="qwen/qwen3-14b", hardware="H100", tp=1, workload=workload, kv=blis.KVSettings(blocks=9000))
    )
    counted = [len(list(simulation.requests.objects()))]
    result = simulation.run(until="1s")
    counted.append(len(list(simulation.requests.objects())))
    arrived = sum(request.arrived_at < 1_000_000 for request in simulation.requests.objects())
    assert counted[0] == 0
    assert arrived <= counted[1] <= arrived + 256
    assert result.requests.num_rows == len(simulation.requests) == 10_000
    assert sum(simulation.requests.column("outcome") == RequestOutcome.PENDING) >= 9_000 - 256


def test_request_that_is_asked_for_before_its_arrival_is_the_one_that_is_sent():
    simulation = blis.Simulation(blis.Scenario(model="qwen/qwen3-14b", workload=blis.Workload(rate=2, num_requests=9)))
    seen = []
    simulation.on_arrival(seen.append)
    early = simulation.requests[4]
    simulation.run()
    assert seen[4] is early
