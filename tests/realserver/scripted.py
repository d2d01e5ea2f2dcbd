"""A server of raw sockets, for what no server does of its own accord, and short ways to its answers and to traces."""

import asyncio
import contextlib
import json

import attrs


@attrs.define
class Script:
    """A server of raw sockets, for what no server does of its own accord; it keeps the bodies that it was sent."""

    answer: object
    url: str = ""
    bodies: list = attrs.field(factory=list)
    raw_bodies: list = attrs.field(factory=list)
    paths: list = attrs.field(factory=list)
    headers: list = attrs.field(factory=list)
    open_now: int = 0
    open_most: int = 0

    @contextlib.asynccontextmanager
    async def running(self):
        """Serve within an ``async with`` block; what is under way at its end is broken off."""
        serving = set()

        async def serve(reader, writer):
            serving.add(asyncio.current_task())
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._exchange(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving)

    async def _exchange(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        if head.startswith("GET"):  # the client wants to know whether somebody is there
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        self.paths.append(head.split()[1])
        self.headers.append(fields)
        self.raw_bodies.append(body)
        self.bodies.append(json.loads(body))
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            await self.answer(writer, self.bodies[-1])
            await writer.drain()
        finally:
            self.open_now -= 1


def plain(body, status="200 OK"):
    """An answer in one piece."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(data), data)


def events(*lines):
    """An answer as a stream that ends with the connection."""
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"".join(line + b"\n\n" for line in lines)


def event(text="", reason=None, **others):
    return b"data: " + json.dumps({"choices": [{"text": text, "finish_reason": reason}], **others}).encode()


USAGE = {"prompt_tokens": 11, "completion_tokens": 5}


def column(recording, name):
    values = recording.trace.columns[name]
    return values if isinstance(values, list) else values.tolist()


def by_id(recording, name):
    """Values of a column in order of dispatch."""
    pairs = zip(column(recording, "request_id"), column(recording, name), strict=True)
    return [value for _, value in sorted(pairs)]
