"""``blis completion``: a script by which a shell completes commands, flags, scenarios and files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from blis_simpy.cli.flags import read_flags
from blis_simpy.errors import Problem, ScenarioError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["completion"]

_BASH = r"""_blis() {
    local word="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}" words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="$(blis --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')"
    elif [ "${word#-}" != "$word" ]; then
        words="$(blis "$command" --help 2>/dev/null | grep -oE '^ +--[a-z0-9-]+')"
    else
        words="$(blis list scenarios --names)"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _blis blis
"""
_SCRIPTS = {"bash": _BASH, "zsh": f"autoload -U +X bashcompinit && bashcompinit\n{_BASH}"}


def completion(argv: Sequence[str]) -> None:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after ``completion``.
    """
    about = 'Print a script for a shell: eval "$(blis completion bash)".'
    given = read_flags(
        argv, (), command="completion", about=about, positional="shell", positional_help="bash (the default) or zsh"
    )
    shell = given.get("shell", "bash")
    if shell not in _SCRIPTS:
        raise ScenarioError(Problem(path="shell", rule="is unknown", value=shell, hint=nearest(shell, _SCRIPTS)))
    sys.stdout.write(_SCRIPTS[shell])
