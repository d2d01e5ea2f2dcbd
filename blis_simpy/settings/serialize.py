"""Settings classes to plain data and YAML, the inverse of `convert.structure`.

Only settings that differ from their defaults are written, in the order of their declaration.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

import attrs
import yaml

from blis_simpy import registry
from blis_simpy.errors import PluginError, Problem, ScenarioError, joined
from blis_simpy.settings.description import Setting, find_setting
from blis_simpy.settings.field_types import type_hints
from blis_simpy.settings.fields import default_of
from blis_simpy.settings.loader import SCALARS
from blis_simpy.settings.saved_plugin import SavedPlugin

if TYPE_CHECKING:
    from types import FunctionType

__all__ = ["plain_value", "to_plain", "to_yaml"]

_LINE_ENDS = re.compile("[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    # Text that is not text in one of the versions of YAML is quoted.
    yaml_implicit_resolvers = {  # noqa: RUF012 - the name is PyYAML's
        **yaml.SafeDumper.yaml_implicit_resolvers,
        **SCALARS,
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal parts in full, without anchors."""
        return True


def _quoted(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML drops these line ends unless they are escaped.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _LINE_ENDS.search(text) else None)


_Dumper.add_representer(str, _quoted)


def to_yaml(data: Any, *, one_line: bool = False) -> str:
    """Write plain data as YAML.

    Parameters
    ----------
    data : object
        As `to_plain` returns it.
    one_line : bool
        In flow style and without a line end.
    """
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=one_line,
        width=sys.maxsize if one_line else 110,
    )
    return text.removesuffix("...\n").strip() if one_line else text


def to_plain(
    settings: Any, *, complete: bool = False, absolute_paths: bool = False, stand_ins: bool = False
) -> dict[str, Any]:
    """Turn a settings instance into plain data.

    Parameters
    ----------
    settings : attrs instance
        Of a class whose fields are made with `blis_simpy.settings.fields.setting`.
    complete : bool
        Write settings at their defaults, too, except those that are unset.
    absolute_paths : bool
        Write absolute paths.
    stand_ins : bool
        Write a `SavedPlugin` in place of a plug-in without a registered name or with unknown options.

    Returns
    -------
    dict of str to object
        Dictionaries, lists, text, numbers, booleans and None.

    Raises
    ------
    ScenarioError
        With one problem for every value that cannot be written, such as a plug-in without a registered name.
    """
    writer = _Writer(complete, absolute_paths, stand_ins)
    data = writer.settings(settings, "")
    if writer.problems:
        raise ScenarioError(writer.problems)
    return data


def plain_value(value: Any, known: Setting, path: str, *, complete: bool = False, absolute_paths: bool = False) -> Any:
    """Turn the value of one field into plain data.

    Parameters
    ----------
    value : object
        As the field keeps it.
    known : Setting
        Of the field.
    path : str
        Dotted path of the field, for errors.
    complete, absolute_paths : bool
        As for `to_plain`.

    Raises
    ------
    ScenarioError
        As `to_plain` does.
    """
    writer = _Writer(complete, absolute_paths)
    data = writer.value(value, known, path)
    if writer.problems:
        raise ScenarioError(writer.problems)
    return data


class _Writer:
    """Makes plain data, and collects the values that cannot be written."""

    def __init__(self, complete: bool, absolute_paths: bool, stand_ins: bool = False) -> None:
        self._stand_ins = stand_ins
        self.problems: list[Problem] = []
        self._complete = complete
        self._absolute_paths = absolute_paths

    def settings(self, part: Any, path: str) -> dict[str, Any]:
        cls: Any = type(part)
        always = getattr(cls, "ALWAYS_WRITTEN", ())
        result: dict[str, Any] = {}
        for attribute in attrs.fields(cls):
            name, value = attribute.alias, getattr(part, attribute.name)
            if not attribute.init or (name not in always and self._is_understood(value, default_of(attribute))):
                continue
            known = find_setting(attribute) or Setting(help="")
            data = self.value(value, known, joined(path, name))
            if known.inline and isinstance(data, dict) and "type" in data:
                result[name] = data.pop("type")
                result.update(data)
                continue
            if isinstance(data, dict) and get_origin(type_hints(cls).get(attribute.name)) is Mapping:
                data = dict(sorted(data.items()))
            result[name] = data
        return result

    def _is_understood(self, value: Any, default: Any) -> bool:
        return value is None and default is None if self._complete else bool(value == default)

    def value(self, value: Any, known: Setting, path: str) -> Any:
        if known.kind is not None and isinstance(value, tuple):
            return [self.value(item, known, f"{path}[{index}]") for index, item in enumerate(value)]
        if known.kind is not None and not isinstance(value, str | Mapping | None):
            return self._plugin(value, known, path)
        if known.is_path and attrs.has(type(value)) and not any(map(find_setting, attrs.fields(type(value)))):
            return self._refuse(path, f"a {type(value).__name__} is no plain data")
        if known.is_path and self._absolute_paths and isinstance(value, str):
            return str(Path(value).absolute())
        return self._data(value, path)

    def _data(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, str | bool):
            return value
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            return float(value)
        if isinstance(value, tuple | list):
            return [self._data(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, Mapping):
            return {self._key(key, path): self._data(item, joined(path, str(key))) for key, item in value.items()}
        if attrs.has(type(value)):
            return self.settings(value, path)
        return self._refuse(path, f"a {type(value).__name__} is no plain data")

    def _key(self, key: Any, path: str) -> str:
        return str(key) if isinstance(key, str | int | float) else self._refuse(path, f"the key {key!r} is no text")

    def _plugin(self, value: Any, known: Setting, path: str) -> Any:
        """Write a class, a function or an instance by its registered name."""
        assert known.kind is not None
        is_recipe = isinstance(value, type) or inspect.isfunction(value)
        recipe: type | FunctionType = value if is_recipe else type(value)
        name = _registered_name(known.kind, recipe)
        has_unknown_options = (
            not is_recipe and not attrs.has(type(value)) and bool(inspect.signature(recipe).parameters)
        )
        if self._stand_ins and (name is None or has_unknown_options or isinstance(value, SavedPlugin)):
            return (value if isinstance(value, SavedPlugin) else SavedPlugin.of(value)).to_plain()
        if name is None:
            return self._refuse(path, f"{recipe.__name__} is not registered under a name")
        options: dict[str, Any] = {}
        if not is_recipe and attrs.has(type(value)):
            options = self.settings(value, path)
        elif has_unknown_options:
            return self._refuse(
                path, f"the options of this {recipe.__name__} are not known; give it as a mapping with 'type'"
            )
        has_name = known.forms is None or str in known.forms.types
        return {"type": name, **options} if options or not has_name else name

    def _refuse(self, path: str, reason: str) -> Any:
        self.problems.append(Problem(path=path, rule=f"cannot be written: {reason}"))


def _registered_name(kind: str, recipe: Any) -> str | None:
    for name in registry.names(kind):
        with suppress(PluginError):  # of another plug-in that is broken
            if registry.get(kind, name) is recipe:
                return name
    return None
