"""A digest of source tells whether code that a policy depends on was edited."""

import pytest

from blis_simpy.experiment.source_digest import source_of_module

FILES = {
    "mine_top.py": "import json, mine_helper as helper\nimport numpy\nclass Mine:\n    limit = helper.LIMIT\n",
    "mine_helper.py": "def limit():\n    from mine_room.inner import LIMIT\n    return LIMIT\nLIMIT = limit()\n",
    "mine_room/__init__.py": "",
    "mine_room/inner.py": "LIMIT = 1\n",
    "mine_room/beside.py": "from .inner import LIMIT\n",
    "mine_stranger.py": "import mine_top\n",
    "mine_names/one.py": "import mine_helper\n",
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    for name, text in FILES.items():
        write(name, text)
    return write


def digest_of(name):
    source_of_module.cache_clear()
    return source_of_module(name)


@pytest.mark.parametrize("name", ["mine_top.py", "mine_helper.py", "mine_room/inner.py", "mine_room/beside.py"])
def test_whatever_a_module_imports_from_outside_counts(write, name):
    """The helper by an import of the module; the room by one inside a function of the helper; all of a package."""
    before = digest_of("mine_top")
    assert digest_of("mine_top") == before
    write(name, FILES[name] + "# edited\n")
    assert digest_of("mine_top") != before


def test_who_imports_it_does_not_count(write):
    before = digest_of("mine_top")
    write("mine_stranger.py", "LIMIT = 2\n")
    assert digest_of("mine_top") == before


def test_a_module_of_a_folder_without_init_has_a_source_too(write):
    import mine_names.one  # noqa: F401

    before = digest_of("mine_names.one")
    assert before is not None
    write("mine_names/one.py", "LIMIT = 3\n")
    assert digest_of("mine_names.one") != before


def test_what_is_in_no_file_has_no_source():
    assert digest_of("mine_nowhere") is None
