"""Traces as text, for the tests of the reader."""

from blis_simpy.trace_files.trace_columns import COLUMNS

HEADER = "trace_version: 2\ntime_unit: microseconds\nmode: generated\nwarm_up_requests: 0\n"
_ORDINARY = {"streaming": "false", "status": "ok"} | dict.fromkeys(
    ("client_id", "tenant_id", "slo_class", "session_id", "prefix_group", "model", "error_message", "finish_reason"), ""
)


def row(**fields: object) -> str:
    """One line of a trace; fields that are not given have the value of an ordinary generated trace."""
    values = {**dict.fromkeys(COLUMNS, "0"), "input_tokens": "10", "output_tokens": "5", **_ORDINARY, **fields}
    assert len(values) == len(COLUMNS)
    return ",".join(map(str, values.values()))


def table(*rows: str) -> str:
    """Text of a data file."""
    return "\n".join([",".join(COLUMNS), *rows, ""])
