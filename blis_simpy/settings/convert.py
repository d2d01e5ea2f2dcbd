"""Plain data to settings classes, strictly: nothing is coerced, and all errors are reported together, in file order.

cattrs checks the keys of a class, the `Setting` of a field its value. A mapping becomes the class of its field, a list
of mappings a tuple of them, a mapping of names to mappings one of names to settings. The options in a mapping with the
type of a plug-in are checked against those that the plug-in describes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import attrs

from blis_simpy import registry
from blis_simpy.errors import BlisError, Problem, ScenarioError
from blis_simpy.settings.description import Setting, find_setting, setting_of
from blis_simpy.settings.field_types import listed_class, named_class, nested_class, type_hints
from blis_simpy.settings.key_paths import KeyPath, dotted, parts
from blis_simpy.settings.plugin_options import checked_options, options_of_spec, unknown_option
from blis_simpy.settings.suggestions import unknown_key

if TYPE_CHECKING:
    import cattrs

    from blis_simpy.settings.loader import Document

    Hook = Callable[[Any, Any], Any]

__all__ = ["accept", "beside", "inline_field", "structure"]

T = TypeVar("T")

_MAX_UNKNOWN = 20
"""Most unknown keys of a mapping that are named: the likely intent of each takes a while to find."""
_MARK = "_"
"""Suffix of the names of fields for cattrs, which takes them as keywords beside its own parameters."""


def structure(source: Document | Mapping[str, Any] | T, cls: type[T], *, lenient: bool = False) -> T:
    """Make a settings class from plain data.

    Parameters
    ----------
    source : Document, mapping or instance
        A YAML document, whose file and lines are then named in errors, or data made in Python. The data may contain
        instances of settings classes; an instance of `cls` is returned unchanged.
    cls : type
        Attrs class whose fields are made with `blis_simpy.settings.fields.setting`.
    lenient : bool
        Accept what files of the reference contain: a key without a value in place of no key, a whole number written as
        ``1e9``, and a label written as a number.

    Raises
    ------
    ScenarioError
        With one problem for every unknown or missing key, wrong type and broken rule.
    """
    if isinstance(source, cls):
        return source
    import cattrs  # a scenario that is made in Python or of flags does without it and without YAML

    from blis_simpy.settings.loader import Document

    document = source if isinstance(source, Document) else None
    data: Any = document.data if document else source
    try:
        made: T = _converter(lenient).structure(data, cls)
    except (BlisError, cattrs.BaseValidationError) as error:
        tree = error
    else:
        return made
    # Outside the handler, so that an error of a plug-in does not show the whole tree.
    problems = [_placed(problem.inside(dotted(path)), document) for path, problem in _problems(tree, data, ())]
    raise ScenarioError(sorted(problems, key=lambda problem: problem.line or 0))


def _placed(problem: Problem, document: Document | None) -> Problem:
    if document is None or problem.file is not None:
        return problem
    return attrs.evolve(problem, file=document.file, line=document.line_of(parts(problem.path)))


def accept(attribute: attrs.Attribute[Any], value: Any, hint: Any, *, lenient: bool = False) -> Any:
    """Bring a value into the form that its field keeps.

    Parameters
    ----------
    attribute : attrs field
        Made with `blis_simpy.settings.fields.setting`; any other field takes every value as it is.
    value : object
        As the user gave it.
    hint : type
        Type of the field.
    lenient : bool
        As for `structure`.

    Raises
    ------
    ScenarioError
        If the field does not take the value; the paths start below the field.
    """
    known = find_setting(attribute)
    if known is None:
        return value
    # Settings that are parts of others were checked when they were made; a copy with changes passes all parts again.
    part = nested_class(hint)
    if part is not None and type(value) is part and known.convert is None:
        return value
    if lenient:
        value = _leniently(value, (hint, *get_args(hint)))
    value = known.normalise(value)
    if type(value) is float and known.dimension is None and value.is_integer() and hint in (int, int | None):
        value = int(value)  # a count may be written as 1e3
    if known.convert is not None:
        value = known.convert(value)
    if known.forms is not None:
        value = known.forms.convert(value)
    if part is not None:
        value = _accept_part(value, part, lenient)
    elif (named := named_class(hint)) is not None:
        value = _accept_named(value, named, lenient)
    elif isinstance(value, tuple):
        value = _accept_items(known, value, listed_class(hint), lenient)
    elif isinstance(value, Mapping) and known.kind is not None and hint is not str:
        value = _accept_plugin(known, value)
    problem = known.judge(value, hint)
    if problem is not None:
        raise ScenarioError(problem)
    return value


def _accept_part(value: Any, part: Any, lenient: bool) -> Any:
    """Make a part of settings from a mapping of them, or from the policy that it is about alone."""
    if isinstance(value, Mapping):
        return structure(value, part, lenient=lenient)
    if value is None or isinstance(value, part):
        return value
    inline = inline_field(part)
    if inline is None:
        return value
    try:
        return part(**{inline.alias: value})
    except ScenarioError as error:
        paths = [p.path.removeprefix(inline.alias) for p in error.problems]
        raise ScenarioError(attrs.evolve(p, path=path) for p, path in zip(error.problems, paths, strict=True)) from None


def _accept_items(
    known: Setting, items: tuple[Any, ...], item_class: type[Any] | None, lenient: bool
) -> tuple[Any, ...]:
    made: list[Any] = []
    problems: list[Problem] = []
    for position, item in enumerate(items):
        try:
            if item_class is not None and not isinstance(item, item_class):
                item = structure(item, item_class, lenient=lenient)
            elif known.kind is not None and isinstance(item, Mapping):
                item = _accept_plugin(known, item)
            made.append(item)
        except ScenarioError as error:
            problems += [problem.inside(f"[{position}]") for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return tuple(made)


def _accept_named(value: Any, part: type[Any], lenient: bool) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ScenarioError(Problem(rule="must be a mapping of names to settings", value=value))
    made: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, settings in value.items():
        if not isinstance(name, str):
            problems.append(Problem(rule="must have names as keys", value=name))
            continue
        try:
            made[name] = structure(settings, part, lenient=lenient)
        except ScenarioError as error:
            problems += [problem.inside(name) for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return made


def _accept_plugin(known: Setting, value: Mapping[str, Any]) -> Any:
    """Check the options of the plug-in that a mapping names, and make the plug-in where the field keeps that."""
    name = value.get("type")
    assert known.kind is not None
    if name not in registry.names(known.kind):
        return value  # for the field to judge
    options = {key: option for key, option in value.items() if key != "type"}
    options = checked_options(known.kind, name, options, structure)
    if known.forms is not None:
        return registry.build(known.kind, {"type": name, **options})
    return {"type": name, **options} if options else name


@cache
def inline_field(cls: Any) -> Any:
    """Return the field of a settings class whose plug-in has its options beside it; None if there is none."""
    settings = ((attribute, find_setting(attribute)) for attribute in attrs.fields(cls))
    return next((attribute for attribute, known in settings if known is not None and known.inline), None)


def beside(inline: Any, problem: Problem) -> Problem:
    """Name an option of an inline plug-in by its place beside the field, and the name of the plug-in by the field."""
    outer, _, inner = problem.path.partition(".")
    if outer != inline.alias or not inner:
        return problem
    return attrs.evolve(problem, path=outer if inner == "type" else inner)


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
    names = {field.alias: None for field in fields}
    overrides: dict[str, Any] = {
        field.alias + _MARK: override(rename=field.alias, struct_hook=_field_hook(field, hints[field.name], lenient))
        for field in fields
    }
    build = make_dict_structure_fn_from_attrs(
        [field.evolve(name=field.alias + _MARK, alias=field.alias, type=Any) for field in fields],
        cls,
        converter,
        **overrides,
    )
    inline = inline_field(cls)

    def structure_mapping(value: Any, _: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ScenarioError(Problem(rule="must be a mapping of settings", value=value))
        if lenient:
            value = {key: part for key, part in value.items() if part is not None or key not in names}
        if inline is not None:
            return _build_with_options(value, inline, names, lambda data: build(data, cls))
        return build(value, cls)

    return structure_mapping


def _build_with_options(
    value: Mapping[str, Any], inline: Any, names: Collection[str], build: Callable[[Any], Any]
) -> Any:
    """Build a settings class from a mapping of its settings and the options of its plug-in."""
    import cattrs

    own = {key: part for key, part in value.items() if key in names}
    options = {key: part for key, part in value.items() if key not in names}
    problems: list[Problem] = []
    if options:
        plugin = own.get(inline.alias, inline.default)
        kind = setting_of(inline).kind
        assert kind is not None
        known = options_of_spec(kind, plugin)
        if known is not None:
            unknown = [key for key in options if key not in known]
            problems += [unknown_option(kind, plugin, str(key), names) for key in unknown[:_MAX_UNKNOWN]]
            options = {key: part for key, part in options.items() if key not in unknown}
        if options:
            own[inline.alias] = {**(plugin if isinstance(plugin, Mapping) else {"type": plugin}), **options}
    try:
        made = build(own)
    except (BlisError, cattrs.BaseValidationError) as error:
        tree = error
    else:
        if not problems:
            return made
        raise ScenarioError(problems)
    found = (problem.inside(dotted(path)) for path, problem in _problems(tree, own, ()))
    raise ScenarioError([*(beside(inline, problem) for problem in found), *problems])


def _field_hook(attribute: attrs.Attribute[Any], hint: Any, lenient: bool) -> Hook:
    return lambda value, _: accept(attribute, value, hint, lenient=lenient)


def _leniently(value: Any, types: tuple[Any, ...]) -> Any:
    if int in types and isinstance(value, float) and value.is_integer():
        return int(value)
    if str in types and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _problems(error: Exception, data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Problem]]:
    """Walk cattrs' tree of errors along the data; our own problems have paths that start where they were found."""
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
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        unknown = [str(key) for key in data if key in error.extra_fields]
        for key in unknown[:_MAX_UNKNOWN]:
            yield (*path, key), unknown_key(error.cl, "", key)
        if len(unknown) > _MAX_UNKNOWN:
            yield path, Problem(rule=f"has {len(unknown) - _MAX_UNKNOWN:,} more keys that are not settings")
    elif isinstance(error, BlisError):
        for problem in error.problems:
            yield path, problem
    else:
        raise error
