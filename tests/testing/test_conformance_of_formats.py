"""For each rule of trace formats, a format that breaks this rule alone."""

from pathlib import Path

import attrs
import pytest
from broken_rules import assert_breaks, failures, rules_of

from blis_simpy.errors import WorkloadTraceError
from blis_simpy.files.text_files import read_text
from blis_simpy.settings.fields import setting
from blis_simpy.testing import BrokenFile, TraceFormatTests
from blis_simpy.trace_files.trace_builder import build_trace

CONTENT = "#log\n5 100 20\n6 200 30\n9 300 40\n"


class LogReader:
    """Reads a log: arrival (s), prompt and output tokens of each request."""

    @classmethod
    def recognises(cls, name, start):
        return start.startswith(b"#log")

    def read(self, path, max_rows):
        lines = self.lines(path)
        rows = [self.row(path, number, line) for number, line in enumerate(lines[1 : self.end(max_rows)], 2)]
        arrivals, inputs, outputs = zip(*rows, strict=True) if rows else ((), (), ())
        return self.trace(path, [int(at * 1e6) for at in arrivals], inputs, outputs)

    def lines(self, path):
        return read_text(path, WorkloadTraceError).splitlines()

    def end(self, max_rows):
        return None if max_rows is None else max_rows + 1

    def trace(self, path, arrivals, inputs, outputs):
        return build_trace(path, arrivals=arrivals, input_tokens=inputs, output_tokens=outputs)

    def row(self, path, number, line):
        words = line.split()
        if len(words) != 3:
            raise WorkloadTraceError.at("", "must have three fields", line, file=path, line=number)
        return [self.number(path, number, word, name) for word, name in zip(words, ("at", "in", "out"), strict=True)]

    def number(self, path, line, word, name):
        if word.isascii() and word.isdecimal() and len(word) < 10:
            return int(word)
        raise WorkloadTraceError.at(name, "must be a number of up to nine digits", word, file=path, line=line)


@attrs.frozen(kw_only=True)
class Log(LogReader):
    """A log of our own."""

    scale: float = setting(default=1.0, help="Not used.", gt=0)


class LogTests(TraceFormatTests):
    file_name = "requests.log"

    def content(self):
        return CONTENT

    def broken(self):
        return [BrokenFile(CONTENT.replace("200", "many"), "in", 3), BrokenFile(CONTENT.replace(" 40", ""), "", 4)]

    def write(self, trace, path):
        columns = (trace.columns[name] for name in ("arrival_time_us", "input_tokens", "output_tokens"))
        rows = (f"{at // 1_000_000} {prompt} {output}" for at, prompt, output in zip(*columns, strict=True))
        Path(path).write_text("\n".join(["#log", *rows]))


@attrs.define
class Mutable(LogReader):
    """May be changed."""


@attrs.frozen(kw_only=True)
class Greedy(Log):
    """Takes all files for its own."""

    @classmethod
    def recognises(cls, name, start):
        return True


@attrs.frozen(kw_only=True)
class LateStart(Log):
    """Keeps the arrivals of the file."""

    def trace(self, path, arrivals, inputs, outputs):
        trace = super().trace(path, arrivals, inputs, outputs)
        trace.columns["arrival_time_us"] = trace.columns["arrival_time_us"] + arrivals[0]
        return trace


@attrs.frozen(kw_only=True)
class Shuffles(Log):
    """Reads another trace each time."""

    def trace(self, path, arrivals, inputs, outputs):
        READ.append(path)
        return super().trace(path, arrivals, inputs, [length + len(READ) for length in outputs])


READ = []


@attrs.frozen(kw_only=True)
class PlainOnly(Log):
    """Opens the file itself."""

    def lines(self, path):
        if Path(path).exists() and Path(path).read_bytes()[:2] == b"\x1f\x8b":
            raise WorkloadTraceError.at("", "must not be gzipped", file=path)
        return super().lines(path)


@attrs.frozen(kw_only=True)
class ReadsAll(Log):
    """Does not look at max_rows."""

    def end(self, max_rows):
        return None


@attrs.frozen(kw_only=True)
class WrongLine(Log):
    """Counts lines from 0."""

    def row(self, path, number, line):
        return super().row(path, number - 1, line)


@attrs.frozen(kw_only=True)
class BareOSError(Log):
    """Lets the error of a missing file through."""

    def lines(self, path):
        Path(path).stat()
        return super().lines(path)


@attrs.frozen(kw_only=True)
class Fragile(Log):
    """Expects three fields in each line, and says where they are wrong."""

    def row(self, path, number, line):
        if len(line.split()) > 3:
            raise IndexError(line)
        return super().row(path, number, line)


PLACES = "the error of a mistake must name file, column and line"
CASES = [
    ("test_it_is_a_settings_class", Mutable, "must be a frozen attrs class, whose fields are its options", {}),
    (
        "test_it_recognises_its_files_and_no_others",
        Greedy,
        "recognises must be False for files of other formats",
        {},
    ),
    (
        "test_requests_can_be_made_of_it",
        LateStart,
        "the first request must arrive at tick 0 (or set keeps_ticks = True)",
        {},
    ),
    ("test_reading_twice_gives_the_same", Shuffles, "must read a file the same way each time", {}),
    ("test_gzipped_files_are_read", PlainOnly, "must read gzipped files (or set is_text = False)", {}),
    ("test_reading_stops_after_max_rows", ReadsAll, "read must stop after max_rows rows or records", {}),
    ("test_mistakes_are_named_with_file_line_and_column", WrongLine, PLACES, {}),
    (
        "test_missing_files_are_named",
        BareOSError,
        "must refuse a file that it cannot read with a WorkloadTraceError",
        {},
    ),
    (
        "test_damaged_files_are_read_or_refused",
        Fragile,
        "must refuse a file that it cannot read with a WorkloadTraceError",
        {},
    ),
    (
        "test_what_is_written_is_read_back",
        Log,
        "what is written must be read back",
        {"write": lambda self, trace, path: Path(path).write_text(CONTENT.replace("20", "25"))},
    ),
]


@pytest.mark.parametrize(("test", "plugin", "rule", "suite"), CASES)
def test_a_format_that_breaks_a_rule_fails_its_test_alone(test, plugin, rule, suite):
    assert_breaks(LogTests, test, lambda self: plugin(), f"{plugin.__name__}: {rule}", **suite)


def test_every_rule_is_broken_by_a_format():
    assert {test for test, *_ in CASES} == rules_of(TraceFormatTests)


def test_a_format_of_thirty_lines_passes():
    assert failures(LogTests, lambda self: Log()) == {}


def test_a_format_that_cannot_be_written_passes():
    assert failures(LogTests, lambda self: Log(), write=TraceFormatTests.write) == {}


def test_a_format_with_ticks_or_binary_files_passes_if_the_suite_says_so():
    assert failures(LogTests, lambda self: LateStart(), keeps_ticks=True, write=TraceFormatTests.write) == {}
    assert failures(LogTests, lambda self: PlainOnly(), is_text=False) == {}
