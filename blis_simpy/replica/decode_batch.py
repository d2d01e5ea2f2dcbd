"""All decoding requests of a replica as a few sums, so that a step does not visit each request.

Each decoding request gets one token per step, so the sum of contexts grows by their number. It takes a KV block in
every `block_size`-th step: those with `step % block_size` equal to its *remainder*. Its last step is known when it
starts to decode.

Example with blocks of 4 tokens: a prompt of 6 tokens fills one block and half of another. Its first decode step is step
10, so its context at the start of step s is 6 + (s - 10) tokens. The context fills its blocks (8 tokens) at the start
of step 12, and that step takes a block for the ninth token; so do steps 16, 20, ... Its remainder is (10 - 6) % 4 = 0,
and 12, 16, 20 are the steps with s % 4 = 0. If `_blocks_by_remainder` is [3, 0, 1, 0], step 12 takes three blocks, step
13 none, step 14 one, and any four consecutive steps take four: one for each request.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["DecodeBatch"]


class DecodeBatch:
    """Sums over the decoding requests at the start of the next step.

    Parameters
    ----------
    block_size : int
        Tokens a KV block.

    Attributes
    ----------
    count : int
        Number of decoding requests.
    context_tokens : int
        Sum of their progress.
    """

    __slots__ = ("_blocks_by_remainder", "_ends", "block_size", "context_tokens", "count")

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.count = 0
        self.context_tokens = 0
        self._blocks_by_remainder = [0] * block_size
        # (last step, batch position, request). A heap, because only the next end is needed, and because the entry of a
        # request that leaves early need not be searched for: it is discarded as stale when it reaches the top.
        self._ends: list[tuple[int, int, RunningRequest]] = []

    def _remainder(self, running: RunningRequest) -> int:
        stored = running.input_tokens + running.extra_stored
        return (running.first_decode_step - stored) % self.block_size

    def add(self, running: RunningRequest) -> None:
        """Add a request that starts to decode in the next step, `running.first_decode_step`."""
        self.count += 1
        self.context_tokens += running.input_tokens
        self._blocks_by_remainder[self._remainder(running)] += 1
        heappush(self._ends, (running.last_step, running.batch_position, running))

    def remove(self, running: RunningRequest, next_step: int) -> None:
        """Remove a request, which decodes no more from step `next_step` on."""
        self.count -= 1
        self.context_tokens -= self.progress(running, next_step)
        self._blocks_by_remainder[self._remainder(running)] -= 1

    def postpone(self, running: RunningRequest, step: int) -> None:
        """Shift a request by one step, because it gets no token in this one."""
        self.remove(running, step)
        self.count += 1
        # Its progress is computed from the first step, so that a later first step has the effect of a missed token, and
        # shifts its block boundaries and its end as well.
        running.first_decode_step += 1
        running.last_step += 1
        # `advance` then counts a token of each request, so one is subtracted for this request.
        self.context_tokens += self.progress(running, step + 1) - 1
        self._blocks_by_remainder[self._remainder(running)] += 1
        heappush(self._ends, (running.last_step, running.batch_position, running))

    @staticmethod
    def progress(running: RunningRequest, next_step: int) -> int:
        """Progress of a decoding request at the start of a step."""
        return running.input_tokens + next_step - running.first_decode_step

    def needs_block(self, running: RunningRequest, step: int) -> bool:
        """Whether a request takes a block in a step."""
        return step % self.block_size == self._remainder(running)

    def advance(self, steps: int) -> None:
        """Add the tokens of a number of steps."""
        self.context_tokens += self.count * steps

    def take_step(self, step: int) -> list[RunningRequest]:
        """Add the tokens of a step; remove and return the requests that end in it, in batch order."""
        self.context_tokens += self.count
        ends = self._ends
        return self.pop_ended(step) if ends and ends[0][0] <= step else []

    def next_end(self) -> int:
        """Return the number of the next step in which a request ends; -1 without requests."""
        ends = self._ends
        while ends:
            step, position, running = ends[0]
            # Stale if the request was preempted, timed out or postponed since.
            if running.batch_position == position and running.last_step == step:
                return step
            heappop(ends)
        return -1

    def pop_ended(self, step: int) -> list[RunningRequest]:
        """Remove and return the requests that end in a step, in batch order."""
        ended = []
        ends = self._ends
        while ends and ends[0][0] <= step:
            last_step, position, running = heappop(ends)
            if running.batch_position == position and running.last_step == last_step:
                ended.append(running)
        return ended

    def blocks_in_step(self, step: int) -> int:
        """KV blocks taken in a step."""
        return self._blocks_by_remainder[step % self.block_size]

    def blocks_in_steps(self, step: int, steps: int) -> int:
        """Return the number of KV blocks taken in `steps` steps from `step` on."""
        if steps == 1:
            return self._blocks_by_remainder[step % self.block_size]
        rounds, rest = divmod(steps, self.block_size)
        blocks = rounds * self.count
        if rest:
            first = step % self.block_size
            by_remainder = self._blocks_by_remainder
            blocks += sum(by_remainder[first : first + rest])
            over = first + rest - self.block_size
            if over > 0:
                blocks += sum(by_remainder[:over])
        return blocks

    def blocks_by_step(self, step: int, steps: int) -> list[int]:
        """Return the number of KV blocks taken in each of `steps` steps from `step` on."""
        first = step % self.block_size
        cycle = self._blocks_by_remainder[first:] + self._blocks_by_remainder[:first]
        rounds, rest = divmod(steps, self.block_size)
        return cycle * rounds + cycle[:rest]

    def steps_within(self, step: int, steps: int, free_blocks: int) -> int:
        """Return the number of steps, at most `steps` from `step` on, for which the free blocks suffice."""
        # Any `block_size` consecutive steps take one block per request.
        if self.count * (steps // self.block_size + 1) <= free_blocks:
            return steps
        rounds = free_blocks // self.count
        if rounds * self.block_size >= steps:
            return steps
        done = rounds * self.block_size
        left = free_blocks - rounds * self.count
        for blocks in self.blocks_by_step(step, min(self.block_size, steps - done)):
            left -= blocks
            if left < 0:
                break
            done += 1
        return done
