"""From a workload and random streams to the list of requests.

One client sends to one model. Arrivals, prompt lengths and output lengths are drawn from streams of their own, so that
changing one law leaves the other two as they were, and a longer run begins with the requests of a shorter one.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from blis_simpy import registry
from blis_simpy.core.request import Request
from blis_simpy.core.token_spans import Span, TokenSpans
from blis_simpy.errors import ScenarioError
from blis_simpy.workload.length_sampler import validate_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from blis_simpy.core.random_streams import RandomStreams
    from blis_simpy.workload.arrivals import ArrivalProcess
    from blis_simpy.workload.lengths import LengthSampler
    from blis_simpy.workload.settings import Workload

__all__ = ["CLIENT", "PREFIX_GROUP", "generate"]

CLIENT = "distribution"
"""Label of the client of a workload that is not spelled out client by client, as in the reference."""
PREFIX_GROUP = "shared"
"""Label of the prefix that all its prompts start with."""

_BLOCK = 1 << 16
_NO_HORIZON = 2**63 - 1


def generate(workload: Workload, streams: RandomStreams, horizon: int | None = None) -> list[Request]:
    """Draw the requests of a workload.

    Parameters
    ----------
    workload : Workload
        Rate, laws and number of requests; a preset must have been filled in.
    streams : RandomStreams
        Random streams of the run. Taken are ``workload/client-0/arrivals``, ``.../prompt`` and ``.../output``.
    horizon : int, ticks, optional
        Requests arrive strictly before it; None = no limit.

    Returns
    -------
    list of Request
        In order of arrival, named ``request_0``, ``request_1``, ... The output budget of each is its output length.

    Raises
    ------
    ScenarioError
        If neither the number of requests nor the horizon is limited.
    PluginError
        If an arrival process or a length distribution returns something it must not.
    """
    if not workload.num_requests and horizon is None:
        raise ScenarioError.at("workload.num_requests", "must be > 0 unless a horizon is set", workload.num_requests)
    process: ArrivalProcess = registry.build("arrivals", workload.arrivals)
    arrivals = _arrivals(process, workload, streams.generator("workload/client-0/arrivals"), horizon)
    num_requests = len(arrivals)
    prompts = _lengths("prompt", workload.prompt, streams, num_requests) + workload.prefix_tokens
    outputs = _lengths("output", workload.output, streams, num_requests).tolist()
    content: TokenSpans | None = None
    group = ""
    if workload.prefix_tokens:
        content, group = (Span(f"prefix:{PREFIX_GROUP}", 0, workload.prefix_tokens),), PREFIX_GROUP
    return [
        Request(
            id=f"request_{number}",
            arrived_at=arrived_at,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            max_output_tokens=output_tokens,
            content=content,
            client=CLIENT,
            prefix_group=group,
        )
        for number, (arrived_at, input_tokens, output_tokens) in enumerate(
            zip(arrivals.tolist(), prompts.tolist(), outputs, strict=True)
        )
    ]


def _arrivals(
    process: ArrivalProcess, workload: Workload, rng: np.random.Generator, horizon: int | None
) -> NDArray[np.int64]:
    limit = _NO_HORIZON if horizon is None else horizon
    blocks: list[NDArray[np.int64]] = []
    now = 0
    for n in _block_sizes(workload.num_requests):
        gaps = process.inter_arrival_times(rng, workload.rate, n)
        ticks = now + np.cumsum(validate_samples("arrivals", process, gaps, n, at_least=1))
        # A clock that runs past 2**63 µs turns negative first, as one gap cannot carry it all the way round.
        beyond = (ticks >= limit) | (ticks < 0)
        if beyond.any():
            blocks.append(ticks[: int(beyond.argmax())])
            break
        blocks.append(ticks)
        now = int(ticks[-1])
    return np.concatenate(blocks)


def _block_sizes(num_requests: int) -> Iterator[int]:
    """Sizes that add up to the number of requests; without end if that is 0."""
    if not num_requests:
        yield from repeat(_BLOCK)
    for start in range(0, num_requests, _BLOCK):
        yield min(_BLOCK, num_requests - start)


def _lengths(purpose: str, distribution: Any, streams: RandomStreams, n: int) -> NDArray[np.int64]:
    rng = streams.generator(f"workload/client-0/{purpose}")
    law: LengthSampler = registry.build("lengths", distribution)
    return validate_samples("lengths", law, law.sample(rng, n), n, at_least=0) if n else np.empty(0, dtype=np.int64)
