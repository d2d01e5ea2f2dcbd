"""Typed access to the configuration of a checkpoint.

Key names differ between families, values may have any type, and a multimodal model nests the configuration of its
language model. `ConfigView` gives the figures of the language model, refuses values that cannot be meant, and knows
which keys were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from blis_simpy.catalog.files import as_number
from blis_simpy.errors import ScenarioError

__all__ = ["ConfigView", "language_config"]

_NESTED = (
    "thinker_config",
    "text_config",
    "llm_config",
    "language_config",
    "language_model_config",
    "text_model_config",
)
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HIDDEN_KEYS = ("hidden_size", "n_embd", "d_model")
_LIMIT = 2**53
_ABSENT = object()


def language_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the language model: entries of nested ones overlay those above them one by one."""
    merged = dict(config)
    while nested := next((key for key in _NESTED if isinstance(merged.get(key), Mapping)), None):
        inner = merged.pop(nested)
        merged.update({key: value for key, value in inner.items() if value is not None or key not in merged})
    return merged


class ConfigView:
    """A configuration, read by key; dots lead into nested objects.

    Where several keys may hold a figure, those of the configuration come before the defaults of its class. A key that
    is stated as null has no default: the library takes it so.

    Parameters
    ----------
    values : mapping
        The configuration, as parsed from JSON.
    defaults : mapping, optional
        Defaults of its class.
    file : str, optional
        Where it came from, for messages.

    Attributes
    ----------
    used : set of str
        Top-level keys that were looked at.
    depends_on_index : bool
        Whether the index of the layer was looked at, so that other layers may differ.
    """

    def __init__(
        self, values: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, file: str | None = None
    ) -> None:
        self.used: set[str] = set()
        self.depends_on_index = False
        self._layer_index = 0
        self._values, self._defaults = values, defaults or {}
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def get(self, key: str) -> Any:
        """Return the value under a key as it is, None if there is none."""
        return next((value for _, value in self._stated(key)), None)

    def has(self, *keys: str) -> bool:
        """Return whether one of the keys has a value other than null."""
        return any(value is not None for _, value in self._stated(*keys))

    def count(self, *keys: str, default: int = 0, above: int = 0, most: int = _LIMIT) -> int:
        """Return the first number above `above` under one of the keys, else `default`.

        A list with a number per layer counts as that number where all of them are equal.

        Raises
        ------
        ScenarioError
            If a value on the way is no whole number from 0 to `most`.
        """
        for key, value in self._stated(*keys):
            if value is None:
                continue
            alike = isinstance(value, list) and value and all(element == value[0] for element in value)
            number = as_number(value[0] if alike else value)
            if number is None or not number >= 0 or (number <= most and number != int(number)):
                raise self.error(key, "must be a whole number >= 0", value)
            if number > most:
                raise self.error(key, f"must be at most {most}", value)
            if number > above:
                return int(number)
        return default

    def number(self, key: str, default: float = 0.0) -> float:
        """Return the finite number under a key, else `default`.

        Raises
        ------
        ScenarioError
            If the value is no finite number.
        """
        value = self.get(key)
        if value is None:
            return default
        number = as_number(value)
        if number is None or not abs(number) < _LIMIT:
            raise self.error(key, "must be a finite number", value)
        return float(number)

    def flag(self, *keys: str, default: bool = False) -> bool:
        """Return the first boolean under one of the keys, else `default`."""
        return next((value for _, value in self._stated(*keys) if isinstance(value, bool)), default)

    def text(self, *keys: str) -> str:
        """Return the first text under one of the keys, else an empty one."""
        return next((value for _, value in self._stated(*keys) if isinstance(value, str)), "")

    def items(self, key: str) -> list[Any] | None:
        """Return the list under a key, None if there is none."""
        value = self.get(key)
        return value if isinstance(value, list) else None

    def whole_numbers(self, key: str) -> list[int] | None:
        """Return the list of whole numbers under a key, None if there is none.

        Raises
        ------
        ScenarioError
            If an element is no whole number >= 0.
        """
        values = self.items(key)
        if values is None:
            return None
        for index, value in enumerate(values):
            number = as_number(value)
            if number is None or not 0 <= number < _LIMIT or number != int(number):
                raise self.error(f"{key}[{index}]", "must be a whole number >= 0", value)
        return [int(value) for value in values]

    def of_layer(self, index: int) -> ConfigView:
        """Return the configuration of a layer, where ``per_layer_config`` states another one for some of them."""
        stated = self.get("per_layer_config")
        values = self._values
        for key, own in stated.items() if isinstance(stated, Mapping) else ():
            if isinstance(own, Mapping) and isinstance(key, str) and key.isdecimal() and int(key) == index:
                values = {**values, **own}
                break
        view = ConfigView(values, self._defaults, self._file)
        view.used = self.used
        view.depends_on_index = stated is not None
        view._layer_index = index
        return view

    @property
    def layer_index(self) -> int:
        """Position of the layer of a view that `of_layer` returns."""
        self.depends_on_index = True
        return self._layer_index

    def error(self, key: str, rule: str, *value: object, hint: str = "", code: str = "") -> ScenarioError:
        """Build an error about a key, with its file."""
        return ScenarioError.at(key, rule, *value, file=self._file, hint=hint, code=code)

    def missing(self, key: str, code: str = "") -> ScenarioError:
        """Build an error about a key that is not given, or given as 0."""
        if self.has(key):
            return self.error(key, "must be > 0", self.get(key), code=code)
        return self.error(key, "must be given", code=code)

    def _stated(self, *keys: str) -> list[tuple[str, Any]]:
        """Return the keys that the configuration states with their values; if it states none, those with a default."""
        for source in (self._values, self._defaults):
            if found := [(key, value) for key in keys if (value := self._find(source, key)) is not _ABSENT]:
                return found
        return []

    def _find(self, source: Mapping[str, Any], key: str) -> Any:
        head, *rest = key.split(".")
        self.used.add(head)
        value = source.get(head, _ABSENT)
        for part in rest:
            value = value.get(part, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        return value
