"""Standard streams that are closed, full, or in another encoding."""

import subprocess
import sys

import pytest

RUN = "import sys; from blis_simpy.cli.main import main; sys.exit(main(sys.argv[1:]))"
WORDS = "run quickstart --num-requests 3 --report summary"


def shell(redirection, words=WORDS, env=""):
    line = f"{env} {sys.executable} -c '{RUN}' {words} {redirection}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("redirection", "reason"), [(">&-", "it is closed"), ("> /dev/full", "No space left on device")]
)
def test_stdout_that_cannot_be_written_is_one_line(redirection, reason):
    assert shell(redirection) == (2, "", f"stdout: cannot be written: {reason}\n")


def test_closed_stderr_does_not_matter():
    status, printed, _ = shell("2>&-")
    assert status == 0
    assert "requests/s" in printed


def test_a_reader_that_has_seen_enough_is_no_error():
    assert shell("| head -1; exit ${PIPESTATUS[0]}")[::2] == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_other_encodings_print_escapes(encoding):
    status, printed, errors = shell("", env=f"PYTHONIOENCODING={encoding}")
    assert (status, errors) == (0, "")
    assert printed
