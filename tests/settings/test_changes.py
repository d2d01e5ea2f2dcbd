"""Copies of settings with some of them replaced."""

from __future__ import annotations

import pytest
from cars import Car, Fleet, Garage, Wheel

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.field_types import OptionalPart
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.updates import updated
from blis_simpy.workload.lengths import Gaussian


def test_a_changed_copy_leaves_the_original():
    car = Car(name="x")
    other = updated(car, {"doors": 2, "front.size": 7, "spare.tyre": "hard", "load": Gaussian(3, 1), "load.mean": 4})
    assert car == Car(name="x")
    assert other == Car(name="x", doors=2, front=Wheel(size=7), spare=Wheel(tyre="hard"), load=Gaussian(4, 1))


def test_a_changed_copy_reports_all_bad_paths_and_values():
    with pytest.raises(ScenarioError) as caught:
        updated(Car(name="x"), {"dors": 1, "doors": 0, "front.sze": 1, "front.size": -1, "name.x": 3, "doors.y": 1})
    assert str(caught.value).splitlines() == [
        "dors is not a setting; did you mean doors?",
        "doors must be >= 1, got 0",
        "front.sze is not a setting; did you mean size?",
        "front.size must be > 0, got -1",
        "name.x is not a setting",
        "doors.y is not a setting",
    ]


FLEET = Fleet(cars=(Car(name="a"), Car(name="b", spare=Wheel())), sizes=(1, 2), extras={"x": 1.0})


def test_an_item_of_a_list_is_changed_by_its_index():
    changes = {"cars[1].doors": 2, "cars[1].spare.size": 3, "cars[0]": Car(name="c"), "sizes[1]": 7, "extras.x": 2.0}
    assert updated(FLEET, changes) == Fleet(
        cars=(Car(name="c"), Car(name="b", doors=2, spare=Wheel(size=3))), sizes=(1, 7), extras={"x": 2.0}
    )


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("cars[2].doors", "cars[2].doors does not exist; there are 2 items, from [0]"),
        ("cars[0].dors", "cars[0].dors is not a setting; did you mean doors?"),
        ("cars[0].doors", "cars[0].doors must be >= 1, got 0"),
        ("cars[0].front.size", "cars[0].front.size must be > 0, got 0"),
        ("cars[0]", "cars[0] must be a mapping of settings, got 0"),
        ("cars.doors", "cars.doors is not a setting; an item is selected by its index, as in [0]"),
        ("sizes[0].x", "sizes[0].x is not a setting"),
        ("label[0]", "label[0] is not a setting"),
        ("extras.y", "extras.y is not a setting; known: x"),
        ("[0]", "[0] is not a setting; known: cars, sizes, extras, label, count"),
        ("", " is not a setting; known: cars, sizes, extras, label, count"),
    ],
)
def test_a_bad_path_into_a_list_is_told(path, line):
    with pytest.raises(ScenarioError) as caught:
        updated(FLEET, {path: 0})
    assert str(caught.value).strip() == line.strip()


@settings_class
class Owner:
    car: OptionalPart[Car] = setting(default=None, help="Car.")


def test_a_part_that_was_not_there_is_made_of_what_is_given():
    assert updated(Owner(), {"car.name": "x", "car.front.size": 2}).car == Car(name="x", front=Wheel(size=2))
    with pytest.raises(ScenarioError) as caught:
        updated(Owner(), {"car.doors": 2})
    assert str(caught.value) == "car.name is required"


GARAGE = Garage(kinds={"winter": Wheel(size=2)}, reserved={"ann": Car(name="a")})


def test_a_part_of_a_mapping_of_parts_is_changed_by_its_name():
    changes = {"kinds.winter.tyre": "hard", "kinds.summer.size": 3, "kinds.*": {}, "reserved.ann.front.size": 4}
    assert updated(GARAGE, changes) == Garage(
        kinds={"winter": Wheel(size=2, tyre="hard"), "summer": Wheel(size=3), "*": Wheel()},
        reserved={"ann": Car(name="a", front=Wheel(size=4))},
    )
    assert GARAGE.kinds == {"winter": Wheel(size=2)}


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("kinds.winter.sze", 3, "kinds.winter.sze is not a setting; did you mean size?"),
        ("kinds.winter.size", 0, "kinds.winter.size must be > 0, got 0"),
        ("kinds.summer.size", 0, "kinds.summer.size must be > 0, got 0"),
        ("kinds.summer.sze", 1, "kinds.summer.sze is not a setting; did you mean size?"),
        ("kinds.summer", 1, "kinds.summer must be a mapping of settings, got 1"),
        ("reserved.bob.doors", 2, "reserved.bob.name is required"),
    ],
)
def test_a_bad_change_of_a_mapping_of_parts_is_named_by_its_path(path, value, line):
    with pytest.raises(ScenarioError) as caught:
        updated(GARAGE, {path: value})
    assert str(caught.value) == line
