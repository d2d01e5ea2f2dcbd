"""One place for an option: what a field accepts when a settings class is made in Python."""

from __future__ import annotations

import contextlib
import copy
import pickle
from pathlib import Path

import attrs
import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.description import Setting
from blis_simpy.settings.field_types import Numbers, OptionalDuration, OptionalPath, Plugin, Rate
from blis_simpy.settings.fields import fields_of, setting, settings_class


def _pair(value):
    if value and len(value) != 2:
        raise ScenarioError.at("", "must be two numbers", value)
    return value


@settings_class
class Everything:
    count: int = setting(default=3, help="A number of things.", unit="things", ge=1, le=10)
    share: float = setting(default=0.5, help="A share.", gt=0, lt=1)
    limit: int | None = setting(default=None, help="An optional limit.", ge=0)
    name: str = setting(default="a", help="A name.", choices=("alpha", "beta", "a"))
    switch: bool = setting(default=True, help="A switch.")
    values: Numbers = setting(default=None, help="Several values.", ge=0)
    pause: OptionalDuration = setting(default=None, help="A duration.", dimension="duration", gt=0)
    rate: Rate = setting(default=1.0, help="A rate.", dimension="rate", gt=0)
    folder: OptionalPath = setting(default=None, help="A folder.", is_path=True)
    scheduler: Plugin = setting(default="fcfs", help="A plug-in.", kind="scheduler")
    model: Plugin | None = setting(default=None, help="An optional plug-in.", kind="latency")
    gaps: str = setting(default="", help="A plug-in by name.", kind="arrivals", absent="")
    label: str = setting(default="", help="A label.", choices=("red", "blue"), absent="")
    pair: tuple[int, ...] = setting(default=(), help="Two numbers.", convert=_pair)


PROCESSES = f"known: {', '.join(registry.names('arrivals'))}"


@settings_class
class Required:
    size: int = setting(help="A size.")


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("count", 0, "count must be >= 1, got 0"),
        ("count", 11, "count must be <= 10, got 11"),
        ("count", True, "count must be an integer, got True"),
        ("count", 3.5, "count must be an integer, got 3.5"),
        ("count", "3", "count must be an integer, got '3'"),
        ("count", None, "count must be an integer, got None"),
        ("share", 0, "share must be > 0, got 0"),
        ("share", 1.0, "share must be < 1, got 1.0"),
        ("share", float("nan"), "share must be a finite number, got nan"),
        ("share", float("inf"), "share must be a finite number, got inf"),
        ("share", True, "share must be a number, got True"),
        ("share", "0.5", "share must be a number, got '0.5'"),
        ("limit", -1, "limit must be >= 0, got -1"),
        ("name", "bet", "name is unknown, got 'bet'; did you mean 'beta'? known: alpha, beta, a"),
        ("name", 3, "name must be text, got 3"),
        ("switch", 1, "switch must be true or false, got 1"),
        ("values", 3.0, "values must be a list, got 3.0"),
        ("values", (1.0, -2.0), "values[1] must be >= 0, got -2.0"),
        ("values", [1, "2"], "values[1] must be a number, got '2'"),
        ("values", [float("nan")], "values[0] must be a finite number, got nan"),
        ("gaps", "poison", f"gaps is unknown, got 'poison'; did you mean 'poisson'? {PROCESSES}"),
        ("gaps", {"type": "poisson"}, "gaps must be text, got {'type': 'poisson'}"),
        ("label", "green", "label is unknown, got 'green'; known: red, blue"),
        ("pair", [1, 2, 3], "pair must be two numbers, got (1, 2, 3)"),
        ("pair", [1, "2"], "pair[1] must be an integer, got '2'"),
        ("pause", "2x", "pause must be a duration such as 50ms, 2s, 1.5s, 3min or 1h, got '2x'"),
        ("pause", "1.5us", "pause must be a whole number of microseconds, got '1.5us'"),
        ("pause", "0s", "pause must be > 0, got 0"),
        ("pause", 1.0, "pause must be an integer, got 1.0"),
        ("rate", "fast", "rate must be a rate such as 20/s, 600/min or a number per second, got 'fast'"),
        ("folder", 3, "folder must be text, got 3"),
        ("scheduler", None, "scheduler must be a name or a mapping with 'type', got None"),
        ("scheduler", {"name": "fcfs"}, "scheduler must name its plug-in under 'type', got {'name': 'fcfs'}"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(field, value, line):
    with pytest.raises(ScenarioError) as caught:
        Everything(**{field: value})
    assert str(caught.value) == line


def test_text_with_a_unit_is_kept_as_a_number():
    made = Everything(pause="2s", rate="600/min")
    assert (made.pause, made.rate) == (2_000_000, 10.0)


def test_a_whole_number_is_a_number_and_a_list_becomes_a_tuple():
    made = Everything(rate=3, values=[1, 2.5])
    assert (made.rate, made.values) == (3, (1, 2.5))


def test_numbers_of_numpy_become_numbers_of_python():
    made = Everything(count=np.int64(3), share=np.float32(0.5), values=[np.float64(1.5), np.int32(2)])
    assert made == Everything(count=3, share=0.5, values=(1.5, 2))
    assert [type(value) for value in (made.count, made.share, *made.values)] == [int, float, float, int]


def test_a_path_object_is_kept_as_text():
    assert Everything(folder=Path("a") / "b").folder == str(Path("a") / "b")


def test_a_plug_in_may_be_a_name_a_mapping_a_class_or_an_instance():
    class Mine:
        pass

    mine = Mine()
    for value in ("sjf", Mine, mine):
        assert Everything(scheduler=value).scheduler is value
    assert Everything(scheduler={"type": "sjf"}).scheduler == "sjf"


def test_an_unknown_plug_in_is_refused_with_the_nearest_name_and_a_code():
    with pytest.raises(ScenarioError) as caught:
        Everything(scheduler="sfj")
    assert str(caught.value).startswith("scheduler is unknown, got 'sfj'; did you mean 'sjf'? known: ")
    assert caught.value.code == "unknown_scheduler"


def test_a_field_without_default_is_required():
    with pytest.raises(ScenarioError, match="size is required; A size"):
        Required()
    assert Required(size=1).size == 1


def test_settings_are_equal_by_value_and_survive_pickling_and_copying():
    made = Everything(count=4, values=[1.0], scheduler={"type": "sjf"})
    assert pickle.loads(pickle.dumps(made)) == made == copy.deepcopy(made)
    assert made != Everything(count=5, values=[1.0], scheduler={"type": "sjf"})


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Everything().count = 4


def test_empty_text_may_stand_for_none_beside_names_and_choices():
    assert Everything(gaps="", label="".join([])) == Everything()


def test_a_converter_has_normalised_values():
    assert Everything(pair=[np.int64(1), 2]).pair == (1, 2)


def test_settings_show_what_differs_from_the_defaults():
    scenario = blis.Scenario(
        model="m", horizon="2s", engine=blis.EngineSettings(max_num_seqs=4), workload=blis.Workload()
    )
    assert repr(scenario) == (
        "Scenario(model='m', horizon=2000000, engine=EngineSettings(max_num_seqs=4), workload=Workload())"
    )
    assert scenario._repr_html_().startswith("<pre>model: m\n")


def test_scenario_that_cannot_be_written_shows_itself_all_the_same():
    class Mine:
        def route(self, request, state):
            return 0

    assert "Mine" in blis.Scenario(model="m", router=Mine)._repr_html_()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: blis.Client(rate_fraction=1, arrival="poisson", input_distribution=5),
            "output_distribution is required; Output lengths",
        ),
        (lambda: blis.Scenario(), "model is required; Model, as organisation/name; case-insensitive"),
        (lambda: blis.Gaussian(5), "std_dev is required; Standard deviation before clamping"),
        (
            lambda: blis.Gaussian(5, std=3),
            "std is not a setting; did you mean std_dev?\nstd_dev is required; Standard deviation before clamping",
        ),
        (lambda: blis.Workload(3), "Workload takes its settings by name, got 3; rate=..."),
        (lambda: blis.Constant(3, 4), "Constant takes at most 1 value without a name, got 4; value=..."),
    ],
)
def test_wrong_arguments_are_named(make, expected):
    with pytest.raises(ScenarioError) as raised:
        make()
    assert str(raised.value) == expected


def test_no_public_settings_class_answers_wrong_arguments_with_a_type_error():
    for cls in vars(blis).values():
        if not isinstance(cls, type) or not attrs.has(cls) or not any(Setting in f.metadata for f in fields_of(cls)):
            continue
        for arguments in ({}, {"nonsense": 1}):
            with contextlib.suppress(ScenarioError):
                cls(**arguments)
