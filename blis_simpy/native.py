"""Compilation of the hot path: what the sources state for mypyc, and whether a process runs compiled code.

The same sources run interpreted and compiled. `BLIS_SIMPY_COMPILE=1 pip install .` compiles the modules listed in
pyproject.toml to extensions; see hatch_build.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_extensions import mypyc_attr
else:
    C = TypeVar("C", bound=type)

    def mypyc_attr(**_options: Any) -> Callable[[C], C]:
        """Do nothing; mypyc reads the options of a class from its source."""
        return lambda kind: kind


__all__ = ["is_compiled", "mypyc_attr"]


def is_compiled() -> bool:
    """Whether the modules of the hot path are compiled extensions."""
    from importlib.util import find_spec  # slow to import, and this module is imported with every scenario

    spec = find_spec("blis_simpy.replica.engine")
    return spec is not None and spec.origin is not None and not spec.origin.endswith((".py", ".pyc"))
