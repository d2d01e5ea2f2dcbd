"""Runs that can be checked by hand, and a place to draw."""

from html.parser import HTMLParser

import pytest
from small_runs import alike, cluster, nothing, preempted, three, unserved  # noqa: F401


class Reader(HTMLParser):
    """Reads HTML, and fails where an element is not closed in its turn."""

    def __init__(self, html):
        super().__init__()
        self.open, self.cells, self.tags = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1] += data


@pytest.fixture
def read():
    """Read HTML into its cells and tags; what is not well-formed fails."""
    return Reader


@pytest.fixture
def plt():
    """Pyplot that draws into memory."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
