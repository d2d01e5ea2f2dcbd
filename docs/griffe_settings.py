"""Gives settings classes on the API pages the docstring that they have at run time, with all parameters."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import griffe

from blis_simpy.settings.fields import fields_of


class SettingsDocstrings(griffe.Extension):
    """Replaces the docstrings of classes that are decorated with `settings_class` or `documented`."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Complete a class when it has been parsed."""
        if not any("settings_class" in str(d.value) or "documented" in str(d.value) for d in cls.decorators):
            return
        made = getattr(import_module(cls.module.path), cls.name)
        cls.docstring = griffe.Docstring(made.__doc__, parent=cls)
        for field in fields_of(made):
            cls.members.pop(field.name, None)
