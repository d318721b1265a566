"""Damaged inputs through one reader, each under an alarm and a limit of memory, in a process of
their own: what crashes, hangs or fails otherwise than by refusing is kept and named."""

import hashlib
import json
import mmap
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

import numpy as np

from benchmarks.fuzz.readers import READERS
from infomri_core.data.hdf5 import verdict
from infomri_core.system.errors import InputError, Refused

ALARM_SECONDS = 20
STUCK_SECONDS = 60
TRIAL_SECONDS = 2
ROOM_BYTES = 2 * 2**30
CHUNK = 500
_MEMORY = Path("/dev/shm")


class Hangs(BaseException):
    """The alarm rang."""


@dataclass
class Found:
    """Counts by outcome: 'read ..', 'refused: ..', and by exception what should not be. ``n``
    inputs; ``slowest`` in seconds; ``peak`` memory of the process in MiB."""

    outcomes: Counter[str] = field(default_factory=Counter)
    n: int = 0
    finds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    peak: int = 0

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


def fuzz(name: str, n: int, seed: int, seconds: float, keep: Path) -> tuple[Found, str]:
    """``n`` inputs through the reader ``name``, or as many as ``seconds`` allow, and the digest of
    what they started from. Finds are written to ``keep``."""
    found, end, index = Found(), time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        corpus = corpus_of(name, Path(scratch))
        while index < n and time.monotonic() < end:
            found_now = _in_child(name, corpus, seed, range(index, min(index + CHUNK, n)), keep)
            found.add(found_now)
            index += found_now.n
    return found, digest_of(corpus)


def _in_child(name: str, corpus: list[bytes], seed: int, numbers: range, keep: Path) -> Found:
    """The inputs ``numbers``, up to one that ends the process."""
    at = mmap.mmap(-1, 8)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        done = _chunk(name, corpus, seed, numbers, keep, at)
        with os.fdopen(writing, "w") as stream:
            json.dump([done.outcomes, done.n, done.finds, done.slowest, done.peak], stream)
        os._exit(0)
    os.close(writing)
    text = _said(pid, reading, at)
    status = os.waitpid(pid, 0)[1]
    if text and status == 0:
        outcomes, n, finds, slowest, peak = json.loads(text)
        return Found(Counter(outcomes), n, Counter(finds), slowest, peak)
    reached = int.from_bytes(at[:8], "little")
    what = f"the process ended with status {status} at input {reached}"
    if status == signal.SIGKILL:
        what = f"no answer in {STUCK_SECONDS} s, not even to an alarm, at input {reached}"
    return Found(n=reached - numbers.start + 1, finds=Counter({what: 1}))


def _said(pid: int, reading: int, at: mmap.mmap) -> str:
    """What the child says at its end; a child that stays at one input is killed."""
    before, since = b"", time.monotonic()
    with os.fdopen(reading) as stream:
        while not select.select([stream], [], [], 2.0)[0]:
            if at[:8] != before:
                before, since = at[:8], time.monotonic()
            elif time.monotonic() - since > STUCK_SECONDS:
                os.kill(pid, signal.SIGKILL)
        return stream.read()


def _chunk(
    name: str, corpus: list[bytes], seed: int, numbers: range, keep: Path, at: mmap.mmap
) -> Found:
    _limit_memory()
    verdict.CPU_SECONDS = TRIAL_SECONDS  # of files of kilobytes, and long before the alarm
    signal.signal(signal.SIGALRM, _ring)
    found, reader = Found(), READERS[name]
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        folder = Path(scratch)
        path = _place(folder, reader.name)
        for make in reader.makers[:1]:
            make(path)
        for index in numbers:
            at[:8] = index.to_bytes(8, "little")
            data = one_input(name, corpus, seed, index, folder)
            path.write_bytes(data)
            start = time.perf_counter()
            outcome, find = _outcome(name, path)
            found.slowest = max(found.slowest, time.perf_counter() - start)
            found.n += 1
            (found.finds if find else found.outcomes)[outcome] += 1
            if find and found.finds[outcome] == 1:
                (keep / f"{name}-{seed}-{index}{Path(reader.name).suffix}").write_bytes(data)
    found.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


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
