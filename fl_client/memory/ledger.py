"""What left this site, what it was charged, and when: append-only, hash-chained JSON lines.

Each line carries the hash of the line before it and its own, so that a changed, lost or inserted
line shows. A line is on the disk (fsync) before the bytes it speaks of leave, and so is, in a file
beside the ledger, how far it has come (:mod:`fl_client.memory.chain.end`): so lines missing at the
end show, too. What shows nothing is a folder restored whole: compare with an exported copy.
"""

import csv
import dataclasses
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO, final

from fl_client.memory.chain.end import UNREADABLE, end_file, end_of, read_end, write_end
from fl_client.memory.chain.held import held
from fl_client.memory.chain.lines import (
    CHARGE,
    GENESIS,
    REMEDY,
    Entry,
    dated,
    line_of,
    same_study,
    scan,
    sealed,
)
from infomri_core.system.errors import InputError, Refused

__all__ = ["CHARGE", "Entry", "Ledger", "dated", "export_csv", "read_ledger", "same_study"]

_CHANGED = "the site's ledger was changed from outside; nothing leaves until it is recovered"
_SHORT = "lines are missing at the end of the site's ledger; nothing leaves until it is recovered"
_UNWRITABLE = "the site's ledger cannot be written; nothing leaves until it can"
_NEVER_LEFT = "a crash tore the last line while it was written; what it spoke of never left"
_PERHAPS = "the last line is torn; where a crash tore it, what it spoke of never left"
_RESTORED = "the last line was cut after it was written, and is restored; it may have left"

log = logging.getLogger(__name__)


@final
class Ledger:
    """The ledger of a running vault. Make one with :meth:`open`; one process at a time."""

    def __init__(
        self, path: Path, descriptor: int, entries: list[Entry], data: bytes, *, short: bool
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._entries = entries
        self._size, self._sum = len(data), hashlib.sha256(data)
        self._short = short
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        """Open or begin a ledger and verify its whole chain.

        A torn last line is kept beside the ledger (``.torn``), and an entry of kind 'torn' says
        whether what it spoke of may have left; where it had been whole, it is restored. A ledger
        that does not reach its end, as an older one put back, takes no more lines.

        Raises:
            InputError: The chain is broken, or the ledger is in use.
        """
        descriptor = held(path)
        try:
            _flush_folder(path.parent)
            entries, fragment = scan(path.read_bytes(), str(path))
            end = read_end(end_file(path))
            if end == UNREADABLE:
                log.warning("%s is damaged, and made again", end_file(path))
            known = None if end == UNREADABLE else end
            missing = known.missing_after(entries) if known and fragment else None
            short = known is not None and missing is None and not known.reached(entries)
            if short:
                log.error("lines are missing at the end of %s; %s", path, REMEDY)
            elif fragment:
                _set_aside(path, descriptor, fragment)
            if missing is not None:
                _write_all(descriptor, line_of(missing))
                entries.append(missing)
            ledger = cls(path, descriptor, entries, path.read_bytes(), short=short)
            if fragment and not short:
                words = _RESTORED if missing else _PERHAPS if known is None else _NEVER_LEFT
                ledger.append(_torn_entry(fragment, words))
            elif known is None and entries:
                write_end(end_file(path), end_of(entries))
        except Refused as refused:
            os.close(descriptor)
            raise InputError(str(path), "room for a line", refused.sentence, "make room") from None
        except BaseException:
            os.close(descriptor)
            raise
        return ledger

    def append(self, entry: Entry) -> Entry:
        """Seal ``entry`` (time, previous, hash) and bring it to the disk.

        Raises:
            Refused: ``ledger``, with the file as it was before, when it cannot be written or was
                changed by somebody else since it was opened.
        """
        with self._lock:
            self._check_untouched()
            entry = sealed(entry, self._entries[-1].hash if self._entries else GENESIS)
            line = line_of(entry)
            try:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
                write_end(end_file(self._path), end_of([*self._entries, entry]))
            except OSError as error:
                log.error("ledger %s cannot be written: %s", self._path, error.strerror)
                self._undo()
                raise Refused("ledger", _UNWRITABLE) from None
            self._size += len(line)
            self._sum.update(line)
            self._entries.append(entry)
            return entry

    def check(self) -> None:
        """Raise ``Refused("ledger")`` unless the file is, to the byte, as this process left it."""
        with self._lock:
            self._check_untouched()

    def sound(self) -> bool:
        """Whether :meth:`check` passes."""
        try:
            self.check()
        except Refused:
            return False
        return True

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
        """The file at the path is still ours, whole, and every byte as we left it."""
        if self._short:
            raise Refused("ledger", _SHORT)
        try:
            ours = os.fstat(self._descriptor)
            with self._path.open("rb") as stream:
                there = os.fstat(stream.fileno())
                same = os.path.samestat(ours, there) and there.st_size == self._size
                found = hashlib.file_digest(stream, "sha256").digest() if same else b""
        except OSError:
            found = b""
        if found != self._sum.digest():
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

    Raises:
        InputError: Names the first line that is not as it was written, or a torn last one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        got = error.strerror or type(error).__name__
        remedy = "a site that never started has none; else check [vault] state"
        raise InputError(str(path), "a ledger", got, remedy) from None
    entries, fragment = scan(data, str(path))
    if fragment:
        raise InputError(
            f"{path} line {len(entries) + 1}",
            "a whole last line",
            f"a torn line of {len(fragment)} bytes",
            "the vault sets it aside and notes it when it starts",
        )
    return entries


def export_csv(entries: Iterable[Entry], out: TextIO) -> None:
    """Write entries as CSV for the privacy officer; what has parts is JSON."""
    writer = csv.writer(out)
    names = [field.name for field in dataclasses.fields(Entry)]
    writer.writerow(names)
    for entry in entries:
        values = (getattr(entry, name) for name in names)
        writer.writerow(
            json.dumps(v, sort_keys=True) if isinstance(v, Mapping | list | tuple) else v
            for v in values
        )


def _torn_entry(fragment: bytes, words: str) -> Entry:
    return Entry(
        run="",
        job="",
        round=0,
        kind="torn",
        n_bytes=len(fragment),
        sha256=hashlib.sha256(fragment).hexdigest(),
        note=words,
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
