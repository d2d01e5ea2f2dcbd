"""Entry point of the program ``blis``: runs a command, and turns errors into lines and exit statuses.

Exit statuses: 0 success, also when no request completed; 1 a defect of the simulator; 2 errors of the user, one line
each on stderr; 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from blis_simpy.errors import BlisError, Problem, ScenarioError, SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

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
    "schema": "print a JSON Schema of scenario files, for editors",
}
"""Summary of each command; a command is a function in a module of the same name."""


def _about() -> str:
    width = max(map(len, _COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {about}" for name, about in _COMMANDS.items())
    return f"""usage: blis COMMAND [flags]

Simulate LLM inference serving.

commands:
{commands}

flags:
  --version   print the version
  -h, --help  print this help; 'blis COMMAND --help' lists the flags of a command
"""


def main(argv: Sequence[str] | None = None) -> int:
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
        # The process lives for one simulation, which makes hardly any cyclic garbage: do not look for it often.
        gc.set_threshold(200_000, 50, 100)
        # A simulation multiplies no large matrices, and starting a thread per core takes longer than a short command.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        # The memory of the process is freed with it: the interpreter's own last collections would take a third of the
        # time of a short command.
        atexit.register(gc.freeze)
    try:
        _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BlisError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return 1 if isinstance(error, SimulationError) else 2
    except SystemExit as end:  # the help of a command was printed
        return int(end.code or 0)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader has seen enough. What is left in the buffer must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _dispatch(argv: Sequence[str]) -> None:
    word = argv[0] if argv else "--help"
    if word in ("-h", "--help", "help"):
        sys.stdout.write(_about())
    elif word == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"blis {version('blis-simpy')}\n")
    else:
        _command(word)(argv[1:])


def _command(name: str) -> Callable[[Sequence[str]], None]:
    if name not in _COMMANDS:
        from blis_simpy.errors import nearest

        raise ScenarioError(Problem(path="command", rule="is unknown", value=name, hint=nearest(name, _COMMANDS)))
    command: Callable[[Sequence[str]], None] = getattr(import_module(f"blis_simpy.cli.{name}"), name)
    return command
