import pickle

import numpy as np
import pytest

from blis_simpy.core.table import Table


@pytest.fixture
def table():
    return Table.of({"at_us": np.array([0, 5]), "rate": np.array([np.nan, 1.5]), "id": np.array(["a", "b"], object)})


def test_tables_of_the_same_values_are_equal(table):
    assert table == pickle.loads(pickle.dumps(table))
    assert table == table.frozen() == table.take(slice(None))


@pytest.mark.parametrize(
    "other",
    [
        {"at_us": [0, 5], "rate": [np.nan, 1.5]},
        {"rate": [np.nan, 1.5], "at_us": [0, 5], "id": ["a", "b"]},
        {"at_us": [0, 5], "rate": [np.nan, 2.5], "id": ["a", "b"]},
        {"at_us": [0, 5], "rate": [np.nan, 1.5], "id": ["a", "c"]},
        {"at_us": [0], "rate": [np.nan], "id": ["a"]},
    ],
)
def test_tables_with_other_columns_or_values_are_not(table, other):
    assert table != Table.of(
        {name: np.array(values, object if name == "id" else None) for name, values in other.items()}
    )


def test_table_is_no_mapping_of_lists(table):
    assert table != {name: table[name] for name in table}


def test_a_column_that_is_not_there_is_named_with_those_that_are(table):
    with pytest.raises(KeyError, match=r"'rates' is not a column; did you mean 'rate'\? known: at_us, rate, id"):
        table["rates"]
    assert table.get("at") is None


def test_columns_are_completed_in_ipython(table):
    assert table._ipython_key_completions_() == ["at_us", "rate", "id"]


def test_table_becomes_an_arrow_table_and_a_data_frame_with_the_same_values(serve):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    requests = serve((10, 2, 0, {"tenant": "a"}), (20, 1, 1000)).result.requests
    arrow, frame = requests.to_arrow(), requests.to_pandas()
    assert arrow.column_names == list(frame.columns) == list(requests)
    assert arrow.schema.field("e2e_us").type == pyarrow.int64()
    assert arrow.to_pylist() == list(requests.rows())
    assert frame.astype(object).where(frame.notna(), None).to_dict("records") == list(requests.rows())


def test_missing_values_are_missing_in_rows_data_frames_and_arrow_tables(serve):
    """The second request can never fit in 5 blocks: TTFT 110 and E2E 220 of the first are the means of the table."""
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    requests = serve((10, 2, 0), (1000, 2, 0), blocks=5).result.requests
    assert [row["e2e_us"] for row in requests.rows()] == [220, None]
    frame = requests.to_pandas()
    assert (frame.ttft_us.mean(), frame.e2e_us.mean(), frame.tpot_us.mean()) == (110, 220, 110)
    assert (frame.e2e_us.dtype, frame.tpot_us.dtype, frame.replica[1]) == ("Int64", float, 0)
    assert frame.e2e_us[1] is pd.NA
    arrow = requests.to_arrow()
    assert (arrow["e2e_us"].to_pylist(), arrow["tpot_us"].to_pylist()) == ([220, None], [110.0, None])
    assert (requests["e2e_us"].tolist(), requests["tpot_us"].tolist()) == ([220, -1], [110.0, -1.0])


def test_a_data_frame_does_not_share_memory_with_its_table(serve):
    pytest.importorskip("pandas")
    requests = serve((10, 2, 0)).result.requests
    frame = requests.to_pandas()
    frame.loc[0, "e2e_us"] = 5
    assert requests["e2e_us"].tolist() == [220]


def test_a_table_has_rows_masks_slices_and_groups(table):
    assert table[-1] == {"at_us": 5, "rate": 1.5, "id": "b"}
    assert table[np.int64(0)] == {"at_us": 0, "rate": None, "id": "a"}
    assert table[table["at_us"] > 0] == table[1:] == table[[1]] == table.take([1])
    assert table.head(1) == table[:1]
    assert table.columns == ("at_us", "rate", "id")
    groups = table.groupby("id")
    assert list(groups) == ["a", "b"]
    assert groups["b"] == table[1:]
    with pytest.raises(IndexError, match=r"^row 2 of a table of 2 rows$"):
        table[2]


def test_groups_of_a_table_without_rows_are_none(table):
    assert table[:0].groupby("id") == {}
