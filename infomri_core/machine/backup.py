"""Copies of what must not be lost, taken while it is in use, and put back where nothing is.

A backup is a folder: the copies, and ``manifest.json`` with the sha256 of each, written last, so
that a backup that was cut short is none. SQLite databases are copied through SQLite itself.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output, disk_errors_explained

_SQLITE = b"SQLite format 3\x00"
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")
_MANIFEST = "manifest.json"
_SPARE = 1 << 20


@dataclass(frozen=True)
class Backup:
    """A whole backup: its folder, when it was taken (Unix time), and sha256 by file."""

    folder: Path
    time: float
    files: Mapping[str, str]


def back_up(sources: Mapping[str, Path], folder: Path) -> Backup:
    """Copy files and folders into the new ``folder``, under their names, in their order.

    A source that is not there is left out; a file that vanishes meanwhile as well. Sockets and
    links are not copied. Raises ``InputError`` when ``folder`` exists or cannot be written.
    """
    check_output(folder, "a folder for the backup", _size(sources.values()) + _SPARE)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(folder), "a new folder", got, "name another") from None
    digests = {}
    again = "make room, delete the folder, and take the backup again: it is none without its list"
    with disk_errors_explained(folder, again):
        for name, source in sources.items():
            for path, relative in _files(source):
                target = folder / name / relative
                with contextlib.suppress(FileNotFoundError):
                    _copy(path, target)
                    digests[target.relative_to(folder).as_posix()] = _sha256(target)
        made = Backup(folder, time.time(), digests)
        content = {"time": made.time, "files": digests}
        (folder / _MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return made


def read_backup(folder: Path) -> Backup:
    """The backup in ``folder``, every file checked. Raises ``InputError``."""
    try:
        content = json.loads((folder / _MANIFEST).read_text("utf-8"))
        made = Backup(folder, float(content["time"]), dict(content["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        remedy = "it was cut short, or is none: take another"
        raise InputError(str(folder), "a whole backup", "no manifest", remedy) from None
    for name, digest in made.files.items():
        path = folder / name
        inside = not {"..", ""} & set(PurePosixPath(name).parts) and not name.startswith("/")
        if not inside or not path.is_file() or _sha256(path) != digest:
            raise InputError(str(path), "the file that was copied", "another", "take another")
    return made


def restore(backup: Backup, targets: Mapping[str, Path]) -> int:
    """Put the files of ``backup`` back; how many. Nothing is overwritten: ``InputError`` when a
    target that the backup has exists. Names without a target stay in the backup."""
    wanted = {name: target for name, target in targets.items() if _has(backup, name)}
    for target in wanted.values():
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise InputError(str(target), "nothing there", "something", "move it away first")
        parent = target if target.is_dir() else target.parent
        check_output(parent, "a place to restore to", _size([backup.folder]) + _SPARE)
    n_files = 0
    for name, target in wanted.items():
        again = f"the backup is whole: make room, delete {', '.join(map(str, wanted.values()))}, "
        with disk_errors_explained(target, again + "and restore again"):
            for path, relative in _files(backup.folder / name):
                _copy(path, target / relative)
                n_files += 1
    return n_files


def _size(sources: Iterable[Path]) -> int:
    """Bytes of all files; those that vanish meanwhile count nothing."""
    n_bytes = 0
    for source in sources:
        for path, _ in _files(source):
            with contextlib.suppress(FileNotFoundError):
                n_bytes += path.stat().st_size
    return n_bytes


def _has(backup: Backup, name: str) -> bool:
    return any(file == name or file.startswith(f"{name}/") for file in backup.files)


def _files(source: Path) -> Iterator[tuple[Path, Path]]:
    """Regular files of a file or folder, with their paths below it."""
    if source.is_file():
        yield source, Path()
        return
    for path in sorted(source.rglob("*")):
        hidden = path.name.startswith(".") or path.name.endswith(_BESIDE_SQLITE)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield path, path.relative_to(source)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as stream:
        is_database = stream.read(len(_SQLITE)) == _SQLITE
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if is_database:
        _copy_database(source, target)
    else:
        shutil.copyfile(source, target)
    target.chmod(source.stat().st_mode & 0o777)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())


def _copy_database(source: Path, target: Path) -> None:
    reading = contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True))
    with reading as old, contextlib.closing(sqlite3.connect(target)) as new:
        try:
            old.backup(new)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
