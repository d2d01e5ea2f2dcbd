"""Run all recorded cases of the reference, and tell what is wrong from what is not built yet.

A case counts as not built if the adapter raises NotImplementedError, as matched if every figure is as recorded, and as
failed otherwise. Exit status 1 if a case failed, or if fewer matched than are known to.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

NOT_BUILT = "NotImplementedError: "


def outcome(row: dict[str, Any]) -> str:
    """Judge one row of the checker: ``matched``, ``failed`` or ``not built``."""
    if row["status"] == "pass":
        return "matched"
    return "not built" if row["bad"][0].startswith(NOT_BUILT) else "failed"


def main() -> int:
    """Check the corpus; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder with check.py and the recorded cases under replay/")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--at-least", type=int, default=1, help="cases that must match")
    options = parser.parse_args()
    sys.path.insert(0, str(options.corpus))
    import check  # type: ignore[import-not-found]  # the corpus brings its own checker

    how = {
        "module": str(Path(__file__).with_name("adapter.py")),
        "cmd": None,
        "strict": True,
        "tie_break": "reference",
        "skip_defects": False,
        "timeout": 600.0,
        "traceback": True,
    }
    jobs = [(str(path), how) for path in sorted(options.corpus.glob("replay/**/*.json.gz"))]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(check.work, jobs, chunksize=8))

    features = sorted({row["feature"] for row in rows})
    counts = Counter((row["feature"], outcome(row)) for row in rows)
    columns = ("matched", "failed", "not built")
    print(f"{'feature':26}" + "".join(f"{column:>11}" for column in columns))
    for feature in features:
        print(f"{feature:26}" + "".join(f"{counts[feature, column]:11}" for column in columns))
    total = Counter(map(outcome, rows))
    print(f"{'total':26}" + "".join(f"{total[column]:11}" for column in columns))
    for row in rows:
        if outcome(row) == "failed":
            print(f"\nFAILED {row['id']}", *row["bad"][:20], sep="\n  ")
    if total["matched"] < options.at_least:
        print(f"\n{total['matched']} cases matched, at least {options.at_least} must")
    return int(total["failed"] > 0 or total["matched"] < options.at_least)


if __name__ == "__main__":
    sys.exit(main())
