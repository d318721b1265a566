"""Fuzz every reader: ``python -m benchmarks.fuzz --inputs 100000 --seed 0 [--seconds 600]``.

One line a reader: inputs, CPU seconds, how many different outcomes there were, the slowest input,
the largest process; then whatever was no refusal, each with its first input at --keep. --only N
makes the input of that number again and leaves it at --keep. Ends with 1 where there was a find.
HDF5 files are read by a child process first, which costs most of the time: --below leaves it out,
and asks it only of inputs that end the process which reads.
"""

import argparse
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from benchmarks.fuzz.readers import READERS
from benchmarks.fuzz.run import Found, corpus_of, fuzz, one_input


def main() -> int:
    """The command line; the number of readers with a find, at most one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=[*READERS], nargs="+", default=[*READERS])
    parser.add_argument("--inputs", type=int, default=1000, help="of each reader")
    parser.add_argument("--seconds", type=float, default=1e9, help="of each reader, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--below", action="store_true", help="HDF5 without the child first")
    parser.add_argument("--only", type=int, help="make this one input again")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-finds")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    torch.set_num_threads(1)
    if given.only is not None:
        return _again(given.reader[0], given.seed, given.only, given.keep)
    print(f"seed {given.seed}; finds go to {given.keep}", flush=True)
    worst = 0
    for name in given.reader:
        start = _cpu_seconds()
        found, corpus = fuzz(
            name, given.inputs, given.seed, given.seconds, given.keep, below=given.below
        )
        print(_line(name, found, corpus, _cpu_seconds() - start), flush=True)
        for what, n in found.finds.most_common():
            print(f"  FIND {n} x {what}", flush=True)
        for what, n in found.outcomes.most_common():
            if what.startswith("below"):
                print(f"  {n} x {what}", flush=True)
        worst = max(worst, int(bool(found.finds)))
    return worst


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def _line(name: str, found: Found, corpus: str, seconds: float) -> str:
    read = sum(n for what, n in found.outcomes.items() if what.startswith(("read", "decoded")))
    return (
        f"{name}: {found.n} inputs (corpus {corpus}), {read} read, "
        f"{len(found.outcomes)} kinds of outcome, {found.finds.total()} finds, "
        f"{seconds:.0f} CPU s, slowest {found.slowest:.2f} s, {found.peak} MiB"
    )


def _again(name: str, seed: int, index: int, keep: Path) -> int:
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = one_input(name, corpus_of(name, Path(folder)), seed, index, Path(folder))
    path = keep / f"{name}-{seed}-{index}{Path(READERS[name].name).suffix}"
    path.write_bytes(data)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
