"""Random instances of settings classes, made of what their fields say about themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs
from hypothesis import assume
from hypothesis import strategies as st

from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.latency.settings import LatencySettings
from blis_simpy.scenario import Scenario
from blis_simpy.settings.description import Setting, setting_of
from blis_simpy.settings.field_types import element_type, listed_class, named_class, nested_class, type_hints
from blis_simpy.settings.plugin_options import options_class
from blis_simpy.workload.settings import Workload
from blis_simpy.workload.spec.inference_perf import SharedPrefix
from blis_simpy.workload.spec.length_distribution import LengthDistribution
from blis_simpy.workload.traffic import Traffic
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 10**6
TINY = 1e-9
"""Smaller numbers are beyond the arithmetic of some laws."""
# Words that one version of YAML or the other takes for something else, and awkward characters.
WORDS = (
    "1e3",
    "0o17",
    "1:30",
    "yes",
    "null",
    "~",
    "1_000",
    "2026-01-01",
    "- a",
    "a: b",
    "#",
    " x ",
    "é\n\tü",
    "{}",
    "\x85",
)
texts = st.one_of(st.sampled_from(WORDS), st.text(min_size=1, max_size=12))
names = st.text("abcdefgh", min_size=1, max_size=8)
options = st.dictionaries(
    names, st.one_of(st.none(), st.booleans(), st.integers(), texts, st.lists(st.floats(0, 9))), max_size=3
)


def numbers(known: Setting, kind: type) -> st.SearchStrategy[Any]:
    low = known.ge if known.ge is not None else known.gt if known.gt is not None else -LARGEST
    high = min(bound for bound in (known.le, known.lt, LARGEST) if bound is not None)
    if kind is int:
        return st.integers(int(low) + (known.gt is not None), int(high))
    floats = st.floats(low, high, exclude_min=known.gt is not None).filter(lambda x: x == 0 or abs(x) > TINY)
    return floats | st.integers(int(low) + 1, max(int(high), int(low) + 1))


def policies(kind: str, name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a mapping of a plug-in's name and the options that it describes."""
    described = options_class(registry.get(kind, name))
    more = st.just({}) if described is None else instances(described).map(attrs.asdict)
    return more.map(lambda more: {"type": name, **more})


def values(known: Setting, hint: Any) -> st.SearchStrategy[Any]:
    types = (hint, *get_args(hint))
    nested, listed = nested_class(hint), listed_class(hint)
    if Traffic in types:
        return instances(Workload) | instances(WorkloadSpec)
    if listed is not None:
        return st.lists(instances(listed), max_size=3)
    if (named := named_class(hint)) is not None:
        return st.dictionaries(texts, instances(named), max_size=3)
    if nested is not None:
        return instances(nested)
    if known.kind is not None and known.forms is not None:
        return st.sampled_from([registry.get(known.kind, name) for name in registry.names(known.kind)]).flatmap(
            instances
        )
    if known.kind is not None:
        name = st.sampled_from(registry.names(known.kind))
        return name if hint is str else name | name.flatmap(lambda name: policies(known.kind, name))
    if known.choices:
        return st.sampled_from(known.choices)
    if any(get_origin(option) is tuple for option in types):
        element = element_type(hint)
        return st.lists(numbers(known, element), min_size=1, max_size=4)
    kind = next((kind for kind in (bool, int, float, str) if kind in types), None)
    if kind is bool:
        return st.booleans()
    if kind in (int, float):
        return numbers(known, kind)
    if kind is str:
        return texts.map("/somewhere/{}".format) if known.is_path else texts
    mix = st.dictionaries(st.sampled_from(registry.names("scorer")), st.floats(0.1, 9), min_size=1)
    return mix | mix.map(lambda mix: list(mix.items())) | st.just("queue-depth:2")


def made(cls: Any, given: Mapping[str, Any]) -> Any:
    """Make an instance; what breaks a rule across fields is not counted."""
    try:
        return cls(**given)
    except ScenarioError:
        assume(False)


LAWS = {
    "constant": ("value",),
    "gaussian": ("mean", "std_dev", "min", "max"),
    "exponential": ("mean",),
    "pareto_lognormal": ("alpha", "xm", "mu", "sigma", "mix_weight"),
}


@st.composite
def distributions(draw: Any) -> LengthDistribution:
    law = draw(st.sampled_from([*LAWS, "empirical"]))
    value = st.integers(1, 999) | st.floats(1, 999)
    if law == "empirical":
        return LengthDistribution(law, draw(st.dictionaries(st.integers(0, 999), value, min_size=1)))
    return LengthDistribution(law, {name: draw(value) for name in LAWS[law]})


@st.composite
def instances(draw: Any, cls: Any) -> Any:
    """Draw an instance in which a field is at its default half the time."""
    if cls is LengthDistribution:
        return draw(distributions())
    hints = type_hints(cls)
    given = {
        attribute.name: draw(values(setting_of(attribute), hints[attribute.name]))
        for attribute in attrs.fields(cls)
        if attribute.default is attrs.NOTHING or draw(st.booleans())
    }
    if cls is LatencySettings and ("alpha" in given) != ("beta" in given):
        given.pop("alpha", None)
        given.pop("beta", None)
    if cls is Scenario and "groups" in given:
        given.pop("replicas", None)
    if cls is SharedPrefix:
        given["num_unique_system_prompts"] = min(given["num_unique_system_prompts"], 100)
        given["num_users_per_system_prompt"] = min(given["num_users_per_system_prompt"], 100)
    if cls is WorkloadSpec:
        sources = [name for name in ("clients", "servegen_data", "inference_perf") if name in given]
        for name in sources[1:]:
            del given[name]
        given["aggregate_rate"] = draw(st.floats(0.1, 100))
        given["version"] = "2"
    return made(cls, given)
