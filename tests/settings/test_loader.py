"""YAML by the rules of version 1.2, with the line of everything."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.loader import load, parse, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("1.0e3", 1000.0),
        ("-1E-2", -0.01),
        (".5", 0.5),
        ("3.", 3.0),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+7", 7),
        ("1_000", "1_000"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("false", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'3'", "3"),
        ('"true"', "true"),
        ("!!str 3", "3"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("=", "="),
        ("<<", "<<"),
        ("[1, two, 3.0]", [1, "two", 3.0]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    data = parse(f"x: {text}").data
    assert data == {"x": value}
    assert type(data["x"]) is type(value)


def test_not_a_number_can_be_written():
    assert math.isnan(parse("x: .nan").data["x"])


def test_a_number_as_a_key_keeps_its_text_and_its_line():
    document = parse("params:\n  100: 3\n  010: 1\n  2.50: 2\n")
    assert document.data == {"params": {"100": 3, "010": 1, "2.50": 2}}
    assert document.line_of(("params", 100)) == 2


def test_a_part_of_a_document_has_its_own_paths_and_the_lines_of_the_file():
    part = parse("a: 1\nb:\n  c:\n    d: 2\n", "f.yaml").part("b")
    assert (part.data, part.file, part.line_of(("c", "d"))) == ({"c": {"d": 2}}, "f.yaml", 4)


def test_an_anchor_may_be_used_again():
    assert parse("a: &x {b: 1}\nc: *x").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_aliases_that_repeat_too_much_are_refused():
    """Ten levels of ten references are 10**10 values: whoever writes or compares them never ends."""
    levels = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)]
    with pytest.raises(ScenarioError, match=r"f.yaml: has aliases that repeat more than 100000 values \(line 5\)"):
        parse("\n".join(levels), "f.yaml")
    assert parse("\n".join(levels[:5])).data["a0"] == ["x"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f.yaml: is empty"),
        ("# nothing but a comment\n", "f.yaml: is empty"),
        ("- 1\n", "f.yaml: must be a mapping of settings, got [1]"),
        ("hello\n", "f.yaml: must be a mapping of settings, got 'hello'"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml: a is given twice (line 3); first on line 1"),
        ("a:\n  b: 1\n  b: 2\n", "f.yaml: a.b is given twice (line 3); first on line 2"),
        ("a: &x [1, *x]\n", "f.yaml: a[1] must not contain itself (line 1)"),
        ("a: 1\ntrue: x\n", "f.yaml: has a key that is not text (line 2)"),
        ("a:\n  1: x\n  '1': y\n", "f.yaml: a.1 is given twice (line 3); first on line 2"),
        ("[a]: x\n", "f.yaml: has a key that is not text (line 1)"),
        (
            "a: !!python/object:os.system x",
            "f.yaml: a has a tag that is not supported: tag:yaml.org,2002:python/object:os.system (line 1)",
        ),
        ("a: !!int x", "f.yaml: a is tagged as int but is not (line 1)"),
        ("a: " + "9" * 5000, "f.yaml: a must not have more than 400 digits (line 1)"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_line(text, line):
    with pytest.raises(ScenarioError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1,\nb: 2\n", 3),
        ("a: b: c\n", 1),
        ("a: 1\n\tb: 2\n", 2),
        ("a: *nope\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("x: 1\ny: \x01", 2),
    ],
)
def test_broken_yaml_is_one_line_with_its_line_number(text, line):
    with pytest.raises(ScenarioError) as caught:
        parse(text, "f.yaml")
    (problem,) = caught.value.problems
    assert str(problem).startswith("f.yaml: is not valid YAML: ")
    assert problem.line == line
    assert "\n" not in str(problem)


def test_all_duplicates_are_reported_at_once():
    with pytest.raises(ScenarioError) as caught:
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [problem.path for problem in caught.value.problems] == ["a", "b.c"]


def test_lines_are_known_for_keys_and_list_items():
    document = parse("a:\n  b: 1\n  c:\n  - 1\n  - d: 3\n")
    assert document.line_of(("a",)) == 1
    assert document.line_of(("a", "b")) == 2
    assert document.line_of(("a", "c", 1)) == 5
    assert document.line_of(("a", "c", 1, "d")) == 5
    assert document.line_of(("a", "missing")) == 1
    assert document.line_of(("missing",)) is None


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "x.yaml")
    assert str(caught.value) == f"{tmp_path / 'x.yaml'}: cannot be read: No such file or directory"


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path):
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_that_is_not_text_is_one_line(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: must be UTF-8 text, got b'\\xff' (line 1)"


@given(st.one_of(st.text(), st.text(alphabet="{}[],:&*!|>'\"%@`-? \n\tabc019.e~#<")))
def test_no_text_crashes_the_loader(text):
    with contextlib.suppress(ScenarioError):
        parse(text, "f.yaml")


@pytest.mark.parametrize("text", ["1", "010", "1e3", "0x10", "no", "true", "~", "20/s", "'1'", "[1, a]", "{a: 1}"])
def test_a_single_value_reads_as_it_does_behind_a_key(text):
    expected = parse(f"key: {text}").data["key"]
    assert parse_value(text) == expected
    assert type(parse_value(text)) is type(expected)


def test_a_broken_value_is_refused_with_the_reason():
    with pytest.raises(ScenarioError, match="is not valid YAML"):
        parse_value("[1, ")
