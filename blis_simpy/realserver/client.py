"""Client of the OpenAI-compatible API: writes requests, and reads their responses, in one piece or as a stream.

Failures between client and server are results, kept in the `Exchange`, not exceptions. Nothing is retried.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import ScenarioError
from blis_simpy.realserver.http_client import HttpClient, HttpError
from blis_simpy.realserver.http_exchange import ERROR, TIMEOUT
from blis_simpy.realserver.prompts import joined
from blis_simpy.units import SECOND, format_ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from blis_simpy.core.request import Request
    from blis_simpy.realserver.http_exchange import Clock, Exchange
    from blis_simpy.realserver.prompts import Prompts
    from blis_simpy.realserver.settings import ObserveSettings

__all__ = ["CompletionClient", "connect", "probe"]

_DEFAULT_MAX_TOKENS = 2048
_UNLIMITED = 2**31 - 1
_PROBE_SECONDS = 10
_LONGEST_ERROR = 1 << 16
_OK = 200
_REDIRECTIONS = range(300, 400)


def connect(settings: ObserveSettings) -> HttpClient:
    """Create the HTTP client; the caller closes it."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if settings.key:
        headers["Authorization"] = f"Bearer {settings.key}"
    return HttpClient(settings.base_url, headers)


async def probe(http: HttpClient, settings: ObserveSettings) -> None:
    """Check that a server responds at the address, with any status.

    Raises
    ------
    ScenarioError
        If there is no response; states the reason.
    """
    patience = min(settings.timeout / SECOND, _PROBE_SECONDS)
    try:
        async with asyncio.timeout(patience):
            await http.request("GET", "/v1/models", b"", _NoReader())
    except TimeoutError:
        rule = f"cannot be reached: no response within {patience:g}s"
        raise ScenarioError.at("url", rule, settings.shown_url) from None
    except HttpError as error:
        raise ScenarioError.at("url", f"cannot be reached: {error}", settings.shown_url) from None


class _NoReader:
    """Ignores a response."""

    def on_head(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        pass

    def on_data(self, data: bytes) -> bool:
        return False


class CompletionClient:
    """Sends requests of a workload.

    Parameters
    ----------
    http : HttpClient
        Result of `connect`.
    settings : ObserveSettings
        Settings of the requests.
    prompts : Prompts
        Texts of the prompts.
    clock : Clock
        Time since the start, tick 0 of the requests.
    streams : callable
        Whether the response of a request is streamed.
    """

    def __init__(
        self,
        http: HttpClient,
        settings: ObserveSettings,
        prompts: Prompts,
        clock: Clock,
        streams: Callable[[Request], bool],
    ) -> None:
        self._http = http
        self._settings = settings
        self._prompts = prompts
        self._clock = clock
        self._streams = streams
        chat = settings.api_format == "chat"
        self._path = "/v1/chat/completions" if chat else "/v1/completions"

    async def send(self, request: Request, exchange: Exchange) -> None:
        """Send a request and read the response into the exchange.

        The response has to end before the deadline of the request and within the timeout of the settings.
        """
        streaming = self._streams(request)
        body = json.dumps(self.body(request), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        patience, limit = self._settings.timeout, f"within {format_ticks(self._settings.timeout)}"
        if request.deadline and (left := request.deadline - self._clock.elapsed_us()) < patience:
            patience, limit = left, f"by the deadline, {format_ticks(request.deadline)} after the start"
        exchange.secret = self._settings.key
        exchange.sent_at = self._clock.unix_us()
        if patience <= 0:
            exchange.fail(TIMEOUT, "the deadline passed before it could be sent")
            return
        response = _CompletionReader(exchange, self._clock, streaming=streaming)
        try:
            async with asyncio.timeout(patience / SECOND):
                await self._http.request("POST", self._path, body, response)
        except TimeoutError:
            exchange.fail(TIMEOUT, f"no complete response {limit}")
        except HttpError as error:
            exchange.is_unreachable = error.is_unreachable
            where = f"the stream broke after {exchange.num_chunks} chunks: " if exchange.num_chunks else ""
            exchange.fail(ERROR, f"HTTP error: {where}{error}")
        else:
            response.end()

    def body(self, request: Request) -> dict[str, Any]:
        """Write the body of a request."""
        chat = self._settings.api_format == "chat"
        turns = self._prompts.turns(request)
        body: dict[str, Any] = {
            **self._settings.extra_body,
            "model": request.model or self._settings.model,
            "stream": self._streams(request),
        }
        if chat:
            body["messages"] = [{"role": turn.role, "content": turn.text} for turn in turns]
        else:
            body["prompt"] = joined(turns)
        if body["stream"]:
            body["stream_options"] = {"include_usage": True}
        if not self._settings.unconstrained_output:
            body["max_tokens"] = request.max_output_tokens if request.max_output_tokens > 0 else _DEFAULT_MAX_TOKENS
        elif not chat:
            body["max_tokens"] = _UNLIMITED
        return body


class _CompletionReader:
    """Reads a response into an exchange."""

    def __init__(self, exchange: Exchange, clock: Clock, *, streaming: bool) -> None:
        self._exchange = exchange
        self._clock = clock
        self._streaming = streaming
        self._status = 0
        self._location = b""
        self._held = bytearray()
        self._is_complete = False

    def on_head(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        """Read the status of the response."""
        self._status = status
        self._location = headers.get(b"location", b"")

    def on_data(self, data: bytes) -> bool:
        """Read the next piece of the body; the last event of a stream completes it."""
        now = self._clock.unix_us()
        if self._status != _OK:
            self._held += data[: max(_LONGEST_ERROR - len(self._held), 0)]
        elif not self._streaming:
            self._exchange.first_chunk_at = self._exchange.first_chunk_at or now
            self._held += data
        else:
            *lines, rest = (bytes(self._held) + data).split(b"\n")
            self._held = bytearray(rest)
            for line in lines:
                self._read_line(line, now)
        return self._is_complete

    def end(self) -> None:
        """Determine the outcome once the body has ended."""
        exchange, now = self._exchange, self._clock.unix_us()
        if self._status != _OK:
            text = self._held.decode(errors="replace")
            if not text and self._status in _REDIRECTIONS:
                text = f"redirected to {self._location.decode(errors='replace')}"
            exchange.fail(ERROR, f"HTTP {self._status}: {text}")
        elif not self._streaming:
            exchange.stamp(now)
            try:
                exchange.take(self._held)
            except ValueError as broken:
                exchange.fail(ERROR, f"JSON parse error: {broken}", keep_times=True)
        else:
            self._read_line(bytes(self._held), now)
            if not self._is_complete and not exchange.finish_reason:
                what = f"after {exchange.num_chunks} chunks" if exchange.num_events else "without any event"
                exchange.fail(ERROR, f"the stream ended {what}, before the response was complete")

    def _read_line(self, line: bytes, now: int) -> None:
        if self._is_complete or not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if not data:  # an empty chunk only keeps the connection alive
            return
        if data == b"[DONE]":
            self._is_complete = True
            return
        exchange = self._exchange
        exchange.num_events += 1
        try:
            if exchange.take(data):
                exchange.stamp(now)
        except ValueError:
            exchange.malformed_chunks += 1
        self._is_complete = exchange.status == ERROR
