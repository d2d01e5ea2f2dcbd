"""Sends a workload to a real server and returns the recording."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from blis_simpy.core.random_streams import RandomStreams
from blis_simpy.errors import ScenarioError
from blis_simpy.realserver.client import CompletionClient, connect, probe
from blis_simpy.realserver.http_exchange import OK, Clock
from blis_simpy.realserver.load_generator import Dispatcher, completed_before
from blis_simpy.realserver.prompts import Prompts
from blis_simpy.realserver.recording import Recording
from blis_simpy.realserver.settings import ObserveSettings
from blis_simpy.realserver.trace_rows import as_trace
from blis_simpy.trace_files.text_tokens import num_tokens
from blis_simpy.workload.workload_spec import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from blis_simpy.core.request import Request
    from blis_simpy.realserver.http_exchange import Exchange
    from blis_simpy.realserver.trace_rows import Row
    from blis_simpy.workload.settings import Workload

__all__ = ["observe", "observe_async"]

_log = logging.getLogger(__name__)


def observe(
    workload: WorkloadSpec | Workload,
    *,
    url: str,
    model: str,
    seed: int | None = None,
    horizon: int | None = None,
    workload_file: str = "",
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Recording:
    """Send a workload to an OpenAI-compatible server and record the responses.

    Requests are sent at their arrivals, independently of the server; further rounds of sessions are sent after the
    response and the think time. Control-C ends the run early: requests in progress are cancelled, and the others are
    returned. In the main thread of a program, SIGTERM does the same.

    Parameters
    ----------
    workload : WorkloadSpec or Workload
        Workload to send.
    url : str
        Address of the server, e.g. ``http://localhost:8000``.
    model : str
        Model of requests whose client names none.
    seed : int, optional
        Seed of the requests; by default that of the specification, for a `Workload` 42.
    horizon : int, ticks, optional
        Requests arrive strictly before it; by default the specification's.
    workload_file : str
        File of the workload, for the header of the trace.
    progress : callable, optional
        Called after each request with the number of completed and of known requests.
    **settings
        Further fields of `ObserveSettings`, such as ``api_format``, ``max_concurrency``, ``streaming``.

    Returns
    -------
    Recording
        Trace, counts and latencies; printable.

    Raises
    ------
    ScenarioError
        If the workload or a setting is wrong, or the server cannot be reached: no connection at the start, or none
        for any of the requests. A response with an error status is a result, not an error.
    PluginError
        If a distribution or arrival process of the workload returns an invalid value.
    """
    arguments = {"seed": seed, "horizon": horizon, "workload_file": workload_file, "progress": progress, **settings}
    if _is_loop_running():  # a notebook
        return _in_a_thread(lambda stop: observe_async(workload, url=url, model=model, stop=stop, **arguments))

    async def run() -> Recording:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Only the main thread can handle signals, and not on every system.
            with suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await observe_async(workload, url=url, model=model, stop=stop, **arguments)

    return asyncio.run(run())


async def observe_async(
    workload: WorkloadSpec | Workload,
    *,
    url: str,
    model: str,
    seed: int | None = None,
    horizon: int | None = None,
    workload_file: str = "",
    progress: Callable[[int, int], None] | None = None,
    stop: asyncio.Event | None = None,
    **settings: Any,
) -> Recording:
    """Send a workload as `observe` does, within a running event loop and without handling signals.

    Parameters
    ----------
    workload, url, model, seed, horizon, workload_file, progress, **settings
        As for `observe`.
    stop : asyncio.Event, optional
        Ends the run early when it is set.
    """
    known = ObserveSettings(url=url, model=model, **settings)
    seed = workload.default_seed if seed is None else seed
    generated = workload.generate(RandomStreams(seed), horizon)
    requests = list(generated.requests)
    streams = _streaming(workload, known)
    stop = stop or asyncio.Event()
    rows: list[Row] = []
    ended: list[Exchange] = []
    with closing(connect(known)) as http:
        if requests:
            await completed_before(probe(http, known), stop)
        else:
            _log.warning("the workload has no requests: nothing is sent")
        clock = Clock()
        prompts = Prompts(seed, distinct=known.distinct_prompts)

        def on_done(number: int, request: Request, exchange: Exchange) -> None:
            count_tokens(exchange, known.tokenizer, streamed=streams(request))
            ended.append(exchange)
            if number >= known.warmup_requests:
                rows.append((number, request, exchange, streams(request)))
            prompts.remember(request, exchange.text)
            exchange.text = ""
            if progress is not None:
                progress(len(ended), dispatcher.num_known)

        dispatcher = Dispatcher(
            requests,
            generated.sessions,
            clock=clock,
            max_concurrency=known.max_concurrency,
            send=CompletionClient(http, known, prompts, clock, streams).send,
            on_done=on_done,
        )
        is_complete = await dispatcher.run(stop)
        duration_us = clock.elapsed_us()
    if ended and all(exchange.is_unreachable for exchange in ended):
        raise ScenarioError.at("url", f"cannot be reached: {ended[-1].error_message}", known.shown_url)
    _warn(ended, known)
    return Recording(
        trace=as_trace(rows, known, clock.started_at, workload_file),
        url=known.shown_url,
        started_at=clock.started_at,
        duration_us=duration_us,
        num_held_back=dispatcher.num_held_back,
        is_complete=is_complete,
    )


def _streaming(workload: WorkloadSpec | Workload, settings: ObserveSettings) -> Callable[[Request], bool]:
    if settings.streaming != "by-client" or not isinstance(workload, WorkloadSpec):
        return lambda _: settings.streaming != "never"
    wishes = {source.id: source.client.streaming for source in workload.sources()}
    return lambda request: wishes[request.client]


def count_tokens(exchange: Exchange, tokenizer: Callable[[str], Any] | None, *, streamed: bool) -> None:
    """Count the tokens of a response without usage.

    Parameters
    ----------
    exchange : Exchange
        Receives the number: by the tokenizer if there is one; else the chunks of a stream, or a quarter of the bytes of
        a response in one piece.
    tokenizer : callable or None
        Returns the tokens of a text, or their number.
    streamed : bool
        Whether the response was streamed.
    """
    if exchange.has_usage or exchange.status != OK:
        return
    if streamed and tokenizer is None:
        exchange.output_tokens = exchange.num_chunks
    else:
        exchange.output_tokens = num_tokens(exchange.text, tokenizer)


def _warn(ended: list[Exchange], settings: ObserveSettings) -> None:
    how = "by the tokenizer" if settings.tokenizer else "by chunks, or as one token per four bytes if not streamed"
    silent = sum(not exchange.has_usage and exchange.status == "ok" for exchange in ended)
    if silent:
        _log.warning("%d responses have no usage: their tokens are counted %s", silent, how)
    malformed = sum(exchange.malformed_chunks for exchange in ended)
    if malformed:
        _log.warning("%d chunks are not valid JSON", malformed)
    aborted = sum(exchange.finish_reason == "abort" for exchange in ended)
    if aborted:
        _log.warning("the server aborted %d responses", aborted)


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_a_thread(start: Callable[[asyncio.Event], Any]) -> Recording:
    """Run a coroutine in an event loop in another thread; an interrupt of this thread ends the run early."""
    outcome: list[Recording | BaseException] = []
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def work() -> None:
        try:
            outcome.append(loop.run_until_complete(start(stop)))
        except BaseException as error:  # raised again in the calling thread
            outcome.append(error)
        finally:
            loop.close()

    thread = threading.Thread(target=work, name="observe")
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        with suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
