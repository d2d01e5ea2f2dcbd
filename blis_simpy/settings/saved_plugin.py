"""Stand-in for a plug-in without a registered name, in the scenario of a saved result."""

from __future__ import annotations

import inspect
from typing import Any

import attrs

__all__ = ["SavedPlugin", "with_saved_plugins"]

_KEY = "not_registered"


@attrs.frozen(repr=False)
class SavedPlugin:
    """Name of a class, function or instance that a scenario held when its result was saved; it cannot be made again.

    Attributes
    ----------
    name : str
        Module and qualified name of the class or function; module and ``repr`` of an instance that has one.
    """

    name: str

    @classmethod
    def of(cls, plugin: Any) -> SavedPlugin:
        """Describe a plug-in."""
        recipe = plugin if inspect.isclass(plugin) or inspect.isroutine(plugin) else type(plugin)
        text = repr(plugin)
        # An address would differ from run to run.
        is_text = recipe is not plugin and " at 0x" not in text
        return cls(f"{recipe.__module__}.{text if is_text else recipe.__qualname__}")

    @property
    def __name__(self) -> str:
        return self.name.partition("(")[0].rpartition(".")[2]

    def to_plain(self) -> dict[str, str]:
        """Return the mapping that `with_saved_plugins` reads."""
        return {_KEY: self.name}

    def __repr__(self) -> str:
        return f"<{self.name}, not registered when the result was saved>"


def with_saved_plugins(data: Any) -> Any:
    """Return plain data of a saved scenario with stand-ins in place of their mappings."""
    if isinstance(data, list):
        return [with_saved_plugins(item) for item in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {_KEY}:
        return SavedPlugin(data[_KEY])
    return {key: with_saved_plugins(item) for key, item in data.items()}
