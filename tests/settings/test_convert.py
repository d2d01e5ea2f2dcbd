"""Plain data to settings classes: strict, all problems at once, in file order."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from cars import Car, Fleet, Garage, Wheel
from hypothesis import given, settings
from hypothesis import strategies as st

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.scenario import Scenario
from blis_simpy.settings.convert import structure
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.loader import parse
from blis_simpy.workload.lengths import Constant, Gaussian


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
    assert str(caught.value) == "load.high is not an option of 'two'; known: low"


def test_a_defect_of_a_plug_in_is_shown_as_it_is():
    """Not as a mistake of the user, and without the tree of what it was found in."""

    @settings_class(kw_only=False)
    class Broken:
        mean: int = setting(help="Mean.")

        def __attrs_post_init__(self) -> None:
            raise KeyError("mean")

    with registry.added("lengths", "broken", Broken), pytest.raises(KeyError) as caught:
        structure({"name": "x", "load": {"type": "broken", "mean": 3}, "doors": 0}, Car)
    assert caught.value.args == ("mean",)
    assert caught.value.__context__ is None


@settings_class(kw_only=False)
class Awkward:
    """Fields named like parameters of cattrs, and one that is private."""

    _o: int = setting(help="A number.")
    attrs: int = setting(default=1, help="A number.")
    cl: int = setting(default=1, help="A number.")
    converter: int = setting(default=1, help="A number.")


def test_a_field_may_have_any_name():
    assert structure({"attrs": 2, "cl": 3, "converter": 4, "o": 5}, Awkward) == Awkward(5, 2, 3, 4)
    with pytest.raises(ScenarioError) as caught:
        structure({"cl": "x", "converter": "y", "_o": 5}, Awkward)
    assert str(caught.value).splitlines() == [
        "o is required",
        "cl must be an integer, got 'x'",
        "converter must be an integer, got 'y'",
        "_o is not a setting; did you mean o?",
    ]


def test_problems_of_data_made_in_python_come_in_the_order_of_the_fields_then_of_the_unknown_keys():
    with pytest.raises(ScenarioError) as caught:
        structure({"e": 1, "d": 1, "c": 1, "b": 1, "a": 1, "doors": 0, "name": 1}, Car)
    assert [problem.path for problem in caught.value.problems] == ["name", "doors", "e", "d", "c", "b", "a"]


def test_all_problems_come_at_once_in_file_order():
    assert lines_of("dors: 3\nfront:\n  tyre: sft\n  size: -1\ndoors: 2.5\nspare: 3\nload: {type: gausian}\n") == [
        "f.yaml: name is required",
        "f.yaml: dors is not a setting (line 1); did you mean doors?",
        "f.yaml: front.tyre is unknown, got 'sft' (line 3); did you mean 'soft'? known: soft, hard",
        "f.yaml: front.size must be > 0, got -1 (line 4)",
        "f.yaml: doors must be an integer, got 2.5 (line 5)",
        "f.yaml: spare must be a mapping of settings, got 3 (line 6)",
        (
            "f.yaml: load.type is unknown, got 'gausian' (line 7); did you mean 'gaussian'? "
            "known: constant, empirical, exponential, gaussian, lognormal, pareto_lognormal, uniform"
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
        ("doors: 3.5", "doors must be an integer, got 3.5"),
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


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(TOP), data))
def test_no_data_crashes_the_converter(given_data):
    text = yaml.safe_dump(given_data)
    with contextlib.suppress(ScenarioError):
        structure(parse(text, "f.yaml"), Scenario)


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
            "known: constant, empirical, exponential, gaussian, lognormal, pareto_lognormal, uniform"
        ),
    ]
    assert fleet_lines("cars: {name: a}") == ["f.yaml: cars must be a list, got {'name': 'a'} (line 1)"]
    assert fleet_lines("sizes: [1, x]") == ["f.yaml: sizes[1] must be an integer, got 'x' (line 1)"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("label: 12", Fleet(label="12")),
        ("count: null", Fleet()),
        ("cars:", Fleet()),
        ("cars: [{name: 5, doors: 3.0, spare: null, front: null}]", Fleet(cars=(Car(name="5", doors=3),))),
    ],
)
def test_leniently_read_files_may_say_it_in_other_ways(text, made):
    assert structure(parse(text), Fleet, lenient=True) == made
    with pytest.raises(ScenarioError):
        structure(parse(text), Fleet)


@pytest.mark.parametrize("text", ["count: 2e3", "count: 2000.0", "count: 2.0e+3"])
def test_a_count_may_be_written_as_a_whole_float(text):
    assert structure(parse(text), Fleet) == Fleet(count=2000)


def test_a_mapping_of_parts_has_settings_under_each_name():
    made = structure(parse("kinds:\n  winter: {size: 2, tyre: hard}\n  '*': {}\n"), Garage)
    assert made == Garage(kinds={"winter": Wheel(size=2, tyre="hard"), "*": Wheel()})


def test_a_mapping_of_parts_keeps_no_reference_to_the_one_given():
    kinds = {"winter": Wheel()}
    garage = Garage(kinds=kinds)
    kinds["summer"] = Wheel()
    assert list(garage.kinds) == ["winter"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "kinds:\n  winter: {size: 0}\n  summer:\n    sze: 1\n",
            ["kinds.winter.size must be > 0, got 0 (line 2)", "kinds.summer.sze is not a setting (line 4)"],
        ),
        ("kinds: {winter: 3}", ["kinds.winter must be a mapping of settings, got 3 (line 1)"]),
        ("kinds: [{}]", ["kinds must be a mapping of names to settings, got ({},) (line 1)"]),
        ("kinds: winter", ["kinds must be a mapping of names to settings, got 'winter' (line 1)"]),
        ("reserved: {ann: {doors: 2}}", ["reserved.ann.name is required (line 1)"]),
    ],
)
def test_a_mistake_in_a_mapping_of_parts_is_named_by_its_path(text, lines):
    with pytest.raises(ScenarioError) as caught:
        structure(parse(text), Garage)
    assert [str(problem).partition(";")[0] for problem in caught.value.problems] == lines


def test_a_name_in_a_mapping_of_parts_is_text():
    with pytest.raises(ScenarioError) as caught:
        Garage(kinds={7: Wheel()})
    assert str(caught.value) == "kinds must have names as keys, got 7"
