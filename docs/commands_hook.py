"""Writes the help of all commands into their page, from the parsers of the program."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from blis_simpy.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "[[commands]]"
_COMMAND = re.compile(r"^  ([a-z-]+)  +(\S.*)$", re.MULTILINE)
_SOURCE = re.compile(r"^  ([a-z0-9-]+)  +\S", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark on a page by the help of all commands; called by MkDocs for each page."""
    return markdown.replace(MARK, "\n".join(sections())) if MARK in markdown else markdown


def sections() -> Iterator[str]:
    """Lines of a section for each command, and of one for each source of ``blis convert``."""
    commands = printed("--help").partition("commands:")[2].partition("flags:")[0]
    for name, about in _COMMAND.findall(commands):
        text = printed(name, "--help")
        yield from _section(f"## blis {name}", f"{about[0].upper()}{about[1:]}.", text)
        if name == "convert":
            for source in _SOURCE.findall(text):
                yield from _section(f"### blis convert {source}", "", printed("convert", source, "--help"))


def printed(*words: str) -> str:
    """Return what the program prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(words) == 0
    return out.getvalue()


def _section(title: str, about: str, text: str) -> Iterator[str]:
    yield from ("", title, "", about, "", "```text", text.strip("\n"), "```")
