"""Specifications of version 1, whose SLO classes had other names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["upgraded"]

_log = logging.getLogger("blis_simpy")

_SLO_CLASSES = {"realtime": "critical", "interactive": "standard"}


def upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the plain data of a specification to version 2.

    Parameters
    ----------
    data : mapping
        As read from YAML; stays as it is. Without a version it is taken as version 1.

    Returns
    -------
    dict
        A copy with ``version: "2"`` and today's SLO classes, each change logged as a warning. Data of another version
        is copied unchanged.
    """
    version = "" if data.get("version") is None else str(data["version"])
    if version not in ("", "1"):
        if version != "2":
            _log.warning("workload version %s is not known; read as version 2", version)
        return dict(data)
    result = {**data, "version": "2"}
    for kind in ("clients", "cohorts"):
        if isinstance(data.get(kind), list):
            result[kind] = [_renamed(part, f"{kind}[{index}]") for index, part in enumerate(data[kind])]
    return result


def _renamed(part: Any, path: str) -> Any:
    old = part.get("slo_class") if isinstance(part, Mapping) else None
    if not isinstance(old, str) or old not in _SLO_CLASSES:
        return part
    _log.warning("%s.slo_class %r is now called %r", path, old, _SLO_CLASSES[old])
    return {**part, "slo_class": _SLO_CLASSES[old]}
