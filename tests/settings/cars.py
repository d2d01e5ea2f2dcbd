"""Settings classes to try the machinery on."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.fields import Plugin, setting
from blis_simpy.workload.lengths import Constant


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


@attrs.frozen(kw_only=True)
class Fleet:
    cars: tuple[Car, ...] = setting((), help="Cars.")
    sizes: tuple[int, ...] = setting((), help="Sizes.")
    extras: Mapping[str, float] = setting(factory=dict, help="Anything.")
    label: str = setting("", help="Label.")
    count: int = setting(0, help="A number.")
