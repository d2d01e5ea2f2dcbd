import gzip
import os
import threading

import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.files import byte_source, paths
from blis_simpy.files.text_files import read_bytes, read_text, text_blocks


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(read, path):
    with pytest.raises(ScenarioError) as caught:
        list(read(path))
    (problem,) = caught.value.problems
    return problem.rule


def test_a_pipe_that_nothing_feeds_is_not_waited_for(in_folder, monkeypatch):
    monkeypatch.setattr(byte_source, "_PIPE_WAIT_S", 0.05)
    os.mkfifo("pipe")
    assert refusal(read_text, "pipe") == "cannot be read: no process has written to this pipe for 0.05 s"


def test_a_pipe_is_read_to_its_end(in_folder):
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: (in_folder / "pipe").write_text("a: 1\n" * 50_000))
    writer.start()
    assert read_text("pipe") == "a: 1\n" * 50_000
    writer.join()


@pytest.mark.parametrize("read", [read_text, text_blocks])
def test_an_endless_device_is_refused_at_its_first_nul_byte(read):
    assert refusal(read, "/dev/zero") == "must not contain NUL bytes"


def test_a_device_delivers_so_many_bytes_at_most(monkeypatch):
    monkeypatch.setattr(byte_source, "_STREAM_BYTES", 3 * byte_source.MIB)
    assert refusal(read_bytes, "/dev/zero") == "cannot be read: delivers more than 3 MiB"


@pytest.mark.parametrize("read", [read_text, text_blocks])
def test_a_small_file_that_unpacks_to_much_is_refused(in_folder, monkeypatch, read):
    monkeypatch.setattr(byte_source, "_UNPACKED_BYTES", byte_source.MIB)
    (in_folder / "bomb.gz").write_bytes(gzip.compress(b"1,2,3\n" * 10**6))
    assert refusal(read, "bomb.gz") == "cannot be read: is compressed and holds more than 1 MiB"


def test_a_text_beyond_its_limit_is_refused(in_folder):
    (in_folder / "x").write_text("x" * (byte_source.MIB + 1))
    with pytest.raises(ScenarioError, match="holds more than 1 MiB"):
        read_text("x", max_bytes=byte_source.MIB)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("x" * 300, "File name too long"), ("loop", "Too many levels of symbolic links"), (".", "Is a directory")],
)
def test_paths_that_the_system_refuses_are_one_line(in_folder, name, reason):
    (in_folder / "loop").symlink_to("loop")
    assert refusal(read_text, name) == f"cannot be read: {reason}"


@pytest.mark.parametrize("name", ["x" * 300, "loop", "none", "a\0b"])
@pytest.mark.parametrize("query", [paths.exists, paths.is_regular, paths.is_directory, paths.is_special])
def test_questions_about_impossible_paths_are_answered_with_no(in_folder, name, query):
    (in_folder / "loop").symlink_to("loop")
    assert query(name) is False
