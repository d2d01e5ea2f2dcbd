"""Settings explain themselves: docstrings and signatures are made of the descriptions of the fields."""

from __future__ import annotations

import inspect
import pydoc

import attrs
import pytest
from cars import Wheel

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.settings.description import find_setting
from blis_simpy.settings.field_types import Duration, Parts, accepted_types
from blis_simpy.settings.fields import setting, settings_class


@settings_class
class Tram:
    """A tram.

    It runs on rails.

    Raises
    ------
    ScenarioError
        If it is too long.

    Examples
    --------
    >>> Tram(line="7").length
    30.0
    """

    line: str = setting(help="Line.")
    length: float = setting(default=30.0, help="Length.", unit="m", gt=0, le=45)
    stop: Duration = setting(default=0, help="Time at a stop.", unit="us", dimension="duration")
    wheels: Parts[Wheel] = setting(default=(), help="Wheels.")
    colour: str = setting(default="red", help="Colour.", choices=("red", "blue"))
    order: object = setting(default="fcfs", help="Order of the queue at the door.", kind="scheduler")


def test_the_docstring_lists_type_default_unit_range_and_choices_before_the_other_sections():
    assert inspect.getdoc(Tram) == (
        "A tram.\n"
        "\n"
        "It runs on rails.\n"
        "\n"
        "Parameters\n"
        "----------\n"
        "line : str\n"
        "    Line.\n"
        "length : float, default 30.0\n"
        "    Length. Unit: m. Range: > 0, <= 45.\n"
        "stop : int | str, default 0\n"
        "    Time at a stop. Unit: us.\n"
        "wheels : Sequence[Wheel | Mapping[str, Any]], default ()\n"
        "    Wheels.\n"
        "colour : str, default 'red'\n"
        "    Colour. One of red, blue.\n"
        "order : object, default 'fcfs'\n"
        f"    Order of the queue at the door. One of {', '.join(registry.names('scheduler'))}, or your own.\n"
        "\n"
        "Raises\n"
        "------\n"
        "ScenarioError\n"
        "    If it is too long.\n"
        "\n"
        "Examples\n"
        "--------\n"
        '>>> Tram(line="7").length\n'
        "30.0"
    )


def test_the_signature_has_the_types_that_are_accepted():
    assert str(inspect.signature(Tram)) == (
        "(*, line: str, length: float = 30.0, stop: int | str = 0, wheels: Sequence[Wheel | Mapping[str, Any]] = (), "
        "colour: str = 'red', order: object = 'fcfs')"
    )
    assert "factory" not in str(inspect.signature(blis.Scenario))
    assert "engine: EngineSettings | Mapping[str, Any] = EngineSettings()" in str(inspect.signature(blis.Scenario))


def test_help_shows_no_parameter_without_a_type():
    text = pydoc.plain(pydoc.render_doc(blis.Scenario))
    assert "model : str" in text
    assert "horizon : int | str | None, default None" in text
    (constructor,) = (line for line in text.splitlines() if "__init__(" in line)
    assert "'Any'" not in constructor


SETTINGS = [
    (name, cls)
    for name in blis.__all__
    if isinstance(cls := getattr(blis, name), type)
    and attrs.has(cls)
    and any(find_setting(field) for field in attrs.fields(cls))
]


def test_the_public_settings_classes_are_found():
    assert {name for name, _ in SETTINGS} >= {
        *("Scenario", "Workload", "WorkloadSpec", "Client", "Arrival", "LengthDistribution", "Gaussian", "Constant"),
        *("Empirical", "Exponential", "ParetoLognormal", "EngineSettings", "KVSettings", "LatencySettings"),
        *("AdmissionSettings", "RouterSettings", "ReplicaGroup", "NodePool", "LifecycleSettings", "Reasoning"),
        *("MultiTurn", "ObserveSettings", "TokenBucket", "Weighted", "LeastLoaded"),
    }


@pytest.mark.parametrize(("name", "cls"), SETTINGS)
def test_every_public_settings_class_describes_every_parameter(name, cls):
    text = inspect.getdoc(cls)
    for parameter in inspect.signature(cls).parameters.values():
        assert f"\n{parameter.name} : " in text
        assert parameter.annotation != inspect.Parameter.empty
    for field in attrs.fields(cls):
        assert find_setting(field).help.endswith(".")


@pytest.mark.parametrize(("name", "cls"), SETTINGS)
def test_text_is_accepted_where_a_quantity_has_a_dimension(name, cls):
    for field in attrs.fields(cls):
        accepted = str(accepted_types(cls)[field.name])
        assert (find_setting(field).dimension is None) or "str" in accepted
