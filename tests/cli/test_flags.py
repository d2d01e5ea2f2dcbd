"""Flags in the syntax of the reference."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.cli.common import setting_flags
from blis_simpy.cli.flags import Flag, flags_of, read_flags
from blis_simpy.errors import ScenarioError
from blis_simpy.settings.fields import setting, settings_class

FLAGS = (
    Flag(name="--count", target="count", hint=int),
    Flag(name="--share", target="part.share", hint=float),
    Flag(name="--values", target="values", hint=tuple[float, ...] | None),
    Flag(name="--name", target="name", absent=""),
    Flag(name="--words", target="words", hint=tuple[str, ...]),
    Flag(name="--each", target="each", hint=list[str]),
    Flag(name="--quick", target="quick", hint=bool),
    Flag(name="--zero", target="zero", hint=int | None, absent="0"),
)


def read(*words: str) -> dict[str, object]:
    return read_flags(words, FLAGS, command="test", about="Test.", positional="file")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["--count", "3"], {"count": 3}),
        (["--count=3"], {"count": 3}),
        (["--count=3", "--count", "4"], {"count": 4}),
        (["--count", "-3"], {"count": -3}),
        (["--count", "0x10"], {"count": 16}),
        (["--count", "0b11"], {"count": 3}),
        (["--count", "0o17"], {"count": 15}),
        (["--count", "1_000"], {"count": 1000}),
        (["--count", "1e3"], {"count": 1000}),
        (["--count", "1.5"], {"count": "1.5"}),
        (["--share", "1e-3"], {"part.share": 0.001}),
        (["--share", "-2.5"], {"part.share": -2.5}),
        (["--values", "1,2.5, 3e2"], {"values": (1, 2.5, 300.0)}),
        (["--values", "-1,2"], {"values": (-1, 2)}),
        (["--values", "1", "--values=2,3"], {"values": (1, 2, 3)}),
        (["--values", "1,,x"], {"values": (1, "", "x")}),
        (["--words", "a, 1", "--words=1e3"], {"words": ("a", "1", "1e3")}),
        (["--each", "a,b", "--each=c=1,2"], {"each": ["a,b", "c=1,2"]}),
        (["--name", "--count"], {"name": "--count"}),
        (["--name="], {}),
        (["--name", ""], {}),
        (["--zero", "0"], {}),
        (["--zero", "1"], {"zero": 1}),
        (["--quick"], {"quick": True}),
        (["--quick", "x.yaml"], {"quick": True, "file": "x.yaml"}),
        (["--quick=false"], {"quick": False}),
        (["--quick=T", "--quick=0"], {"quick": False}),
        (["x.yaml", "--count", "3"], {"count": 3, "file": "x.yaml"}),
    ],
)
def test_words_become_values(words, values):
    assert read(*words) == values


@pytest.mark.parametrize("words", [["a", "b", "--count", "3"], ["a", "--count", "3", "b"], ["--count=3", "a", "b"]])
def test_several_words_may_stand_anywhere(words):
    values = read_flags(words, FLAGS, command="test", about="Test.", positional="files", several=True)
    assert values == {"count": 3, "files": ["a", "b"]}


def test_no_word_of_several_is_absent_like_any_flag():
    assert read_flags([], FLAGS, command="test", about="Test.", positional="files", several=True) == {}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--coutn", "3"], "--coutn is not a flag; did you mean --count?"),
        (["--coun=3"], "--coun is not a flag; did you mean --count?"),
        (["-count", "3"], "-count is not a flag; did you mean --count?"),
        (["--count"], "--count needs a value"),
        (["--count", "--"], "--count needs a value"),
        (["--count=--"], "--count needs a value"),
        (["--quick=yes"], "--quick must be true or false, got 'yes'"),
        (["a", "b"], "unexpected argument 'b'"),
        (["a", "b" * 5000], f"unexpected argument '{'b' * 100}'"),
        (["--" + "b" * 5000], f"--{'b' * 295}... is not a flag"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words, line):
    with pytest.raises(ScenarioError) as caught:
        read(*words)
    assert str(caught.value) == line


def test_all_unknown_flags_are_reported_at_once():
    with pytest.raises(ScenarioError) as caught:
        read("--coutn=3", "--quik")
    assert str(caught.value).splitlines() == [
        "--coutn is not a flag; did you mean --count?",
        "--quik is not a flag; did you mean --quick?",
    ]


def test_flags_are_derived_from_the_fields_of_nested_settings():
    @settings_class
    class Outer:
        size: int = setting(default=3, help="Size of it.", unit="GiB", flag="--size-of-it")
        hidden: int = setting(default=3, help="No flag.")
        made: dict[str, str] = setting(factory=dict, help="Made anew.", flag="--made")

    assert list(flags_of(Outer)) == [
        Flag(name="--size-of-it", target="size", hint=int, help="Size of it. [GiB]", default=3),
        Flag(name="--made", target="made", hint=dict[str, str], help="Made anew.", absent=""),
    ]


def test_the_scenario_has_the_flags_of_the_reference():
    """The names are fixed: whoever comes from the reference types them from memory."""
    assert {flag.name for flag in setting_flags(workload=True)} == {
        *("--seed", "--horizon", "--defaults-filepath", "--model-config-folder", "--hardware-config"),
        *("--total-kv-blocks", "--block-size-in-tokens", "--max-num-running-reqs", "--max-num-scheduled-tokens"),
        *("--long-prefill-token-threshold", "--beta-coeffs", "--alpha-coeffs", "--model", "--hardware", "--tp"),
        *("--vllm-version", "--latency-model", "--max-model-len", "--gpu-memory-utilization", "--scheduler"),
        *("--priority-policy", "--num-instances", "--rate", "--num-requests", "--prefix-tokens"),
        *("--kv-cpu-blocks", "--kv-offload-threshold", "--kv-transfer-bandwidth", "--kv-transfer-base-latency"),
        *("--admission-policy", "--admission-latency", "--token-bucket-capacity", "--token-bucket-refill-rate"),
        *("--routing-policy", "--routing-latency", "--routing-scorers", "--snapshot-refresh-interval"),
        *("--trace-level", "--counterfactual-k"),
        *("--engine-profile", "--kv-capacity-rules", "--max-in-flight"),  # ours
        *(f"--{side}-tokens{end}" for side in ("prompt", "output") for end in ("", "-stdev", "-min", "-max")),
    }


@given(st.lists(st.one_of(st.sampled_from([flag.name for flag in FLAGS]), st.text(max_size=4), st.just("--count=7"))))
def test_no_words_crash_the_reading(words):
    with contextlib.suppress(ScenarioError):
        read(*(word for word in words if word not in ("-h", "--help")))
