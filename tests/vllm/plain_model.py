"""vLLM's engine, one token and one step at a time: the oracle for the engine profile ``vllm``.

Each rule stands once and is written as it is stated, whatever it costs. Nothing here is shared with the library, so
that an error in one cannot hide in the other. Times are ticks (µs). Lower priority numbers are more urgent.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Token = tuple[str, int]
"""Stream and position; equal tokens have equal both."""

StepTime = Callable[[Sequence["Entry"]], int]
"""Duration of a batch, µs, from what its entries hold when it is formed."""


class EndlessCaseError(Exception):
    """The requests do not end."""


@dataclass(frozen=True)
class Settings:
    """Limits and policies of one engine, by their names in vLLM where they have one.

    `num_blocks` are the blocks that requests can use; vLLM itself has one more, which only the watermark counts.
    `pause_us` is how long the engine sleeps after an iteration that had requests, but no batch.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    num_blocks: int
    max_model_len: int
    long_prefill_token_threshold: int = 0
    long_prefill_token_threshold_adaptive: bool = False
    policy: str = "fcfs"
    watermark: float = 0.0
    enable_prefix_caching: bool = True
    reserve_full_sequence: bool = True
    async_scheduling: bool = True
    pause_us: int = 1000


@dataclass(eq=False)
class Block:
    number: int
    holders: int = 0
    hash: int | None = None


@dataclass(eq=False)
class Request:
    """A request and all that the engine keeps about it."""

    id: str
    arrival: int
    prompt: list[Token]
    max_tokens: int
    priority: int = 0
    abort_at: int | None = None

    state: str = "unknown"  # then waiting, running, preempted, finished or aborted
    tokens: list[Token] = field(default_factory=list)  # known ones: the prompt and the outputs delivered
    scheduled: int = 0  # of them, and of those under way: computed, or in a batch in flight
    under_way: int = 0  # outputs that batches in flight will deliver
    blocks: list[Block] = field(default_factory=list)
    num_hashed: int = 0  # leading blocks that have a hash
    hashes: list[int] = field(default_factory=list)  # of the full blocks of its tokens, as far as they were needed

    output_times: list[int] = field(default_factory=list)
    aborted_at: int | None = None
    first_cached: int | None = None
    preemptions: int = 0

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)

    @property
    def outputs(self) -> int:
        return len(self.tokens) - len(self.prompt)


@dataclass(eq=False)
class Entry:
    """A request in a batch."""

    request: Request
    before: int  # tokens scheduled before this step
    num_tokens: int
    yields_output: bool = False


@dataclass
class Step:
    """What one formation of a batch decided. A step without entries takes no device time."""

    scheduled_at: int
    start: int = 0
    end: int = 0
    entries: list[Entry] = field(default_factory=list)
    admitted: dict[str, int] = field(default_factory=dict)  # request to cached tokens
    resumed: dict[str, int] = field(default_factory=dict)
    preempted: list[str] = field(default_factory=list)
    running: int = 0
    waiting: int = 0
    used_blocks: int = 0


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


class BlockPool:
    """The free list, and the table of blocks that can be found by their content."""

    def __init__(self, settings: Settings) -> None:
        self.block_size = settings.block_size
        self.caching = settings.enable_prefix_caching
        self.free = OrderedDict((number, Block(number)) for number in range(1, settings.num_blocks + 1))
        self.num_blocks = settings.num_blocks
        # A hash to all blocks that carry it, earliest registered first.
        self.cached: dict[int, OrderedDict[int, Block]] = {}
        # What a hash stands for: the hash before it and the tokens of the block.
        self._hashes: dict[tuple[int, tuple[Token, ...]], int] = {}

    def hash_of(self, request: Request, index: int) -> int:
        while len(request.hashes) <= index:
            first = len(request.hashes) * self.block_size
            before = request.hashes[-1] if request.hashes else 0
            content = (before, tuple(request.tokens[first : first + self.block_size]))
            request.hashes.append(self._hashes.setdefault(content, len(self._hashes) + 1))
        return request.hashes[index]

    def lookup(self, request: Request) -> list[Block]:
        """Leading blocks found in the cache; at least one token is left to compute."""
        found: list[Block] = []
        if self.caching:
            for index in range((len(request.tokens) - 1) // self.block_size):
                same = self.cached.get(self.hash_of(request, index))
                if not same:
                    break
                found.append(next(iter(same.values())))
        return found

    def claim(self, request: Request, found: list[Block]) -> None:
        for block in found:
            if block.holders == 0:
                del self.free[block.number]
            block.holders += 1
        request.blocks = list(found)
        request.num_hashed = len(found)

    def take(self, request: Request, count: int) -> None:
        for _ in range(count):
            _, block = self.free.popitem(last=False)
            if block.hash is not None:
                del self.cached[block.hash][block.number]
                block.hash = None
            block.holders = 1
            request.blocks.append(block)

    def register(self, request: Request, num_tokens: int) -> None:
        """Give a hash to each block that is full with a number of tokens."""
        if not self.caching:
            return
        while (request.num_hashed + 1) * self.block_size <= num_tokens:
            block = request.blocks[request.num_hashed]
            block.hash = self.hash_of(request, request.num_hashed)
            self.cached.setdefault(block.hash, OrderedDict())[block.number] = block
            request.num_hashed += 1

    def release(self, request: Request) -> None:
        unheld = []
        for block in reversed(request.blocks):
            block.holders -= 1
            if block.holders == 0:
                unheld.append(block)
        without_hash = [block for block in unheld if block.hash is None]
        with_hash = [block for block in unheld if block.hash is not None]
        for block in reversed(without_hash):
            self.free[block.number] = block
            self.free.move_to_end(block.number, last=False)
        for block in with_hash:
            self.free[block.number] = block
        request.blocks = []
        request.num_hashed = 0


class PlainEngine:
    """One engine: its loop, its two lists and its blocks."""

    def __init__(self, settings: Settings, step_time: StepTime) -> None:
        self.settings = settings
        self.step_time = step_time
        self.depth = 2 if settings.async_scheduling else 1
        self.pool = BlockPool(settings)
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self.in_flight: deque[Step] = deque()
        self.device_free_at = 0
        self.someone_ended = False
        self.now = 0
        self.steps: list[Step] = []
        self.prefix_cache = dict.fromkeys(
            ("requests", "queries", "hits", "preempted_requests", "preempted_queries", "preempted_hits"), 0
        )

    # The loop.

    def run(self, requests: Sequence[Request], max_steps: int = 20_000) -> None:
        """Serve requests, given in the order of their submission, until all have ended.

        Raises
        ------
        EndlessCaseError
            After a number of steps: under the priority policy, requests that are admitted by their first chunk can
            preempt themselves again and again, in vLLM too.
        """
        arrivals = deque(sorted(requests, key=lambda request: request.arrival))
        # Clients that give up at one time do so in the order in which they came.
        aborts = deque(sorted((r for r in arrivals if r.abort_at is not None), key=lambda request: request.abort_at))
        while True:
            self._take_inputs(arrivals, aborts)
            if not (self.running or self.waiting or self.in_flight or self.someone_ended):
                inputs = [arrivals[0].arrival] if arrivals else []
                inputs += [aborts[0].abort_at] if aborts else []
                if not inputs:
                    return
                self.now = min(inputs)
                continue
            formed = False
            if self.running or self.waiting or self.someone_ended:
                if len(self.steps) >= max_steps:
                    raise EndlessCaseError
                step = self._form()
                self.someone_ended = False
                if step.entries:
                    formed = True
                    step.start = max(self.now, self.device_free_at)
                    step.end = self.device_free_at = step.start + self.step_time(step.entries)
                    self.in_flight.append(step)
                    if len(self.in_flight) < self.depth:
                        continue
            if self.in_flight:
                step = self.in_flight.popleft()
                self.now = max(self.now, step.end)
                self._take_aborts(aborts, known_only=True)
                self._deliver(step)
            if not formed and (self.running or self.waiting or self.someone_ended):
                self.now += self.settings.pause_us

    def _take_inputs(self, arrivals: deque[Request], aborts: deque[Request]) -> None:
        """Take arrivals and aborts up to now in the order of their times, arrivals before aborts of the same time."""
        while arrivals and arrivals[0].arrival <= self.now:
            while aborts and aborts[0].abort_at < arrivals[0].arrival:
                self._abort(aborts.popleft())
            self._enqueue(arrivals.popleft())
        self._take_aborts(aborts, known_only=False)

    def _take_aborts(self, aborts: deque[Request], *, known_only: bool) -> None:
        late = []
        while aborts and aborts[0].abort_at <= self.now:
            request = aborts.popleft()
            if known_only and request.state == "unknown":
                late.append(request)
            else:
                self._abort(request)
        aborts.extendleft(reversed(late))

    def _enqueue(self, request: Request) -> None:
        request.state = "waiting"
        self._queue(request, at_front=False)

    def _queue(self, request: Request, *, at_front: bool) -> None:
        if at_front and self.settings.policy == "fcfs":
            self.waiting.insert(0, request)
        else:
            self.waiting.append(request)
            if self.settings.policy == "priority":
                self.waiting.sort(key=lambda waiting: (waiting.priority, waiting.arrival, waiting.id))

    def _abort(self, request: Request) -> None:
        if request.state in ("waiting", "running", "preempted"):
            request.aborted_at = self.now
            self._end(request, "aborted")

    def _end(self, request: Request, state: str) -> None:
        (self.running if request.state == "running" else self.waiting).remove(request)
        request.state = state
        self.pool.release(request)
        self.someone_ended = True

    # Results.

    def _deliver(self, step: Step) -> None:
        for entry in step.entries:
            request = entry.request
            if not entry.yields_output or request.state in ("finished", "aborted"):
                continue
            request.tokens.append((f"out:{request.id}", request.outputs))
            request.output_times.append(self.now)
            # One that was preempted after this batch was formed has nothing under way and holds no blocks any more.
            if request.state == "running" and self.depth == 2:
                request.under_way -= 1
                self.pool.register(request, request.scheduled - request.under_way)
            if request.outputs >= request.max_tokens or len(request.tokens) >= self.settings.max_model_len:
                self._end(request, "finished")

    # Forming a batch.

    def _form(self) -> Step:
        settings = self.settings
        step = Step(scheduled_at=self.now)
        num_requests = len(self.running) + len(self.waiting)
        self.threshold = settings.long_prefill_token_threshold if num_requests > 1 else 0
        if self.threshold and settings.long_prefill_token_threshold_adaptive:
            self.threshold = max(self.threshold, settings.max_num_batched_tokens // num_requests)
        self.budget = settings.max_num_batched_tokens
        self._serve_running(step)
        if not step.preempted:
            while self.budget > 0 and self.waiting and len(self.running) < settings.max_num_seqs:
                if not self._admit(self.waiting[0], step):
                    break
        for entry in step.entries:
            request = entry.request
            request.scheduled += entry.num_tokens
            entry.yields_output = request.scheduled >= len(request.tokens) + request.under_way
            if entry.yields_output and self.depth == 2:
                request.under_way += 1
        step.running, step.waiting = len(self.running), len(self.waiting)
        step.used_blocks = self.pool.num_blocks - len(self.pool.free)
        if step.entries or step.preempted:
            self.steps.append(step)
        step.start = step.end = self.now
        return step

    def _cap(self, num_tokens: int) -> int:
        if self.threshold:
            num_tokens = min(num_tokens, self.threshold)
        return min(num_tokens, self.budget)

    def _serve_running(self, step: Step) -> None:
        self.position = 0
        while self.position < len(self.running) and self.budget > 0:
            request = self.running[self.position]
            last_output_under_way = request.under_way and request.outputs + request.under_way >= request.max_tokens
            num_tokens = self._cap(len(request.tokens) + request.under_way - request.scheduled)
            num_tokens = min(num_tokens, self.settings.max_model_len - 1 - request.scheduled)
            if not last_output_under_way and num_tokens > 0:
                end = request.scheduled + num_tokens
                needed = max(0, ceil_div(end, self.settings.block_size) - len(request.blocks))
                while needed > len(self.pool.free):
                    victim = self._choose_victim()
                    self._preempt(victim, step)
                    if victim is request:
                        return
                self.pool.take(request, needed)
                self.pool.register(request, min(end, len(request.tokens)))
                step.entries.append(Entry(request, request.scheduled, num_tokens))
                self.budget -= num_tokens
            self.position += 1

    def _choose_victim(self) -> Request:
        if self.settings.policy == "fcfs":
            return self.running[-1]
        return max(self.running, key=lambda request: (request.priority, request.arrival))

    def _preempt(self, victim: Request, step: Step) -> None:
        if self.running.index(victim) < self.position:
            self.position -= 1
        self.running.remove(victim)
        for entry in step.entries:
            if entry.request is victim:
                step.entries.remove(entry)
                self.budget += entry.num_tokens
                break
        self.pool.release(victim)
        victim.scheduled = victim.under_way = 0
        victim.state = "preempted"
        victim.preemptions += 1
        self._queue(victim, at_front=True)
        step.preempted.append(victim.id)

    def _admit(self, request: Request, step: Step) -> bool:
        """Admit the head of the queue; False if its blocks do not fit, and then nothing has changed."""
        settings, pool = self.settings, self.pool
        found = pool.lookup(request)
        cached = len(found) * settings.block_size
        known = len(request.tokens)
        num_tokens = self._cap(known - cached)
        # Found blocks that nobody holds leave the free list.
        idle = sum(block.holders == 0 for block in found)
        kept_free = int(settings.watermark * (settings.num_blocks + 1)) if self.running else 0

        def fits(end: int) -> bool:
            needed = max(0, ceil_div(end, settings.block_size) - len(found)) + idle
            return needed + kept_free <= len(pool.free)

        if settings.reserve_full_sequence and not fits(min(known, settings.max_model_len)):
            return False
        if not fits(cached + num_tokens):
            return False
        pool.claim(request, found)
        pool.take(request, ceil_div(cached + num_tokens, settings.block_size) - len(found))
        pool.register(request, cached + num_tokens)
        self.waiting.pop(0)
        self.running.append(request)
        prefix = "preempted_" if request.state == "preempted" else ""
        (step.resumed if prefix else step.admitted)[request.id] = cached
        if request.first_cached is None:
            request.first_cached = cached
        if settings.enable_prefix_caching:
            self.prefix_cache[f"{prefix}requests"] += 1
            self.prefix_cache[f"{prefix}queries"] += known
            self.prefix_cache[f"{prefix}hits"] += cached
        request.state = "running"
        request.scheduled = cached
        step.entries.append(Entry(request, cached, num_tokens))
        self.budget -= num_tokens
        return True
