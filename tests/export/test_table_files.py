"""Tables as files: each format read back by a library of its own, and what -1 becomes."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import blis_simpy as blis
from blis_simpy.core.table import Table
from blis_simpy.export.tables import write_table
from blis_simpy.results.requests import RequestTable

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

COLUMNS = {
    "id": np.array(["a,b", 'say "x"', "é"], object),
    "at_us": np.array([5, -1, 7]),
    "label": np.array([-1, 0, 2**62]),
    "mean_us": np.array([0.1, 2.0, 1e-9]),
    "streaming": np.array([True, False, True]),
}


class Visits(Table):
    _NEVER = frozenset({"at_us"})


def write(path, columns=COLUMNS):
    write_table(Visits.of(columns), path)
    return path


def test_csv_quotes_where_needed_and_leaves_never_empty(tmp_path):
    assert write(tmp_path / "t.csv").read_text(encoding="utf-8") == (
        f'id,at_us,label,mean_us,streaming\n"a,b",5,-1,0.1,true\n"say ""x""",,0,2.0,false\né,7,{2**62},1e-09,true\n'
    )


def test_json_is_an_array_with_an_object_a_row_and_null_for_never(tmp_path):
    text = write(tmp_path / "t.json").read_text(encoding="utf-8")
    assert text.count("\n") == 5
    assert json.loads(text) == [
        {"id": "a,b", "at_us": 5, "label": -1, "mean_us": 0.1, "streaming": True},
        {"id": 'say "x"', "at_us": None, "label": 0, "mean_us": 2.0, "streaming": False},
        {"id": "é", "at_us": 7, "label": 2**62, "mean_us": 1e-9, "streaming": True},
    ]


def test_parquet_keeps_the_types_and_has_null_for_never(tmp_path):
    table = parquet.read_table(write(tmp_path / "t.parquet"))
    assert list(map(str, table.schema.types)) == ["string", "int64", "int64", "double", "bool"]
    assert table.to_pydict() == {
        "id": ["a,b", 'say "x"', "é"],
        "at_us": [5, None, 7],
        "label": [-1, 0, 2**62],
        "mean_us": [0.1, 2.0, 1e-9],
        "streaming": [True, False, True],
    }


def test_figures_that_nothing_is_known_of_are_left_empty(tmp_path):
    columns = {"mean_ms": np.array([1.5, np.nan, np.inf])}
    assert write(tmp_path / "t.csv", columns).read_text(encoding="utf-8").splitlines() == ["mean_ms", "1.5", '""', '""']
    assert json.loads(write(tmp_path / "t.json", columns).read_text()) == [
        {"mean_ms": 1.5},
        {"mean_ms": None},
        {"mean_ms": None},
    ]
    table = parquet.read_table(write(tmp_path / "t.parquet", columns))
    assert (str(table.schema.types[0]), table.to_pydict()) == ("double", {"mean_ms": [1.5, None, None]})


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_text_is_compressed_on_demand(ending, tmp_path):
    plain, packed = write(tmp_path / f"t{ending}"), write(tmp_path / f"t{ending}.gz")
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet", ".csv.gz", ".json.gz"])
def test_the_same_columns_give_the_same_bytes(ending, tmp_path):
    assert write(tmp_path / f"one{ending}").read_bytes() == write(tmp_path / f"two{ending}").read_bytes()


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_a_table_without_rows_is_a_table(ending, tmp_path):
    path = write(tmp_path / f"t{ending}", {name: column[:0] for name, column in COLUMNS.items()})
    if ending == ".parquet":
        assert parquet.read_table(path).column_names == list(COLUMNS)
    else:
        assert path.read_text() == {".csv": ",".join(COLUMNS) + "\n", ".json": "[]\n"}[ending]


@pytest.mark.parametrize("name", ["t", "t.txt", "t.gz", "t.parquet.gz", "t.csv.bz2", ".csv"])
def test_other_endings_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(blis.ScenarioError) as refused:
        write(Path(name))
    assert str(refused.value) == f"path must end in one of .csv, .json, .parquet, .csv.gz, .json.gz, got {name!r}"
    assert list(tmp_path.iterdir()) == []


def test_every_request_column_that_can_lack_a_value_is_listed(serve):
    """One request can never fit in 5 blocks of 16 tokens, one arrives beyond the horizon: most things never happen."""
    served = serve((10, 2, 0), (1000, 2, 0), (70, 1, 0), (70, 1, 900), blocks=5, horizon=300)
    table = served.result.requests
    assert table["outcome"].tolist() == ["completed", "dropped", "completed", "pending"]
    lacking = {name for name in table if table[name].dtype.kind in "if" and (table[name] == -1).any()}
    assert lacking == {name for name in table if table.missing(name).any()} == RequestTable._NEVER & set(table)


def test_a_result_writes_its_requests_and_steps(serve, tmp_path):
    """TTFT 100 + 10, then a step of 100 + 10 for the second token."""
    result = serve((10, 2, 0), (1000, 2, 0), blocks=5).result
    result.write_requests(tmp_path / "r.csv")
    result.write_steps(tmp_path / "s.parquet")
    with (tmp_path / "r.csv").open(newline="") as file:
        first, dropped = csv.DictReader(file)
    assert (first["ttft_us"], first["e2e_us"], first["deadline_us"]) == ("110", "220", "0")
    assert (dropped["outcome"], dropped["ttft_us"], dropped["finished_at_us"]) == ("dropped", "", "0")
    assert parquet.read_table(tmp_path / "s.parquet").to_pydict()["duration_us"] == [110, 110]
