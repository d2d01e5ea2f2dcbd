"""A strict reader of Chrome trace JSON, after the format's description: what it does not allow is an error."""

from collections import defaultdict

LANE = {"ph", "pid", "tid", "ts"}
KEYS = {
    "X": (LANE | {"dur", "name"}, {"args"}),
    "b": (LANE | {"cat", "id2", "name"}, {"args"}),
    "e": (LANE | {"cat", "id2", "name"}, {"args"}),
    "i": (LANE | {"s", "name"}, {"args"}),
    "C": ({"ph", "pid", "ts", "name", "args"}, set()),
    "M": ({"ph", "pid", "name", "args"}, {"tid"}),
}
METADATA = {
    "process_name": "name",
    "thread_name": "name",
    "process_sort_index": "sort_index",
    "thread_sort_index": "sort_index",
}


class Timeline:
    """Events that passed all checks, by kind."""

    def __init__(self, trace):
        assert set(trace) == {"displayTimeUnit", "traceEvents"}
        assert trace["displayTimeUnit"] in ("ms", "ns")
        self.processes, self.lanes = {}, {}
        self.slices, self.counters, self.spans = defaultdict(list), defaultdict(list), []
        self.instants = []
        is_open = {}
        for event in trace["traceEvents"]:
            needed, allowed = KEYS[event["ph"]]
            assert needed <= set(event) <= needed | allowed, event
            getattr(self, f"_{event['ph']}")(event, is_open)
        assert not is_open, "spans that do not end"
        for lane, slices in self.slices.items():
            assert lane in self.lanes, f"lane {lane} has no name"
            nested(slices)
        for (pid, name), values in self.counters.items():
            assert pid in self.processes, f"counter {name} belongs to no process"
            ticks = [tick for tick, _ in values]
            assert ticks == sorted(ticks), f"counter {name} goes back in time"

    def _M(self, event, _):
        (key,) = event["args"]
        assert METADATA[event["name"]] == key
        if event["name"] == "process_name":
            assert event["pid"] not in self.processes, "a process has two names"
            self.processes[event["pid"]] = event["args"]["name"]
        elif event["name"] == "thread_name":
            assert event["pid"] in self.processes
            assert (event["pid"], event["tid"]) not in self.lanes, "a lane has two names"
            self.lanes[event["pid"], event["tid"]] = event["args"]["name"]

    def _X(self, event, _):
        assert type(event["ts"]) is type(event["dur"]) is int
        assert event["dur"] >= 0
        self.slices[event["pid"], event["tid"]].append(event)

    def _C(self, event, _):
        ((_, value),) = event["args"].items()
        assert type(value) is int
        self.counters[event["pid"], event["name"]].append((event["ts"], value))

    def _b(self, event, is_open):
        assert event["pid"] in self.processes
        key = self._key(event)
        assert key not in is_open, f"{key} begins twice"
        is_open[key] = event

    def _key(self, event):
        ((scope, identity),) = event["id2"].items()
        assert scope == "local", "spans belong to their process"
        assert type(identity) is str
        return event["pid"], event["cat"], identity

    def _e(self, event, is_open):
        begin = is_open.pop(self._key(event))
        assert begin["ts"] <= event["ts"]
        assert (begin["pid"], begin["name"]) == (event["pid"], event["name"])
        name = self.processes[begin["pid"]]
        self.spans.append((name, begin["name"], begin["args"]["request"], begin["ts"], event["ts"]))

    def _i(self, event, _):
        assert event["s"] in "gpt"
        self.instants.append((self.processes[event["pid"]], event["name"], event["args"]["request"], event["ts"]))

    def lane(self, process, lane):
        """Slices of a lane by the names of its process and of itself."""
        found = [key for key, name in self.lanes.items() if (self.processes[key[0]], name) == (process, lane)]
        return [(e["name"], e["ts"], e["ts"] + e["dur"]) for key in found for e in self.slices[key]]

    def counter(self, process, name):
        """Changes of a counter: ticks and values."""
        return next(
            values for key, values in self.counters.items() if (self.processes[key[0]], key[1]) == (process, name)
        )


def nested(slices):
    """Slices of a lane come in the order of their start; each lies within the one around it, or beside it."""
    around = []
    last = None
    for event in slices:
        start, end = event["ts"], event["ts"] + event["dur"]
        assert last is None or start >= last, "slices of a lane are not in order"
        last = start
        while around and around[-1] <= start:
            around.pop()
        assert not around or end <= around[-1], f"{event['name']} reaches out of the slice around it"
        around.append(end)
