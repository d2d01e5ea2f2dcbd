"""Mean figures of queueing systems, from their formulas or from their Markov chains. Times in the caller's unit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

if TYPE_CHECKING:
    from collections.abc import Callable


def pollaczek_khinchine(rate: float, mean: float, mean_square: float) -> float:
    """Mean wait in M/G/1, first come, first served."""
    return rate * mean_square / (2 * (1 - rate * mean))


def gm1_wait(transform: Callable[[float], float], mean: float) -> float:
    """Mean wait in G/M/1; `transform` is the Laplace transform of the gaps, `mean` the mean service time."""
    sigma = brentq(lambda x: x - transform((1 - x) / mean), 1e-12, 1 - 1e-9)
    return mean * sigma / (1 - sigma)


def gamma_transform(mean: float, cv: float) -> Callable[[float], float]:
    shape = 1 / cv**2
    return lambda s: (1 + s * mean / shape) ** -shape


def weibull_transform(mean: float, cv: float) -> Callable[[float], float]:
    shape = brentq(lambda k: math.gamma(1 + 2 / k) / math.gamma(1 + 1 / k) ** 2 - 1 - cv**2, 0.2, 20)
    scale = mean / math.gamma(1 + 1 / shape)
    # Integrated over the exponential variable (x / scale)**shape, which has no peak at 0.
    return lambda s: quad(lambda u: math.exp(-u - s * scale * u ** (1 / shape)), 0, math.inf)[0]


def mmc_wait(rate: float, mean: float, servers: int) -> float:
    """Mean wait in M/M/c, by Erlang's C formula."""
    load = rate * mean
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    waits = blocked / (1 - (load / servers) * (1 - blocked))
    return waits * mean / (servers - load)


def shortest_job_first_wait(rate: float, mean: float) -> float:
    """Mean wait in M/M/1 if the shortest job that waits is served next, without preemption."""

    def density(x: float) -> float:
        return math.exp(-x / mean) / mean

    def load_up_to(x: float) -> float:
        return rate * (mean - math.exp(-x / mean) * (x + mean))

    residual = rate * mean**2
    return quad(lambda x: residual * density(x) / (1 - load_up_to(x)) ** 2, 0, 60 * mean)[0]


def batch_service_wait(arrivals_per_step: float, largest_batch: int) -> float:
    """Mean wait, in steps, if a step serves all that wait, up to a number, and starts as soon as one waits."""
    a, size = arrivals_per_step, 200
    poisson = np.array([math.exp(-a + k * math.log(a) - math.lgamma(k + 1)) for k in range(size)])
    transitions = np.zeros((size, size))
    for left in range(size):
        after = left - min(left, largest_batch)
        transitions[left, after:] = poisson[: size - after]
    balance = np.vstack([transitions.T - np.eye(size), np.ones(size)])
    left_behind = np.linalg.lstsq(balance, np.append(np.zeros(size), 1.0), rcond=None)[0]
    waiting = sum(p * max(0, n - largest_batch) for n, p in enumerate(left_behind)) + a / 2
    served = a + left_behind[0]  # those who arrive in a step, and the one that ends an idle time
    return float(waiting / served)


def join_shortest_of_two_wait(load: float, mean: float, most: int = 60) -> float:
    """Mean wait with two servers of exponential service if each arrival joins the one with fewer requests.

    Requests at a server count, served ones included; `load` is per server. Queues above `most` are cut off.
    """
    rate, served = 2 * load, 1.0
    states = [(short, long) for long in range(most + 1) for short in range(long + 1)]
    index = {state: number for number, state in enumerate(states)}
    balance = lil_matrix((len(states), len(states)))

    def flow(source: tuple[int, int], short: int, long: int, intensity: float) -> None:
        target = index.get((min(short, long), max(short, long)))
        if target is not None:
            balance[target, index[source]] += intensity
            balance[index[source], index[source]] -= intensity

    for short, long in states:
        flow((short, long), short + 1, long, rate)
        if short:
            flow((short, long), short - 1, long, served)
        if long:
            flow((short, long), short, long - 1, served)
    balance[0, :] = 1.0
    right = np.zeros(len(states))
    right[0] = 1.0
    probabilities = spsolve(balance.tocsr(), right)
    present = sum(p * sum(state) for state, p in zip(states, probabilities, strict=True))
    return float(present / rate - 1.0) * mean


def closed_network_throughput(sessions: int, think: float, mean: float) -> float:
    """Completions per unit of time of one exponential server and sessions that think, by mean value analysis."""
    present, throughput = 0.0, 0.0
    for population in range(1, sessions + 1):
        response = mean * (1 + present)
        throughput = population / (response + think)
        present = throughput * response
    return throughput


def token_bucket_rejects(load: float, capacity: int) -> float:
    """Rejected share of a Poisson stream if a bucket of some requests refills `1 / load` times as fast as they come.

    What is missing in the bucket behaves as the work in M/D/1 from which a request is turned away unless it fits.
    """

    def work_up_to(v: float) -> float:
        return sum(math.exp(load * (v - k)) * (-load * (v - k)) ** k / math.factorial(k) for k in range(int(v) + 1))

    accepting = work_up_to(capacity - 1)
    full = quad(lambda v: load * (accepting - work_up_to(v - 1)), capacity - 1, capacity)[0]
    return full / (accepting + full)
