"""One vocabulary for arrival processes and length distributions, in clients and in the short form."""

import threading
from collections.abc import Mapping

import numpy as np
import pytest
from workloads import from_text

import blis_simpy as blis
from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.load_files import parse_scenario
from blis_simpy.registry import added
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.loader import parse
from blis_simpy.workload.load_workload import read_workload

GAUSSIAN = blis.Gaussian(512, 256, 1, 4096)
PARAMS = {"mean": 512, "std_dev": 256, "min": 1, "max": 4096}


def client(**changes):
    options = {"rate_fraction": 1, "arrival": "poisson", "input_distribution": 10, "output_distribution": 5}
    return blis.Client(**{**options, **changes})


def spec(**changes):
    return blis.WorkloadSpec(clients=[client(**changes)], aggregate_rate=1, num_requests=9)


@pytest.mark.parametrize(
    "value",
    [
        GAUSSIAN,
        {"type": "gaussian", **PARAMS},
        {"type": "gaussian", "params": PARAMS},
        blis.LengthDistribution("gaussian", PARAMS),
    ],
    ids=["instance", "options", "params", "LengthDistribution"],
)
def test_each_form_of_a_length_distribution_is_the_same_instance(value):
    assert client(input_distribution=value).input_distribution == GAUSSIAN
    assert blis.Workload(prompt=value).prompt == GAUSSIAN
    media = blis.Multimodal(image_distribution=value)
    assert (media.image_distribution, media.audio_distribution) == (GAUSSIAN, None)


def test_an_integer_is_a_constant_length():
    assert client(output_distribution=7).output_distribution == blis.Constant(7)
    assert blis.Workload(prompt=np.int64(7)).prompt == blis.Constant(7)


@pytest.mark.parametrize(
    "value",
    [
        blis.GammaArrivals(2.0),
        {"process": "gamma", "cv": 2.0},
        blis.Arrival("gamma", cv=2.0),
    ],
    ids=["instance", "mapping", "Arrival"],
)
def test_each_form_of_an_arrival_process_is_the_same_instance(value):
    assert client(arrival=value).arrival == blis.GammaArrivals(2.0)
    assert blis.Workload(arrivals=value).arrivals == blis.GammaArrivals(2.0)


def test_a_name_is_a_process_with_its_defaults():
    assert client(arrival="weibull").arrival == blis.Workload(arrivals="weibull").arrivals == blis.WeibullArrivals(1.0)


def test_a_parameter_that_a_process_does_not_have_is_ignored_in_the_form_of_bliss_files_alone():
    assert client(arrival={"process": "poisson", "cv": 3}).arrival == blis.PoissonArrivals()
    with pytest.raises(ScenarioError, match=r"arrival\.burst is not a setting"):
        client(arrival={"process": "poisson", "burst": 3})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"input_distribution": 0}, "input_distribution must be >= 1, got 0"),
        ({"input_distribution": True}, "input_distribution must be an integer or a mapping with 'type', got True"),
        ({"input_distribution": "x"}, "input_distribution must be an integer or a mapping with 'type', got 'x'"),
        ({"input_distribution": {"type": "gaussian", "params": {}}}, "input_distribution.params.mean is required"),
        ({"input_distribution": {"type": "exponential"}}, "input_distribution.mean is required"),
        ({"input_distribution": {"type": ""}}, "input_distribution.type is required"),
        ({"input_distribution": blis.LengthDistribution()}, "input_distribution.type is required"),
        ({"arrival": 5}, "arrival must be a name or a mapping with 'type', got 5"),
        ({"arrival": "often"}, "arrival is unknown, got 'often'; known: constant, gamma, poisson, weibull"),
        ({"arrival": {"cv": 2}}, "arrival.process is required"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(changes, line):
    with pytest.raises(ScenarioError) as caught:
        client(**changes)
    assert str(caught.value) == line


@pytest.mark.parametrize("cv", [0.0, -1.0])
def test_the_same_processes_are_refused_in_clients_and_in_the_short_form(cv):
    with pytest.raises(ScenarioError, match=rf"^clients\[0\]\.arrival\.cv must be > 0, got {cv}$"):
        spec(arrival=blis.GammaArrivals(cv))
    with pytest.raises(ScenarioError, match=rf"^arrivals\.cv must be > 0, got {cv}$"):
        blis.Workload(arrivals=blis.GammaArrivals(cv))


class Alternating:
    """Gaps of 10 and 20 us in turn: a process that keeps state."""

    def __init__(self):
        self.num_drawn = 0

    def inter_arrival_times(self, rng, rate_per_s, n):
        first, self.num_drawn = self.num_drawn, self.num_drawn + n
        return [10 + 10 * (number % 2) for number in range(first, first + n)]


ARRIVALS = [10, 30, 40, 60, 70]


@pytest.mark.parametrize("process", [Alternating, Alternating()], ids=["class", "instance"])
def test_a_process_of_ones_own_is_used_in_clients_and_in_the_short_form(process):
    for traffic in (spec(arrival=process), blis.Workload(arrivals=process, num_requests=9)):
        requests = traffic.generate(RandomStreams(1)).requests
        assert [request.arrived_at for request in requests[:5]] == ARRIVALS


def test_an_instance_keeps_no_state_from_run_to_run_and_none_from_client_to_client():
    process = Alternating()
    clients = [client(id=name, arrival=process) for name in "ab"]
    workload = blis.WorkloadSpec(clients=clients, aggregate_rate=1, num_requests=8)
    first, second = (workload.generate(RandomStreams(1)).requests for _ in range(2))
    assert [r.arrived_at for r in first] == [r.arrived_at for r in second] == [10, 10, 30, 30, 40, 40, 60, 60]
    assert process.num_drawn == 0


def test_an_instance_that_cannot_be_copied_is_named():
    process = Alternating()
    process.lock = threading.Lock()
    with pytest.raises(PluginError) as caught:
        spec(arrival=process).generate(RandomStreams(1))
    assert str(caught.value).startswith("arrivals Alternating cannot be copied for a client: cannot pickle")
    assert str(caught.value).endswith("give the class, not an instance")


@settings_class(kw_only=False)
class Zipf:
    """A registered distribution with an option."""

    power: float = setting(default=1.0, help="Power.")

    def sample(self, rng, n):
        return np.full(n, int(self.power), dtype=np.int64)


def test_a_registered_distribution_takes_its_options_in_both_forms():
    with added("lengths", "zipf", Zipf):
        for options in ({"power": 3}, {"params": {"power": 3}}):
            assert client(input_distribution={"type": "zipf", **options}).input_distribution == Zipf(3)
        assert read_workload(parse(spec(input_distribution=Zipf(3)).to_yaml())) == spec(input_distribution=Zipf(3))
        with pytest.raises(ScenarioError, match=r"^input_distribution\.params\.powr is not a setting"):
            client(input_distribution={"type": "zipf", "params": {"powr": 3}})


BOTH_FORMS = """
aggregate_rate: 2
clients:
- rate_fraction: 1
  {tenant}
  arrival: {arrival}
  input_distribution: {prompt}
  output_distribution: {output}
"""
OURS = {
    "tenant": "tenant: blue",
    "arrival": "gamma",
    "prompt": "{type: empirical, lengths: [100, 400], weights: [3, 1]}",
    "output": "16",
}
BLIS = {
    "tenant": "tenant_id: blue",
    "arrival": "{process: gamma}",
    "prompt": "{type: empirical, params: {100: 3, 400: 1}}",
    "output": "{type: constant, params: {value: 16}, file: unread.csv}",
}


def test_files_in_our_form_and_in_that_of_blis_say_the_same():
    ours, theirs = (from_text(BOTH_FORMS.format(**words)) for words in (OURS, BLIS))
    assert ours == theirs
    assert ours.clients[0].tenant == "blue"


@pytest.mark.parametrize("words", [OURS, BLIS], ids=["ours", "BLIS"])
def test_the_schema_of_specifications_accepts_both_forms(words):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(blis.workload_schema())
    data = parse(BOTH_FORMS.format(**words)).data
    assert validator.is_valid(data)
    data["clients"][0]["tenants"] = "blue"
    assert not validator.is_valid(data)


def test_a_specification_is_written_in_the_format_of_blis():
    written = parse(from_text(BOTH_FORMS.format(**OURS)).to_yaml()).data["clients"][0]
    assert (written["tenant_id"], written["arrival"]) == ("blue", {"process": "gamma"})
    assert written["input_distribution"] == {"type": "empirical", "params": {"100": 3.0, "400": 1.0}}
    assert "tenant" not in written


def test_a_scenario_is_written_in_our_form_and_read_back_as_it_was():
    scenario = blis.Scenario(model="any/model", workload=from_text(BOTH_FORMS.format(**BLIS)), horizon=9)
    written = parse(scenario.to_yaml()).data["workload"]["clients"][0]
    assert (written["tenant"], written["arrival"]) == ("blue", "gamma")
    assert written["input_distribution"] == {"type": "empirical", "lengths": [100, 400], "weights": [3, 1]}
    assert parse_scenario(scenario.to_yaml()) == scenario


def test_a_tenant_given_twice_is_refused():
    text = BOTH_FORMS.format(**{**OURS, "tenant": "tenant: blue\n  tenant_id: green"})
    with pytest.raises(ScenarioError, match=r"^w\.yaml: clients\[0\]\.tenant_id is not a setting \(line 6\)"):
        from_text(text)


def test_options_are_changed_by_their_path():
    changed = blis.Scenario(model="m", workload=spec(arrival="gamma", input_distribution=GAUSSIAN)).with_(
        **{"workload.clients[0].arrival.cv": 3, "workload.clients[0].input_distribution.mean": 9}
    )
    (only,) = changed.workload.clients
    assert (only.arrival, only.input_distribution.mean) == (blis.GammaArrivals(3), 9)


def test_the_short_form_is_a_specification_with_one_client():
    short = blis.Workload(rate=10, num_requests=5, prompt=10, output=5, prefix_tokens=30)
    (only,) = short.specification().clients
    assert (only.id, only.prefix_group, only.prefix_length) == ("distribution", "shared", 30)
    as_short, as_long = (
        [(r.arrived_at, r.input_tokens, r.output_tokens, r.content, r.client, r.prefix_group) for r in found.requests]
        for found in (short.generate(RandomStreams(1)), short.specification().generate(RandomStreams(2)))
    )
    assert as_short == as_long


def test_the_random_streams_of_the_short_form_keep_their_names():
    streams = RandomStreams(1)
    blis.Workload().generate(streams)
    for purpose in ("arrivals", "prompt", "output"):
        with pytest.raises(blis.SimulationError, match="has an owner already"):
            streams.generator(f"workload/client-0/{purpose}")


def test_mappings_of_any_kind_are_options():
    class Options(Mapping):
        def __init__(self, **options):
            self._options = options

        def __getitem__(self, key):
            return self._options[key]

        def __iter__(self):
            return iter(self._options)

        def __len__(self):
            return len(self._options)

    assert client(arrival=Options(process="gamma", cv=2)).arrival == blis.GammaArrivals(2)
