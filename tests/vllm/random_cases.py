"""Random cases in the form of the recordings, with everything that vLLM's engine decides about.

A case is a function of its seed alone. Each request fits the KV cache when it is alone, as vLLM makes sure at its
start; otherwise an engine would wait for ever.
"""

from __future__ import annotations

from random import Random
from typing import Any

BEAT_US = 1000
STEP_TIMES = (
    # A beat, on which everything coincides; chunks matter; everything matters; a decode costs nothing but the beat.
    {"base_us": BEAT_US, "prefill_token_us": 0, "decode_us": 0, "context_16_us": 0},
    {"base_us": 200, "prefill_token_us": 10, "decode_us": 0, "context_16_us": 0},
    {"base_us": 3000, "prefill_token_us": 40, "decode_us": 30, "context_16_us": 2},
    {"base_us": 1, "prefill_token_us": 1, "decode_us": 0, "context_16_us": 0},
)


def random_case(seed: int) -> dict[str, Any]:
    """Return the case of a seed.

    Keys are those of a recorded case: `settings`, `step_time`, `pause_us`, and `requests` with `id`, `t` (arrival,
    tick), `prompt` (spans of streams), `out` (output limit), and where drawn `prio` and `abort_at`.
    """
    random = Random(seed)
    settings = _settings(random)
    requests = _requests(random, settings)
    longest = max(_held_at_end(row, settings) for row in requests)
    blocks = -(-longest // settings["block_size"])
    # From one that runs alone to no shortage at all; most cases are short of blocks.
    factor = random.choice((1, 1, 1, 1.2, 1.5, 2.5, 100))
    settings["num_blocks"] = max(1, int(blocks * factor))
    return {
        "id": f"random-{seed}",
        "settings": settings,
        "step_time": random.choice(STEP_TIMES),
        "pause_us": random.choice((1000, 1000, 1, 7)),
        "requests": requests,
    }


def _settings(random: Random) -> dict[str, Any]:
    slots = random.choice((1, 2, 3, 4, 8, 8, 16, 256))
    budget = max(slots, random.choice((1, 3, 12, 17, 25, 40, 60, 100, 512, 2048, 2048)))
    threshold = random.choice((0, 0, 0, 1, 5, 16, 33))
    return {
        "max_num_seqs": slots,
        "max_num_batched_tokens": budget,
        "long_prefill_token_threshold": threshold,
        "long_prefill_token_threshold_adaptive": bool(threshold) and random.random() < 0.4,
        "block_size": random.choice((1, 2, 4, 4, 8, 16, 16, 16, 32, 64, 128)),
        "policy": random.choice(("fcfs", "priority")),
        "max_model_len": random.choice((90_000, 90_000, random.randint(8, 120))),
        "watermark": random.choice((0.0, 0.0, 0.0, 0.05, 0.25, 0.6)),
        "enable_prefix_caching": random.random() < 0.85,
    }


def _requests(random: Random, settings: dict[str, Any]) -> list[dict[str, Any]]:
    size = settings["block_size"]
    longest = random.choice((8, 30, 60, 3 * size, 6 * size))
    longest_output = random.choice((1, 6, 30, 80, 80, 3 * size + 2))
    sharing = random.choice(("none", "prefixes", "prefixes", "conversations", "all"))
    with_aborts = random.choice((0, 0, 0.1, 0.5))
    spread = random.choice((0, 3 * BEAT_US, 10 * BEAT_US, 30 * BEAT_US, 200 * BEAT_US))
    requests: list[dict[str, Any]] = []
    arrival = random.choice((0, random.randint(0, 5 * BEAT_US)))
    for number in range(random.choice((1, 2, 4, 8, 16, 30))):
        # Ids that sort as text in another order than as numbers.
        name = f"r{number}"
        prompt = _prompt(random, name, requests, sharing, longest, settings)
        row: dict[str, Any] = {"id": name, "t": arrival, "prompt": prompt, "out": random.randint(1, longest_output)}
        if random.random() < 0.5:
            row["prio"] = random.randint(0, 3)
        if random.random() < with_aborts:
            row["abort_at"] = arrival + random.choice((0, 1, BEAT_US, random.randint(0, 40) * BEAT_US // 2))
        requests.append(row)
        if random.random() < 0.7:
            arrival += _gap(random, spread)
    if random.random() < 0.3:
        random.shuffle(requests)
    return requests


def _gap(random: Random, spread: int) -> int:
    gap = random.randint(0, spread)
    return gap if random.random() < 0.5 else gap // BEAT_US * BEAT_US


def _prompt(
    random: Random,
    name: str,
    earlier: list[dict[str, Any]],
    sharing: str,
    longest: int,
    settings: dict[str, Any],
) -> list[list[Any]]:
    spans: list[list[Any]] = []
    size = settings["block_size"]
    if sharing in ("prefixes", "all") and random.random() < 0.7:
        start = random.choice((0, 0, 0, 0, 1, size))
        tokens = random.choice((size, 2 * size, random.randint(1, longest)))
        # The same tokens in one piece or in two.
        cut = random.choice((0, 0, random.randint(0, tokens)))
        stream = f"group{random.randint(0, 2)}"
        spans += [[stream, start, cut]] if cut else []
        spans += [[stream, start + cut, tokens - cut]] if tokens > cut else []
    elif sharing in ("conversations", "all") and earlier and random.random() < 0.7:
        # A prompt that repeats another one with some of its output, all of it, or more than it will ever have.
        row = random.choice(earlier)
        spans += [list(span) for span in row["prompt"]]
        quoted = random.choice((row["out"], row["out"], random.randint(0, row["out"]), row["out"] + 1))
        spans += [[f"out:{row['id']}", 0, quoted]] if quoted else []
    own = random.choice((0, 0, 1, random.randint(1, longest))) if spans else random.randint(1, longest)
    spans += [[f"in:{name}", 0, own]] if own else []
    return _cut_to(spans, settings["max_model_len"] - 1)


def _cut_to(spans: list[list[Any]], tokens: int) -> list[list[Any]]:
    cut = []
    for stream, start, count in spans:
        if tokens > 0:
            cut.append([stream, start, min(count, tokens)])
            tokens -= count
    return cut


def _held_at_end(row: dict[str, Any], settings: dict[str, Any]) -> int:
    """Tokens that a request holds at most: all but its last output."""
    prompt = sum(count for _, _, count in row["prompt"])
    return min(prompt + row["out"], settings["max_model_len"]) - 1
