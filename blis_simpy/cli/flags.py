"""Command-line flags, derived from the settings, in the syntax of the reference.

A flag is ``--name value`` or ``--name=value``; a boolean is ``--name`` or ``--name=true``. Integers may carry a base
prefix and underscores; a list is separated by commas, and repeating its flag appends; a flag whose values may contain
commas is repeated, one value each; of any other flag the last one wins. What was not given is absent from the result,
so that a default is never taken for a value that was given.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin

import attrs

from blis_simpy.errors import Problem, ScenarioError, closest, nearest
from blis_simpy.settings.description import Setting, setting_of
from blis_simpy.settings.field_types import nested_class, type_hints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Flag", "flags_of", "read_flags"]

_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}
_HELP = ("-h", "--help")
_HELP_COLUMNS = 110
_COMMA = re.compile(r",(?![^{}]*\})")
"""Commas between the items of a list, not those within braces, such as the labels of a metric."""
_LENGTH_FLAGS = (
    ("", "mean", float, "Mean {} length"),
    ("-stdev", "std_dev", float, "Standard deviation of the {} length"),
    ("-min", "min", int, "Minimum {} length"),
    ("-max", "max", int, "Maximum {} length"),
)
"""Ending of the flag, parameter of the normal distribution, its type, and its meaning."""


@attrs.frozen(kw_only=True)
class Flag:
    """One flag.

    Attributes
    ----------
    name : str
        With its dashes.
    target : str
        Dotted path of the setting it changes, or the name under which a command finds its own option.
    hint : type
        What the text means: ``tuple[float, ...]`` is separated by commas, ``list[str]`` one text each time.
    help : str
        One sentence.
    default : object
        For the help only.
    choices : tuple of str
        Allowed texts; empty if any.
    values : mapping of str to object or None
        Value of each choice; None if the text itself is the value.
    absent : str or None
        Text that means "not given".
    """

    name: str
    target: str
    hint: Any = str
    help: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    values: Mapping[str, Any] | None = None
    absent: str | None = None


def flags_of(cls: Any, prefix: str = "") -> Iterator[Flag]:
    """Derive the flags of a settings class and of those nested in it.

    A field that holds a length distribution has four, for the parameters of a normal distribution.
    """
    for attribute in attrs.fields(cls):
        known = setting_of(attribute)
        hint = type_hints(cls)[attribute.name]
        target = prefix + attribute.name
        nested = nested_class(hint)
        if nested is not None:
            yield from flags_of(nested, target + ".")
        elif known.flag is not None and known.kind == "lengths":
            for ending, field, number, words in _LENGTH_FLAGS:
                words = f"{words.format(attribute.name)} (normal distribution). [tokens]"
                yield Flag(name=known.flag + ending, target=f"{target}.{field}", hint=number, help=words)
        elif known.flag is not None:
            if known.convert is not None:
                hint = str  # the setting reads the text
            text = known.help + (f" [{known.unit}]" if known.unit else "")
            if known.choices:
                text += f" One of {', '.join(known.choices)}."
            absent = known.absent if known.absent is not None else ("" if _is_text(known, hint) else None)
            default = attribute.default if isinstance(attribute.default, str | int | float) else None
            yield Flag(name=known.flag, target=target, hint=hint, help=text, default=default, absent=absent)


def read_flags(
    argv: Sequence[str],
    flags: Iterable[Flag],
    *,
    command: str,
    about: str,
    positional: str | None = None,
    several: bool = False,
    positional_help: str = "scenario file, or name of a shipped scenario",
    examples: Sequence[str] = (),
) -> dict[str, Any]:
    """Read the arguments of a command.

    Parameters
    ----------
    argv : sequence of str
        Arguments after the command.
    flags : iterable of Flag
        What may be given.
    command, about : str
        Name and purpose, for the help.
    positional : str, optional
        Name of the positional argument, if there is one; its text is found under this name.
    several : bool
        Whether it can be repeated; its value is then a list.
    positional_help : str
        What it is, for the help.
    examples : sequence of str
        Lines at the end of the help.

    Returns
    -------
    dict of str to object
        What was given, by target. Text that does not fit the type of a setting stays text, for the setting to judge.

    Raises
    ------
    ScenarioError
        For every unknown flag, missing value, bad choice or unexpected argument.
    SystemExit
        After printing the help.
    """
    known = {flag.name: flag for flag in flags}
    parser = _Parser(prog=f"blis {command}", description=about, allow_abbrev=False, formatter_class=_HelpFormatter)
    parser.examples = examples
    if positional:
        parser.add_argument(positional, nargs="*" if several else "?", help=positional_help)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for flag in known.values():
        section = flag.target.partition(".")[0] if "." in flag.target else "general"
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        metavar = "{" + ",".join(flag.choices) + "}" if flag.choices else _metavar(flag.hint)
        shown = "" if flag.default is None else f" Default: {flag.default}."
        words_of_help = (flag.help + shown).replace("%", "%%")
        groups[section].add_argument(flag.name, dest=flag.name, action="append", metavar=metavar, help=words_of_help)
    words, problems = _joined(argv, known)
    parsed, surplus = parser.parse_known_intermixed_args(words)
    problems += [Problem(rule=f"unexpected argument {word[:100]!r}") for word in surplus]
    values: dict[str, Any] = {}
    for name, texts in vars(parsed).items():
        if texts is None or texts == []:
            continue
        if name == positional:
            values[name] = texts
            continue
        if [] in texts or "--" in texts:  # argparse of Python before 3.13 makes a list of the word --
            problems.append(Problem(path=name, rule="needs a value"))
            continue
        flag = known[name]
        if flag.choices and texts[-1] not in (*flag.choices, flag.absent):
            hint = nearest(texts[-1], flag.choices)
            problems.append(Problem(path=name, rule="is unknown", value=texts[-1], hint=hint))
        if flag.hint is bool and texts[-1] not in _BOOLEANS:
            problems.append(Problem(path=name, rule="must be true or false", value=texts[-1]))
        elif texts[-1] != flag.absent:
            values[flag.target] = _value(texts, flag.hint) if flag.values is None else flag.values.get(texts[-1])
    if problems:
        raise ScenarioError(problems)
    return values


class _Parser(argparse.ArgumentParser):
    examples: Sequence[str] = ()

    def format_help(self) -> str:
        """Add the examples, which argparse would wrap, to the help."""
        lines = "".join(f"  {line}\n" for line in self.examples)
        return super().format_help() + (f"\nexamples:\n{lines}" if lines else "")

    def error(self, message: str) -> NoReturn:
        raise ScenarioError(message)


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        from shutil import get_terminal_size  # for help only

        # Wider lines are hard to read; without a terminal, the width is that limit.
        width = min(get_terminal_size((_HELP_COLUMNS, 1)).columns, _HELP_COLUMNS)
        super().__init__(prog, max_help_position=34, width=width)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        """Print one short line instead of all flags."""
        words = " ".join(
            f"[{action.dest}{' ...' if action.nargs == '*' else ''}]" for action in actions if not action.option_strings
        )
        super().add_usage(" ".join((self._prog, *words.split(), "[flags]")), actions, groups, prefix)


def _is_text(known: Setting, hint: Any) -> bool:
    return known.kind is not None or str in (hint, *get_args(hint))


def _metavar(hint: Any) -> str:
    types = (hint, *get_args(hint))
    if get_origin(hint) is tuple or any(get_origin(option) is tuple for option in types):
        return "X,Y,..."
    return "N" if int in types else "X" if float in types else "" if bool in types else "TEXT"


def _joined(argv: Sequence[str], known: Mapping[str, Flag]) -> tuple[list[str], list[Problem]]:
    """Write every known flag as one word, so that its value may begin with a dash; report the others."""
    words: list[str] = []
    problems: list[Problem] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word not in known:
            if not _is_unknown_flag(word, known):
                words.append(word)
                continue
            problems.append(_unknown_flag(word, known))
            if "=" not in word and rest and not rest[0].startswith("-"):
                rest.pop(0)  # what is probably its value
        elif known[word].hint is bool:
            words.append(f"{word}=true")
        elif not rest:
            problems.append(Problem(path=word, rule="needs a value"))
        else:
            words.append(f"{word}={rest.pop(0)}")
    return words, problems


def _is_unknown_flag(word: str, known: Mapping[str, Flag]) -> bool:
    return word.strip("-") != "" and word[0] == "-" and word not in _HELP and word.partition("=")[0] not in known


def _unknown_flag(word: str, known: Mapping[str, Flag]) -> Problem:
    """Say that there is no such flag, with that of the setting of this name, or else the nearest one."""
    name = word.partition("=")[0]
    setting = name.lstrip("-").replace("-", "_")
    meant = next((flag.name for flag in known.values() if setting in (flag.target, flag.target.rpartition(".")[2])), "")
    if not meant:
        near = closest(name.lstrip("-"), [flag.removeprefix("--") for flag in known])
        meant = "" if near is None else f"--{near}"
    return Problem(path=name, rule="is not a flag", hint=f"did you mean {meant}?" if meant else "")


def _value(texts: Sequence[str], hint: Any) -> Any:
    options = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if get_origin(hint) is list:
        return list(texts)
    element = next((get_args(option)[0] for option in options if get_origin(option) is tuple), None)
    if element is not None:
        items = [item.strip() for text in texts for item in _COMMA.split(text)]
        return tuple(items if element is str else (_number(item, float) for item in items))
    if bool in options:
        return _BOOLEANS[texts[-1]]
    number = next((option for option in options if option in (int, float)), None)
    return texts[-1] if number is None else _number(texts[-1], number)


def _number(text: str, kind: type) -> int | float | str:
    for read in (lambda word: int(word, 0), float):
        try:
            number = read(text)
        except ValueError:
            continue
        if kind is float:
            return number
        return int(number) if number == number // 1 else text
    return text
