"""Settings written as plain data and YAML."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_settings import instances, options, texts

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.load_files import load_scenario
from blis_simpy.scenario import Scenario
from blis_simpy.settings.convert import structure
from blis_simpy.settings.description import PluginForms
from blis_simpy.settings.field_types import Numbers, OptionalPart, OptionalPath, Part, Parts, Plugin
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.loader import parse
from blis_simpy.settings.serialize import to_plain, to_yaml
from blis_simpy.workload.lengths import Constant, Gaussian

NO_OTHER_FORM = PluginForms(lambda value: value, ())


@settings_class
class Lamp:
    watts: float = setting(default=5.0, help="Power.", gt=0)
    colour: str | None = setting(default=None, help="Colour.")


@settings_class
class Room:
    name: str = setting(help="Name.")
    lamp: Part[Lamp] = setting(factory=Lamp, help="Lamp.")
    spare: OptionalPart[Lamp] = setting(default=None, help="Another one.")
    lamps: Parts[Lamp] = setting(default=(), help="More of them.")
    sizes: Numbers = setting(default=None, help="Sizes.")
    weights: Mapping[str, float] = setting(factory=dict, help="Weights.")
    plan: OptionalPath = setting(default=None, help="File.", is_path=True)
    law: Plugin = setting(
        factory=lambda: Constant(1), help="Law.", kind="lengths", forms=PluginForms(lambda value: value, ())
    )
    order: Plugin = setting(default="fcfs", help="Order.", kind="scheduler")


class Unnamed:
    def key(self, request, priority, now):
        return 0


class Stateful(Unnamed):
    def __init__(self, depth):
        self.depth = depth


class Free(Unnamed):
    def __init__(self, **options):
        pass


@settings_class(kw_only=False)
class Optional(Unnamed):
    depth: int = setting(default=3, help="Depth.")


def test_only_what_differs_is_written_in_the_order_of_the_declaration():
    room = Room(order="sjf", lamps=[Lamp(), Lamp(watts=2)], lamp=Lamp(colour="red"), name="x", sizes=(1, 2.5))
    assert list(to_plain(room)) == ["name", "lamp", "lamps", "sizes", "order"]
    assert to_plain(room) == {
        "name": "x",
        "lamp": {"colour": "red"},
        "lamps": [{}, {"watts": 2}],
        "sizes": [1, 2.5],
        "order": "sjf",
    }


def test_a_part_of_defaults_differs_from_none_at_all():
    assert to_plain(Room(name="x", spare=Lamp())) == {"name": "x", "spare": {}}


def test_completely_written_only_what_is_unset_is_left_out():
    assert to_plain(Room(name="x"), complete=True) == {
        "name": "x",
        "lamp": {"watts": 5.0},
        "lamps": [],
        "weights": {},
        "law": {"type": "constant", "value": 1},
        "order": "fcfs",
    }


def test_equal_mappings_are_the_same_text():
    one, other = Room(name="x", weights={"b": 1, "a": 2}), Room(name="x", weights={"a": 2, "b": 1})
    assert to_yaml(to_plain(one)) == to_yaml(to_plain(other)) == "name: x\nweights:\n  a: 2\n  b: 1\n"


def test_a_plug_in_is_a_mapping_of_its_name_and_options():
    assert to_plain(Room(name="x", law=Gaussian(5, 1.5, max=9)))["law"] == {
        "type": "gaussian",
        "mean": 5,
        "std_dev": 1.5,
        "max": 9,
    }
    with registry.added("scheduler", "deep", Optional):
        assert to_plain(Room(name="x", order=Optional(5)))["order"] == {"type": "deep", "depth": 5}
        assert to_plain(Room(name="x", order=Optional()))["order"] == "deep"
        assert to_plain(Room(name="x", order=Optional))["order"] == "deep"
    with registry.added("scheduler", "odd", Unnamed):
        assert to_plain(Room(name="x", order=Unnamed()))["order"] == "odd"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"order": Unnamed}, "order cannot be written: Unnamed is not registered under a name"),
        ({"order": Unnamed()}, "order cannot be written: Unnamed is not registered under a name"),
        ({"order": Stateful(3)}, "order cannot be written: Stateful is not registered under a name"),
        (
            {"order": {"type": "free", "inner": [Unnamed()]}},
            "order.inner[0] cannot be written: a Unnamed is no plain data",
        ),
        ({"law": 3j}, "law cannot be written: complex is not registered under a name"),
    ],
)
def test_what_cannot_be_written_is_named_by_its_path(changes, line):
    with registry.added("scheduler", "free", Free), pytest.raises(ScenarioError) as caught:
        to_plain(Room(name="x", **changes))
    assert str(caught.value) == line


def test_an_instance_whose_options_nobody_knows_cannot_be_written():
    with registry.added("scheduler", "stateful", Stateful), pytest.raises(ScenarioError) as caught:
        to_plain(Room(name="x", order=Stateful(3)))
    assert str(caught.value) == (
        "order cannot be written: the options of this Stateful are not known; give it as a mapping with 'type'"
    )


def test_paths_can_be_made_to_hold_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert to_plain(Room(name="x", plan="a/b.txt"))["plan"] == "a/b.txt"
    assert to_plain(Room(name="x", plan="a/b.txt"), absolute_paths=True)["plan"] == str(tmp_path / "a/b.txt")


def test_numbers_of_numpy_are_written_as_numbers():
    order = {"type": "free", "a": np.float64(0.5), "b": np.int64(3)}
    with registry.added("scheduler", "free", Free):
        room = Room(name="x", order=order, sizes=(np.float32(0.5),))
        assert to_yaml(to_plain(room), one_line=True) == "{name: x, sizes: [0.5], order: {type: free, a: 0.5, b: 3}}"


def test_one_thing_in_two_places_is_written_twice():
    lamp = Lamp(watts=2)
    assert "&" not in to_yaml(to_plain(Room(name="x", lamp=lamp, spare=lamp)))
    inner = [1]
    assert to_yaml({"a": inner, "b": inner}, one_line=True) == "{a: [1], b: [1]}"


@given(options, st.lists(texts))
def test_yaml_that_is_written_is_read_as_the_same_data(mapping, words):
    data = {"mapping": mapping, "words": words, **dict.fromkeys(words, 1)}
    assert parse(to_yaml(data)).data == data
    assert parse(to_yaml(data, one_line=True)).data == data


def test_what_is_written_is_read_back():
    room = Room(name="1e3", spare=Lamp(), lamps=(Lamp(watts=1e-7),), weights={"10": 2.5}, law=Gaussian(5, 1, max=7))
    assert structure(parse(to_yaml(to_plain(room))), Room) == room


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(instances(Scenario))
def test_a_scenario_that_is_written_is_read_back(scenario):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.yaml")
        path.write_text(scenario.to_yaml(), encoding="utf-8")
        assert load_scenario(path) == scenario
