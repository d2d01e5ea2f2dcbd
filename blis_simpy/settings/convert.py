"""Plain data to settings classes, strictly: nothing is coerced, and all mistakes are reported at once, in file order.

The structure (which class, which keys, which items of a list) is cattrs' work. What a single value may be is decided by
the `Setting` of its field. A mapping becomes the class of its field, a list of mappings a tuple of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import attrs

from blis_simpy import registry
from blis_simpy.errors import BlisError, Problem, ScenarioError, joined, unknown_setting
from blis_simpy.settings.fields import Setting, listed_class, nested_class, type_hints, validated
from blis_simpy.settings.loader import Document, KeyPath, dotted, parts

if TYPE_CHECKING:
    import cattrs

    Hook = Callable[[Any, Any], Any]

__all__ = ["structure", "tagged"]

T = TypeVar("T")

_MARK = "_"
"""Put behind the names of fields for cattrs, which takes them as keywords, beside parameters of its own."""


def structure(source: Document | Mapping[str, Any] | T, cls: type[T], *, lenient: bool = False) -> T:
    """Make a settings class from plain data.

    Parameters
    ----------
    source : Document, mapping or instance
        A YAML document, whose file and lines then stand in the errors, or data made in Python. Instances of the
        classes that it leads to may stand in it, too; an instance of `cls` is returned as it is.
    cls : type
        Attrs class whose fields are made with `blis_simpy.settings.fields.setting`.
    lenient : bool
        Take what files of the reference have: a key without a value for one that is not given, a whole number written
        as ``1e9``, and a label written as a number.

    Raises
    ------
    ScenarioError
        With one problem for every unknown or missing key, wrong type and broken rule.
    """
    if isinstance(source, cls):
        return source
    import cattrs  # a scenario that is made in Python or of flags does without

    document = source if isinstance(source, Document) else None
    data: Any = document.data if document else source
    try:
        made: T = _converter(lenient).structure(data, cls)
    except (BlisError, cattrs.BaseValidationError) as error:
        tree = error
    else:
        return made
    # Out of the handler, so that an error of a plug-in does not show the whole tree.
    problems = [
        attrs.evolve(
            problem,
            path=joined(dotted(path), problem.path),
            file=document.file if document else None,
            line=document.line_of((*path, *parts(problem.path))) if document else None,
        )
        for path, problem in _problems(tree, data, ())
    ]
    raise ScenarioError(sorted(problems, key=lambda problem: problem.line or 0))


def tagged(name: str, kind: str, tag: str, value: Any, also: tuple[type, ...] = ()) -> Any:
    """Make the plug-in that a mapping names under its tag; for the converter of a field.

    Parameters
    ----------
    name : str
        Of the field.
    kind, tag, also
        As its `Setting` has them. A mapping that describes a settings class of `also` becomes an instance of it.
    value : object
        What is no mapping, or names nothing that is known, is returned as it is: that is for the field to judge.

    Raises
    ------
    ScenarioError
        With one problem for every option that is wrong, its path beginning with `name`.
    """
    if not isinstance(value, Mapping):
        return value
    described = _described(value, kind, tag, also)
    if described is None and value.get(tag) not in registry.names(kind):
        return value
    try:
        return _plugin(value, kind, tag, structure) if described is None else structure(value, described)
    except BlisError as error:
        raise ScenarioError(attrs.evolve(p, path=joined(name, p.path)) for p in error.problems) from None


def _described(value: Mapping[str, Any], kind: str, tag: str, also: tuple[type, ...]) -> Any:
    """Return the settings class in `also` that a mapping describes; None if it holds the options of a plug-in."""
    keys = {str(key) for key in value}
    is_known = value.get(tag) in registry.names(kind)
    for cls in filter(attrs.has, also):
        names = {field.alias for field in attrs.fields(cls)}
        if (keys > {tag} and keys <= names) if is_known else (keys & names or not keys):
            return cls
    return None


def _plugin(value: Mapping[str, Any], kind: str, tag: str, build: Hook) -> Any:
    options = {key: option for key, option in value.items() if key != tag}
    plugin = registry.get(kind, value[tag])
    if isinstance(plugin, type) and attrs.has(plugin):
        return build(options, plugin)
    return registry.build(kind, plugin, **options)


@cache
def _converter(lenient: bool) -> cattrs.Converter:
    import cattrs

    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_factory(attrs.has, lambda cls: _class_hook(cls, converter, lenient))
    return converter


def _class_hook(cls: Any, converter: cattrs.Converter, lenient: bool) -> Hook:
    from cattrs.gen import make_dict_structure_fn_from_attrs, override

    hints = type_hints(cls)
    fields = [field for field in attrs.fields(cls) if field.init]
    names = frozenset(field.alias for field in fields)
    overrides: dict[str, Any] = {
        field.alias + _MARK: override(
            rename=field.alias, struct_hook=_field_hook(field, hints[field.name], converter, lenient)
        )
        for field in fields
    }
    build = make_dict_structure_fn_from_attrs(
        [field.evolve(name=field.alias + _MARK, alias=field.alias, type=Any) for field in fields],
        cls,
        converter,
        **overrides,
    )

    def structure_mapping(value: Any, _: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ScenarioError(Problem(rule="must be a mapping of settings", value=value))
        if lenient:
            value = {key: part for key, part in value.items() if part is not None or key not in names}
        return build(value, cls)

    return structure_mapping


def _field_hook(attribute: attrs.Attribute[Any], hint: Any, converter: cattrs.Converter, lenient: bool) -> Hook:
    types = (hint, *get_args(hint))
    known: Setting | None = attribute.metadata.get(Setting)

    def structure_value(value: Any, _: Any) -> Any:
        if lenient:
            value = _leniently(value, types)
        validated(attribute, value, hint)
        return value  # the constructor brings it into its form

    def structure_plugin(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            return structure_value(value, _)
        assert known is not None
        assert known.kind is not None
        assert known.tag is not None
        described = _described(value, known.kind, known.tag, known.also)
        if described is not None:
            return converter.structure(value, described)
        problem = known.judge(value, hint)
        if problem is not None:
            raise ScenarioError(problem)
        return _plugin(value, known.kind, known.tag, converter.structure)

    def structure_part(value: Any, _: Any) -> Any:
        return None if value is None and NoneType in types else converter.structure(value, part)

    def structure_list(value: Any, _: Any) -> Any:
        if value is None and NoneType in types:
            return None
        if not isinstance(value, list | tuple):
            raise ScenarioError(Problem(rule="must be a list", value=value))
        return converter.structure(value, part)

    part: Any = nested_class(hint)
    if part is not None:
        return structure_part
    if (item := listed_class(hint)) is not None:
        part = tuple[item, ...]  # type: ignore[valid-type]
        return structure_list
    return structure_value if known is None or known.tag is None else structure_plugin


def _leniently(value: Any, types: tuple[Any, ...]) -> Any:
    if int in types and isinstance(value, float) and value.is_integer():
        return int(value)
    if str in types and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _problems(error: Exception, data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Problem]]:
    """Walk cattrs' tree of errors along the data; a problem that we found ourselves has a path from there on."""
    import cattrs

    if isinstance(error, cattrs.ClassValidationError):
        of_fields, others = error.group_exceptions()
        for inner, place in of_fields:
            name = place.name.removesuffix(_MARK)
            if isinstance(inner, KeyError) and data.get(name) is None:
                yield (*path, name), Problem(rule="is required")
            else:
                yield from _problems(inner, data[name], (*path, name))
        for inner in others:
            yield from _problems(inner, data, path)
    elif isinstance(error, cattrs.IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _problems(inner, data[item.index], (*path, item.index))
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        known = [field.alias for field in attrs.fields(error.cl) if field.init]
        for key in data:
            if key in error.extra_fields:
                yield (*path, str(key)), unknown_setting("", str(key), known)
    elif isinstance(error, BlisError):
        for problem in error.problems:
            yield path, problem
    else:
        raise error
