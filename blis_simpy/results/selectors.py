"""Names of metrics that select requests by their labels: ``ttft_p99_ms{slo_class=chat, replica=0}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import ScenarioError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LABELS", "REPLICAS", "split_name", "written"]

LABELS = ("replica", "prefill_replica", "slo_class", "tenant", "model", "client", "session", "prefix_group")
"""Columns of the requests by which they can be selected and grouped."""

REPLICAS = LABELS[:2]
"""Those whose values are indices of replicas."""

_SELECTOR = re.compile(r"(?P<base>[^{}]*)\{(?P<labels>.*)\}", re.DOTALL)
_LABEL = re.compile(
    r'\s*(?P<label>\w+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^,="{}]*?))\s*(?:,|$)', re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = re.compile(r'(?!\s)[^,="{}]*(?<!\s)')


def split_name(name: str, path: str = "metric") -> tuple[str, dict[str, Any]]:
    r"""Split a name into that of the metric and the labels of the requests.

    Parameters
    ----------
    name : str
        ``METRIC`` or ``METRIC{LABEL=VALUE, ...}``; a value may be in double quotes, in which ``\"`` is a quote and
        ``\\`` a backslash.
    path : str
        What the name is, in errors.

    Returns
    -------
    base : str
        Name of the metric, which is not checked.
    labels : dict of str to str or int
        Value by label; empty without braces. The replica is an integer.

    Raises
    ------
    ScenarioError
        If the braces cannot be read, a label is unknown or given twice, or the replica is not a number.

    Examples
    --------
    >>> split_name("ttft_p99_ms{slo_class=chat, replica=0}")
    ('ttft_p99_ms', {'slo_class': 'chat', 'replica': 0})
    """
    if not ("{" in name or "}" in name):
        return name, {}
    whole = _SELECTOR.fullmatch(name)
    labels: dict[str, Any] = {}
    rest = whole["labels"] if whole is not None else ""
    while rest:
        match = _LABEL.match(rest)
        if match is None:
            break
        label, rest = match["label"], rest[match.end() :]
        value = match["plain"] if match["quoted"] is None else _ESCAPED.sub(r"\1", match["quoted"])
        if label not in LABELS:
            raise ScenarioError.at(path, f"has an unknown label {label!r}", name, hint=nearest(label, LABELS))
        if label in labels:
            raise ScenarioError.at(path, f"has the label {label} twice", name)
        if label in REPLICAS and not value.isdecimal():
            raise ScenarioError.at(path, "must have the index of a replica", name)
        labels[label] = int(value) if label in REPLICAS else value
    if whole is None or rest or not labels:
        raise ScenarioError.at(path, "must be METRIC or METRIC{LABEL=VALUE, ...}", name)
    return whole["base"].strip(), labels


def written(labels: Mapping[str, Any]) -> str:
    """Write labels as in a name, without the braces; values that need quotes have them.

    Examples
    --------
    >>> written({"slo_class": "chat", "replica": 0})
    'slo_class=chat, replica=0'
    """
    return ", ".join(f"{label}={_value(str(value))}" for label, value in labels.items())


def _value(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
