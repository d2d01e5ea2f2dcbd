"""JSON Schema made of settings classes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from random_settings import instances

from blis_simpy import registry, units
from blis_simpy.load_files import scenario_schema
from blis_simpy.scenario import Scenario
from blis_simpy.settings.field_types import Duration, NamedParts, Parts, Plugin
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.settings.schema import SchemaWriter
from blis_simpy.settings.serialize import to_plain
from blis_simpy.workload.lengths import Gaussian


@settings_class
class Wheel:
    """A wheel. It turns."""

    size: float = setting(default=1.0, help="Diameter.", unit="cm", gt=0, le=99)


@settings_class
class Car:
    name: str = setting(help="Name.")
    colour: str = setting(default="", help="Colour.", choices=("red", "blue"), absent="")
    wheels: Parts[Wheel] = setting(default=(), help="Wheels.")
    gears: tuple[int, ...] | None = setting(default=None, help="Gears.", ge=1)
    weights: Mapping[str, float] = setting(factory=dict, help="Weights.")
    delay: Duration = setting(default=0, help="Delay.", dimension="duration", ge=0)
    order: Plugin = setting(default="fcfs", help="Order.", kind="scheduler")
    arrivals: str = setting(default="poisson", help="Arrivals.", kind="arrivals")


def test_a_class_is_a_mapping_of_its_fields():
    writer = SchemaWriter()
    schema = writer.mapping(Car)
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["name"], False)
    assert list(schema["properties"]) == [attribute.name for attribute in attrs.fields(Car)]
    properties = schema["properties"]
    assert properties["name"] == {"description": "Name.", "type": "string"}
    assert properties["colour"] == {"description": "Colour.", "default": "", "enum": ["red", "blue", ""]}
    assert properties["wheels"] == {"description": "Wheels.", "type": "array", "items": {"$ref": "#/$defs/Wheel"}}
    assert properties["gears"] == {
        "description": "Gears.",
        "anyOf": [{"type": "array", "items": {"type": "integer", "minimum": 1}}, {"type": "null"}],
    }
    assert properties["weights"] == {
        "description": "Weights.",
        "type": "object",
        "additionalProperties": {"type": "number"},
    }
    assert properties["delay"] == {
        "description": "Delay.",
        "default": 0,
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": units.DURATION_PATTERN}],
    }
    assert properties["arrivals"]["enum"] == list(registry.names("arrivals"))
    assert writer.definitions["Wheel"] == {
        "type": "object",
        "description": "A wheel",
        "properties": {
            "size": {
                "description": "Diameter. [cm]",
                "default": 1.0,
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 99,
            }
        },
        "additionalProperties": False,
    }


@settings_class(kw_only=False)
class Deep:
    depth: int = setting(default=3, help="Depth.", ge=1)


@settings_class(kw_only=False)
class Wired:
    """Made by the library with something that is no setting."""

    blocks: int
    depth: int = setting(default=3, help="Depth.")


def test_the_options_of_a_plug_in_are_known_where_it_declares_them():
    with registry.added("scheduler", "deep", Deep), registry.added("scheduler", "wired", Wired):
        names, deep, others = SchemaWriter().mapping(Car)["properties"]["order"]["anyOf"]
    assert set(names["enum"]) > {"deep", "wired", "sjf"}
    assert deep["properties"] == {
        "type": {"const": "deep"},
        "depth": {"description": "Depth.", "default": 3, "type": "integer", "minimum": 1},
    }
    assert (deep["required"], deep["additionalProperties"]) == (["type"], False)
    assert "deep" not in others["properties"]["type"]["enum"]
    assert "wired" in others["properties"]["type"]["enum"]
    assert "additionalProperties" not in others


def test_leniently_read_files_may_leave_values_out_and_write_labels_as_numbers():
    properties = SchemaWriter(lenient=True).mapping(Car)["properties"]
    assert properties["name"]["type"] == ["string", "number"]
    assert properties["wheels"]["anyOf"][1] == {"type": "null"}


def test_every_length_law_is_told_by_its_type():
    *laws, number, description = scenario_schema()["$defs"]["Workload"]["properties"]["prompt"]["anyOf"]
    assert (number, description) == ({"type": "integer"}, {"$ref": "#/$defs/LengthDistribution"})
    assert [law["properties"]["type"]["const"] for law in laws] == list(registry.names("lengths"))
    (gaussian,) = (law for law in laws if law["properties"]["type"]["const"] == "gaussian")
    assert gaussian["required"] == ["type", "mean", "std_dev"]
    assert list(gaussian["properties"]) == ["type", *attrs.fields_dict(Gaussian)]


SPELLED = st.from_regex(r"\A\s?[+-]?[0-9.]{0,4}(e[+-]?[0-9]{0,3})?\s?/?\s?[a-zµμA-Z]{0,3}\s?\Z")


@pytest.mark.parametrize(
    ("pattern", "parse"),
    [(units.DURATION_PATTERN, units.parse_duration), (units.RATE_PATTERN, units.parse_rate)],
)
def test_the_pattern_of_a_quantity_fits_what_is_read(pattern, parse):
    validator = Draft202012Validator({"pattern": pattern})

    @settings(deadline=None)
    @given(
        SPELLED
        | st.sampled_from(["2s", "1.5 MS", "3min", "1H", "7", "20/s", "600 / min", "1e3us", "5 µs", "x", "2 s s", ""])
    )
    def agree(text):
        is_read, is_whole = True, True
        try:
            parse(text)
        except ValueError as error:
            is_read, is_whole = False, "whole number of microseconds" not in str(error)
        assert validator.is_valid(text) == (is_read or not is_whole)

    agree()


SCENARIO = Draft202012Validator(scenario_schema())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(instances(Scenario))
def test_what_a_scenario_writes_fits_the_schema(scenario):
    SCENARIO.validate(to_plain(scenario))


def test_a_mapping_of_parts_refers_to_their_class():
    @settings_class
    class Garage:
        kinds: NamedParts[Wheel] = setting(factory=dict, help="Kinds.")

    writer = SchemaWriter()
    kinds = writer.mapping(Garage)["properties"]["kinds"]
    assert kinds == {
        "description": "Kinds.",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/Wheel"},
    }
    assert "Wheel" in writer.definitions
