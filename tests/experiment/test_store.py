import json
import logging
import math

import pytest

from blis_simpy.errors import ScenarioError
from blis_simpy.experiment.measurement import Measurement
from blis_simpy.experiment.store import Store
from blis_simpy.results.stationarity import Stationarity

FOUND = Measurement(
    metrics={"a": 0.1 + 0.2, "b": math.nan, "c": 1e300},
    traffic="feed",
    warm_up_us=5,
    stationarity=Stationarity(ttft_growth=math.nan, backlog_growth=0.1 + 0.2, backlog=7),
)


def test_a_measurement_comes_back_as_it_was(tmp_path):
    store = Store(tmp_path / "deep" / "store")
    assert store.get("key") is None
    store.put("key", FOUND, {"seed": 3})
    back = store.get("key")
    assert back.metrics["a"] == 0.1 + 0.2
    assert math.isnan(back.metrics["b"])
    assert (back.traffic, back.warm_up_us, len(store)) == ("feed", 5, 1)
    assert math.isnan(back.stationarity.ttft_growth)
    assert (back.stationarity.backlog_growth, back.stationarity.backlog) == (0.1 + 0.2, 7)
    assert json.loads(store.path("key").read_text())["seed"] == 3


def test_nothing_but_whole_files_is_left_in_the_folder(tmp_path):
    store = Store(tmp_path)
    store.put("key", FOUND, {})
    store.put("key", FOUND, {})
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"metrics": 3}', '{"metrics": {}, "traffic": ""}'])
def test_a_broken_file_is_as_good_as_none(tmp_path, content, caplog):
    Store(tmp_path).path("key").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert Store(tmp_path).get("key") is None
    assert "is ignored, its run is simulated again" in caplog.text


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScenarioError, match=r"file: cannot be written: File exists"):
        Store(tmp_path / "file").put("key", FOUND, {})
