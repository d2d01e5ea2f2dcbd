import attrs
import numpy as np
import pytest

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.core.token_spans import Span
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.workload.lengths import Constant, Exponential, Gaussian
from blis_simpy.workload.settings import Workload


def requests(horizon=None, seed=42, **options):
    return Workload(**options).generate(RandomStreams(seed), horizon).requests


def figures(generated):
    return [(r.id, r.arrived_at, r.input_tokens, r.output_tokens) for r in generated]


def test_fixed_workload_needs_no_chance():
    """Ten a second: the first after one gap of 100 000 us, then one a gap."""
    generated = requests(rate=10, num_requests=3, prompt=Constant(10), output=Constant(5))
    assert figures(generated) == [
        ("request_0", 100_000, 10, 5),
        ("request_1", 200_000, 10, 5),
        ("request_2", 300_000, 10, 5),
    ]
    assert figures(requests(rate=10, num_requests=3, prompt=Constant(10), output=Constant(5), seed=1)) == figures(
        generated
    )


def test_labels_and_budget():
    (request,) = requests(num_requests=1, output=Constant(7))
    assert (request.max_output_tokens, request.deadline, request.client) == (7, 0, "distribution")
    assert (request.content, request.prefix_group, request.tenant, request.slo_class) == (None, "", "", "")


def test_prefix_stands_in_front_of_each_prompt_and_is_shared():
    first, second = requests(num_requests=2, prompt=Constant(10), prefix_tokens=30)
    assert first.input_tokens == 40
    assert first.content == (Span("prefix:shared", 0, 30),)
    assert first.content is second.content
    assert first.prefix_group == "shared"


def test_figures_are_plain_integers():
    (request,) = requests(num_requests=1, arrivals="poisson", prefix_tokens=8)
    assert {
        type(getattr(request, f)) for f in ("arrived_at", "input_tokens", "output_tokens", "max_output_tokens")
    } == {int}


@pytest.mark.parametrize(("horizon", "count"), [(400_000, 3), (400_001, 4), (100_000, 0), (0, 0), (-5, 0), (10**9, 9)])
def test_arrivals_lie_strictly_before_the_horizon(horizon, count):
    assert len(requests(horizon, rate=10, num_requests=9)) == count


def test_horizon_alone_bounds_a_workload():
    """At 1000 a second, 100 s hold 99 999 arrivals between their ends: more than one block of draws."""
    generated = requests(100_000_000, rate=1000, num_requests=0, prompt=Constant(1), output=Constant(1))
    assert len(generated) == 99_999
    assert generated[-1].arrived_at == 99_999_000


def test_workload_without_any_bound_is_refused():
    with pytest.raises(ScenarioError) as caught:
        requests(num_requests=0)
    assert str(caught.value) == "num_requests must be > 0 unless a horizon is set, got 0"


def test_requests_beyond_the_end_of_the_clock_are_not_generated():
    """One gap is 10**15 us, and 2**63 is a little above 9223 of them."""
    assert len(requests(rate=1e-12, num_requests=20_000)) == 9223


def test_same_seed_gives_the_same_requests_and_another_seed_others():
    options = {"arrivals": "poisson", "num_requests": 50}
    assert figures(requests(**options)) == figures(requests(**options))
    assert figures(requests(**options)) != figures(requests(seed=43, **options))


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_a_shorter_run_is_the_beginning_of_a_longer_one(arrivals):
    options = {"rate": 100, "arrivals": arrivals, "prompt": Exponential(100), "output": Gaussian(50, 20)}
    longest = figures(requests(num_requests=70_000, **options))
    assert figures(requests(num_requests=100, **options)) == longest[:100]
    early = figures(requests(horizon=5_000_000, num_requests=0, **options))
    assert early == longest[: len(early)]
    assert 400 < len(early) < 600


def test_changing_one_law_leaves_the_others_as_they_were():
    before = requests(arrivals="poisson", num_requests=50)
    after = requests(arrivals="poisson", num_requests=50, prompt=Exponential(9))
    assert [(r.arrived_at, r.output_tokens) for r in before] == [(r.arrived_at, r.output_tokens) for r in after]


def test_prompt_and_output_lengths_are_drawn_independently():
    generated = requests(num_requests=4000, prompt=Gaussian(500, 100), output=Gaussian(500, 100))
    correlation = np.corrcoef([(r.input_tokens, r.output_tokens) for r in generated], rowvar=False)[0, 1]
    assert abs(correlation) < 0.08  # five standard errors


@attrs.frozen
class Returns:
    """A distribution or process that always returns the same thing."""

    answer: object

    def sample(self, rng, n):
        return self.answer

    def inter_arrival_times(self, rng, rate_per_s, n):
        return self.answer


@pytest.mark.parametrize(
    "answer", [np.array([1]), np.array([1.0, 2.0]), np.array([[1, 2]]), [-1, 5], [True, False], None, [3, None]]
)
def test_plugin_that_misbehaves_is_named(answer):
    with pytest.raises(PluginError, match=r"lengths Returns must return 2 integers >= 0, got "):
        requests(num_requests=2, prompt=Returns(answer))
    with pytest.raises(PluginError, match=r"arrivals Returns must return 2 integers >= 1, got "):
        requests(num_requests=2, arrivals=Returns(answer))


def test_plugin_may_return_a_plain_list():
    first, second = requests(num_requests=2, arrivals=Returns([3, 4]), prompt=Returns([0, 5]))
    assert (first.arrived_at, second.arrived_at) == (3, 7)
    assert (first.input_tokens, second.input_tokens) == (0, 5)


def test_infinite_rate_is_all_at_once():
    assert [request.arrived_at for request in requests(rate="inf", num_requests=3)] == [0, 0, 0]


@pytest.mark.parametrize("horizon", [None, 5])
def test_infinite_rate_needs_a_number_of_requests(horizon):
    with pytest.raises(ScenarioError, match=r"^num_requests must be > 0 unless a horizon is set, got 0$"):
        requests(horizon, rate=float("inf"), num_requests=0)
