"""A trace of long conversations in the format of Mooncake's traces, with the statistics of its conversation trace.

That trace has 12,031 requests in an hour, with 12,035 prompt tokens and 343 output tokens on average; a prompt is a
list of hashes of 512 tokens, and about two fifths of the hashes occur in an earlier prompt. Here, conversations begin
at random; each round repeats the prompt before it, its answer included, and adds tokens to it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

HASHED_TOKENS = 512
_PROMPT_LIMIT = 120_000
_SPAN_MS = 3_600_000
_SYSTEM_PROMPTS = 4


def write_conversations(path: Path, num_requests: int = 12_031, seed: int = 1) -> None:
    """Write a trace of `num_requests` requests, at 3.34 of them a second, sorted by arrival."""
    rng = np.random.default_rng(seed)
    span_ms = _SPAN_MS * num_requests // 12_031
    rows: list[tuple[int, int, int, list[int]]] = []
    next_hash = _SYSTEM_PROMPTS
    while len(rows) < num_requests:
        at = int(rng.integers(span_ms))
        prompt, hashes = 0, [int(rng.integers(_SYSTEM_PROMPTS))]
        for _ in range(int(rng.geometric(0.6))):
            added = int(rng.lognormal(8.29, 1.13)) + 40
            if prompt + added > _PROMPT_LIMIT or at >= span_ms or len(rows) == num_requests:
                break
            answer = 1 + int(rng.lognormal(5.5, 0.8))
            # The hash of a block that was not full is not the one of the same block in the next prompt.
            hashes = hashes[: max(prompt // HASHED_TOKENS, 1)]
            prompt += added
            new = -(-prompt // HASHED_TOKENS) - len(hashes)
            hashes = [*hashes, *range(next_hash, next_hash + new)]
            next_hash += new
            rows.append((at, prompt, answer, hashes))
            prompt += answer
            at += int(rng.exponential(60_000)) + 20 * answer
    rows.sort(key=lambda row: row[0])
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
