"""Plain data to settings classes, strictly: nothing is coerced, and all mistakes are reported at once, in file order.

The structure (which class, which nested class, which keys) is cattrs' work; what a single value may be is decided by
the `Setting` of its field.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import attrs

from blis_simpy import registry
from blis_simpy.errors import BlisError, Problem, ScenarioError
from blis_simpy.settings.fields import Setting, joined, type_hints
from blis_simpy.settings.loader import Document, KeyPath, dotted, parts

if TYPE_CHECKING:
    import cattrs

__all__ = ["changed", "nested_class", "structure"]

T = TypeVar("T")


def structure(source: Document | Mapping[str, Any], cls: type[T]) -> T:
    """Make a settings class from plain data.

    Parameters
    ----------
    source : Document or mapping
        A YAML document, whose file and lines then stand in the errors, or data made in Python.
    cls : type
        Attrs class whose fields are made with `blis_simpy.settings.fields.setting`.

    Raises
    ------
    ScenarioError
        With one problem for every unknown or missing key, wrong type and broken rule.
    """
    import cattrs

    document = source if isinstance(source, Document) else None
    try:
        result: T = _converter().structure(source.data if isinstance(source, Document) else source, cls)
    except (BlisError, cattrs.BaseValidationError) as error:
        problems = [
            attrs.evolve(
                problem,
                path=joined(dotted(path), problem.path),
                file=document.file if document else None,
                line=document.line_of((*path, *parts(problem.path))) if document else None,
            )
            for path, problem in _problems(error, ())
        ]
        raise ScenarioError(sorted(problems, key=lambda problem: problem.line or 0)) from None
    return result


def changed(instance: T, changes: Mapping[str, Any]) -> T:
    """Copy a settings instance with some fields replaced.

    Parameters
    ----------
    instance : attrs instance
        Stays as it is.
    changes : mapping of str to object
        New values by dotted path, e.g. ``{"engine.max_num_seqs": 8}``. A part that was None starts from its defaults.

    Raises
    ------
    ScenarioError
        With one problem for every unknown path and every bad value.
    """
    cls: Any = type(instance)
    attributes = attrs.fields_dict(cls)
    hints = type_hints(cls)
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if name not in attributes:
            problems.append(Problem(path=path, rule="is not a setting", hint=_guess(name, attributes)))
        elif rest:
            inner.setdefault(name, {})[rest] = value
        else:
            known: Setting | None = attributes[name].metadata.get(Setting)
            values[name] = known.normalise(value) if known else value
            if known and (problem := known.judge(values[name], hints[name])):
                problems.append(attrs.evolve(problem, path=joined(name, problem.path)))
    for name, below in inner.items():
        part = values.get(name, getattr(instance, name))
        nested = nested_class(hints[name])
        if part is None and nested is not None:
            part = nested()
        if not attrs.has(type(part)):
            problems += [Problem(path=f"{name}.{rest}", rule="is not a setting") for rest in below]
            continue
        try:
            values[name] = changed(part, below)
        except ScenarioError as error:
            problems += [attrs.evolve(problem, path=joined(name, problem.path)) for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return attrs.evolve(instance, **values)  # type: ignore[misc]


def nested_class(hint: Any) -> type | None:
    """Return the settings class of a field's type, also where it may be None; None if the field holds a plain value."""
    return next((option for option in (hint, *get_args(hint)) if isinstance(option, type) and attrs.has(option)), None)


@cache
def _converter() -> cattrs.Converter:
    import cattrs

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook_factory(attrs.has, lambda cls: _class_hook(cls, converter))
    return converter


def _class_hook(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    from cattrs.gen import make_dict_structure_fn, override

    hints = type_hints(cls)
    hooks: dict[str, Any] = {
        attribute.name: override(struct_hook=_field_hook(attribute.metadata[Setting], hints[attribute.name], converter))
        for attribute in attrs.fields(cls)
        if Setting in attribute.metadata
    }
    build = make_dict_structure_fn(cls, converter, **hooks)

    def structure_mapping(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ScenarioError(Problem(rule="must be a mapping of settings", value=value))
        return build(value, cls)

    return structure_mapping


def _field_hook(known: Setting, hint: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    nested = nested_class(hint)
    optional = type(None) in get_args(hint)

    def structure_value(value: Any, _: Any) -> Any:
        if nested is not None and (value is not None or not optional):
            return converter.structure(value, nested)
        value = known.normalise(value)
        problem = known.judge(value, hint)
        if problem is not None:
            raise ScenarioError(problem)
        if known.kind is not None and known.tag is not None and isinstance(value, Mapping):
            return _plugin_instance(known.kind, known.tag, value, converter)
        return value

    return structure_value


def _plugin_instance(kind: str, tag: str, value: Mapping[str, Any], converter: cattrs.Converter) -> Any:
    options = {key: option for key, option in value.items() if key != tag}
    plugin = registry.get(kind, value[tag])
    if isinstance(plugin, type) and attrs.has(plugin):
        return converter.structure(options, plugin)
    return registry.build(kind, plugin, **options)


def _problems(error: BaseException, path: KeyPath) -> Iterator[tuple[KeyPath, Problem]]:
    """Walk cattrs' tree of errors; the path of a problem that a rule of ours found is relative to the key path."""
    import cattrs

    if isinstance(error, cattrs.BaseValidationError):
        for inner in error.exceptions:
            notes = getattr(inner, "__notes__", ())
            name = next((note.name for note in notes if isinstance(note, cattrs.AttributeValidationNote)), None)
            yield from _problems(inner, path if name is None else (*path, name))
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for key in error.extra_fields:
            hint = _guess(key, attrs.fields_dict(error.cl))
            yield (*path, key), Problem(rule="is not a setting", hint=hint, code="unknown_setting")
    elif isinstance(error, BlisError):
        for problem in error.problems:
            yield path, problem
    elif isinstance(error, KeyError):
        yield path, Problem(rule="is required")
    else:
        raise error


def _guess(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
