"""Plain data to settings classes: strict, all problems at once, in file order."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.scenario import Scenario
from blis_simpy.settings.convert import changed, structure
from blis_simpy.settings.fields import Plugin, setting
from blis_simpy.settings.loader import parse
from blis_simpy.workload.lengths import Constant, Gaussian


@attrs.frozen(kw_only=True)
class Wheel:
    size: float = setting(1.0, help="Diameter.", gt=0)
    tyre: str = setting("soft", help="Kind of tyre.", choices=("soft", "hard"))


@attrs.frozen(kw_only=True)
class Car:
    name: str = setting(help="Name.")
    doors: int = setting(4, help="Number of doors.", ge=1)
    front: Wheel = setting(factory=Wheel, help="Front wheels.")
    spare: Wheel | None = setting(None, help="Spare wheel.")
    load: Plugin = setting(factory=lambda: Constant(1), help="Load.", kind="lengths", tag="type")

    def __attrs_post_init__(self) -> None:
        if self.doors == 13:
            raise ScenarioError.at("doors", "must not be unlucky", self.doors)


def lines_of(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        structure(parse(text, "f.yaml"), Car)
    return [str(problem) for problem in caught.value.problems]


def test_nested_data_becomes_nested_settings():
    text = "name: x\ndoors: 2\nfront: {size: 3, tyre: hard}\nspare:\n  size: 0.5\n"
    made = structure(parse(text), Car)
    assert made == Car(name="x", doors=2, front=Wheel(size=3, tyre="hard"), spare=Wheel(size=0.5))


def test_what_is_absent_keeps_its_default():
    assert structure({"name": "x"}, Car) == Car(name="x")


def test_a_tagged_mapping_becomes_the_plug_in_it_names():
    made = structure(parse("name: x\nload: {type: gaussian, mean: 5, std_dev: 1.5}"), Car)
    assert made.load == Gaussian(5, 1.5)


def test_a_tagged_mapping_may_name_a_plain_function():
    def two(low: int = 0) -> Constant:
        return Constant(2 + low)

    with registry.added("lengths", "two", two):
        assert structure({"name": "x", "load": {"type": "two", "low": 3}}, Car).load == Constant(5)
        with pytest.raises(ScenarioError) as caught:
            structure({"name": "x", "load": {"type": "two", "high": 3}}, Car)
    assert "does not take these options" in str(caught.value)


def test_all_problems_come_at_once_in_file_order():
    assert lines_of("dors: 3\nfront:\n  tyre: sft\n  size: -1\ndoors: 2.0\nspare: 3\nload: {type: gausian}\n") == [
        "f.yaml: name is required",
        "f.yaml: dors is not a setting (line 1); did you mean doors?",
        "f.yaml: front.tyre is unknown, got 'sft' (line 3); did you mean 'soft'? known: soft, hard",
        "f.yaml: front.size must be > 0, got -1 (line 4)",
        "f.yaml: doors must be an integer, got 2.0 (line 5)",
        "f.yaml: spare must be a mapping of settings, got 3 (line 6)",
        (
            "f.yaml: load.type is unknown, got 'gausian' (line 7); did you mean 'gaussian'? "
            "known: constant, empirical, exponential, gaussian, pareto_lognormal"
        ),
    ]


def test_the_options_of_a_plug_in_are_checked_with_their_lines():
    assert lines_of("name: x\nload:\n  type: gaussian\n  mean: '3'\n  max: 2.5\n  mx: 1\n") == [
        "f.yaml: load.std_dev is required (line 2)",
        "f.yaml: load.mean must be a number, got '3' (line 4)",
        "f.yaml: load.max must be an integer, got 2.5 (line 5)",
        "f.yaml: load.mx is not a setting (line 6); did you mean max?",
    ]


def test_a_rule_across_fields_names_its_line():
    assert lines_of("name: x\ndoors: 13\n") == ["f.yaml: doors must not be unlucky, got 13 (line 2)"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("doors: '3'", "doors must be an integer, got '3'"),
        ("doors: true", "doors must be an integer, got True"),
        ("doors: 3.0", "doors must be an integer, got 3.0"),
        ("doors: null", "doors must be an integer, got None"),
        ("name: 3", "name must be text, got 3"),
        ("front: {size: true}", "front.size must be a number, got True"),
        ("front: {size: '1'}", "front.size must be a number, got '1'"),
        ("front: {size: .nan}", "front.size must be a finite number, got nan"),
        ("front: null", "front must be a mapping of settings, got None"),
        ("load: gaussian", "load must be a mapping with 'type', got 'gaussian'"),
        ("load: {mean: 3}", "load must name its plug-in under 'type', got {'mean': 3}"),
    ],
)
def test_nothing_is_coerced(text, line):
    data = {"name": "x", **parse(text).data}
    with pytest.raises(ScenarioError) as caught:
        structure(data, Car)
    assert str(caught.value) == line


def test_whole_numbers_are_numbers():
    assert structure({"name": "x", "front": {"size": 3}}, Car).front.size == 3


def test_a_changed_copy_leaves_the_original():
    car = Car(name="x")
    other = changed(car, {"doors": 2, "front.size": 7, "spare.tyre": "hard", "load": Gaussian(3, 1), "load.mean": 4})
    assert car == Car(name="x")
    assert other == Car(name="x", doors=2, front=Wheel(size=7), spare=Wheel(tyre="hard"), load=Gaussian(4, 1))


def test_a_changed_copy_reports_all_bad_paths_and_values():
    with pytest.raises(ScenarioError) as caught:
        changed(Car(name="x"), {"dors": 1, "doors": 0, "front.sze": 1, "front.size": -1, "name.x": 3, "doors.y": 1})
    assert str(caught.value).splitlines() == [
        "dors is not a setting; did you mean doors?",
        "doors must be >= 1, got 0",
        "front.sze is not a setting; did you mean size?",
        "front.size must be > 0, got -1",
        "name.x is not a setting",
        "doors.y is not a setting",
    ]


TOP = ["model", "tp", "horizon", "engine", "kv", "workload", "latency", "x"]
INNER = ["prompt", "type", "policy", "rate", "max_num_seqs", "scheduler", "alpha", "beta", "mean", "blocks", "x"]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["1s", "5/s", "sjf"])
)
data = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(INNER), inner, max_size=6)),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(TOP), data))
def test_no_data_crashes_the_converter(given_data):
    text = yaml.safe_dump(given_data)
    with contextlib.suppress(ScenarioError):
        structure(parse(text, "f.yaml"), Scenario)


@attrs.frozen(kw_only=True)
class Fleet:
    cars: tuple[Car, ...] = setting((), help="Cars.")
    sizes: tuple[int, ...] = setting((), help="Sizes.")
    extras: Mapping[str, float] = setting(factory=dict, help="Anything.")
    label: str = setting("", help="Label.")
    count: int = setting(0, help="A number.")


def fleet_lines(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        structure(parse(text, "f.yaml"), Fleet)
    return [str(problem) for problem in caught.value.problems]


def test_a_list_of_mappings_becomes_a_tuple_of_settings():
    made = structure(parse("cars:\n- {name: a, spare: {size: 2}}\n- name: b\n"), Fleet)
    assert made.cars == (Car(name="a", spare=Wheel(size=2)), Car(name="b"))


def test_an_instance_may_stand_where_a_mapping_may():
    car = Car(name="a")
    assert structure({"cars": [car, {"name": "b", "front": Wheel(size=2)}]}, Fleet).cars[0] is car


def test_mistakes_in_a_list_have_their_index_and_line():
    text = (
        "cars:\n- name: a\n- doors: 13\n  name: b\n- nam: c\n- 5\n- name: d\n  front: {tyre: wet}\n  load: {type: x}\n"
    )
    assert fleet_lines(text) == [
        "f.yaml: cars[1].doors must not be unlucky, got 13 (line 3)",
        "f.yaml: cars[2].name is required (line 5)",
        "f.yaml: cars[2].nam is not a setting (line 5); did you mean name?",
        "f.yaml: cars[3] must be a mapping of settings, got 5 (line 6)",
        "f.yaml: cars[4].front.tyre is unknown, got 'wet' (line 8); known: soft, hard",
        (
            "f.yaml: cars[4].load.type is unknown, got 'x' (line 9); "
            "known: constant, empirical, exponential, gaussian, pareto_lognormal"
        ),
    ]
    assert fleet_lines("cars: {name: a}") == ["f.yaml: cars must be a list, got {'name': 'a'} (line 1)"]
    assert fleet_lines("sizes: [1, x]") == ["f.yaml: sizes[1] must be an integer, got 'x' (line 1)"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("label: 12", Fleet(label="12")),
        ("count: 2e3", Fleet(count=2000)),
        ("count: null", Fleet()),
        ("cars:", Fleet()),
        ("cars: [{name: 5, doors: 3.0, spare: null, front: null}]", Fleet(cars=(Car(name="5", doors=3),))),
    ],
)
def test_leniently_read_files_may_say_it_in_other_ways(text, made):
    assert structure(parse(text), Fleet, lenient=True) == made
    with pytest.raises(ScenarioError):
        structure(parse(text), Fleet)


FLEET = Fleet(cars=(Car(name="a"), Car(name="b", spare=Wheel())), sizes=(1, 2), extras={"x": 1.0})


def test_an_item_of_a_list_is_changed_by_its_index():
    changes = {"cars[1].doors": 2, "cars[1].spare.size": 3, "cars[0]": Car(name="c"), "sizes[1]": 7, "extras.x": 2.0}
    assert changed(FLEET, changes) == Fleet(
        cars=(Car(name="c"), Car(name="b", doors=2, spare=Wheel(size=3))), sizes=(1, 7), extras={"x": 2.0}
    )


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("cars[2].doors", "cars[2].doors does not exist; there are 2 items, from [0]"),
        ("cars[0].dors", "cars[0].dors is not a setting; did you mean doors?"),
        ("cars[0].doors", "cars[0].doors must be >= 1, got 0"),
        ("cars[0].front.size", "cars[0].front.size must be > 0, got 0"),
        ("cars[0]", "cars[0] must be of type Car, got 0"),
        ("cars.doors", "cars.doors is not a setting; an item is named by its index, as in [0]"),
        ("sizes[0].x", "sizes[0].x is not a setting"),
        ("label[0]", "label[0] is not a setting"),
        ("extras.y", "extras.y is not a setting; known: x"),
        ("[0]", "[0] is not a setting; known: cars, sizes, extras, label, count"),
        ("", " is not a setting; known: cars, sizes, extras, label, count"),
    ],
)
def test_a_bad_path_into_a_list_is_told(path, line):
    with pytest.raises(ScenarioError) as caught:
        changed(FLEET, {path: 0})
    assert str(caught.value).strip() == line.strip()


@attrs.frozen(kw_only=True)
class Owner:
    car: Car | None = setting(None, help="Car.")


def test_a_part_that_was_not_there_is_made_of_what_is_given():
    assert changed(Owner(), {"car.name": "x", "car.front.size": 2}).car == Car(name="x", front=Wheel(size=2))
    with pytest.raises(ScenarioError) as caught:
        changed(Owner(), {"car.doors": 2})
    assert str(caught.value) == "car.name is required"
