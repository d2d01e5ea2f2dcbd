"""The client's side of the OpenAI-compatible interface: write a request, read the answer, in one piece or as a stream.

Whatever goes wrong between client and server is a result, not an exception: it ends up in the `Exchange`. Nothing is
tried twice.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from blis_simpy.errors import PluginError, ScenarioError
from blis_simpy.realserver.http_exchange import ERROR, TIMEOUT
from blis_simpy.realserver.prompts import joined
from blis_simpy.units import SECOND, format_ticks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from blis_simpy.core.request import Request
    from blis_simpy.realserver.http_exchange import Clock, Exchange
    from blis_simpy.realserver.prompts import Prompts
    from blis_simpy.realserver.settings import ObserveSettings

__all__ = ["CompletionClient", "connect", "probe"]

_DEFAULT_MAX_TOKENS = 2048
_UNLIMITED = 2**31 - 1
_PROBE_SECONDS = 10
_DRAIN_SECONDS = 1
# Many servers close a connection that was idle for 5 s. The client must be first, lest a request meets the closing.
_IDLE_SECONDS = 2


def connect(settings: ObserveSettings) -> httpx.AsyncClient:
    """Make the HTTP client; the caller closes it.

    Raises
    ------
    PluginError
        If httpx is not installed.
    ScenarioError
        If the URL is none.
    """
    try:
        import httpx
    except ImportError as error:
        raise PluginError.at("observe", "needs httpx", hint="pip install blis-simpy[observe]") from error
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    limits = httpx.Limits(max_keepalive_connections=settings.max_concurrency, keepalive_expiry=_IDLE_SECONDS)
    try:
        return httpx.AsyncClient(
            base_url=settings.base_url, headers=headers, limits=limits, timeout=httpx.Timeout(None)
        )
    except (httpx.InvalidURL, ValueError) as broken:
        raise ScenarioError.at("url", f"is not a URL: {broken}", settings.shown_url) from None


async def probe(http: httpx.AsyncClient, settings: ObserveSettings) -> None:
    """Check that a server responds at the address, with any status.

    Raises
    ------
    ScenarioError
        If none does; states the cause.
    """
    import httpx

    try:
        await http.get("/v1/models", timeout=min(settings.timeout / SECOND, _PROBE_SECONDS))
    except httpx.HTTPError as error:
        raise ScenarioError.at("url", f"cannot be reached: {_why(error)}", settings.shown_url) from None


class CompletionClient:
    """Sends requests of a workload.

    Parameters
    ----------
    http : httpx.AsyncClient
        As `connect` makes it.
    settings : ObserveSettings
        What to ask for.
    prompts : Prompts
        What to say.
    clock : Clock
        Time since the start, tick 0 of the requests.
    streams : callable
        Whether the answer to a request shall come in pieces.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
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
        """Send a request and read the answer into the exchange.

        It has until its deadline, at most as long as the settings allow.
        """
        import httpx

        streaming = self._streams(request)
        body = json.dumps(self.body(request), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        patience, rule = self._settings.timeout, f"no full answer within {format_ticks(self._settings.timeout)}"
        if request.deadline and (left := request.deadline - self._clock.elapsed_us()) < patience:
            patience, rule = left, f"no full answer by the deadline, {format_ticks(request.deadline)} after the start"
        exchange.secret = self._settings.api_key
        exchange.sent_at = self._clock.unix_us()
        if patience <= 0:
            exchange.fail(TIMEOUT, "the deadline passed before it could be sent")
            return
        try:
            async with asyncio.timeout(patience / SECOND):
                while not await self._is_answered(body, streaming, exchange):
                    pass
        except TimeoutError:
            exchange.fail(TIMEOUT, rule)
        except httpx.HTTPError as error:
            exchange.is_unreachable = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            where = f"the stream broke after {exchange.num_chunks} chunks: " if exchange.num_chunks else ""
            exchange.fail(ERROR, f"HTTP error: {where}{_why(error)}")

    async def _is_answered(self, body: bytes, streaming: bool, exchange: Exchange) -> bool:
        """Send and read; False if the connection, kept from an earlier request, turned out to be closed.

        A server may close a connection that it kept while the next request is on its way: no failure of that request.
        """
        import httpx

        is_new = has_answer = False

        async def note(event: str, _: Any) -> None:
            nonlocal is_new
            is_new = is_new or event == "connection.connect_tcp.started"

        try:
            async with self._http.stream("POST", self._path, content=body, extensions={"trace": note}) as response:
                has_answer = True
                if response.status_code != httpx.codes.OK:
                    text = (await response.aread()).decode(errors="replace")
                    if not text and response.has_redirect_location:
                        text = f"redirected to {response.headers['location']}"
                    exchange.fail(ERROR, f"HTTP {response.status_code}: {text}")
                elif streaming:
                    await self._read_stream(response, exchange)
                else:
                    await self._read_whole(response, exchange)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if has_answer or is_new:
                raise
            return False
        return True

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

    async def _read_whole(self, response: httpx.Response, exchange: Exchange) -> None:
        data = bytearray()
        async for piece in response.aiter_bytes():
            exchange.first_chunk_at = exchange.first_chunk_at or self._clock.unix_us()
            data += piece
        exchange.stamp(self._clock.unix_us())
        try:
            exchange.take(data)
        except ValueError as broken:
            exchange.fail(ERROR, f"JSON parse error: {broken}", keep_times=True)

    async def _read_stream(self, response: httpx.Response, exchange: Exchange) -> None:
        pieces = response.aiter_bytes()
        is_complete = False
        async for line, now in self._lines(pieces):
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if not data:  # keeps the connection alive, and is no piece of an answer
                continue
            if data == b"[DONE]":
                is_complete = True
                break
            exchange.stamp(now)
            try:
                exchange.take(data)
            except ValueError:
                exchange.malformed_chunks += 1
            if exchange.status == ERROR:
                return
        if is_complete:
            await _drain(pieces)
        elif not exchange.finish_reason:
            what = f"after {exchange.num_chunks} chunks" if exchange.num_chunks else "without any event"
            exchange.fail(ERROR, f"the stream ended {what}, before the answer was complete")

    async def _lines(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, int]]:
        """Lines without their ends, each with the time when its end came."""
        rest = b""
        async for piece in pieces:
            now = self._clock.unix_us()
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r"), now
        if rest:
            yield rest, self._clock.unix_us()


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read what follows the last event, normally the end, so that the connection can be used again."""
    import httpx

    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                pass


def _why(error: BaseException) -> str:
    """Find the reason of the operating system behind an error of the HTTP library."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, OSError) and cause.errno is not None:
            # Errors of the name service have negative numbers, and texts of their own.
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
