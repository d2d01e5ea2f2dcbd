"""Both ways to find rows, and what only the machinery below the formats knows."""

from hypothesis import given
from hypothesis import strategies as st

from blis_simpy.trace_files.csv_columns import has_columns
from blis_simpy.trace_files.csv_rows import _plain_rows, _quoted_rows

LINES = st.lists(st.text(st.sampled_from(" ,;ab\u2028\x0b\t"), max_size=6))


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(1, 50))
def test_rows_without_quotes_are_those_of_the_full_reader(lines, end, ends_with_a_line_end, first):
    text = end.join(lines) + (end if ends_with_a_line_end else "")
    numbers, rows = _plain_rows(text, first)
    assert (list(numbers), rows) == _quoted_rows(text, first, [], "t.csv")


def test_quotes_and_overlong_fields_are_left_to_the_full_reader():
    assert _plain_rows('a,"b"\n', 1) is None
    assert _plain_rows("a," + "b" * 200_000, 1) is None


def test_columns_are_recognised_whatever_their_order_and_quotes():
    assert has_columns(b'b,"a",c\r\n1,2,3', "a", "b")
    assert not has_columns(b"b,c\na", "a")
    assert not has_columns(b"", "a")
