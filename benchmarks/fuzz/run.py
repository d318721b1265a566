"""Damaged inputs through one reader, each under an alarm and a limit of memory, in a process of
their own: what crashes, hangs or fails otherwise than by refusing is kept and named."""

import hashlib
import json
import os
import resource
import select
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

import numpy as np

from benchmarks.fuzz.readers import READERS
from infomri_core.data.hdf5 import guarded, verdict
from infomri_core.system.errors import InputError, Refused

ALARM_SECONDS = 120  # of the clock on the wall, on machines that others use too
STUCK_SECONDS = 300
TRIAL_SECONDS = 2
ROOM_BYTES = 2 * 2**30
CHUNK = 500
_MEMORY = Path("/dev/shm")


class Hangs(BaseException):
    """The alarm rang."""


@dataclass
class Found:
    """Counts by outcome: 'read ..', 'refused: ..', and by exception what should not be. ``n``
    inputs; ``slowest`` in seconds; ``peak`` memory of the process in MiB; ``ended``: how the last
    input ended the process, '' if it did not."""

    outcomes: Counter[str] = field(default_factory=Counter)
    n: int = 0
    finds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    peak: int = 0
    ended: str = ""

    def add(self, other: "Found") -> None:
        self.outcomes += other.outcomes
        self.finds += other.finds
        self.n += other.n
        self.slowest, self.peak = max(self.slowest, other.slowest), max(self.peak, other.peak)


def corpus_of(name: str, folder: Path) -> list[bytes]:
    """The valid files that ``name`` starts from; each is read once, to be sure that it is."""
    found, reader = [], READERS[name]
    for make in reader.makers:
        path = _place(folder, reader.name)
        make(path)
        try:
            reader.read(path)
        except (InputError, Refused) as refused:
            raise SystemExit(f"{name}: its own corpus is refused: {refused}") from refused
        found.append(path.read_bytes())
    return found


def digest_of(corpus: list[bytes]) -> str:
    """Twelve digits of the sha256 of a corpus."""
    return hashlib.sha256(b"".join(corpus)).hexdigest()[:12]


def one_input(name: str, corpus: list[bytes], seed: int, index: int, folder: Path) -> bytes:
    """The damaged file of number ``index``, made from ``seed`` and nothing else."""
    rng = np.random.default_rng([seed, index])
    data = corpus[int(rng.integers(0, len(corpus)))]
    return READERS[name].mutate(folder)(data, rng)


def fuzz(
    name: str, n: int, seed: int, seconds: float, keep: Path, *, below: bool = False
) -> tuple[Found, str]:
    """``n`` inputs through the reader ``name``, or as many as ``seconds`` allow, and the digest of
    what they started from. Finds are written to ``keep``.

    ``below`` the trial of HDF5 files, in one process: an input that ends it there, or takes more
    than ``TRIAL_SECONDS`` of CPU, is read again with the trial, as everybody reads.
    """
    found, end, index = Found(), time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        corpus = corpus_of(name, Path(scratch))
        while index < n and time.monotonic() < end:
            numbers = range(index, min(index + CHUNK, n))
            if not below:
                found_now = _in_child(name, corpus, seed, numbers, keep)
            else:
                found_now = _below(name, corpus, seed, numbers, keep)
            found.add(found_now)
            index += found_now.n
    return found, digest_of(corpus)


def _below(name: str, corpus: list[bytes], seed: int, numbers: range, keep: Path) -> Found:
    """``numbers`` without the trial, up to one that ends the process, and that one with it."""
    found = _in_child(name, corpus, seed, numbers, keep, below=True)
    if found.ended:
        at = numbers.start + found.n - 1
        found.finds -= Counter({found.ended: 1})
        again = _in_child(name, corpus, seed, range(at, at + 1), keep)
        found.outcomes += Counter({f"below: {_kind(found.ended)}; {w}": 1 for w in again.outcomes})
        found.finds += again.finds
    return found


def _in_child(
    name: str, corpus: list[bytes], seed: int, numbers: range, keep: Path, *, below: bool = False
) -> Found:
    """The inputs ``numbers``, up to one that ends the process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as stream:
            _chunk(name, corpus, seed, numbers, keep, stream, below=below)
        os._exit(0)
    os.close(writing)
    found = _said(pid, reading)
    status = os.waitpid(pid, 0)[1]
    if found.n == len(numbers) and status == 0:
        return found
    found.ended = f"the process ended with status {status} at input {numbers.start + found.n}"
    if status == signal.SIGKILL:
        found.ended = f"no answer in {STUCK_SECONDS} s at input {numbers.start + found.n}"
    found.finds[found.ended] += 1
    found.n += 1
    return found


def _said(pid: int, reading: int) -> Found:
    """What the child says, a line an input; one that stays at an input is killed."""
    found, rest, since = Found(), b"", time.monotonic()
    with os.fdopen(reading, "rb", 0) as stream:
        while True:
            if not select.select([stream], [], [], 2.0)[0]:
                if time.monotonic() - since > STUCK_SECONDS:
                    os.kill(pid, signal.SIGKILL)
                continue
            block, since = stream.read(1 << 16), time.monotonic()
            if not block:
                return found
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                outcome, find, slowest, peak = json.loads(line)
                one = Counter({outcome: 1})
                counts = {"finds" if find else "outcomes": one}
                found.add(Found(n=1, slowest=slowest, peak=peak, **counts))


def _chunk(
    name: str,
    corpus: list[bytes],
    seed: int,
    numbers: range,
    keep: Path,
    said: TextIO,
    *,
    below: bool,
) -> None:
    _limit_memory()
    verdict.CPU_SECONDS = TRIAL_SECONDS  # of files of kilobytes, and long before the alarm
    if below:
        guarded.check_trial = lambda path: None
    signal.signal(signal.SIGALRM, _ring)
    seen, reader = set(), READERS[name]
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        folder = Path(scratch)
        path = _place(folder, reader.name)
        for make in reader.makers[:1]:
            make(path)
        for index in numbers:
            data = one_input(name, corpus, seed, index, folder)
            path.write_bytes(data)
            start = time.perf_counter()
            signal.setitimer(signal.ITIMER_PROF, TRIAL_SECONDS if below else 0)
            outcome, find = _outcome(name, path)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if find and outcome not in seen:
                (keep / f"{name}-{seed}-{index}{Path(reader.name).suffix}").write_bytes(data)
            seen.add(outcome)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps([outcome, find, time.perf_counter() - start, peak]), file=said)
            said.flush()


def _outcome(name: str, path: Path) -> tuple[str, bool]:
    """What became of one input, and whether it should not have."""
    signal.alarm(ALARM_SECONDS)
    try:
        return READERS[name].read(path), False
    except InputError as error:
        return f"refused: {_kind(error.expected)}", False
    except Refused as error:
        return f"refused: {error.code}", False
    except Hangs:
        return f"no answer in {ALARM_SECONDS} s", True
    except Exception as error:
        return f"{type(error).__name__}: {_kind(str(error))[:80]}", True
    finally:
        signal.alarm(0)


def _kind(text: str) -> str:
    """A message without its numbers."""
    return "".join("#" if c.isdigit() else c for c in text)[:120]


def _limit_memory() -> None:
    """The process may grow by ``ROOM_BYTES`` and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _ring(number: int, frame: FrameType | None) -> None:
    raise Hangs


def _place(folder: Path, name: str) -> Path:
    inner = folder / "in"
    inner.mkdir(exist_ok=True)
    return inner / name
