import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trace_text import row, table

from blis_simpy.errors import WorkloadTraceError
from blis_simpy.trace_files.trace_columns import COLUMNS, read_columns

MAX = 2**63 - 1
LAST = 2**62 - 1


def lines_of_error():
    with pytest.raises(WorkloadTraceError) as caught:
        read_columns("t.csv")
    return str(caught.value).splitlines()


def test_columns_have_their_types_and_file_order(files):
    files(
        t=table(
            row(request_id=7, client_id="a", streaming="T", reason_ratio="0.25", arrival_time_us=-3),
            row(request_id=-1, client_id="b", streaming="0", reason_ratio="1", arrival_time_us=LAST),
        )
    )
    columns = read_columns("t.csv")
    assert tuple(columns) == COLUMNS
    assert columns["request_id"].tolist() == [7, -1]
    assert columns["client_id"] == ["a", "b"]
    assert columns["streaming"].tolist() == [True, False]
    assert columns["reason_ratio"].tolist() == [0.25, 1.0]
    assert columns["arrival_time_us"].tolist() == [-3, LAST]
    assert [columns[c].dtype for c in ("request_id", "streaming", "reason_ratio")] == [np.int64, np.bool_, np.float64]


def test_gzip_crlf_blank_lines_byte_order_mark_and_missing_last_line_end_change_nothing(files):
    plain = table(row(request_id=1), row(request_id=2))
    files(t=plain)
    expected = read_columns("t.csv")
    for content in (
        gzip.compress(plain.encode()),
        plain.replace("\n", "\r\n"),
        plain.replace("\n", "\n\r\n\n"),
        "\n" + plain,
        "\ufeff" + plain,
        plain.rstrip("\n"),
        plain.rstrip("\n") + "\r",
    ):
        files(t=content)
        assert all(np.array_equal(column, expected[name]) for name, column in read_columns("t.csv").items())


def test_quoted_fields_may_hold_commas_quotes_and_line_ends(files):
    files(
        t=table(row(client_id='"a,b"', tenant_id='"say ""hi"""', error_message='" two\nlines\r\n"', finish_reason='""'))
    )
    columns = read_columns("t.csv")
    assert columns["client_id"] == ["a,b"]
    assert columns["tenant_id"] == ['say "hi"']
    assert columns["error_message"] == ["two\nlines"]
    assert columns["finish_reason"] == [""]


def test_separators_of_other_alphabets_are_text(files):
    files(t=table(row(client_id="a\u2028b\x0bc\x1cd\x85e"), row(request_id=1)))
    assert read_columns("t.csv")["client_id"] == ["a\u2028b\x0bc\x1cd\x85e", ""]


def test_only_the_last_two_texts_are_trimmed(files):
    files(t=table(row(client_id=" a ", status=" ok ", error_message=" e ", finish_reason=" f ")))
    columns = read_columns("t.csv")
    assert [columns[name][0] for name in ("client_id", "status", "error_message", "finish_reason")] == [
        " a ",
        " ok ",
        "e",
        "f",
    ]


def test_last_column_may_be_missing_and_more_are_ignored(files):
    def cut(text, width):
        return ",".join((text + ",more,columns").split(",")[:width])

    rows = [cut(row(request_id=i, status=f"s{i}", finish_reason="stop"), width) for i, width in enumerate((25, 26, 28))]
    for heading_width in (25, 26, 28):
        files(t="\n".join([cut(",".join(COLUMNS), heading_width), *rows]))
        columns = read_columns("t.csv")
        assert columns["status"] == ["s0", "s1", "s2"]
        assert columns["finish_reason"] == ["", "stop", "stop"]
        assert len(columns) == 26


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_words_for_true(files, text):
    files(t=table(row(streaming=text)))
    assert read_columns("t.csv")["streaming"].tolist() == [True]


@pytest.mark.parametrize(
    ("text", "value"), [("+5", 5), ("-0", 0), ("007", 7), ("0" * 40 + "3", 3), (str(MAX), MAX), ("9" * 18, 10**18 - 1)]
)
def test_spellings_of_integers(files, text, value):
    files(t=table(row(input_tokens=text), row(request_id=1, input_tokens=3)))
    assert read_columns("t.csv")["input_tokens"].tolist() == [value, 3]


COUNT = "must be a 64-bit integer >= 0"
INTEGER = "must be a 64-bit integer"
INSTANT = "must be a 64-bit integer < 2**62"


@pytest.mark.parametrize(
    ("field", "text", "rule"),
    [
        ("request_id", "x1", INTEGER),
        ("request_id", "", INTEGER),
        ("round_index", "1.0", INTEGER),
        ("streaming", "yes", "must be true or false"),
        ("streaming", "", "must be true or false"),
        ("input_tokens", "-1", COUNT),
        ("input_tokens", "1_000", COUNT),
        ("input_tokens", "1e3", COUNT),
        ("input_tokens", "\u0663", COUNT),
        ("input_tokens", "\u00b2", COUNT),
        ("output_tokens", " 5", COUNT),
        ("output_tokens", "+", COUNT),
        ("text_tokens", "none", COUNT),
        ("reason_ratio", "1.01", "must be a number from 0 to 1"),
        ("reason_ratio", "nan", "must be a number from 0 to 1"),
        ("reason_ratio", "0_1", "must be a number from 0 to 1"),
        ("deadline_us", "-5", COUNT),
        ("server_input_tokens", "?", COUNT),
        ("arrival_time_us", "12.5", INSTANT),
        ("arrival_time_us", str(LAST + 1), INSTANT),
        ("arrival_time_us", "9" * 5000, INSTANT),
        ("send_time_us", str(MAX), INSTANT),
        ("last_chunk_time_us", "0x1", INTEGER),
        ("num_chunks", "-2", COUNT),
    ],
)
@pytest.mark.parametrize("others", [0, 2])
def test_wrong_value_is_named_with_its_line(files, field, text, rule, others):
    before = [row(request_id=i) for i in range(others)]
    files(t=table(*before, row(**{"request_id": 9, field: text})))
    shown = repr(text) if len(text) < 70 else repr(text)[:77] + "..."
    assert lines_of_error() == [f"t.csv: {field} {rule}, got {shown} (line {others + 2})"]


def test_problems_know_their_column(files):
    files(t=table(row(client_id='a"b'), row(request_id=1, input_tokens="x"), "1,2,3"))
    with pytest.raises(WorkloadTraceError) as caught:
        read_columns("t.csv")
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(2, 2)]
    files(t=table(row(deadline_us=1, arrival_time_us=2), row(request_id=1, input_tokens="x"), "1,2,3"))
    with pytest.raises(WorkloadTraceError) as caught:
        read_columns("t.csv")
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(2, 17), (3, 9), (4, 4)]


def test_quoted_field_may_reach_over_the_end_of_a_block(files, monkeypatch):
    """A block holds half a mebibyte; the field begins in the second and ends in the third."""
    filler = [row(request_id=i, client_id="x" * 100_000) for i in range(10)]
    text = table(*filler, row(request_id=10, error_message='"' + "a\n" * 50_000 + '"'), row(request_id=11))
    assert 1 << 20 < len(text) < 1.2 * (1 << 20)
    files(t=text)
    assert read_columns("t.csv")["error_message"][10] == "a\n" * 49_999 + "a"
    files(t=text + row(request_id="x"))
    assert lines_of_error() == [f"t.csv: request_id {INTEGER}, got 'x' (line 50014)"]


def test_reading_stops_where_it_is_told(files):
    files(t=table(row(), row(request_id=1), row(request_id="x")))
    assert len(read_columns("t.csv", max_rows=2)["request_id"]) == 2


def test_lines_are_counted_as_an_editor_does(files):
    files(t="\r\n" + table(row(error_message='"two\nlines"'), "", row(request_id=1, input_tokens="x")))
    assert lines_of_error() == [f"t.csv: input_tokens {COUNT}, got 'x' (line 6)"]


def test_several_wrong_values_are_reported_together_in_file_order(files):
    files(t=table(row(request_id="a", num_chunks="b"), row(streaming="c"), "1,2,3"))
    assert lines_of_error() == [
        f"t.csv: request_id {INTEGER}, got 'a' (line 2)",
        f"t.csv: num_chunks {COUNT}, got 'b' (line 2)",
        "t.csv: streaming must be true or false, got 'c' (line 3)",
        "t.csv: slo_class is missing: a row must have at least 25 fields, got 3 (line 4)",
    ]


def test_of_very_many_wrong_values_ten_are_reported(files):
    files(t=table(*(row(request_id="x") for _ in range(100))))
    assert len(lines_of_error()) == 10


def test_wrong_value_far_down_the_file_is_found(files):
    rows = [row(request_id=i) for i in range(20_000)]
    rows[19_000] = row(request_id=19_000, output_tokens="many")
    files(t=table(*rows))
    assert lines_of_error() == [f"t.csv: output_tokens {COUNT}, got 'many' (line 19002)"]


def test_deadline_must_not_precede_arrival(files):
    files(
        t=table(
            row(request_id=0, deadline_us=100, arrival_time_us=100),
            row(request_id=1, deadline_us=0, arrival_time_us=100),
            row(request_id=2, deadline_us=99, arrival_time_us=100),
        )
    )
    assert lines_of_error() == ["t.csv: deadline_us must not precede arrival_time_us (100), got 99 (line 4)"]


def test_request_ids_must_be_unique(files):
    files(t=table(row(request_id=5), row(request_id=6), row(request_id="+5")))
    assert lines_of_error() == ["t.csv: request_id must be unique, line 2 has it too, got 5 (line 4)"]


def test_a_request_must_have_something_to_do(files):
    files(t=table(row(request_id=1, input_tokens=0, output_tokens=0)))
    assert lines_of_error() == ["t.csv: input_tokens must be > 0 where output_tokens is 0, got 0 (line 2)"]


def test_empty_prompt_or_output_alone_or_with_a_prefix_is_fine(files):
    files(
        t=table(
            row(request_id=1, input_tokens=0),
            row(request_id=2, output_tokens=0),
            row(request_id=3, input_tokens=0, output_tokens=0, prefix_group="g"),
        )
    )
    assert read_columns("t.csv")["input_tokens"].tolist() == [0, 10, 0]


NAMES = ",".join(COLUMNS)
OLD = "this is the older layout, without model, deadline_us and server_input_tokens"
QUOTES = "must have double quotes only around whole fields"
HINT = "the first line must name the columns of TraceV2 in their order"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "t.csv: must have at least 25 columns, got 0 (line 1); the file is empty"),
        ("a,b\n", f"t.csv: must have at least 25 columns, got 2 (line 1); {HINT}"),
        (NAMES, "t.csv: is an empty trace: it has no requests"),
        (NAMES + "\n\n", "t.csv: is an empty trace: it has no requests"),
        (row(), f"t.csv: column 1 must be named 'request_id', got '0' (line 1); {HINT}"),
        (
            table(row()).replace("input_tokens,output_tokens", "output_tokens,input_tokens", 1),
            f"t.csv: column 9 must be named 'input_tokens', got 'output_tokens' (line 1); {HINT}",
        ),
        (
            "\n" + table(row()).replace("finish_reason", "reason", 1),
            f"t.csv: column 26 must be named 'finish_reason', got 'reason' (line 2); {HINT}",
        ),
        (
            ",".join(n for n in COLUMNS[:25] if n not in ("model", "deadline_us", "server_input_tokens")),
            f"t.csv: must have at least 25 columns, got 22 (line 1); {OLD}",
        ),
        (
            table(",".join(["0"] * 22)),
            f"t.csv: num_chunks is missing: a row must have at least 25 fields, got 22 (line 2); {OLD}",
        ),
        (table(row(), "   "), "t.csv: client_id is missing: a row must have at least 25 fields, got 1 (line 3)"),
        (table(row(client_id='a"b')), f"t.csv: client_id {QUOTES} (line 2)"),
        (
            table(row(), row(client_id='"a"b')),
            f"t.csv: client_id {QUOTES} (line 3)",
        ),
        (
            table(row(), row(client_id=' "a"')),
            f"t.csv: client_id {QUOTES} (line 3)",
        ),
        (
            table(row(client_id='"a\nb"'), row(client_id='"never closed')),
            f"t.csv: client_id {QUOTES} (line 4)",
        ),
        (table(row(), row(client_id="a\rb")), "t.csv: client_id must end lines with LF or CRLF, not CR (line 3)"),
        (table(row()).replace("\n", "\r"), "t.csv: must end lines with LF or CRLF, not CR (line 1)"),
        (
            table(row(), row(client_id="a" * 200_000)),
            "t.csv: client_id cannot be read as CSV: field larger than field limit (131072) (line 3)",
        ),
        (table(row()).encode() + b"\0\n", "t.csv: must not contain NUL bytes (line 3)"),
        (table(row(client_id="caf\u00e9")).encode("latin-1"), "t.csv: must be UTF-8 text, got b'\\xe9' (line 2)"),
    ],
)
def test_file_with_another_layout_is_refused_in_one_line(files, content, expected):
    files(t=content)
    assert lines_of_error() == [expected]


def test_missing_file_is_one_line(files):
    assert lines_of_error() == ["t.csv: cannot be read: No such file or directory"]


LABELS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
ROWS = st.lists(
    st.tuples(LABELS, st.integers(-(2**63), LAST), st.integers(0, MAX), st.booleans(), st.floats(0, 1)), min_size=1
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_whatever_a_csv_writer_writes_is_read_back(files, rows):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, (label, tick, count, flag, ratio) in enumerate(rows):
            writer.writerow(
                {
                    **dict.fromkeys(COLUMNS, 1),
                    "request_id": number,
                    "client_id": label,
                    "arrival_time_us": tick,
                    "deadline_us": 0,
                    "input_tokens": count,
                    "streaming": flag,
                    "reason_ratio": ratio,
                    "finish_reason": label,
                }.values()
            )
    columns = read_columns("t.csv")
    read = zip(
        columns["client_id"],
        columns["arrival_time_us"].tolist(),
        columns["input_tokens"].tolist(),
        columns["streaming"].tolist(),
        columns["reason_ratio"].tolist(),
        strict=True,
    )
    assert list(read) == rows
    assert columns["finish_reason"] == [label.strip() for label, *_ in rows]
