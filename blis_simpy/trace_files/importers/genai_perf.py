"""Profiles of GenAI-Perf: payloads, and each response with its time (``profile_export.json``).

They have texts instead of token counts. The counts in the last response of the server have precedence, then those of
the tokenizer. Otherwise counts are estimated: one token per four bytes of a prompt, one per response with text.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import attrs

from blis_simpy.errors import WorkloadTraceError
from blis_simpy.settings.fields import setting, settings_class
from blis_simpy.trace_files.json_records import Record, count, each_record, listed, read_json
from blis_simpy.trace_files.measured import Measured, measured_trace
from blis_simpy.trace_files.text_tokens import TOKENIZER_HELP, num_tokens, plain_text
from blis_simpy.trace_files.timestamps import ticks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.trace_files.trace import Trace

__all__ = ["GenAIPerf"]

_log = logging.getLogger(__name__)

_TEXT_KEYS = ("text", "text_input", "prompt", "inputs", "input")
_ANSWER_KEYS = ("content", "reasoning_content", "reasoning", "text", "text_output", "generated_text")


class _Response(NamedTuple):
    """Content of one response."""

    at: int
    text: str
    usage: Mapping[str, Any]
    failed: bool


@settings_class
class GenAIPerf:
    """Profiles of GenAI-Perf, profile_export.json (JSON); requests without an answer are left out."""

    tokenizer: Any = setting(default=None, help=TOKENIZER_HELP)

    fields: ClassVar[str] = (
        "experiments[].requests[]: timestamp, request_inputs, response_timestamps, response_outputs (texts and usage)"
    )
    times: ClassVar[str] = "ns"
    not_kept: ClassVar[str] = "failed requests, the texts"

    @classmethod
    def recognises(cls, name: str, start: bytes) -> bool:
        """Whether the file is an object with experiments."""
        return start.lstrip().startswith(b"{") and b'"experiments"' in start

    def read(self, path: str, max_rows: int | None) -> Trace:
        """Read a profile; requests arrive when they were sent."""
        estimated: list[bool] = []
        records = islice(_requests(path), max_rows)
        requests = list(each_record(path, records, lambda record: self._request(record, estimated)))
        if any(estimated) and self.tokenizer is None:
            _log.warning(
                "%s: %d of %d requests have no token counts; estimated as one token per four bytes of the prompt and "
                "one per response",
                path,
                sum(estimated),
                len(requests),
            )
        return measured_trace(path, requests, not_kept=["the texts"])

    def _request(self, record: Record, estimated: list[bool]) -> Measured:
        sent = record.get("timestamp", _nanoseconds)
        times = record.items("response_timestamps", _nanoseconds)
        outputs = record.items("response_outputs", lambda value: value, len(times))
        inputs = record.get("request_inputs", dict)
        responses = [_response(at, output) for at, output in zip(times, outputs, strict=True) if not _is_end(output)]
        with_text = [response for response in responses if response.text]
        usage: Mapping[str, Any] = next((response.usage for response in reversed(responses) if response.usage), {})
        prompt, answer = _prompt(inputs), "".join(response.text for response in with_text)
        estimated.append(not usage)
        output_tokens = len(with_text)
        if self.tokenizer is not None or output_tokens == 1:
            output_tokens = _counted(record, "response_outputs", answer, self.tokenizer)
        figures = Record(usage, f"{record.path}.usage")
        return Measured(
            sent_at=sent,
            input_tokens=figures.get("prompt_tokens", count, None)
            or _counted(record, "request_inputs", prompt, self.tokenizer),
            output_tokens=figures.get("completion_tokens", count, None) or output_tokens,
            first_chunk_at=with_text[0].at if with_text else None,
            last_chunk_at=with_text[-1].at if with_text else None,
            num_chunks=len(with_text),
            failed=any(response.failed for response in responses),
            session_id=str(inputs.get("session_id") or ""),
        )


def _requests(path: str) -> Iterator[Record]:
    profile = Record(read_json(path))
    try:
        for place, experiment in enumerate(profile.get("experiments", listed)):
            outer = Record(experiment, f"experiments[{place}]")
            for number, values in enumerate(outer.get("requests", listed)):
                yield Record(values, f"{outer.path}.requests[{number}]")
    except WorkloadTraceError as error:
        raise WorkloadTraceError(attrs.evolve(problem, file=path) for problem in error.problems) from None


def _counted(record: Record, key: str, text: str, tokenizer: Callable[[str], Any] | None) -> int:
    try:
        return num_tokens(text, tokenizer)
    except ValueError as broken:
        raise record.error(key, str(broken)) from None


def _prompt(inputs: Mapping[str, Any]) -> str:
    """Text of the payload of a request."""
    payload = inputs.get("payload", inputs)
    values = _json_object(payload) if isinstance(payload, str) else payload
    if isinstance(values, list):
        values = values[0] if values else {}
    messages = values.get("messages")
    if isinstance(messages, list):
        return "".join(plain_text(message.get("content")) for message in messages if isinstance(message, Mapping))
    return next((_all_text(values[key]) for key in _TEXT_KEYS if values.get(key)), "")


def _all_text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_end(output: Any) -> bool:
    text = output.get("response") if isinstance(output, Mapping) else None
    return isinstance(text, str) and text.strip() in ("", "data: [DONE]", "data:[DONE]")


def _response(at: int, output: Any) -> _Response:
    """Read a response: events of a stream, one JSON object, or the outputs of a Triton server."""
    if not isinstance(output, Mapping):
        return _Response(at, "", {}, failed=False)
    text = output.get("response")
    if not isinstance(text, str):
        return _Response(at, _all_text(output.get("text_output") or ""), {}, failed=False)
    lines = [line.partition("data:")[2] for line in text.split("\n") if line.startswith("data:")] or [text]
    answer, usage, failed = "", {}, text.startswith("event: error")
    for line in lines:
        values = _json_object(line)
        choices = values.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else values
        parts = [choice, *(choice[key] for key in ("delta", "message") if isinstance(choice.get(key), Mapping))]
        answer += "".join(found for part in parts for key in _ANSWER_KEYS if isinstance(found := part.get(key), str))
        if isinstance(values.get("usage"), Mapping):
            usage = values["usage"]
        failed = failed or bool(values.get("error"))
    return _Response(at, answer, usage, failed)


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if isinstance(values, list) and values and isinstance(values[0], Mapping):
        values = values[0]
    return values if isinstance(values, Mapping) else {}


def _nanoseconds(value: Any) -> int:
    return ticks_of(value, "ns")
