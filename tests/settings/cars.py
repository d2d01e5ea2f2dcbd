"""Settings classes to try the machinery on."""

from __future__ import annotations

from collections.abc import Mapping

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.description import PluginForms
from blis_simpy.settings.field_types import NamedParts, OptionalPart, Part, Parts, Plugin
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.workload.lengths import Constant

NO_OTHER_FORM = PluginForms(lambda value: value, ())


@settings_class
class Wheel:
    size: float = setting(default=1.0, help="Diameter.", gt=0)
    tyre: str = setting(default="soft", help="Kind of tyre.", choices=("soft", "hard"))


@settings_class
class Car:
    name: str = setting(help="Name.")
    doors: int = setting(default=4, help="Number of doors.", ge=1)
    front: Part[Wheel] = setting(factory=Wheel, help="Front wheels.")
    spare: OptionalPart[Wheel] = setting(default=None, help="Spare wheel.")
    load: Plugin = setting(
        factory=lambda: Constant(1), help="Load.", kind="lengths", forms=PluginForms(lambda value: value, ())
    )

    def __attrs_post_init__(self) -> None:
        if self.doors == 13:
            raise ScenarioError.at("doors", "must not be unlucky", self.doors)


@settings_class
class Fleet:
    cars: Parts[Car] = setting(default=(), help="Cars.")
    sizes: tuple[int, ...] = setting(default=(), help="Sizes.")
    extras: Mapping[str, float] = setting(factory=dict, help="Anything.")
    label: str = setting(default="", help="Label.")
    count: int = setting(default=0, help="A number.")


@settings_class
class Garage:
    kinds: NamedParts[Wheel] = setting(factory=dict, help="Wheels by kind.")
    reserved: NamedParts[Car] = setting(factory=dict, help="Cars by driver.")
