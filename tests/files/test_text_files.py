import gzip
import os
import stat
from pathlib import Path

import pytest

from blis_simpy.errors import ScenarioError, WorkloadTraceError
from blis_simpy.files.outputs import check_writable, write_text
from blis_simpy.files.text_files import read_text


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def message(call, *arguments):
    with pytest.raises(ScenarioError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", ["plain.txt", "plain.gz"])
def test_text_is_read_with_its_line_ends(in_folder, name):
    (in_folder / name).write_bytes("\u00b5s\r\nx\n".encode())
    assert read_text(name) == "\u00b5s\r\nx\n"


def test_gzip_is_recognised_by_content(in_folder):
    (in_folder / "trace.csv").write_bytes(gzip.compress(b"a,b\n"))
    assert read_text("trace.csv") == "a,b\n"


def test_byte_order_mark_is_dropped(in_folder):
    (in_folder / "x").write_bytes(b"\xef\xbb\xbfa")
    assert read_text("x") == "a"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            gzip.compress(b"a,b\n" * 1000, mtime=0)[:-9],
            "x: is a broken gzip file: Compressed file ended before the end-of-stream ",
        ),
        (b"\x1f\x8bnonsense", "x: is a broken gzip file: Unknown compression method"),
        (b"\x1f\x8b", "x: is a broken gzip file: "),
        (b"a\nb\xff\n", "x: must be UTF-8 text, got b'\\xff' (line 2)"),
        (b"a\nb\n\0c", "x: must not contain NUL bytes (line 3)"),
    ],
)
def test_unreadable_content_is_one_line(in_folder, content, expected):
    (in_folder / "x").write_bytes(content)
    found = message(read_text, "x")
    assert found.startswith(expected)
    assert "\n" not in found


def test_unreadable_files_are_one_line(in_folder):
    assert message(read_text, "absent.csv") == "absent.csv: cannot be read: No such file or directory"
    assert message(read_text, in_folder) == f"{in_folder}: cannot be read: Is a directory"
    assert message(read_text, "a\0b").endswith("cannot be read: embedded null byte")


def test_caller_chooses_the_error(in_folder):
    with pytest.raises(WorkloadTraceError):
        read_text("absent.csv", WorkloadTraceError)


def test_text_is_written_whole_and_replaces(in_folder):
    write_text("out.json", "old")
    write_text("out.json", "new\r\n\u00b5")
    assert (in_folder / "out.json").read_bytes() == "new\r\n\u00b5".encode()
    assert names(in_folder) == ["out.json"]


def test_new_file_has_the_permissions_that_the_user_expects(in_folder):
    before = os.umask(0o027)
    try:
        write_text("out.json", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((in_folder / "out.json").stat().st_mode) == 0o640


def test_replacing_keeps_permissions(in_folder):
    write_text("out.json", "")
    (in_folder / "out.json").chmod(0o600)
    write_text("out.json", "x")
    assert stat.S_IMODE((in_folder / "out.json").stat().st_mode) == 0o600


def test_links_are_followed(in_folder):
    (in_folder / "link").symlink_to("target")
    write_text("link", "x")
    assert (in_folder / "link").is_symlink()
    assert (in_folder / "target").read_text() == "x"


def test_devices_are_written_to_and_not_replaced():
    write_text("/dev/null", "x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_pipes_are_written_to(in_folder):
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text("pipe", "x")
        assert os.read(reader, 9) == b"x"
    finally:
        os.close(reader)


@pytest.mark.parametrize("call", [check_writable, lambda path: write_text(path, "x")])
def test_impossible_places_are_one_line(in_folder, call):
    assert message(call, "no/out.json") == "no/out.json: cannot be written: there is no directory no"
    assert message(call, in_folder) == f"{in_folder}: cannot be written: it is a directory"
    assert names(in_folder) == []


def test_failure_leaves_the_old_file_and_no_other(in_folder):
    write_text("out.json", "old")
    with pytest.raises(ScenarioError, match=r"cannot be written: .*surrogates"):
        write_text("out.json", "\ud800")
    (in_folder / ("x" * 250)).write_text("long")
    write_text("x" * 250, "a name that leaves no room for a suffix")
    assert (in_folder / "out.json").read_text() == "old"
    assert names(in_folder) == ["out.json", "x" * 250]
