"""All decoding requests of a replica as a few sums.

While a set of requests decodes, nobody needs to be visited. Each gets one token a step, so the sum of contexts grows by
their number; each takes a KV block whenever its context has filled the last one, which happens in the steps whose
number is congruent to its own remainder modulo the block size; and each ends in a step that is known when it starts.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blis_simpy.replica.running_request import RunningRequest

__all__ = ["DecodeBatch"]


class DecodeBatch:
    """Sums over the decoding requests, as of the start of the next step.

    Parameters
    ----------
    block_size : int
        Tokens a KV block.

    Attributes
    ----------
    count : int
        How many decode.
    context_tokens : int
        Sum of their progress.
    """

    __slots__ = ("_blocks_by_remainder", "_ends", "block_size", "context_tokens", "count")

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.count = 0
        self.context_tokens = 0
        self._blocks_by_remainder = [0] * block_size
        self._ends: list[tuple[int, int, RunningRequest]] = []

    def _remainder(self, sequence: RunningRequest) -> int:
        stored = sequence.input_tokens + sequence.extra_stored
        return (sequence.first_decode_step - stored) % self.block_size

    def add(self, sequence: RunningRequest) -> None:
        """Add one that starts to decode in `sequence.first_decode_step`, the next step."""
        self.count += 1
        self.context_tokens += sequence.input_tokens
        self._blocks_by_remainder[self._remainder(sequence)] += 1
        heappush(self._ends, (sequence.last_step, sequence.batch_position, sequence))

    def remove(self, sequence: RunningRequest, next_step: int) -> None:
        """Remove one, `next_step` being the number of the step that it takes no part in."""
        self.count -= 1
        self.context_tokens -= self.progress(sequence, next_step)
        self._blocks_by_remainder[self._remainder(sequence)] -= 1

    def postpone(self, sequence: RunningRequest, step: int) -> None:
        """Let one miss its token in a step: all that it has ahead happens a step later."""
        self.remove(sequence, step)
        self.count += 1
        sequence.first_decode_step += 1
        sequence.last_step += 1
        # The sum will grow by the full count at the end of the step.
        self.context_tokens += self.progress(sequence, step + 1) - 1
        self._blocks_by_remainder[self._remainder(sequence)] += 1
        heappush(self._ends, (sequence.last_step, sequence.batch_position, sequence))

    @staticmethod
    def progress(sequence: RunningRequest, next_step: int) -> int:
        """Progress of a decoding sequence at the start of a step."""
        return sequence.input_tokens + next_step - sequence.first_decode_step

    def needs_block(self, sequence: RunningRequest, step: int) -> bool:
        """Whether a sequence takes a block in a step."""
        return step % self.block_size == self._remainder(sequence)

    def advance(self, steps: int) -> None:
        """Count the tokens of some steps."""
        self.context_tokens += self.count * steps

    def next_end(self) -> int:
        """Return the number of the next step in which somebody ends; -1 if nobody decodes."""
        ends = self._ends
        while ends:
            step, position, sequence = ends[0]
            # Those that were preempted, timed out or postponed have left a stale entry.
            if sequence.batch_position == position and sequence.last_step == step:
                return step
            heappop(ends)
        return -1

    def pop_ended(self, step: int) -> list[RunningRequest]:
        """Remove and return those that end in a step, in batch order."""
        ended = []
        while self.next_end() == step:
            ended.append(heappop(self._ends)[2])
        return ended

    def blocks_in_step(self, step: int) -> int:
        """KV blocks taken in a step."""
        return self._blocks_by_remainder[step % self.block_size]

    def blocks_in_steps(self, step: int, steps: int) -> int:
        """KV blocks taken in some steps from a step on."""
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
        """KV blocks taken in each of some steps from a step on."""
        first = step % self.block_size
        cycle = self._blocks_by_remainder[first:] + self._blocks_by_remainder[:first]
        rounds, rest = divmod(steps, self.block_size)
        return cycle * rounds + cycle[:rest]

    def steps_within(self, step: int, steps: int, free_blocks: int) -> int:
        """How many of some steps from a step on find all their blocks among the free ones."""
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
