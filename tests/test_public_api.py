"""The names that the library promises, and the examples in their docstrings."""

import doctest
import importlib
import inspect
import pkgutil
from importlib.metadata import version

import attrs
import numpy as np
import pytest

import blis_simpy

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(blis_simpy.__path__, "blis_simpy.") if "._" not in module.name
)


def test_public_names_exist_and_are_listed_once():
    assert len(set(blis_simpy.__all__)) == len(blis_simpy.__all__)
    assert all(hasattr(blis_simpy, name) for name in blis_simpy.__all__)


def test_nothing_else_is_public():
    assert {name for name in dir(blis_simpy) if not name.startswith("__")} == set(blis_simpy.__all__)


def test_star_imports_what_is_public():
    names: dict[str, object] = {}
    exec("from blis_simpy import *", names)
    assert set(names) - {"__builtins__"} == set(blis_simpy.__all__)


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'Scenarios'"):
        _ = blis_simpy.Scenarios


@pytest.mark.parametrize("name", blis_simpy.__all__)
def test_public_objects_have_a_docstring(name):
    found = getattr(blis_simpy, name)
    assert not callable(found) or inspect.getdoc(found)


@pytest.mark.parametrize("name", MODULES)
def test_modules_offer_what_they_say(name):
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in getattr(module, "__all__", ()))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    module = importlib.import_module(name)
    names = {public: getattr(blis_simpy, public) for public in blis_simpy.__all__}
    failed, _ = doctest.testmod(module, extraglobs={**names, "attrs": attrs, "np": np} | vars(module))
    assert not failed


def test_the_version_is_that_of_the_installed_package():
    assert blis_simpy.__version__ == version("blis-simpy")
