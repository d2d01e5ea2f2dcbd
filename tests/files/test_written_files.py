import os

import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.files.outputs import check_writable, write_text, written_together
from blis_simpy.files.paths import inputs_recorded
from blis_simpy.files.text_files import read_text


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def write(*names, before_the_end=lambda: None):
    with written_together():
        for name in names:
            write_text(name, "new")
        before_the_end()


def test_files_appear_together_at_the_end(in_folder):
    with written_together():
        write_text("a", "1")
        write_text("b", "2")
        assert not {"a", "b"} & contents(in_folder).keys()
    assert contents(in_folder) == {"a": "1", "b": "2"}


def test_none_is_written_if_one_cannot_be(in_folder):
    write_text("a", "old")
    with pytest.raises(ScenarioError, match="no/b: cannot be written: there is no directory no"):
        write("a", "no/b")
    assert contents(in_folder) == {"a": "old"}


def test_files_that_were_replaced_come_back_if_a_later_one_cannot_be_replaced(in_folder):
    write_text("a", "old")
    with pytest.raises(ScenarioError, match="c: cannot be written"):
        write("a", "b", "c", before_the_end=(in_folder / "c").mkdir)
    (in_folder / "c").rmdir()
    assert contents(in_folder) == {"a": "old"}


def test_a_device_that_is_full_leaves_no_file(in_folder):
    with pytest.raises(ScenarioError, match="/dev/full: cannot be written: No space left on device"):
        write("a", "/dev/full")
    assert contents(in_folder) == {}


def test_two_outputs_cannot_have_one_name(in_folder):
    with pytest.raises(ScenarioError, match="another output has this name"):
        write("a", "./a")
    assert contents(in_folder) == {}


def test_an_input_is_not_replaced_under_any_name(in_folder):
    write_text("in", "input")
    (in_folder / "link").symlink_to("in")
    os.link("in", "other")
    with inputs_recorded():
        read_text("in")
        for name in ("in", "link", "other"):
            with pytest.raises(ScenarioError, match=f"{name}: cannot be written: it is read as in"):
                write_text(name, "output")
    assert (in_folder / "in").read_text() == "input"


def test_a_pipe_that_nothing_reads_is_refused(in_folder):
    os.mkfifo("pipe")
    with pytest.raises(ScenarioError, match="pipe: cannot be written"):
        write_text("pipe", "x")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("x" * 300, "File name too long"), ("loop", "Too many levels of symbolic links"), ("a\0b", "null byte")],
)
@pytest.mark.parametrize("call", [check_writable, lambda path: write_text(path, "x")])
def test_names_that_the_system_refuses_are_one_line(in_folder, name, reason, call):
    (in_folder / "loop").symlink_to("loop")
    with pytest.raises(ScenarioError, match=f"cannot be written: .*{reason}"):
        call(name)
