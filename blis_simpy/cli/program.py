"""The program ``blis``: runs a command, and turns errors into lines and exit statuses.

Exit statuses: 0 success, also when no request completed; 1 a defect of the simulator; 2 errors of the user, one line
each on stderr; 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from blis_simpy.errors import BlisError, Problem, ScenarioError, SimulationError
from blis_simpy.files.paths import inputs_recorded, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn, TextIO

__all__ = ["program"]

_MAX_LINES = 20
"""Most problems that are printed."""

_COMMANDS = {
    "run": "simulate a scenario",
    "replay": "simulate the requests of a recorded trace",
    "observe": "send a workload to a real server and record the requests",
    "calibrate": "compare a recording with its simulation",
    "fit": "estimate the options of the latency model from a recording",
    "compare": "compare scenarios, with confidence intervals",
    "sweep": "simulate a grid of settings",
    "capacity": "find the highest rate, or the fewest replicas, that meets an SLO",
    "explain": "explain step times term by term (explain latency)",
    "workload": "summarize a sample of a workload specification",
    "compose": "merge workload specifications",
    "convert": "convert files of other tools to workload specifications and traces",
    "list": "list scenarios, models, gpus, metrics or policies",
    "completion": "print a script that lets a shell complete commands and flags",
    "schema": "print a JSON Schema of scenario files, for editors",
}
"""Summary of each command; a command is a function in a module of the same name, unless Python has that name."""
_MODULES = {"list": "listing"}


def _about() -> str:
    width = max(map(len, _COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {about}" for name, about in _COMMANDS.items())
    return f"""usage: blis COMMAND [flags]

Simulate LLM inference serving.

commands:
{commands}

flags:
  --version   print the version, as 'blis version' does
  -h, --help  print this help; 'blis help COMMAND' lists the flags of a command

examples:
  blis run quickstart                 simulate a shipped scenario; 'blis list scenarios' lists them
  blis run --model qwen/qwen3-14b --concurrency 64 --num-requests 1000
  blis compare quickstart --variant two:replicas=2
"""


def program(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str, optional
        Words after the program's name; those of the process if not given.

    Returns
    -------
    int
        Exit status.
    """
    if argv is None:
        signal.signal(signal.SIGTERM, _terminate)  # so that no temporary file is left
    for name in ("stdout", "stderr"):
        _prepare(name)
    try:
        status = _status_of(sys.argv[1:] if argv is None else argv)
        sys.stderr.flush()
    except OSError:  # a stderr that is full or closed: there is nowhere to say it
        _silence(sys.stderr)
        status = 2
    return status


def _status_of(words: Sequence[str]) -> int:
    """Carry out a command; print its errors on stderr, one line each."""
    try:
        with inputs_recorded():
            try:
                _dispatch(words)
            finally:
                sys.stdout.flush()
    except BlisError as error:
        _report(map(str, error.problems))
        return 1 if isinstance(error, SimulationError) else 2
    except SystemExit as end:  # the help of a command was printed
        return int(end.code or 0)
    except KeyboardInterrupt:
        _report(["interrupted"])
        return 130
    except BrokenPipeError:
        # The reader has seen enough.
        _silence(sys.stdout)
    except OSError as refused:
        _silence(sys.stdout)
        place = f"{refused.filename}:" if refused.filename else "stdout: cannot be written:"
        _report([f"{place} {reason_of(refused)}"])
        return 2
    except MemoryError:
        _report(["the memory does not suffice for this command"])
        return 2
    return 0


def _report(lines: Iterable[str]) -> None:
    lines = list(lines)
    shown = lines if len(lines) <= _MAX_LINES else [*lines[:_MAX_LINES], f"... and {len(lines) - _MAX_LINES:,} more"]
    sys.stderr.writelines(f"{line}\n" for line in shown)


def _prepare(name: str) -> None:
    """Make a standard stream print every character; one that is closed becomes one that cannot be written."""
    stream = getattr(sys, name)
    if stream is None:
        setattr(sys, name, _Closed() if name == "stdout" else _Unread())
    elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


class _Unread(io.TextIOBase):
    """A closed stream for messages."""

    def write(self, text: str, /) -> int:
        """Drop text."""
        return len(text)


class _Closed(io.TextIOBase):
    """A closed stream for results."""

    def write(self, _text: str, /) -> int:
        """Refuse text."""
        raise OSError(errno.EBADF, "it is closed")


def _silence(stream: TextIO) -> None:
    """Drop what is left in the buffer of a stream: it must not fail again when the interpreter ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(143)


def _dispatch(argv: Sequence[str]) -> None:
    word = argv[0] if argv else "--help"
    if word == "help" and argv[1:]:
        _command(argv[1])(["--help"])
    elif word in ("-h", "--help", "help"):
        sys.stdout.write(_about())
    elif word in ("--version", "version"):
        from importlib.metadata import version

        from blis_simpy.native import is_compiled

        compiled = " (compiled)" if is_compiled() else ""
        sys.stdout.write(f"blis {version('blis-simpy')}{compiled}\n")
    else:
        _command(word)(argv[1:])


def _command(name: str) -> Callable[[Sequence[str]], None]:
    if name not in _COMMANDS:
        from blis_simpy.errors import nearest

        raise ScenarioError(Problem(path="command", rule="is unknown", value=name, hint=nearest(name, _COMMANDS)))
    name = _MODULES.get(name, name)
    command: Callable[[Sequence[str]], None] = getattr(import_module(f"blis_simpy.cli.{name}"), name)
    return command
