"""A second engine, to check the first: token by token, step by step, as the rules say and as slowly as they read.

It shares no code with the package. Every token is an object, a block holds its tokens, a key is the tuple of its
parent's key and its tokens, and each event of the replica is an entry of one heap.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

QUEUED, STEP, TIMEOUT = 1, 2, 5
BEFORE_ALL, ARRIVAL = -2, -1


class Sample(NamedTuple):
    at: int
    queue_depth: int
    batch_size: int
    used_blocks: int
    hit_rate: float


class Row(NamedTuple):
    start_us: int
    duration_us: int
    decode_tokens: int
    prefill_tokens: int
    batch_size: int
    queue_depth: int
    used_blocks: int


@dataclass(kw_only=True)
class NaiveSettings:
    max_num_seqs: int
    max_tokens: int
    threshold: int
    max_model_len: int
    num_blocks: int
    block_size: int
    scheduler: str
    priority: str
    horizon: float
    odd_decodes_yield: bool = False


@dataclass(eq=False, kw_only=True)
class NaiveRequest:
    id: str
    arrived_at: int
    prompt: list
    output: list
    max_out: int
    deadline: int

    outcome: str = "pending"
    progress: int = 0
    computed: int = 0
    new: int = 0
    number: int = -1
    ttft: int = -1
    first_token: bool = False
    itls: list = field(default_factory=list)
    scheduled_at: int = -1
    e2e: int = -1
    generated: int = 0
    length_capped: bool = False
    num_preemptions: int = 0
    finished_at: int = -1
    missed_tokens: int = 0

    def token(self, position):
        length = len(self.prompt)
        if position < length:
            return self.prompt[position]
        # An empty prompt has a place for its first output token even if there is to be none.
        return self.output[position - length] if self.output else None


@dataclass
class Block:
    number: int
    holders: int = 0
    key: object = None
    tokens: list = field(default_factory=list)


class NaiveKV:
    def __init__(self, num_blocks, block_size):
        self.size = block_size
        self.blocks = [Block(number) for number in range(num_blocks)]
        self.free = list(range(num_blocks))
        self.table = {}
        self.held = {}
        self.hits = self.misses = 0

    def used(self):
        return len(self.blocks) - len(self.free)

    def hit_rate(self):
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0

    def lookup(self, prompt):
        found, parent = [], None
        for start in range(0, (max(len(prompt) - 1, 0) // self.size) * self.size, self.size):
            parent = (parent, tuple(prompt[start : start + self.size]))
            if parent not in self.table:
                break
            found.append(self.table[parent])
        return found

    def _room(self, request):
        held = self.held.get(request.id)
        return self.size - len(self.blocks[held[-1]].tokens) if held else 0

    def fits(self, request, num_tokens, cached=()):
        needed = -(-max(num_tokens - self._room(request), 0) // self.size)
        return needed + sum(number in self.free for number in cached) <= len(self.free)

    def allocate(self, request, start, stop, cached=()):
        """Store tokens `start` to `stop` of prompt and output, after the cached blocks; or change nothing."""
        if not self.fits(request, stop - start, cached):
            return False
        self.claim(request, cached)
        for position in range(start, stop):
            self.store(request, request.token(position), position >= len(request.prompt))
        return True

    def admit(self, request, start, stop, cached):
        return self.allocate(request, start, stop, cached)

    def claim(self, request, cached):
        held = self.held.setdefault(request.id, [])
        for number in cached:
            if number in self.free:
                self.free.remove(number)
            self.blocks[number].holders += 1
            self.hits += 1
            held.append(number)

    def store(self, request, token, decoded):
        held = self.held[request.id]
        opened = self._room(request) == 0
        if opened:
            block = self.take_head()
            block.key, block.tokens, block.holders = None, [], 1
            self.misses += 1
            held.append(block.number)
        block = self.blocks[held[-1]]
        block.tokens.append(token)
        if len(block.tokens) == self.size and not (opened and decoded):
            parent = self.blocks[held[-2]].key if len(held) > 1 else None
            block.key = (parent, tuple(block.tokens))
            self.table[block.key] = block.number

    def take_head(self):
        block = self.blocks[self.free.pop(0)]
        if self.table.get(block.key) == block.number:
            del self.table[block.key]
        return block

    def end_step(self, batch):
        """Called after a step, before those who are done leave."""

    def transfer_time(self):
        return 0

    def release(self, request):
        for number in reversed(self.held.pop(request.id, [])):
            self.blocks[number].holders -= 1
            if not self.blocks[number].holders:
                self.free.append(number)


class NaiveEngine:
    """`latency` has `step_time(members)` of (input, progress, new, output), and the three delays of a latency model."""

    def __init__(self, settings, latency, requests, sample_at=(), kv=None):
        self.settings = settings
        self.latency = latency
        self.requests = requests
        self.kv = kv or NaiveKV(settings.num_blocks, settings.block_size)
        self.queue, self.batch = [], []
        self.pending_step = False
        self.events, self.sequence = [], 0
        self.steps, self.samples, self.preemptions, self.gaps = [], [], [], []
        self.last = 0
        self.input_tokens = self.output_tokens = self.kv_failures = self.admitted = 0
        for tick in sample_at:
            self.schedule(tick, BEFORE_ALL, None)
        for request in sorted(requests, key=lambda r: r.arrived_at):
            self.schedule(request.arrived_at, ARRIVAL, request)

    def schedule(self, tick, kind, request):
        heappush(self.events, (tick, kind, self.sequence, request))
        self.sequence += 1

    def run(self):
        while self.events and self.events[0][0] <= self.settings.horizon:
            now, kind, _, request = heappop(self.events)
            if kind == BEFORE_ALL:
                used = self.kv.used()
                self.samples.append(Sample(now, len(self.queue), len(self.batch), used, self.kv.hit_rate()))
            elif kind == ARRIVAL:
                self.last = now
                self.schedule(now + self.latency.queueing_time(len(request.prompt)), QUEUED, request)
            elif kind == QUEUED:
                self.last = now
                self.enter(request, now)
                self.ensure_step(now)
            elif kind == STEP:
                self.last = now
                self.pending_step = False
                if self.batch or self.queue:
                    self.step(now)
            elif request.outcome in ("queued", "running"):
                self.last = now
                self.time_out(request, now)
        return self

    def ensure_step(self, tick):
        if not self.pending_step:
            self.pending_step = True
            self.schedule(tick, STEP, None)

    def end(self, request, outcome, at):
        request.outcome, request.finished_at = outcome, at

    def enter(self, request, now):
        limit, length, budget = self.settings.max_model_len, len(request.prompt), request.max_out
        if budget == 0 and limit > length:
            budget = limit - length
        too_long = limit > 0 and (length >= limit or (budget > 0 and length + budget > limit))
        if budget < 0 or too_long or -(-(length + budget) // self.kv.size) > len(self.kv.blocks):
            return self.end(request, "dropped", now)
        self.input_tokens += length
        if 0 < request.deadline <= now:
            return self.end(request, "timed_out", now)
        request.outcome = "queued"
        self.queue.append(request)
        if 0 < request.deadline <= self.settings.horizon:
            self.schedule(request.deadline, TIMEOUT, request)
        return None

    def time_out(self, request, now):
        self.kv.release(request)
        (self.queue if request in self.queue else self.batch).remove(request)
        self.end(request, "timed_out", now)

    # one step

    def step(self, now):
        self.sort_queue(now)
        self.budget, self.preempted = self.settings.max_tokens, 0
        for request in self.batch:
            request.new = 0
        self.continue_running(now)
        while len(self.batch) < self.settings.max_num_seqs and self.queue and self.budget > 0 and not self.preempted:
            if not self.admit(now):
                break
        if not self.batch and not self.preempted:
            return  # the last one was dropped just now: no step without anybody in it
        members = [r for r in self.batch if r.new > 0]
        computing = self.latency.step_time([(len(r.prompt), r.progress, r.new, len(r.output)) for r in members])
        duration = max(1, computing + self.kv.transfer_time())
        decodes = sum(r.new for r in members if r.progress >= len(r.prompt))
        prefills = sum(r.new for r in members) - decodes
        self.steps.append(Row(now, duration, decodes, prefills, len(self.batch), len(self.queue), self.kv.used()))
        gap = duration + self.latency.output_token_processing_time()
        for request in self.batch:
            if request.progress < len(request.prompt):
                request.progress = request.computed
            elif request.new:
                request.progress += 1
                request.itls.append(gap)
            elif request.first_token:
                request.missed_tokens += 1
            if request.progress == len(request.prompt) and not request.first_token:
                request.first_token = True
                request.ttft = now + gap - request.arrived_at
        self.kv.end_step(self.batch)
        self.complete(now + duration)
        self.pending_step = False
        self.ensure_step(now + duration)

    def sort_queue(self, now):
        sign = {"constant": 0.0, "slo-based": 1e-6, "inverted-slo": -1e-6}[self.settings.priority]
        score = {r.id: sign * (now - r.arrived_at) for r in self.queue}
        keys = {
            "priority-fcfs": lambda r: (-score[r.id], r.arrived_at, r.id.encode()),
            "reverse-priority": lambda r: (score[r.id], r.arrived_at, r.id.encode()),
            "sjf": lambda r: (len(r.prompt), r.arrived_at, r.id.encode()),
        }
        if self.settings.scheduler != "fcfs":
            self.queue.sort(key=keys[self.settings.scheduler])

    def chunk(self, tokens):
        if 0 < self.settings.threshold < tokens:
            tokens = self.settings.threshold
        return min(tokens, self.budget)

    def continue_running(self, now):
        yielding = self.settings.odd_decodes_yield and any(r.progress < len(r.prompt) for r in self.batch)
        index = 0
        while index < len(self.batch) and self.budget > 0:
            request = self.batch[index]
            index += 1
            prefill = request.progress < len(request.prompt)
            if yielding and not prefill and request.number % 2:
                continue
            tokens = self.chunk(len(request.prompt) - request.progress) if prefill else 1
            start = request.progress
            while not self.kv.allocate(request, start, start + tokens):
                victim = self.batch[-1]
                if victim is request and len(self.batch) == 1 and self.outgrown(request):
                    self.batch.pop()
                    self.kv.release(request)
                    return self.end(request, "dropped", now)
                self.preempt(victim, now)
                if victim is request:
                    return None
            request.new = tokens
            request.computed = start + tokens
            self.budget -= tokens
        return None

    def outgrown(self, request):
        return len(self.kv.held[request.id]) == len(self.kv.blocks)

    def preempt(self, victim, now):
        self.batch.remove(victim)
        self.kv.release(victim)
        victim.outcome, victim.progress, victim.computed, victim.new = "queued", 0, 0, 0
        victim.itls, victim.first_token = [], False
        victim.num_preemptions += 1
        victim.missed_tokens = 0
        self.queue.insert(0, victim)
        self.preemptions.append((victim.id, now))
        self.preempted += 1

    def admit(self, now):
        request = self.queue[0]
        length = len(request.prompt)
        cached = self.kv.lookup(request.prompt)
        start = len(cached) * self.kv.size
        tokens = self.chunk(length - start)
        # An empty prompt stores its first output token when it is admitted, and once more when it decodes.
        if not self.kv.admit(request, start, start + tokens if length else 1, cached):
            return False
        self.queue.pop(0)
        self.batch.append(request)
        request.number = self.admitted
        self.admitted += 1
        request.outcome, request.new, request.computed = "running", tokens, start + tokens
        request.scheduled_at = now
        self.budget -= tokens
        return True

    def complete(self, end):
        limit, remaining = self.settings.max_model_len, []
        for request in self.batch:
            length, planned = len(request.prompt), len(request.output)
            if request.progress == length + max(planned, 1) - 1:
                if planned and not self.kv.allocate(request, request.progress, request.progress + 1):
                    self.kv_failures += 1
            elif limit > 0 and request.progress >= limit - 1:
                request.length_capped = True
            else:
                remaining.append(request)
                continue
            self.kv.release(request)
            request.generated = min(len(request.itls) + 1, planned)
            self.output_tokens += request.generated
            request.e2e = request.ttft + sum(request.itls)
            if planned:
                request.e2e += self.latency.post_decode_overhead()
            self.gaps += request.itls
            self.end(request, "completed", end)
        self.batch = remaining
