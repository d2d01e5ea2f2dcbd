"""Plain data to settings classes: strict, all problems at once, in file order."""

from __future__ import annotations

import contextlib

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
