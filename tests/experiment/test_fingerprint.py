import enum
import functools
import random
import re
import subprocess
import sys

import attrs
import numpy as np
import pytest
from experiment_policies import Always, noted, share_of_first

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.errors import PluginError
from blis_simpy.experiment.fingerprint import canonical, digest, library_digest, metrics_form, scenario_form
from blis_simpy.experiment.source_digest import source_of_module
from blis_simpy.results.metrics import Metric


class Colour(enum.Enum):
    RED = 1


@attrs.frozen
class Knob:
    turns: float


class Slotted:
    __slots__ = ("__hidden", "seen")

    def __init__(self, hidden, seen):
        self.__hidden = hidden
        self.seen = seen


def test_equal_scenarios_have_one_form_and_the_seed_is_no_part_of_it(small):
    again = blis.Scenario(**{field.name: getattr(small, field.name) for field in attrs.fields(blis.Scenario)})
    assert scenario_form(small) == scenario_form(again) == scenario_form(small.with_(seed=7))


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 2},
        {"workload.rate": 20.000001},
        {"workload.prompt": blis.Gaussian(100, 30, 10, 201)},
        {"router": "least-loaded"},
        {"router": Always},
        {"router": Always(0)},
        {"router": Always(1)},
        {"router": {"policy": "weighted"}},
        {"processes": [{"type": "outage", "start": 3}]},
        {"processes": [{"type": "outage", "start": 4}]},
        {"processes": [noted]},
        {"processes": [Always]},
    ],
)
def test_whatever_is_changed_changes_the_form(small, change):
    forms = {digest(scenario_form(small.with_(**other))) for other in ({}, {"router": Always(2)}, change)}
    assert len(forms) == 3


def test_a_form_is_the_same_in_another_process(small, tmp_path):
    """Whatever the seed of hashes there."""
    code = (
        "import pickle, sys; from blis_simpy.experiment.fingerprint import digest, scenario_form, library_digest;"
        "print(digest(scenario_form(pickle.load(open(sys.argv[1], 'rb')))), library_digest())"
    )
    import pickle

    (tmp_path / "scenario").write_bytes(pickle.dumps(small))
    argv = [sys.executable, "-c", code, str(tmp_path / "scenario")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "99"})
    assert done.stdout.split() == [digest(scenario_form(small)), library_digest()]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (True, 1),
        ("1", 1),
        (b"1", "1"),
        ((1, 2), (2, 1)),
        (frozenset({1}), (1,)),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        (np.array([1, 2]), np.array([[1, 2]])),
        (Knob(1), Knob(2)),
        (Slotted(1, 2), Slotted(2, 2)),
        (re.compile("a"), re.compile("b")),
        (functools.partial(Always, 1), functools.partial(Always, 2)),
        (random.Random(1), random.Random(2)),
        (Colour.RED, 1),
        ({"a": {"b": 1}}, {"a": {"b": 2}}),
    ],
)
def test_values_that_differ_have_forms_that_differ(one, other):
    assert digest(canonical(one)) == digest(canonical(one))
    assert digest(canonical(one)) != digest(canonical(other))


def test_the_order_of_a_mapping_or_a_set_does_not_matter():
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({"x", "y", "z"}) == canonical({"z", "y", "x"})


def test_the_source_around_a_class_is_part_of_its_identity(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    forms = set()
    for limit in (1, 2):
        (tmp_path / f"my_policies{limit}.py").write_text(f"LIMIT = {limit}\nclass Mine:\n    __module__ = 'same'\n")
        module = __import__(f"my_policies{limit}")
        monkeypatch.setitem(sys.modules, "same", module)
        source_of_module.cache_clear()
        forms.add(digest(canonical(module.Mine)))
    assert len(forms) == 2


def test_a_plug_in_that_a_scenario_names_is_part_of_it(small):
    with registry.added("routing", "mine", Always):
        mine = scenario_form(small.with_(router="mine"))
    with registry.added("routing", "mine", share_of_first):
        assert scenario_form(small.with_(router="mine")) != mine
    with registry.added("routing", "of-no-concern", Always):
        assert scenario_form(small) == scenario_form(small)
        assert "of-no-concern" not in str(scenario_form(small))
    with registry.added("routing", "round-robin", Always):
        shadowed = scenario_form(small)
    assert shadowed != scenario_form(small)


def test_plug_ins_of_the_library_are_no_third_party():
    before = registry.third_party()
    assert ("routing", "round-robin") not in before
    with registry.added("routing", "mine", Always), registry.added("routing", "round-robin", Always):
        assert set(registry.third_party()) - set(before) == {("routing", "mine"), ("routing", "round-robin")}
        assert registry.additions() == {("routing", "mine"): Always, ("routing", "round-robin"): Always}
        assert registry.is_shadowed("routing", "round-robin")
        assert not registry.is_shadowed("routing", "mine")


def test_files_that_a_scenario_names_count_by_their_content(small, tmp_path):
    from blis_simpy.catalog.files import read_bundled

    table = tmp_path / "gpus.json"
    table.write_text(read_bundled("hardware_config.json")[0])
    scenario = small.with_(hardware_config=str(table))
    before = scenario_form(scenario)
    moved = tmp_path / "other" / "gpus.json"
    moved.parent.mkdir()
    moved.write_text(table.read_text())
    assert scenario_form(small.with_(hardware_config=str(moved))) == before
    table.write_text(table.read_text() + "\n")
    assert scenario_form(scenario) != before


class Local:
    def make(self):
        class Inside:
            pass

        return Inside


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda result: 1.0, "test_fingerprint.<lambda> cannot be identified: it is defined inside a function"),
        (Local().make(), "Local.make.<locals>.Inside cannot be identified: it is defined inside a function"),
        ((generator for generator in ()), "cannot be identified"),
        (
            type("Knob", (), {}),
            "test_fingerprint.Knob cannot be identified: it is not what the module has under this name",
        ),
    ],
)
def test_what_has_no_identity_is_refused(value, message):
    with pytest.raises(PluginError) as raised:
        canonical(value)
    assert message in str(raised.value)


def test_what_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(PluginError, match=r"an object of builtins\.list cannot be identified: it contains itself"):
        canonical(loop)


def registered(function):
    return Metric(name="mine", label="mine", unit="s", direction=None, definition="Mine.", function=function)


def test_registered_metrics_of_others_are_part_of_how_a_run_is_measured():
    assert metrics_form() == {}
    forms = []
    for function in (share_of_first, len):
        with registry.added("metric", "mine", registered(function)):
            forms.append(digest(metrics_form()))
    assert len({*forms, digest({})}) == 3


def test_a_registered_metric_without_identity_is_refused():
    with registry.added("metric", "mine", registered(lambda _: 1.0)), pytest.raises(PluginError, match="identified"):
        metrics_form()


def test_plots_and_renderers_are_no_part_of_a_scenario(small):
    with registry.added("plot", "timeline", lambda result: None), registry.added("renderer", "constant", lambda _: ""):
        assert scenario_form(small)[2] == {}
