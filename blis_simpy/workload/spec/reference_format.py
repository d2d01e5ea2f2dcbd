"""Workload specifications in the file format of BLIS, version 2, which is read and written unchanged.

The format differs from that of this library in three points: a tenant is a ``tenant_id``, a length distribution has its
parameters under ``params``, and the arrival process of a client is always a mapping. Both spellings may occur in one
file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from blis_simpy.settings.description import setting_of
from blis_simpy.settings.serialize import to_plain
from blis_simpy.workload.spec.length_distribution import LengthDistribution

__all__ = ["TENANT_KEY", "from_reference", "to_reference"]

_log = logging.getLogger("blis_simpy")

TENANT_KEY = "tenant_id"
"""Key of the tenant in files of BLIS; ours is ``tenant``."""

_SLO_CLASSES = {"realtime": "critical", "interactive": "standard"}
"""SLO classes of version 1 and what they are called in version 2."""


def from_reference(data: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the plain data of a specification to the keys of this library.

    Parameters
    ----------
    data : mapping
        Plain data of a YAML file; not changed. Without a version it is read as version 1.

    Returns
    -------
    dict
        A copy with the keys of this library. Version 1 becomes version 2: SLO classes are renamed, each with a warning.
        Length distributions and arrival processes are left to the fields that hold them.
    """
    version = "" if data.get("version") is None else str(data["version"])
    is_old = version in ("", "1")
    if not is_old and version != "2":
        _log.warning("workload version %s is not known; read as version 2", version)
    result = {**data, "version": "2"} if is_old else dict(data)
    for kind in ("clients", "cohorts"):
        if isinstance(data.get(kind), list):
            result[kind] = [_translated(part, f"{kind}[{index}]", is_old) for index, part in enumerate(data[kind])]
    return result


def _translated(part: Any, path: str, is_old: bool) -> Any:
    if not isinstance(part, Mapping):
        return part
    if "tenant" not in part:
        part = {"tenant" if key == TENANT_KEY else key: value for key, value in part.items()}
    slo_class = part.get("slo_class")
    if not is_old or not isinstance(slo_class, str) or slo_class not in _SLO_CLASSES:
        return part
    _log.warning("%s.slo_class %r is now called %r", path, slo_class, _SLO_CLASSES[slo_class])
    return {**part, "slo_class": _SLO_CLASSES[slo_class]}


def to_reference(specification: Any) -> dict[str, Any]:
    """Turn a workload specification, or a part of one, into plain data with the keys of BLIS.

    Raises
    ------
    ScenarioError
        If something in it cannot be written.
    """
    return _written(specification, to_plain(specification))


def _written(part: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the plain data of a settings instance."""
    attributes = {attribute.alias: attribute for attribute in attrs.fields(type(part))}
    result: dict[str, Any] = {}
    for key, plain in data.items():
        value, kind = getattr(part, attributes[key].name), setting_of(attributes[key]).kind
        if kind == "lengths":
            named = LengthDistribution() if value is None else LengthDistribution.describing(plain["type"], value)
            plain = to_plain(named)
        elif kind == "arrivals":
            options = {"type": plain} if isinstance(plain, str) else plain
            plain = {"process" if name == "type" else name: option for name, option in options.items()}
        elif attrs.has(type(value)):
            plain = _written(value, plain)
        elif isinstance(value, tuple):
            plain = [_written(item, p) if attrs.has(type(item)) else p for item, p in zip(value, plain, strict=True)]
        result[TENANT_KEY if key == "tenant" else key] = plain
    return result
