"""Pixels of DICOM segmentations: the label maps of slices from the frames drawn on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infomri_core.data.importing.formats.dicom.files import quiet, read_whole
from infomri_core.data.importing.formats.dicom.header import Header
from infomri_core.data.importing.formats.orientation import Turn
from infomri_core.system.errors import InputError


@dataclass(frozen=True)
class Drawn:
    """A frame of a segmentation: outline number ``value``, on a grid that must be its slice's."""

    path: Path
    frame: int
    value: int
    shape: tuple[int, int]
    turn: Turn | None
    place: float


def read_labels(
    headers: tuple[Header, ...], slices: tuple[tuple[list[Drawn], ...], ...], scratch: Path
) -> Iterator[np.ndarray]:
    """Label maps (R, H, W) slice by slice, turned as the slices are. Memory holds the packed bits
    of the segmentations."""
    bits: dict[Path, np.ndarray] = {}
    for number, header in enumerate(headers):
        drawn = [_label_map(header, rater[number], bits) for rater in slices]
        yield np.stack([header.turn.apply(labels) for labels in drawn])


def _label_map(header: Header, frames: list[Drawn], bits: dict[Path, np.ndarray]) -> np.ndarray:
    labels = np.zeros(header.shape, np.uint8)
    for frame in frames:
        if frame.path not in bits:
            bits[frame.path] = _packed_bits(frame.path)
        inside = _unpacked(bits[frame.path], frame)
        if (labels[inside] > 0).any():
            where = f"{frame.path} frame {frame.frame + 1}"
            remedy = (
                "give each rater's objects a folder of its own (--masks for each); of segments "
            )
            remedy += "that overlap choose one with --outline"
            raise InputError(where, "segments that do not overlap", "two in one pixel", remedy)
        labels[inside] = frame.value
    return labels


def _packed_bits(path: Path) -> np.ndarray:
    """A pixel a bit, frame after frame without gaps (PS3.5 8.1.1)."""
    try:
        with quiet():
            return np.frombuffer(read_whole(path).PixelData, np.uint8)
    except Exception as error:
        got = f"unreadable data ({type(error).__name__})"
        raise InputError(str(path), "pixels of a segmentation", got, "export it again") from None


def _unpacked(bits: np.ndarray, frame: Drawn) -> np.ndarray:
    n = frame.shape[0] * frame.shape[1]
    start = frame.frame * n
    stored = np.unpackbits(bits[start // 8 : (start + n + 7) // 8], bitorder="little")
    if len(stored) < start % 8 + n:
        where = f"{frame.path} frame {frame.frame + 1}"
        raise InputError(where, f"{n} pixels", "fewer", "export it again")
    return stored[start % 8 :][:n].reshape(frame.shape) > 0
