"""Plug-ins by kind and name, for built-in policies and for those of users.

A plug-in is any object that an installed distribution names in the entry-point group ``blis_simpy.<kind>``::

    [project.entry-points."blis_simpy.scheduler"]
    shortest-output-first = "my_package:ShortestOutputFirst"

Entry points are scanned at the first lookup, and loaded at the first lookup of their name. In a notebook or a test,
`add` registers an object for the running process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import PluginError, nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "GROUP_PREFIX",
    "add",
    "added",
    "additions",
    "build",
    "get",
    "is_recipe",
    "is_shadowed",
    "names",
    "num_build_arguments",
    "plugin_of",
    "remove",
    "takes",
    "third_party",
]

GROUP_PREFIX = "blis_simpy."

_NUM_BUILD_ARGUMENTS = {"latency": 1, "kv_store": 2}

_NOUNS = {
    "admission": "admission policy",
    "arrivals": "arrival process",
    "batching": "batch policy",
    "kv_store": "KV store",
    "latency": "latency model",
    "lengths": "length distribution",
    "migration": "migration policy",
    "priority": "priority policy",
    "routing": "routing policy",
}
_METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "admission": {"admit": ("request", "state")},
    "arrivals": {"inter_arrival_times": ("rng", "rate_per_s", "n")},
    "batching": {"form": ("step",)},
    "decider": {"disaggregate": ("request", "choice")},
    "migration": {"migrations": ("state",)},
    "kv_store": {
        "cached_prefix": ("leg",),
        "stays_blocked": ("leg", "prefix", "end", "kept"),
        "blocks_to_admit": ("leg", "prefix", "end"),
        "free_blocks_taken": ("leg", "prefix", "end"),
        "admit": ("leg", "prefix", "end"),
        "blocks_to_extend": ("leg", "end"),
        "extend": ("leg", "end"),
        "take": ("blocks",),
        "external_get": ("blocks",),
        "external_put": ("blocks",),
        "name_output": ("leg", "tokens"),
        "release": ("leg", "tokens", "hashed"),
        "preempt": ("leg", "tokens", "hashed", "findable"),
        "clear_cache": (),
    },
    "latency": {
        "step_time": ("batch",),
        "queueing_time": ("input_tokens",),
        "output_token_processing_time": (),
        "post_decode_overhead": (),
    },
    "lengths": {"sample": ("rng", "n")},
    "priority": {"score": ("request", "now")},
    "routing": {"route": ("request", "state")},
    "scheduler": {"key": ("request", "priority", "now")},
    "scorer": {"score": ("request", "snapshots")},
}
"""Methods that the library calls on each kind of plug-in, with their arguments, which are passed by position."""

_added: dict[tuple[str, str], Any] = {}
_installed: dict[str, dict[str, list[EntryPoint]]] | None = None
_loaded: dict[tuple[str, str], Any] = {}


def _entry_points(kind: str) -> dict[str, list[EntryPoint]]:
    """Entry points of a kind by name; more than one under a name if several distributions claim it."""
    global _installed
    if _installed is None:
        from importlib.metadata import entry_points  # imports half the standard library

        # One scan for all kinds: it opens a file of each installed distribution.
        installed = entry_points()
        _installed = {}
        for group in installed.groups:
            if group.startswith(GROUP_PREFIX):
                by_name = _installed.setdefault(group, {})
                for entry in installed.select(group=group):
                    by_name.setdefault(entry.name, []).append(entry)
    return _installed.get(GROUP_PREFIX + kind, {})


def names(kind: str) -> tuple[str, ...]:
    """Return the registered names, sorted.

    Parameters
    ----------
    kind : str
        Kind of plug-in, e.g. ``scheduler``.
    """
    return tuple(sorted({*_entry_points(kind), *(name for k, name in _added if k == kind)}))


def get(kind: str, name: str) -> Any:
    """Return the object registered under a name; its module is loaded if necessary.

    Raises
    ------
    PluginError
        If the name is unknown (with the known names and the nearest match), if two distributions claim it, or if
        loading it fails.
    """
    if (kind, name) in _added:
        return _added[kind, name]
    if (kind, name) in _loaded:
        return _loaded[kind, name]
    entries = _entry_points(kind).get(name, [])
    if not entries:
        raise PluginError.at(kind, "is unknown", name, hint=nearest(name, names(kind)), code=f"unknown_{kind}")
    if len(entries) > 1:
        claims = " and ".join(f"{e.dist.name if e.dist else 'an unnamed distribution'} ({e.value})" for e in entries)
        raise PluginError.at(f"{kind} {name!r}", f"is registered twice: by {claims}")
    try:
        loaded = entries[0].load()
    except Exception as error:
        raise PluginError.at(f"{kind} {name!r}", f"cannot be loaded from {entries[0].value}: {error!r}") from error
    _loaded[kind, name] = loaded
    return loaded


def build(kind: str, spec: Any, /, *args: Any, **options: Any) -> Any:
    """Make an instance of a plug-in.

    Parameters
    ----------
    kind : str
        Kind of plug-in.
    spec : str, mapping, class or instance
        A registered name; a mapping of the name, under ``type``, and options; a class or a function, which is called;
        or an instance, which is returned.
    *args, **options
        Arguments of the class or function, before the options of the mapping.

    Raises
    ------
    PluginError
        If the name is unknown, the options do not fit, or what was made lacks a method of its kind or has one that
        does not take its arguments.
    """
    if isinstance(spec, Mapping):
        options = {**options, **{k: v for k, v in spec.items() if k != "type"}}
    plugin = plugin_of(kind, spec)
    if not is_recipe(plugin):
        return _checked(kind, plugin)
    try:
        made = plugin(*args, **options)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise
        raise _wrong_options(kind, spec, plugin, error) from error
    return _checked(kind, made)


def _wrong_options(kind: str, spec: Any, plugin: Any, error: TypeError) -> PluginError:
    name = spec.get("type", "") if isinstance(spec, Mapping) else spec
    if isinstance(name, str):
        return PluginError.at(f"{kind} {name!r}", f"does not take these options: {error}")
    where = f"{_NOUNS.get(kind, kind)} {plugin.__name__}"
    if isinstance(plugin, type) or kind not in _METHODS:
        return PluginError.at(where, f"does not take these options: {error}")
    article = "an" if _NOUNS.get(kind, kind)[0] in "aeiou" else "a"
    rule = f"is a function, which must return {article} {_NOUNS.get(kind, kind)} when it is called without arguments"
    calls = " and ".join(f"{method}({', '.join(names)})" for method, names in list(_METHODS[kind].items())[:1])
    return PluginError.at(where, rule, hint=f"write a class with the method {calls}")


def _checked(kind: str, plugin: Any) -> Any:
    """Return a plug-in that has the methods of its kind, each of which takes its arguments."""
    cls = type(plugin)
    is_own = cls.__module__.partition(".")[0] == __package__
    where = f"{_NOUNS.get(kind, kind)} {cls.__name__}"
    for method, names in _METHODS.get(kind, {}).items():
        function = getattr(plugin, method, None)
        if function is None and kind == "scheduler" and hasattr(plugin, "key"):
            continue  # `key = None` keeps the order of entry
        if not callable(function):
            raise PluginError.at(where, f"has no method {method}", hint=f"{method}({', '.join(names)})")
        if not is_own and not takes(function, len(names)):
            raise PluginError.at(f"{where} {method}", f"must take the arguments ({', '.join(names)})")
    return plugin


def takes(function: Callable[..., object], num_arguments: int) -> bool:
    """Whether a function takes a number of positional arguments; True if its parameters are unknown."""
    import inspect

    try:
        inspect.signature(function).bind(*range(num_arguments))
    except TypeError:
        return False
    except ValueError:  # of a function in C without a signature
        return True
    return True


def is_recipe(plugin: Any) -> bool:
    """Whether an object makes a plug-in when it is called: a class or a function, not an instance."""
    return isinstance(plugin, type) or (callable(plugin) and hasattr(plugin, "__code__"))


def num_build_arguments(kind: str, plugin: Any) -> int:
    """Return how many positional arguments the library passes to what makes a plug-in, before its options.

    A function that is a process itself is passed the simulation.
    """
    if kind == "process" and not isinstance(plugin, type):
        return 1
    return _NUM_BUILD_ARGUMENTS.get(kind, 0)


def plugin_of(kind: str, spec: Any) -> Any:
    """Return the object that `build` would call: that of a registered name, or what was given in its place.

    Parameters
    ----------
    kind : str
        Kind of plug-in.
    spec : str, mapping, class or instance
        As for `build`.
    """
    name = spec.get("type", "") if isinstance(spec, Mapping) else spec
    return get(kind, name) if isinstance(name, str) else spec


def add(kind: str, name: str, obj: Any) -> None:
    """Register an object for this process; it replaces an installed one of the same name."""
    _added[kind, name] = obj


def additions() -> dict[tuple[str, str], Any]:
    """Return the objects that were added in this process, by kind and name."""
    return dict(_added)


def third_party() -> list[tuple[str, str]]:
    """Return kind and name of all plug-ins that are not part of the library, sorted."""
    _entry_points("")
    assert _installed is not None
    foreign = {
        (group.removeprefix(GROUP_PREFIX), name)
        for group, by_name in _installed.items()
        for name, entries in by_name.items()
        if not all(entry.value.startswith(GROUP_PREFIX) for entry in entries)
    }
    return sorted(foreign | _added.keys())


def is_shadowed(kind: str, name: str) -> bool:
    """Whether a plug-in that was added in this process replaces an installed one."""
    return (kind, name) in _added and name in _entry_points(kind)


def remove(kind: str, name: str) -> None:
    """Undo `add`.

    Raises
    ------
    PluginError
        If nothing was added under that name.
    """
    if _added.pop((kind, name), None) is None:
        raise PluginError.at(kind, "was not added in this process", name)


@contextmanager
def added(kind: str, name: str, obj: Any) -> Iterator[None]:
    """Register an object within a ``with`` block."""
    before = _added.get((kind, name))
    add(kind, name, obj)
    try:
        yield
    finally:
        if before is None:
            _added.pop((kind, name), None)
        else:
            _added[kind, name] = before
