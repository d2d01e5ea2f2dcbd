"""Conformance suite for trace formats."""

from __future__ import annotations

import gzip
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from blis_simpy import registry
from blis_simpy.errors import WorkloadTraceError
from blis_simpy.testing.conformance.suite import ConformanceSuite, require, seeded, violated
from blis_simpy.trace_files.load_trace import KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from blis_simpy.trace_files.trace import Trace

__all__ = ["BrokenFile", "TraceFormatTests"]

_FOREIGN = (b"", b"\x00\x01\x02", b"some text\n", b"a,b,c\n1,2,3\n", b"[]", b"{}", b'{"a": 1}\n')
_NUM_DAMAGED = 60
_PIECES = (b"", b",", b'"', b"\n", b"\0", b"{", b"]", b"x", b"-1", b"9" * 30, b"1e999", b"\xff")
_START_BYTES = 4096


class BrokenFile(NamedTuple):
    """A file with one error, and the location that the error message has to state.

    Attributes
    ----------
    content : bytes or str
        Content of the file.
    path : str
        Column or key, as `Problem.path`.
    line : int or None
        Line, from 1, as `Problem.line`; None if the format has no lines.
    """

    content: bytes | str
    path: str
    line: int | None


class TraceFormatTests(ConformanceSuite):
    """Tests of the rules of `blis_simpy.trace_files.load_trace.TraceFormat`.

    Attributes
    ----------
    file_name : str
        Name of the file.
    is_recognised : bool
        Whether the format recognises its files by name or start; otherwise users have to name the format.
    is_text : bool
        Whether its files may be gzipped.
    keeps_ticks : bool
        Whether arrival times are those of the file; otherwise the first request arrives at tick 0.
    """

    file_name = "trace.csv"
    is_recognised = True
    is_text = True
    keeps_ticks = False

    def content(self) -> bytes | str:
        """Return the content of a file with at least three records."""
        raise NotImplementedError(f"{type(self).__name__}.content must return a file of the format")

    def broken(self) -> Iterable[BrokenFile]:
        """Return files with one error each."""
        raise NotImplementedError(f"{type(self).__name__}.broken must return files with one mistake each")

    def write(self, trace: Trace, path: str) -> None:
        """Write a trace in this format; override it if the library can write the format."""
        raise NotImplementedError

    def test_it_is_a_settings_class(self) -> None:
        """A format is a frozen attrs class with a docstring, and its options have defaults."""
        plugin = self.make()
        good = attrs.has(type(plugin)) and _is_frozen(plugin)
        require(good, plugin, "must be a frozen attrs class, whose fields are its options", found=type(plugin))
        doc = (type(plugin).__doc__ or "").strip()
        require(doc, plugin, "must have a docstring: its first line is what `blis convert --help` says", found=doc)
        required = [field.name for field in attrs.fields(type(plugin)) if field.default is attrs.NOTHING]
        require(not required, plugin, "every option must have a default", without=required)

    def test_it_recognises_its_files_and_no_others(self) -> None:
        """The format recognises only its own files, and no other format except general ones recognises them."""
        if not self.is_recognised:
            return
        plugin = self.make()
        start = self._bytes()[:_START_BYTES]
        require(plugin.recognises(self.file_name, start), plugin, "recognises must be True for its file", start=start)
        for foreign in _FOREIGN:
            rule = "recognises must be False for files of other formats"
            require(not plugin.recognises("other.txt", foreign), plugin, rule, start=foreign)
        for name in registry.names(KIND):
            other = registry.get(KIND, name)
            if other is not type(plugin) and not getattr(other, "is_general", False):
                rule = "its file must not be recognised by another format, or it has to be named each time"
                require(not other.recognises(self.file_name, start), plugin, rule, other=name, start=start)

    def test_requests_can_be_made_of_it(self) -> None:
        """Requests have unique names, arrival times and lengths; the first one arrives at tick 0."""
        plugin = self.make()
        with self._file(self._bytes()) as path:
            trace = plugin.read(path, None)
        requests = trace.requests()
        require(len(requests) > 1, plugin, "the example must have several requests", requests=len(requests))
        names = {request.id for request in requests}
        require(len(names) == len(requests), plugin, "each request must have a name of its own", names=sorted(names))
        for request in requests:
            numbers = (request.arrived_at, request.input_tokens, request.output_tokens)
            good = all(type(number) is int for number in numbers) and min(numbers[1:]) >= 0
            rule = "each request must have an arrival in ticks, and lengths >= 0"
            require(good, plugin, rule, request=request.id, arrival_and_lengths=numbers)
        if not self.keeps_ticks:
            first = min(request.arrived_at for request in requests)
            require(first == 0, plugin, "the first request must arrive at tick 0 (or set keeps_ticks = True)", at=first)

    def test_reading_twice_gives_the_same(self) -> None:
        """Two reads of a file give equal traces."""
        plugin = self.make()
        with self._file(self._bytes()) as path:
            one, other = plugin.read(path, None), self.make().read(path, None)
        _require_equal(plugin, "must read a file the same way each time", one, other)

    def test_gzipped_files_are_read(self) -> None:
        """A gzipped text file is read like the plain file."""
        if not self.is_text:
            return
        plugin = self.make()
        with self._file(self._bytes()) as path:
            plain = plugin.read(path, None)
            if _difference(plain, plugin.read(path, None)):
                return
        with self._file(gzip.compress(self._bytes())) as path:
            try:
                packed = plugin.read(path, None)
            except Exception as error:
                violated(plugin, "must read gzipped files (or set is_text = False)", raised=error)
        _require_equal(plugin, "must read a gzipped file as the text in it", plain, packed)

    def test_reading_stops_after_max_rows(self) -> None:
        """`max_rows` limits the number of rows or records."""
        plugin = self.make()
        with self._file(self._bytes()) as path:
            everything = plugin.read(path, None)
            sizes = [len(plugin.read(path, rows)) for rows in (1, 2, 1_000_000)]
        good = 0 < sizes[0] < sizes[1] <= sizes[2] == len(everything)
        rule = "read must stop after max_rows rows or records"
        require(good, plugin, rule, requests_of_1_2_and_all_rows=sizes, requests=len(everything))

    def test_mistakes_are_named_with_file_line_and_column(self) -> None:
        """An invalid value raises a `WorkloadTraceError` with file, line and column."""
        plugin = self.make()
        for broken in self.broken():
            with self._file(_as_bytes(broken.content)) as path:
                error = self._error(plugin, path)
            require(error is not None, plugin, "a file with a mistake must be refused", file=broken.content)
            assert error is not None
            problem = error.problems[0]
            found = (problem.file, problem.path, problem.line)
            rule = "the error of a mistake must name file, column and line"
            require(found == (path, broken.path, broken.line), plugin, rule, expected=(path, *broken[1:]), named=found)

    def test_missing_files_are_named(self) -> None:
        """A missing or empty file raises a `WorkloadTraceError` with the name of the file."""
        plugin = self.make()
        with self._file(b"") as path:
            for missing in (path + ".missing", path):
                error = self._error(plugin, missing)
                rule = "an empty file, or none at all, must be refused with a WorkloadTraceError"
                require(error is not None, plugin, rule, file=missing)
                assert error is not None
                require(error.problems[0].file == missing, plugin, "the error must name the file", raised=str(error))

    def test_damaged_files_are_read_or_refused(self) -> None:
        """A damaged file is read, or raises a `WorkloadTraceError` with the name of the file."""
        plugin = self.make()
        for damaged in _damaged(self._bytes()):
            with self._file(damaged) as path:
                error = self._error(plugin, path, damaged)
                if error is not None:
                    named = {problem.file for problem in error.problems}
                    rule = "the error of a damaged file must name it"
                    require(named == {path}, plugin, rule, named=named, raised=str(error))

    def test_what_is_written_is_read_back(self) -> None:
        """If `write` is overridden, a written trace is read with equal columns."""
        if type(self).write is TraceFormatTests.write:
            return
        plugin = self.make()
        with self._file(self._bytes()) as path:
            trace = plugin.read(path, None)
            if _difference(trace, plugin.read(path, None)):
                return
            self.write(trace, path)
            again = plugin.read(path, None)
        _require_equal(plugin, "what is written must be read back", trace, again)

    def _bytes(self) -> bytes:
        return _as_bytes(self.content())

    @contextmanager
    def _file(self, content: bytes) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.file_name
            path.write_bytes(content)
            yield str(path)

    def _error(self, plugin: Any, path: str, content: bytes = b"") -> WorkloadTraceError | None:
        """Return the error of reading a file; None without one."""
        __tracebackhide__ = True
        try:
            plugin.read(path, None)
        except WorkloadTraceError as error:
            return error
        except Exception as error:
            rule = "must refuse a file that it cannot read with a WorkloadTraceError"
            raise AssertionError(
                f"{type(plugin).__name__}: {rule}\n  raised: {error!r}\n  file: {content!r}"
            ) from error
        return None


def _is_frozen(plugin: object) -> bool:
    try:
        plugin.__setattr__("any_name", 1)
    except attrs.exceptions.FrozenInstanceError:
        return True
    except AttributeError:
        pass
    return False


def _as_bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _damaged(content: bytes) -> Iterator[bytes]:
    """Yield variants of a file: cut, with repeated parts, with inserted pieces."""
    random = seeded("damaged")
    for _ in range(_NUM_DAMAGED):
        start, end = sorted(random.randrange(len(content) + 1) for _ in range(2))
        end = min(end, start + random.choice((0, 1, 3, 40)))
        yield content[:start] + random.choice((*_PIECES, content[start:end] * 2)) + content[end:]
    yield content[: len(content) // 2]


def _require_equal(plugin: object, rule: str, one: Trace, other: Trace) -> None:
    __tracebackhide__ = True
    difference = _difference(one, other)
    require(not difference, plugin, rule, **difference)


def _difference(one: Trace, other: Trace) -> dict[str, object]:
    """Return the first difference of two traces; empty if they are equal."""
    names = list(one.columns), list(other.columns)
    if names[0] != names[1]:
        return {"first": names[0], "second": names[1]}
    for name, column in one.columns.items():
        first, second = np.asarray(column), np.asarray(other.columns[name])
        if not np.array_equal(first, second):
            return {"column": name, "first": first.tolist(), "second": second.tolist()}
    for name in ("contents", "output_streams"):
        parts = [None if (part := getattr(trace, name)) is None else list(part) for trace in (one, other)]
        if parts[0] != parts[1]:
            return {"of": name, "first": parts[0], "second": parts[1]}
    return {}
