"""The working folder of an import: one finished file a volume, so that it can be continued.

It lies beside the archive as ``NAME.importing`` and goes when the archive is there. What is in it
is de-identified already: names are keyed hashes, contents are normalised pixels.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from infomri_core.data.importing.component import SIGNED, SIGNED_SHARE
from infomri_core.data.importing.formats.pixels import fit, fit_labels
from infomri_core.data.importing.volume import Frame, Left, Volume, scratch_array
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

TOP = 65535
DAMAGED = "damaged or truncated file"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_EMPTY = "no signal in the volume"
_log = logging.getLogger("infomri.import")


@dataclass(frozen=True)
class Part:
    """A finished volume: uint16 images (k, H, W) in ``file``, ``kept`` their numbers in the
    volume, ``left`` why others are missing, ``text`` the numbers of slices with suspected text.
    Where the volume has outlines, ``values`` are those of each kept slice."""

    file: Path
    kept: tuple[int, ...]
    left: tuple[tuple[int, str], ...]
    text: tuple[int, ...]
    values: tuple[tuple[int, ...], ...] = ()

    def images(self) -> Iterator[np.ndarray]:
        """Its slices, one after another."""
        if self.kept:
            yield from np.load(self.file, mmap_mode="r")

    def outlines(self) -> Iterator[np.ndarray]:
        """Its slices' label maps (R, H, W) uint8, one after another."""
        if self.values:
            yield from np.load(_outlines_of(self.file), mmap_mode="r")


@final
class Workshop:
    """The working folder; held by one import at a time."""

    def __init__(self, out: Path) -> None:
        """Makes the folder, or takes over that of an import that was interrupted.

        ``InputError`` when it cannot be written, or another import is at work in it.
        """
        self.folder = out.with_name(f"{out.name}.importing")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            got = error.strerror or type(error).__name__
            remedy = "choose another --out"
            raise InputError(str(out), "a place to write to", got, remedy) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            remedy = "wait until it has ended"
            raise InputError(str(out), "one import at a time", "another at work", remedy) from None
        for left_over in self.folder.glob("tmp*"):
            shutil.rmtree(left_over, ignore_errors=True)

    def part(self, key: str) -> Part | None:
        """The finished volume ``key``, None if there is none."""
        try:
            told = json.loads((self.folder / f"{key}.json").read_text("ascii"))
        except FileNotFoundError:
            return None
        left = tuple((int(n), str(why)) for n, why in told["left"])
        values = tuple(tuple(of_slice) for of_slice in told.get("values", ()))
        file = self.folder / f"{key}.npy"
        return Part(file, tuple(told["kept"]), left, tuple(told["text"]), values)

    def make(self, key: str, volume: Volume, size: tuple[int, int] | None) -> Part:
        """Read ``volume``, fit it to ``size`` if given, normalise it, and keep it as ``key``."""
        with self.scratch() as scratch:
            raw = scratch / "raw"
            kept, left, text = _gather(volume, size, scratch, raw)
            shape = (len(kept), *(size or volume.shape))
            values: list[list[int]] = []
            if kept:
                try:
                    _normalised(raw, shape, scratch / "done.npy")
                except InputError:
                    left, kept = [(n, _EMPTY) for n in range(len(volume))], []
                else:
                    file = self.folder / f"{key}.npy"
                    values = _outlined(volume, size, kept, scratch, _outlines_of(file))
                    (scratch / "done.npy").replace(file)
        told = {"kept": kept, "left": left, "text": text, "values": values}
        write_atomically(self.folder / f"{key}.json", json.dumps(told).encode("ascii"))
        part = self.part(key)
        assert part is not None
        return part

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of its own for a moment."""
        with tempfile.TemporaryDirectory(prefix="tmp", dir=self.folder) as name:
            yield Path(name)

    def close(self, *, finished: bool) -> None:
        """Let go of the folder; it stays only if there is something in it to continue from."""
        if finished or not any(self.folder.glob("*.json")):
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _gather(
    volume: Volume, size: tuple[int, int] | None, scratch: Path, raw: Path
) -> tuple[list[int], list[tuple[int, str]], list[int]]:
    """Slices one after another to the file ``raw``, float32."""
    kept: list[int] = []
    left: list[tuple[int, str]] = []
    text: list[int] = []
    negative: list[float] = []
    with raw.open("wb") as stream:
        for number, result in enumerate(_results(volume, scratch)):
            if not isinstance(result, Frame):
                left.append((number, result.reason))
                continue
            negative.append(result.negative)
            image = fit(result.image, size, volume.spacing) if size else result.image
            stream.write(np.ascontiguousarray(image, dtype=np.float32).tobytes())
            kept.append(number)
            if result.text_suspected:
                text.append(number)
    if negative and sum(negative) / len(negative) > SIGNED_SHARE:
        return [], [*left, *((number, SIGNED) for number in kept)], []
    return kept, left, text


def _outlined(
    volume: Volume, size: tuple[int, int] | None, kept: list[int], scratch: Path, target: Path
) -> list[list[int]]:
    """The outlines of the ``kept`` slices to ``target``, on the grid of the images; returns which
    values each slice has. ``InputError`` of the reader, and for slices of another shape."""
    if volume.outlines is None:
        return []
    shape = (len(volume.outlines.present), *(size or volume.shape))
    found = scratch_array(scratch / "outlines.raw", np.uint8, (len(kept), *shape))
    row, values = {number: k for k, number in enumerate(kept)}, list[list[int]]()
    for number, labels in enumerate(volume.outlines.read(scratch)):
        if number in row:
            fitted = fit_labels(labels, size, volume.spacing) if size else labels
            found[row[number]] = fitted
            values.append([int(value) for value in np.unique(fitted) if value])
    np.save(scratch / "outlines.npy", found)
    (scratch / "outlines.npy").replace(target)
    return values


def _outlines_of(file: Path) -> Path:
    return file.with_name(f"{file.stem}.outlines.npy")


def _results(volume: Volume, scratch: Path) -> Iterator[Frame | Left]:
    """What the volume's reader gives, one result a slice, whatever it raises.

    Readers of damaged files fail with any type of error; the slices that are missing then are left
    out. Only a full disk ends the import: it is not the file's fault.
    """
    done, results = 0, volume.read(scratch)
    try:
        for result in results:
            done += 1
            yield result
    except OSError as error:
        if error.errno in FULL:
            raise
        _log.info("a volume's reader failed: %s", type(error).__name__)
    except Exception as error:
        _log.info("a volume's reader failed: %s", type(error).__name__)
    yield from [Left(DAMAGED)] * (len(volume) - done)


def _normalised(raw: Path, shape: tuple[int, ...], target: Path) -> None:
    source = np.memmap(raw, np.float32, "r", shape=shape)
    scale = volume_scale(iter(source), len(source), "volume")
    result = np.lib.format.open_memmap(target, "w+", np.uint16, shape)
    with target.open("rb+") as stream:
        os.posix_fallocate(stream.fileno(), 0, target.stat().st_size)
    for number, image in enumerate(source):
        result[number] = np.round(normalise(image, scale) * TOP).astype(np.uint16)
    result.flush()
