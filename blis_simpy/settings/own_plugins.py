"""Copies of settings that share no plug-in with anything else, so that what a plug-in remembers belongs to one run."""

from __future__ import annotations

import copy
import logging
from functools import cache
from typing import Any, TypeVar

import attrs

from blis_simpy.errors import ScenarioError
from blis_simpy.settings.description import find_setting
from blis_simpy.settings.field_types import listed_class, nested_class, type_hints
from blis_simpy.settings.fields import fields_of
from blis_simpy.settings.saved_plugin import SavedPlugin

__all__ = ["with_own_plugins"]

S = TypeVar("S")

_log = logging.getLogger("blis_simpy")


def with_own_plugins(settings: S) -> S:
    """Copy settings with the plug-ins that they hold as instances, alone or as options.

    An instance that occurs in several places is one copy in all of them; classes and functions stay what they are. One
    that cannot be copied is shared, with a warning.
    """
    return _copied(settings, {})


def _copied(settings: S, memo: dict[int, Any]) -> S:
    changes = {}
    for attribute in fields_of(type(settings)):
        known, value = find_setting(attribute), getattr(settings, attribute.name)
        if known is None:
            continue
        if known.kind is not None:
            changes[attribute.name] = _own(known.kind, value, memo)
        elif _may_hold_plugins(_class_of(value)):
            changes[attribute.name] = _copied(value, memo)
        elif isinstance(value, tuple) and value and _may_hold_plugins(_class_of(value[0])):
            changes[attribute.name] = tuple(_copied(item, memo) for item in value)
    own = copy.copy(settings)
    for name, value in changes.items():
        object.__setattr__(own, name, value)  # frozen, and checked already
    return own


def _own(kind: str, value: Any, memo: dict[int, Any]) -> Any:
    for plugin in value if isinstance(value, tuple) else (value,):
        if isinstance(plugin, SavedPlugin):
            raise ScenarioError.at(kind, "cannot be made again: its class was not registered", plugin.name)
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        _log.warning(
            "%s %s cannot be copied, so all simulations share it: %s; pass its class, or a function that returns it",
            kind,
            type(value).__name__,
            error,
        )
        return value


def _class_of(value: Any) -> Any:
    return type(value)


@cache
def _may_hold_plugins(cls: Any) -> bool:
    """Whether instances of a class have a field that can hold an instance of a plug-in, in whatever part."""
    # Annotations of a class without settings, such as a trace, may name what only type checkers import.
    if not attrs.has(cls) or not any(map(find_setting, fields_of(cls))):
        return False
    hints = type_hints(cls)
    for attribute in fields_of(cls):
        known, hint = find_setting(attribute), hints[attribute.name]
        if known is None:
            continue
        if known.kind is not None and hint is not str:
            return True
        parts = (nested_class(hint), listed_class(hint))
        if any(_may_hold_plugins(part) for part in parts if part not in (None, cls)):
            return True
    return False
