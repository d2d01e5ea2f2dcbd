"""The reference pages that are generated from the descriptions of settings."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import attrs
import pytest

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.cli import program
from blis_simpy.cli.scenario_flags import scenario_flags
from blis_simpy.settings.plugin_options import options_class

DOCS = Path(__file__).parent.parent / "docs"
spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


def test_tests_that_hold_guarantees_exist():
    named = re.findall(r"`(tests/[^`]+)`", (DOCS / "guarantees.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [path for path in named if not (DOCS.parent / path).exists()] == []


def test_extras_that_pages_name_exist():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for path in (DOCS.parent / "README.md", *DOCS.rglob("*.md")):
        for extras in re.findall(r"blis-simpy\[([a-z,]+)\]", path.read_text(encoding="utf-8")):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), path


def hook(name):
    """Import a hook of the documentation, which is no package."""
    found = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def page(name):
    return hooks.on_page_markdown((DOCS / "reference" / name).read_text(encoding="utf-8"))


def paths(text):
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("settings.md", ["model", "router.policy", "engine.max_num_seqs", "workload.rate", "groups[i].tp"]),
    ],
)
def test_a_page_lists_the_settings_of_all_parts(name, some):
    text = page(name)
    assert "[[" not in text
    assert set(some) <= set(paths(text))


def test_every_setting_of_a_scenario_has_a_row_or_a_table():
    text = page("settings.md")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    for field in attrs.fields(blis.Scenario):
        assert field.name in paths(text) or field.name in titles


@pytest.mark.parametrize(
    ("kind", "section"), [("admission", "admission"), ("routing", "router"), ("latency", "latency")]
)
def test_options_of_plug_ins_are_listed_beside_the_settings(kind, section):
    text = page("settings.md")
    for name in registry.names(kind):
        described = options_class(registry.get(kind, name))
        for field in attrs.fields(described) if described else ():
            assert f"`{section}.{field.alias}`" in text
            assert f"For `{name}`." in text


def test_a_row_has_default_unit_range_meaning_and_flag():
    assert (
        "| `router.snapshot_interval` | `0` | us (≥ 0) | Age from which the router's snapshot of a replica is "
        "refreshed; 0 means always current. | `--snapshot-refresh-interval` |"
    ) in page("settings.md")


def test_the_page_on_commands_has_every_command_with_every_flag():
    text = hook("commands_hook").on_page_markdown((DOCS / "reference" / "commands.md").read_text(encoding="utf-8"))
    assert "[[" not in text.replace("[[workload", "")
    assert set(re.findall(r"^## blis ([a-z]+)$", text, re.MULTILINE)) == set(program._COMMANDS)
    assert set(re.findall(r"^### blis convert ([a-z0-9-]+)$", text, re.MULTILINE)) >= set(
        registry.names("trace_format")
    )
    of_run = text.partition("## blis run")[2].partition("## blis replay")[0]
    assert all(f" {flag.name} " in of_run for flag in scenario_flags())


def test_the_page_on_installation_has_every_extra_and_every_dependency():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (DOCS / "installation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(project["optional-dependencies"])
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in text
    listed = " ".join(text.partition("depends on:")[2].partition("\n\n")[0].lower().split())
    assert all(re.match(r"\w+", dependency)[0] in listed for dependency in project["dependencies"])
