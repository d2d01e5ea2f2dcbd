"""Access to the registered renderers and plots of an object.

A renderer (kind ``renderer``) converts an object to text in one format; a plot (kind ``plot``) draws it with
matplotlib. They are looked up by name, so that results do not import `blis_simpy.display`, and plug-ins can add some.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol

from blis_simpy import registry
from blis_simpy.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Plots", "Rendered", "Renderer"]


class Renderer(Protocol):
    """Renders objects in one format; registered under the name of the format."""

    def __call__(self, thing: Any, /) -> str:
        """Render an object.

        Raises
        ------
        PluginError
            If it does not support objects of this type.
        """


class Rendered:
    """Base class of objects with registered renderers."""

    __slots__ = ()

    def render(self, form: str) -> str:
        """Render in a registered format.

        Parameters
        ----------
        form : str
            Name of a renderer: ``html`` (used by notebooks), ``text``, ``report`` (experiments), or that of a plug-in.

        Raises
        ------
        PluginError
            If there is no such renderer, or it cannot render objects of this type.
        """
        render: Renderer = registry.get("renderer", form)
        return render(self)

    def _repr_html_(self) -> str:
        return self.render("html")


@contextmanager
def literal_text() -> Iterator[None]:
    """Within a ``with`` block, make matplotlib show the dollar signs of names, which else begin formulas."""
    try:
        from matplotlib import rc_context
    except ImportError:  # the plot says that it is missing
        yield
        return
    with rc_context({"text.parse_math": False}):
        yield


class Plots:
    """Registered plots of an object as methods: ``result.plot.timeline()`` draws the plot ``timeline``.

    A plot is a function of the object, options and the matplotlib Axes (``ax`` or ``axes``; a new figure by default),
    and returns the Axes. Names of plots of a `Result` have no prefix; others have a prefix for the type of the object,
    such as ``comparison.runs``. Plots require the extra ``plot``.

    Parameters
    ----------
    subject : object
        Object to draw.
    prefix : str
        Prefix of the names of its plots, such as ``comparison.``; empty for a result.
    default : str
        Name of the plot drawn by a call, such as ``comparison.plot()``; empty = none.
    """

    def __init__(self, subject: object, prefix: str = "", default: str = "") -> None:
        self._subject = subject
        self._prefix = prefix
        self._default = default

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Draw the default plot, with its parameters."""
        if not self._default:
            raise TypeError(f"choose a plot: {', '.join(self._names())}")
        return getattr(self, self._default)(*args, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):  # probed by copy, pickle and notebooks
            raise AttributeError(name)
        if name not in self._names():
            raise AttributeError(f"{name!r} is not a plot; {nearest(name, self._names())}")
        plot: Callable[..., Any] = registry.get("plot", self._prefix + name)

        @wraps(plot)
        def draw(*args: Any, **options: Any) -> Any:
            with literal_text():
                return plot(*args, **options)

        return MethodType(draw, self._subject)

    def _names(self) -> list[str]:
        found = (name.removeprefix(self._prefix) for name in registry.names("plot") if name.startswith(self._prefix))
        return [name for name in found if "." not in name]

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._names()]

    def __repr__(self) -> str:
        return f"<Plots of a {type(self._subject).__name__}: {', '.join(self._names())}>"
