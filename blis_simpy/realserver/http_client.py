"""HTTP/1.1 for a load generator: kept connections, and responses that are passed on as they arrive.

It owns the connections to one server. General HTTP libraries take one to two milliseconds of CPU time per request,
which limits the load and delays the timestamps of responses. Proxies, redirects, compression and cookies are not
supported, because none of them belongs between a load generator and the server that it measures.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HttpClient", "HttpError", "ResponseReader", "reason"]

_LONGEST_HEAD = 1 << 16
# Many servers close a connection that was idle for 5 s. The client closes earlier, so that no request is sent on a
# connection that is being closed.
_IDLE_SECONDS = 2.0
_DRAIN_SECONDS = 1.0
_BODYLESS = frozenset({204, 304})


class HttpError(Exception):
    """Failure between client and server.

    Attributes
    ----------
    is_unreachable : bool
        Whether no connection was established.
    """

    def __init__(self, reason: str, *, is_unreachable: bool = False) -> None:
        super().__init__(reason)
        self.is_unreachable = is_unreachable


class ResponseReader(Protocol):
    """Reads a response as it arrives."""

    def on_head(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        """Read the status and the headers, whose names are in lower case."""

    def on_data(self, data: bytes) -> bool:
        """Read the next piece of the body; return whether the response is complete, whatever may follow."""


class HttpClient:
    """Sends requests to one server.

    Parameters
    ----------
    url : str
        Address of the server. Its path precedes those of requests; a user name and a password are sent.
    headers : mapping of str to str
        Headers of every request.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        lines = {"Host": parts.netloc.rpartition("@")[2], **headers}
        if parts.username is not None and "Authorization" not in lines:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._idle: list[_Connection] = []

    async def request(self, method: str, path: str, body: bytes, response: ResponseReader) -> None:
        """Send a request and pass on the response.

        A server may close a kept connection while the next request is on its way. Such a request has not failed, and is
        sent on another connection.

        Raises
        ------
        HttpError
            If there is no connection, or no complete response.
        """
        head = f"{method} {self._path}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        message = head.encode() + body
        while True:
            connection = self._kept()
            is_new = connection is None
            if connection is None:
                connection = await self._connected()
            try:
                await connection.exchange(message, response)
            except _ClosedBeforeAnswerError as closed:
                if is_new:
                    raise HttpError(str(closed)) from None
                continue
            finally:
                connection.release()
            if connection.can_be_kept:
                self._idle.append(connection)
            return

    def close(self) -> None:
        """Close all connections that are not in use."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _kept(self) -> _Connection | None:
        """Return the open connection that was used last, unless it has been idle for too long."""
        while self._idle:
            connection = self._idle.pop()
            if connection.can_be_kept and time.monotonic() - connection.idle_since < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                _Connection, self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
            )
        except (OSError, UnicodeError) as error:
            raise HttpError(reason(error), is_unreachable=True) from None
        return connection


class _ClosedBeforeAnswerError(Exception):
    """The server closed the connection before it answered."""


class _Connection(asyncio.Protocol):
    """One connection; reads a response from the pieces that arrive.

    Attributes
    ----------
    can_be_kept : bool
        Whether another request can be sent on it.
    idle_since : float
        When the last response ended, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.can_be_kept = True
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._response: ResponseReader | None = None
        self._done: asyncio.Future[None] | None = None
        self._held = b""
        self._has_head = False
        self._left: int | None = None  # bytes of the body, or of its chunk; None: up to the end of the connection
        self._is_chunked = False

    async def exchange(self, message: bytes, response: ResponseReader) -> None:
        """Send a request and wait for the end of the response."""
        assert self._transport is not None
        self._response, self._held, self._has_head = response, b"", False
        self._done = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise _ClosedBeforeAnswerError("the server closed the connection")
        self._transport.write(message)
        await self._done
        self.idle_since = time.monotonic()

    def release(self) -> None:
        """End the exchange; close a connection that cannot be used again."""
        done = self._done
        has_ended = done is not None and done.done() and not done.cancelled() and done.exception() is None
        if not (has_ended and self.can_be_kept):
            self.close()
        self._response = self._done = None

    def close(self) -> None:
        """Close the connection."""
        self.can_be_kept = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; small packets are sent without delay."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if (raw := transport.get_extra_info("socket")) is not None and raw.family != getattr(socket, "AF_UNIX", None):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Read the next bytes of a response."""
        if self._done is None or self._done.done():
            self.close()  # data without a request
            return
        try:
            self._read(self._held + data if self._held else data)
        except ValueError as broken:
            self._fail(HttpError(str(broken)))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response: complete if its length was open, else broken off."""
        self.can_be_kept = False
        if self._done is None or self._done.done():
            return
        if not self._has_head and not self._held:
            why = "the server closed the connection without a response" if exc is None else reason(exc)
            self._fail(_ClosedBeforeAnswerError(why))
        elif self._has_head and self._left is None and not self._is_chunked and exc is None:
            self._done.set_result(None)
        else:
            self._fail(
                HttpError("the connection was closed before the response was complete" if exc is None else reason(exc))
            )

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _read(self, data: bytes) -> None:
        while not self._has_head:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if not b"HTTP/1.".startswith(data[:7]):
                    raise ValueError(f"the response is not HTTP: {data[:40]!r}")
                if len(data) > _LONGEST_HEAD:
                    raise ValueError("the headers of the response do not end")
                self._held = data
                return
            self._read_head(data[:end])
            data = data[end + 4 :]
        self._held = b""
        if self._is_chunked:
            self._read_chunks(data)
        else:
            self._read_body(data)

    def _read_head(self, head: bytes) -> None:
        status_line, *lines = head.split(b"\r\n")
        version, _, rest = status_line.partition(b" ")
        code = rest[:3]
        if not version.startswith(b"HTTP/1.") or not code.isdigit():
            raise ValueError(f"the response is not HTTP: {status_line[:40]!r}")
        status = int(code)
        if status < 200:  # an interim response
            return
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        self._has_head = True
        self._is_chunked = headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        length = headers.get(b"content-length")
        if status in _BODYLESS:
            length = b"0"
        if length is not None and not length.isdigit():
            raise ValueError(f"the response has an invalid length: {length[:40]!r}")
        self._left = 0 if self._is_chunked else None if length is None else int(length)
        keeps = headers.get(b"connection", b"").lower()
        self.can_be_kept = b"close" not in keeps and (version != b"HTTP/1.0" or b"keep-alive" in keeps)
        if self._left is None:
            self.can_be_kept = False
        if self._response is not None:
            self._response.on_head(status, headers)
        if self._left == 0 and not self._is_chunked:
            self._end()

    def _read_body(self, data: bytes) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            self._hand_over(data)
        if self._left == 0:
            self._end()

    def _read_chunks(self, data: bytes) -> None:
        pieces: list[bytes] = []
        try:
            while data:
                if self._left:
                    piece = data[: self._left]
                    pieces.append(piece)
                    self._left -= len(piece)
                    data = data[len(piece) :]
                    continue
                # Between chunks: the line end of the last one, then the length of the next one.
                line, found, rest = data.removeprefix(b"\r\n").partition(b"\r\n")
                if not found or data == b"\r":
                    self._held = data
                    return
                self._left = _chunk_size(line)
                data = rest
                if self._left == 0:
                    # Optional trailers and an empty line are part of the response.
                    if data.startswith(b"\r\n") or b"\r\n\r\n" in data:
                        self._end()
                    else:
                        self._held = b"0\r\n" + data
                    return
        finally:
            if pieces:
                self._hand_over(b"".join(pieces))

    def _hand_over(self, data: bytes) -> None:
        if self._response is not None and self._response.on_data(data):
            asyncio.get_running_loop().call_later(_DRAIN_SECONDS, self._give_up, self._done)

    def _give_up(self, done: asyncio.Future[None] | None) -> None:
        """End a complete response whose body does not end."""
        if done is not None and not done.done():
            self.can_be_kept = False
            done.set_result(None)

    def _end(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


def _chunk_size(line: bytes) -> int:
    text = line.partition(b";")[0].strip()
    try:
        size = int(text, 16)
    except ValueError:
        size = -1
    if size < 0:
        raise ValueError(f"the response has an invalid chunk length: {line[:40]!r}")
    return size


def reason(error: BaseException) -> str:
    """Reason of an error of the system or of TLS, on one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'failed').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, UnicodeError):
        return "the name of the host cannot be looked up"
    if isinstance(error, OSError):
        # An error about several addresses has their error numbers only in its text.
        found = re.search(r"\[Errno ([0-9]+)\]", str(error))
        number = error.errno if error.errno is not None else int(found[1]) if found else None
        if number is not None:
            return os.strerror(number)
    return str(error) or type(error).__name__
