"""Renderers and plots by name, the library's own and others."""

import copy
import inspect
import pickle

import pytest

import blis_simpy as blis
from blis_simpy import registry
from blis_simpy.core.rendering import Plots, Rendered


class Thing(Rendered):
    @property
    def plot(self):
        return Plots(self, "thing.", default="all")


def draw(thing, *, ax=None):
    """Draw a thing."""
    return thing, ax


def test_an_object_is_rendered_by_name():
    with registry.added("renderer", "loud", lambda thing: type(thing).__name__.upper()):
        assert Thing().render("loud") == "THING"


def test_a_notebook_shows_what_the_renderer_html_gives():
    with registry.added("renderer", "html", lambda thing: f"<p>{type(thing).__name__}</p>"):
        assert Thing()._repr_html_() == "<p>Thing</p>"


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(blis.PluginError) as caught:
        Thing().render("htlm")
    assert str(caught.value) == (
        "renderer is unknown, got 'htlm'; did you mean 'html'? known: html, json, report, terminal, text"
    )


@pytest.mark.parametrize(
    ("form", "name"), [("html", "renderer"), ("text", "renderer"), ("report", "renderer 'report'")]
)
def test_an_object_that_a_renderer_does_not_know_is_refused(form, name):
    with pytest.raises(blis.PluginError) as caught:
        Thing().render(form)
    assert str(caught.value) == f"{name} cannot render objects of type Thing"


def test_an_object_may_describe_itself_by_a_method():
    class Described(Rendered):
        def page(self):
            return [("one ", "line"), ("another",)]

    assert Described().render("text") == "one line\nanother"


def test_plots_of_an_object_are_those_with_its_prefix():
    thing = Thing()
    with registry.added("plot", "thing.all", draw), registry.added("plot", "timeline", draw):
        assert thing.plot(ax=1) == thing.plot.all(ax=1) == (thing, 1)
        assert repr(thing.plot) == "<Plots of a Thing: all>"
        assert "all" in dir(thing.plot)
        assert not hasattr(thing.plot, "timeline")


def test_a_plot_shows_its_own_docstring_and_parameters():
    with registry.added("plot", "thing.all", draw):
        assert inspect.getdoc(Thing().plot.all) == "Draw a thing."
        assert str(inspect.signature(Thing().plot.all)) == "(*, ax=None)"


def test_plots_of_a_result_are_those_without_prefix(serve):
    result = serve().result
    assert repr(result.plot) == (
        "<Plots of a Result: ecdf, explain, gantt, histogram, latencies, links, routing, throughput, timeline>"
    )
    with pytest.raises(AttributeError, match=r"^'timelin' is not a plot; did you mean 'timeline'\? known: ecdf, "):
        _ = result.plot.timelin
    with pytest.raises(TypeError, match=r"^choose a plot: ecdf, explain"):
        result.plot()


def test_plots_can_be_copied_and_pickled():
    plots = Plots([1], "thing.")
    assert repr(copy.copy(plots)) == repr(pickle.loads(pickle.dumps(plots))) == "<Plots of a list: >"
