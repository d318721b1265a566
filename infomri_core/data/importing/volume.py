"""What every reader of hospital data hands on: volumes that are known but not yet read."""

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, final

import numpy as np

from infomri_core.data.importing.outlines import VolumeOutlines
from infomri_core.system.errors import InputError

T = TypeVar("T")
Names = tuple[str, ...]
UNUSABLE = "files of which no volume can be made"
PACKED = "packed file (zip, tar or the like): unpack it first"
_PACKED = (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst", ".tar.gz")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Left:
    """A slice that could not be used, and why (words without any identifier)."""

    reason: str


@dataclass(frozen=True)
class Frame:
    """One slice as a reader gives it: real, not negative, float32 (H, W), already turned.

    ``negative`` is the share of its values that were clearly below zero before they were cut.
    """

    image: np.ndarray
    text_suspected: bool = False
    negative: float = 0.0


@dataclass(frozen=True)
class Volume:
    """A series, file or folder of one patient that shares one grey scale; nothing is read yet.

    ``patient``, ``study``, ``series`` and ``slices`` are the hospital's own names: they find
    labels and never reach the archive. Each may have several spellings, any of which a label
    table may use; ``name`` and ``place`` are for the hospital's own eyes too. ``positions`` are
    relative places in the volume, in [0, 1]; ``spacing`` is mm (or any unit) from row to row and
    column to column. ``fingerprint`` changes with the files. ``read`` yields one result a slice,
    in order; it may write to the folder it is given. ``outlines`` is None where none are asked
    for.
    """

    patient: str
    study: Names
    series: Names
    slices: tuple[Names, ...]
    positions: tuple[float, ...]
    shape: tuple[int, int]
    spacing: tuple[float, float]
    plane: str
    name: str
    place: str
    fingerprint: str
    read: Callable[[Path], Iterator[Frame | Left]] = field(repr=False)
    outlines: VolumeOutlines | None = None

    def __len__(self) -> int:
        return len(self.slices)


@final
class Journal:
    """What was passed over and what a person should look at.

    ``skipped`` counts by reason and ``warnings`` are sentences: neither names a patient, a file or
    a date. ``private`` holds (place, reason) and stays in the hospital.
    """

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.warnings: list[str] = []
        self.private: list[tuple[str, str]] = []

    def skip(self, place: str | Path, reason: str, n: int = 1) -> None:
        """``n`` slices or files at ``place`` are left out because of ``reason``."""
        self.skipped[reason] += n
        self.private.append((str(place), reason))

    def warn(self, sentence: str, *places: str) -> None:
        """Something that is taken and should be looked at."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
        self.private.extend((place, f"warning: {sentence}") for place in places)


def walk(folder: Path) -> Iterator[Path]:
    """Every file below ``folder``, in a fixed order, without hidden ones; links to folders are
    not followed. ``InputError`` on a folder that may not be read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        got = error.strerror or "none"
        raise InputError(str(folder), "a folder to read", got, "ask for the right to") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from walk(entry)
        elif entry.is_file():
            yield entry


def built(
    groups: Iterable[T], build: Callable[[T], Volume], place: Callable[[T], Path], journal: Journal
) -> list[Volume]:
    """The volume of each group of headers; a group whose volume cannot be made (a file that is
    gone meanwhile, numbers that no volume has) is left out with a reason."""
    volumes = []
    for group in groups:
        try:
            volumes.append(build(group))
        except Exception as error:
            _log.info("a volume could not be made: %s", type(error).__name__)
            journal.skip(place(group), UNUSABLE)
    return volumes


def packed(path: Path) -> bool:
    """Whether the name is that of an archive whose files would have to be unpacked. DICOM and
    NIfTI read ``.gz`` of their own."""
    return path.name.lower().endswith(_PACKED)


def why_not(path: Path, what: str) -> str:
    """Why a file of another ending than a format's is no ``what``."""
    return PACKED if packed(path) or path.suffix.lower() == ".gz" else f"not {what}"


def scratch_array(path: Path, dtype: np.dtype | type, shape: tuple[int, ...]) -> np.memmap:
    """Zeros on the file ``path``; ``OSError`` now if the disk has no room, not a crash later."""
    with path.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, "r+", shape=shape)


def fingerprint(*paths: Path) -> str:
    """Names, sizes and times of files, as text: differs when any of them was changed."""
    stats = ((path, path.stat()) for path in paths)
    return "\n".join(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats)
