"""A preview of a workload as text."""

import numpy as np

from blis_simpy.workload.preview import Preview


def printed(clients, **others):
    column = np.arange(1, len(clients) + 1) * 1_000_000
    lengths = np.array([10] * len(clients), dtype=np.int64)
    preview = Preview(arrived_at=column, input_tokens=lengths, output_tokens=lengths * 2, clients=clients, **others)
    return [" ".join(line.split()) for line in preview.render("text").splitlines()]


def test_all_parts_are_printed():
    lines = printed(["a", "a", "a", "[b]"], num_sessions=2, max_further_rounds=6)
    assert lines[:2] == [
        "4 requests in 4s: 1.00 requests/s",
        "2 of them start closed-loop sessions: up to 6 further rounds",
    ]
    assert sum(line.endswith("#" * 40) for line in lines) == 4 + 2
    assert f"10 4 {'#' * 40}" in lines
    assert f"20 4 {'#' * 40}" in lines
    assert lines[-2:] == ["a 3 75.0% 10.0 20.0", "[b] 1 25.0% 10.0 20.0"]


def test_small_clients_are_summed_up():
    lines = printed([f"{i:02}" for i in range(25)])
    assert lines[-1] == "5 others 5 20.0%"


def test_nothing_to_see_is_said():
    assert printed([]) == ["no request arrives"]
