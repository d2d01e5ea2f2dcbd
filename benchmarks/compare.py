"""CPU time of two commits, in alternating runs of the same loads.

    python benchmarks/compare.py BEFORE [AFTER] [--loads near-saturation a c] [--rounds 7 | --instructions]

Each commit is checked out into a folder of its own, and runs with this interpreter and its libraries. AFTER is the
working tree unless given. Loads a, b and c are recorded ones, for machines that have them. On a machine with other work
the ratio of single pairs varies by some ten per cent, so their median and the ratio of the minima are shown. With
--instructions, valgrind counts the instructions of one run each: sixty times slower, but exact to about 0.1 %.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from statistics import median

from loads import HERE, Load, generated, recorded
from measure import process

GENERATED = {"near-saturation": 20_000, "decode-heavy": 5_000, "sparse-decode": 2_000}
BLIS = Path(sys.executable).parent / "blis"


def load_of(name: str, profile: str) -> Load:
    """Return a load by its name."""
    load = generated(name, GENERATED[name], profile) if name in GENERATED else recorded(name, profile)
    if load is None:
        raise SystemExit(f"load {name} is not recorded here")
    return load


def checked_out(commit: str, folder: Path) -> Path:
    """Extract a commit into a folder."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    git = shutil.which("git") or "git"
    subprocess.run([git, "archive", f"--output={archive}", commit], check=True, cwd=HERE.parent)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder


def instructions(argv: list[str], environment: dict[str, str]) -> int:
    """Return the number of instructions that a program executes."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("valgrind is not installed")
    options = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    # The order of sets, and with it the work of start-up, depends on the seed of hashes.
    env = {**os.environ, **environment, "PYTHONHASHSEED": "0"}
    run = subprocess.run(
        [valgrind, *options, sys.executable, *argv], env=env, stderr=subprocess.PIPE, text=True, check=True
    )
    found = re.search(r"I +refs: +([\d,]+)", run.stderr)
    assert found is not None, run.stderr
    return int(found[1].replace(",", ""))


def in_turn(argv: list[str], environments: list[dict[str, str]], rounds: int) -> str:
    """Return what alternating runs of a program take in two environments."""
    pairs = []
    for number in range(rounds):
        # The order alternates, too, for machines that slow down while they are measured.
        order = 1 - 2 * (number % 2)
        pairs.append([process(argv, **each).cpu_s for each in environments[::order]][::order])
    before, after = (min(costs) for costs in zip(*pairs, strict=True))
    ratio = median(second / first for first, second in pairs)
    return (
        f"{before:.3f} s before, {after:.3f} s after; ratio of the minima {after / before:.3f},"
        f" median of the ratios {ratio:.3f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after", nargs="?")
    parser.add_argument("--loads", nargs="+", default=["near-saturation", "decode-heavy"])
    parser.add_argument("--profile", default="vllm", choices=("vllm", "blis"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--instructions", action="store_true", help="count instructions, with valgrind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees = [checked_out(options.before, folder / "before")]
        trees.append(checked_out(options.after, folder / "after") if options.after else HERE.parent)
        for load in (load_of(each, options.profile) for each in options.loads):
            argv = [str(BLIS), *load.command, "--report=none", "--log=error"]
            environments = [{"PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": str(folder / "cache")} for tree in trees]
            for environment in environments:  # compiles the bytecode
                process(argv, **environment)
            if options.instructions:
                before, after = (instructions(argv, each) for each in environments)
                text = (
                    f"{before / 1e6:,.0f} million instructions before, {after / 1e6:,.0f} after; {after / before:.4f}"
                )
            else:
                text = in_turn(argv, environments, options.rounds)
            print(f"{load.name}: {text}")


if __name__ == "__main__":
    main()
