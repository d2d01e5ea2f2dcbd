"""The two-tier KV store once more, by literal tokens and physical blocks, as the rules read."""

from math import ceil

from naive import NaiveKV


class NaiveTiers(NaiveKV):
    """GPU blocks of the naive engine with a list of host keys behind them, the oldest first.

    `events` counts which of the rules were met, so that a test can tell that they were.
    """

    def __init__(self, num_blocks, block_size, cpu_blocks, bandwidth, base_latency):
        super().__init__(num_blocks, block_size)
        self.capacity = cpu_blocks
        self.reload_time = base_latency + ceil(1 / bandwidth)
        self.host = []
        self.pending = 0
        self.cpu_misses = self.mirrored = self.evictions = 0
        self.events = {}

    def count(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    def hit_rate(self):
        tried = self.hits + self.misses + self.cpu_misses
        return self.hits / tried if tried else 0.0

    def transfer_time(self):
        pending, self.pending = self.pending, 0
        return pending

    def allocate(self, request, start, stop, cached=()):
        return super().allocate(request, start, stop, cached) or self.reload_and_retry(request, start, stop)

    def admit(self, request, start, stop, cached):
        if super().allocate(request, start, stop, cached):
            return True
        return self.reload_and_retry(request, start, stop, cached)

    def reload_and_retry(self, request, start, stop, cached=None):
        admission = cached is not None
        if not self.reload(request.prompt):
            self.cpu_misses += 1
            return False
        found = self.lookup(request.prompt)
        reached = len(found) * self.size
        who = "queued" if admission else "running"
        if reached <= start:
            done = super().allocate(request, start, stop, cached or ())
            self.count(f"{who}: reload of no use, {done}")
            return done
        first = 0 if admission else ceil(start / self.size)
        claimed = found[first : ceil(stop / self.size)]
        were_free = set(claimed) & set(self.free)
        self.claim(request, claimed)
        if reached >= stop:
            self.count(f"{who}: all found")
            return True
        if super().allocate(request, reached, stop):
            self.count(f"{who}: part found, rest allocated")
            return True
        self.count(f"{who}: part found, rest does not fit")
        if admission:
            del self.held[request.id]
            self.hits -= len(claimed)
            for number in reversed(claimed):
                self.blocks[number].holders -= 1
                if number in were_free:
                    self.free.append(number)
        return False

    def reload(self, prompt):
        room = len(self.free)
        reloaded, parent = 0, None
        for start in range(0, len(prompt) - self.size + 1, self.size):
            tokens = prompt[start : start + self.size]
            parent = (parent, tuple(tokens))
            if parent in self.table:
                continue
            if parent not in self.host or reloaded == room:
                break
            block = self.take_head()
            block.key, block.tokens = parent, list(tokens)
            self.table[parent] = block.number
            self.free.append(block.number)
            self.touch(parent)
            self.pending += self.reload_time
            reloaded += 1
        return reloaded

    def touch(self, key):
        self.host.remove(key)
        self.host.append(key)

    def end_step(self, batch):
        for request in batch:
            for number in self.held.get(request.id, ()):
                block = self.blocks[number]
                if block.key is None or len(block.tokens) < self.size:
                    continue
                if block.key in self.host:
                    self.touch(block.key)
                    continue
                if len(self.host) == self.capacity:
                    del self.host[0]
                    self.evictions += 1
                self.host.append(block.key)
                self.mirrored += 1
