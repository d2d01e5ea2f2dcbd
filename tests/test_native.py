"""The hot path compiled: the same behaviour, and a way to tell."""

import copy
import pickle
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from blis_simpy.cli.main import main
from blis_simpy.core.leg import Leg, Phase, RequestOutcome
from blis_simpy.core.request import Request
from blis_simpy.native import is_compiled
from blis_simpy.replica.running_request import RunningRequest

ROOT = Path(__file__).parent.parent
TARGETS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]


@pytest.mark.parametrize("path", TARGETS["wheel"]["hooks"]["custom"]["modules"])
def test_listed_modules_are_all_compiled_or_all_interpreted(path):
    assert (ROOT / path).is_file()
    module = import_module(path.removesuffix(".py").replace("/", "."))
    assert module.__file__.endswith(".py") is not is_compiled()


def test_version_tells_whether_the_installation_is_compiled(capsys):
    assert main(["version"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("(compiled)") is is_compiled()


def test_legs_made_by_interpreted_code_and_its_subclasses_are_initialized():
    class Labelled(RunningRequest):
        label = "mine"

    for kind in (Leg, RunningRequest, Labelled):
        leg = kind(Request("r", 3, 10, 5), 2, Phase.DECODE, 7)
        assert (leg.request.id, leg.replica, leg.phase, leg.routed_at) == ("r", 2, Phase.DECODE, 7)
    again = leg.preempted(9)
    assert (type(again), again.replica, again.num_preemptions, again.previous) == (Labelled, 2, 1, leg)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda leg: pickle.loads(pickle.dumps(leg))])
def test_legs_are_copied_and_pickled_with_their_attributes(duplicate):
    leg = Leg(Request("r", 3, 10, 5), 2)
    leg.outcome = RequestOutcome.COMPLETED
    leg.segments = ((1, 4),)
    other = duplicate(leg)
    assert other is not leg
    assert (other.request.id, other.replica, other.outcome, other.segments) == ("r", 2, leg.outcome, ((1, 4),))
