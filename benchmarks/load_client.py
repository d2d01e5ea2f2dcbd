"""How many requests a second `blis observe` sends, with how much delay, to a server on this machine.

    python benchmarks/load_client.py --rate 1000 --seconds 3 --tokens 4

The server answers each request at once with a stream of so many tokens. Prints requests/s, CPU time a request, schedule
slip, and the latencies that the client measures, which are its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from typing import TYPE_CHECKING

import numpy as np

import blis_simpy as blis

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LONGEST_SECONDS = 60


def answer(tokens: int) -> bytes:
    """Write an answer as a stream of chunks with a token each, an end, and usage."""
    texts = [{"choices": [{"text": "word ", "finish_reason": None}]}] * tokens
    end = {"choices": [{"text": "", "finish_reason": "length"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": tokens}}
    body = (
        b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in (*texts, end, usage)) + b"data: [DONE]\n\n"
    )
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


class Server(asyncio.Protocol):
    """Answers requests on one connection."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that has come whole."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n") + 4) > 3:
            length = int(self._held[:end].lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(self._held) < end + length:
                return
            self._held = self._held[end + length :]
            self._transport.write(self._message)


def serve(tokens: int, port: Connection) -> None:
    """Run the server for a while."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(answer(tokens)), "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await asyncio.sleep(LONGEST_SECONDS)

    asyncio.run(run())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--tokens", type=int, default=4)
    given = parser.parse_args()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(given.tokens, sender), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{receiver.recv()}"
        number = int(given.rate * min(given.seconds, LONGEST_SECONDS / 2))
        workload = blis.Workload(rate=given.rate, num_requests=number, prompt=20, output=given.tokens)
        cpu = time.process_time()
        recording = blis.observe(workload, url=url, model="m")
        cpu = time.process_time() - cpu
    finally:
        server.terminate()
    slip = recording.schedule_slip
    print(f"{number / recording.duration_us * 1e6:,.0f} requests/s, {recording.statuses}")
    print(f"CPU time {cpu / number * 1e6:,.0f} us a request")
    print(
        f"schedule slip (ms): mean {slip.mean_us / 1e3:.2f}, p99 {slip.p99_us / 1e3:.2f}, max {slip.max_us / 1e3:.2f}"
    )
    median, high = np.percentile(recording.ttft_us, (50, 99)) / 1e3
    print(f"TTFT (ms): p50 {median:.2f}, p99 {high:.2f}")


if __name__ == "__main__":
    main()
