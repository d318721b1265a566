"""What left this site, what it was charged, and when: append-only, hash-chained JSON lines.

Each line carries the hash of the line before it and its own, so that a changed, lost or inserted
line shows. A line is on the disk (fsync) before the bytes it speaks of leave. What no chain can
show by itself is lines missing at the very end: compare with an exported copy.
"""

import csv
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, final

from infomri_core.system.errors import InputError, Refused

GENESIS = "0" * 64
CHARGE = "charge"
_LATER = frozenset({"data", "released", "counts", "privacy", "study", "charge"})
_CHANGED = "the site's ledger was changed from outside; nothing leaves until it is mended"
_UNWRITABLE = "the site's ledger cannot be written; nothing leaves until it can"

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One departure, or (``kind`` is ``CHARGE``) what a job was charged before it read the data.

    ``run`` is the plan's sha256, ``study`` its study's name, ``sha256`` and ``n_bytes`` are of
    what left, ``input`` is the sha256 of the task without its deadline, ``data`` the fingerprint
    of the data it was asked of; ``repetition`` marks bytes that had left before. ``released`` has
    the patients' ids and position bitmaps of k-space, ``counts`` the counts that left anew,
    ``privacy`` the mechanism that a job runs on the data and epsilon with it, ``charge`` its
    ``inputs`` and ``figures``; a line has them only where there are any. The last three fields
    are filled in by the ledger."""

    run: str
    job: str
    round: int
    kind: str
    n_bytes: int
    sha256: str
    input: str = ""
    data: str = ""
    repetition: bool = False
    note: str = ""
    released: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    privacy: Mapping[str, Any] = field(default_factory=dict)
    study: str = ""
    charge: Mapping[str, int] = field(default_factory=dict)
    time: str = ""
    previous: str = ""
    hash: str = ""


def same_study(a: Entry, b: Entry) -> bool:
    """Whether two entries are of one study: by its name, whatever else its plan says, or by the
    plan's digest in lines older than the name."""
    return a.run == b.run or (a.study == b.study and a.study != "")


@final
class Ledger:
    """The ledger of a running vault. Make one with :meth:`open`; one process at a time."""

    def __init__(self, path: Path, descriptor: int, entries: list[Entry], size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._entries = entries
        self._size = size
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        """Open or begin a ledger and verify its whole chain.

        A last line that a crash left torn spoke of bytes that never left: it is kept beside the
        ledger (``.torn``), and an entry of kind 'torn' says so. Raises ``InputError`` when the
        chain is broken, or the ledger is in use.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _flush_folder(path.parent)
            entries, fragment = _scan(path.read_bytes(), str(path))
            if fragment:
                _set_aside(path, descriptor, fragment)
        except BlockingIOError:
            os.close(descriptor)
            remedy = "stop the other vault, or give this one its own [vault] state"
            raise InputError(str(path), "a ledger of one vault", "one in use", remedy) from None
        except BaseException:
            os.close(descriptor)
            raise
        ledger = cls(path, descriptor, entries, os.fstat(descriptor).st_size)
        if fragment:
            ledger.append(_torn_entry(fragment))
        return ledger

    def append(self, entry: Entry) -> Entry:
        """Seal ``entry`` (time, previous, hash) and bring it to the disk.

        Raises ``Refused("ledger")``, with the file as it was before, when it cannot be written or
        was changed by somebody else since it was opened.
        """
        with self._lock:
            self._check_untouched()
            sealed = _seal(entry, self._entries[-1].hash if self._entries else GENESIS)
            line = _line(sealed)
            try:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError as error:
                log.error("ledger %s cannot be written: %s", self._path, error.strerror)
                self._undo()
                raise Refused("ledger", _UNWRITABLE) from None
            self._size += len(line)
            self._entries.append(sealed)
            return sealed

    def entries(self) -> Sequence[Entry]:
        """All entries, oldest first."""
        with self._lock:
            return tuple(self._entries)

    def trained(self, plan: str, number: int) -> bool:
        """Whether an update of round ``number`` of ``plan``, by its sha256, has left."""
        wanted = (plan, "train", number)
        return any(
            (e.run, e.job, e.round) == wanted and e.kind in ("trained", "masked")
            for e in self.entries()
        )

    def verify(self) -> int:
        """Read the file again, check the chain, and return how many entries it has."""
        with self._lock:
            return len(read_ledger(self._path))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _check_untouched(self) -> None:
        """The file at the path is still ours, as long as we left it, and ends as we left it."""
        try:
            ours, there = os.fstat(self._descriptor), self._path.stat()
            tail = _line(self._entries[-1]) if self._entries else b""
            here = (there.st_ino, there.st_dev, self._size)
            same = (ours.st_ino, ours.st_dev, ours.st_size) == here
            same = same and os.pread(self._descriptor, len(tail), self._size - len(tail)) == tail
        except OSError:
            same = False
        if not same:
            log.error("ledger %s was changed by another program", self._path)
            raise Refused("ledger", _CHANGED)

    def _undo(self) -> None:
        """Take a half-written line back. Where even that fails, later appends see the change."""
        try:
            os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
        except OSError as error:
            log.error("ledger %s cannot be restored: %s", self._path, error.strerror)


def read_ledger(path: Path) -> list[Entry]:
    """All entries of a ledger at rest, its chain verified; safe beside a running vault.

    Raises ``InputError`` naming the first line that is not as it was written, or a torn last one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), "a ledger", got, "check the path") from None
    entries, fragment = _scan(data, str(path))
    if fragment:
        raise InputError(
            f"{path} line {len(entries) + 1}",
            "a whole last line",
            f"a torn line of {len(fragment)} bytes",
            "the vault sets it aside and notes it when it starts",
        )
    return entries


def export_csv(entries: Iterable[Entry], out: TextIO) -> None:
    """Write entries as CSV for the privacy officer."""
    writer = csv.writer(out)
    names = [field.name for field in dataclasses.fields(Entry)]
    writer.writerow(names)
    writer.writerows([getattr(entry, name) for name in names] for entry in entries)


def _scan(data: bytes, where: str) -> tuple[list[Entry], bytes]:
    """The entries in ``data`` and what follows the last line feed; ``InputError`` on a break."""
    *lines, fragment = data.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_parse(line, entries[-1].hash if entries else GENESIS))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            remedy = "keep the file as it is, and compare it with an exported copy"
            got = "a line that was changed, lost or inserted"
            raise InputError(f"{where} line {number}", "an unbroken chain", got, remedy) from None
    return entries, fragment


def _parse(line: bytes, previous: str) -> Entry:
    """The entry in a line; some exception when the line is not, to the byte, what was written."""
    content = json.loads(line)
    if _canonical(content) != line or content["previous"] != previous:
        raise ValueError
    digest = content.pop("hash")
    if _digest(content) != digest:
        raise ValueError
    return Entry(**content, hash=digest)


def _seal(entry: Entry, previous: str) -> Entry:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sealed = dataclasses.replace(entry, time=now, previous=previous)
    content = _content(sealed)
    del content["hash"]
    return dataclasses.replace(sealed, hash=_digest(content))


def _line(entry: Entry) -> bytes:
    return _canonical(_content(entry)) + b"\n"


def _content(entry: Entry) -> dict[str, Any]:
    """An entry as it stands in its line: what younger versions added is left out when empty, so
    that older ledgers read as they were written."""
    content = dataclasses.asdict(entry)
    return {key: value for key, value in content.items() if value or key not in _LATER}


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _torn_entry(fragment: bytes) -> Entry:
    return Entry(
        run="",
        job="",
        round=0,
        kind="torn",
        n_bytes=len(fragment),
        sha256=hashlib.sha256(fragment).hexdigest(),
        note="a crash tore the last line; what it spoke of never left",
    )


def _set_aside(path: Path, descriptor: int, fragment: bytes) -> None:
    """Copy a torn last line to the file beside the ledger, then take it out of the chain."""
    log.warning("ledger %s: a crash tore its last line (%d bytes)", path, len(fragment))
    with path.with_name(path.name + ".torn").open("ab") as aside:
        aside.write(fragment + b"\n")
        aside.flush()
        os.fsync(aside.fileno())
    os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(fragment))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
