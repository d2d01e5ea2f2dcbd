"""The flag ``--slo``: latency targets of SLO classes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from blis_simpy.cli.flags import Flag
from blis_simpy.core.slo_targets import ALL_OTHERS, DIMENSIONS
from blis_simpy.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SLO_FLAG", "is_target", "target_settings"]

SLO_FLAG = Flag(
    name="--slo",
    target="slo",
    hint=list[str],
    help=f"Latency targets, as [CLASS:]TARGET=DURATION,...: critical:ttft=200ms,tpot=40ms; the targets are "
    f"{', '.join(DIMENSIONS)}; without a class they are those of all others. May be repeated.",
)

_TARGETS = re.compile(r"(?:([^=:{}]+):)?([a-z0-9_]+=.*)")


def is_target(text: str) -> bool:
    """Whether a text has targets, and not a limit of a metric."""
    match = _TARGETS.fullmatch(text.strip())
    return match is not None and match[2].partition("=")[0] in DIMENSIONS


def target_settings(text: str) -> Iterator[str]:
    """Yield the targets of one flag as ``slo.CLASS.TARGET=DURATION``.

    Raises
    ------
    ScenarioError
        If the text has another form.

    Examples
    --------
    >>> list(target_settings("critical:ttft=200ms,tpot=40ms"))
    ['slo.critical.ttft=200ms', 'slo.critical.tpot=40ms']
    """
    match = _TARGETS.fullmatch(text.strip())
    if match is None:
        raise ScenarioError.at("--slo", "must be [CLASS:]TARGET=DURATION,...", text)
    for target in match[2].split(","):
        yield f"slo.{match[1] or ALL_OTHERS}.{target.strip()}"
