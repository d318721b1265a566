"""DICOM segmentations (PS3.3 A.51) as outlines of the series that they refer to.

Read are binary segmentations, whose frames name a segment and the slice that it was drawn on
(SOP instance UID, and the frame's number where that is one of several).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from infomri_core.data.importing.bounds import deflated_refusal, frames_refusal
from infomri_core.data.importing.formats.dicom.files import (
    quiet,
    read_header,
    unpacked_size,
)
from infomri_core.data.importing.formats.dicom.header import Header
from infomri_core.data.importing.formats.dicom.segmentation_pixels import Drawn, read_labels
from infomri_core.data.importing.formats.orientation import Turn, find_turn
from infomri_core.data.importing.identity import composed
from infomri_core.data.importing.outlines import VolumeOutlines
from infomri_core.data.importing.volume import Journal, fingerprint, walk
from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
_CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
_NEAR = 0.1


@final
class Segmentations:
    """The segmentations below a folder a rater, found once by their headers.

    ``names`` are the segments' labels that become outlines 1, 2, .., in any case; without them
    there may be one label only. ``InputError`` for objects that are no binary segmentation with
    references, and for labels that nobody chose from.
    """

    def __init__(self, places: Sequence[str], names: tuple[str, ...], journal: Journal) -> None:
        self._names = tuple(name.casefold() for name in names)
        self._files: set[Path] = set()
        self._drawn: list[dict[tuple[str, str], list[Drawn]]] = []
        self._covered: list[set[tuple[str, str]]] = []
        self._used: set[Path] = set()
        self._others = 0
        found = [list(_segmentations(Path(place))) for place in places]
        self._choose({label for rater in found for each in rater for label in _labels(*each)})
        for rater in found:
            self._drawn.append(defaultdict(list))
            self._covered.append(set())
            for path, dataset in rater:
                self._files.add(path)
                with _readable(path):
                    self._add(path, dataset)
        if self._others:
            journal.warn(f"segments of other labels than --outline names: {self._others}")

    def holds(self, path: Path) -> bool:
        """Whether a file is one of the segmentations."""
        return path.resolve() in self._files

    def of(self, headers: list[Header]) -> VolumeOutlines:
        """The outlines of a volume's slices, in the order of ``headers``. A slice of a series that
        a segmentation refers to and has no frame of is outlined with nothing."""
        slices, present = list[tuple[list[Drawn], ...]](), list[bool]()
        for drawn, covered in zip(self._drawn, self._covered):
            own = [_on(header, drawn) for header in headers]
            series = (headers[0].patient, headers[0].series)
            present.append(any(own) or series in covered)
            slices.append(tuple(own))
        paths = sorted({frame.path for rater in slices for own in rater for frame in own})
        self._used.update(paths)
        mark = f"{self._names} {present} {fingerprint(*paths)}"
        read = partial(read_labels, tuple(headers), tuple(slices))
        return VolumeOutlines(mark, tuple(present), read)

    def check(self, journal: Journal) -> None:
        """Warn of segmentations of other slices than those taken; ``InputError`` if all are."""
        if not self._used:
            remedy = "export the segmentations with the series that they refer to"
            raise InputError("--masks", "segmentations of the series", "none of them", remedy)
        if unused := len(self._files - self._used):
            journal.warn(f"segmentations without a frame on a slice that was taken: {unused}")

    def _choose(self, labels: set[str]) -> None:
        there = sorted(labels)
        if not self._names and len(there) > 1:
            remedy = "choose and order them with --outline"
            raise InputError("--masks", "segments of one label", ", ".join(there)[:200], remedy)
        self._names = self._names or tuple(label.casefold() for label in there)
        if absent := [name for name in self._names if name not in map(str.casefold, there)]:
            got = ", ".join(there)[:200]
            raise InputError("--outline", "a segment's label", absent[0], f"labels are: {got}")

    def _add(self, path: Path, dataset: "Dataset") -> None:
        values = {}
        for segment in dataset.SegmentSequence:
            label = _label(segment)
            if label in self._names:
                values[int(segment.SegmentNumber)] = self._names.index(label) + 1
            else:
                self._others += 1
        patient = composed(str(dataset.get("PatientID", "") or ""))
        drawn, covered = self._drawn[-1], self._covered[-1]
        for item in dataset.get("ReferencedSeriesSequence") or []:
            covered.add((patient, str(item.get("SeriesInstanceUID", ""))))
        groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        for number in range(int(dataset.get("NumberOfFrames", 1) or 1)):
            levels = [groups[number] if number < len(groups) else None, shared]
            segment = _one(levels, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
            names = _references(levels)
            if segment is None or not names:
                expected = "frames that name their segment and the slice they lie on"
                remedy = "export it with references to its source images (derivation image)"
                raise InputError(f"{path} frame {number + 1}", expected, "none", remedy)
            if int(segment) in values:
                frame = _frame(path, number, values[int(segment)], dataset, levels)
                for name in names:
                    drawn[patient, name].append(frame)


def _segmentations(folder: Path) -> Iterator[tuple[Path, "Dataset"]]:
    if not folder.is_dir():
        got = "a file" if folder.is_file() else "nothing there"
        raise InputError(
            "--masks", f"a folder of DICOM segmentations at {folder}", got, "check it"
        )
    for path in walk(folder.resolve()):
        try:
            with quiet():
                if deflated_refusal(path):
                    continue
                dataset = read_header(path)
        except Exception:
            # Damaged or foreign files: the images' scan counts them.
            continue
        with _readable(path):
            kind = str(dataset.get("SOPClassUID", ""))
        if kind == _CONTOURS:
            remedy = (
                "convert the contours to label maps on the images' grid, with plastimatch or "
                "dcmrtstruct2nii, and import images and masks as NIfTI"
            )
            raise InputError(str(path), "a DICOM segmentation", "RTSTRUCT contours", remedy)
        if kind in (SEGMENTATION, _LABEL_MAP):
            with _readable(path):
                _check(path, dataset)
            yield path, dataset


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """pydicom converts a header's values when they are asked for, and raises errors of many types
    on what it cannot read; here they are ``InputError``."""
    try:
        with quiet():
            yield
    except InputError:
        raise
    except Exception as error:
        got = f"an unreadable header ({type(error).__name__})"
        raise InputError(str(path), "a DICOM segmentation", got, "export it again") from None


def _check(path: Path, dataset: "Dataset") -> None:
    kind = str(dataset.get("SegmentationType", "") or "none").strip().upper()
    if kind != "BINARY" or not dataset.get("SegmentSequence"):
        remedy = "export it as a binary segmentation"
        raise InputError(str(path), "SegmentationType BINARY with its segments", kind, remedy)
    packed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    if packed or int(dataset.get("BitsAllocated", 0) or 0) != 1:
        got = "compressed pixels" if packed else f"{dataset.get('BitsAllocated')} bits a pixel"
        raise InputError(str(path), "one bit a pixel, not compressed", got, "export it so")
    if reason := frames_refusal(dataset, unpacked_size(path)):
        raise InputError(str(path), "a DICOM segmentation", reason, "export it again")


def _labels(path: Path, dataset: "Dataset") -> set[str]:
    with _readable(path):
        return {_label(segment) for segment in dataset.SegmentSequence}


def _label(segment: "Dataset") -> str:
    return str(segment.get("SegmentLabel", "") or "").strip().casefold()


def _one(levels: list[Any], group: str, tag: str) -> Any:
    for level in levels:
        items = level.get(group) if level is not None else None
        if items and items[0].get(tag) is not None:
            return items[0].get(tag)
    return None


def _references(levels: list[Any]) -> list[str]:
    """UIDs of the slices that a frame was drawn on, ``UID:NUMBER`` where they are frames."""
    names = []
    for level in filter(None, levels):
        for derived in level.get("DerivationImageSequence") or []:
            for source in derived.get("SourceImageSequence") or []:
                uid, number = (
                    source.get("ReferencedSOPInstanceUID"),
                    source.get("ReferencedFrameNumber"),
                )
                several = number if isinstance(number, list | tuple) else [number]
                names += [f"{uid}:{int(n)}" if n is not None else str(uid) for n in several]
    return names


def _frame(path: Path, number: int, value: int, dataset: "Dataset", levels: list[Any]) -> Drawn:
    directions = _one(levels, "PlaneOrientationSequence", "ImageOrientationPatient")
    origin = _one(levels, "PlanePositionSequence", "ImagePositionPatient")
    turn, place = None, float("nan")
    if directions is not None and len(directions) == 6:
        axes = np.array([float(d) for d in directions])
        turn = find_turn(axes[:3], axes[3:])
        if origin is not None and len(origin) == 3:
            place = float(np.array([float(o) for o in origin]) @ np.array(turn.slice_direction))
    shape = (int(dataset.Rows), int(dataset.Columns))
    return Drawn(path, number, value, shape, turn, place)


def _on(header: Header, drawn: dict[tuple[str, str], list[Drawn]]) -> list[Drawn]:
    """The frames drawn on a slice; ``InputError`` for one on another grid."""
    if header.tile is not None or not header.instance:
        return []
    uid = header.instance[0]
    names = [uid] if ":" in uid else [uid, f"{uid}:1"]
    found = [frame for name in names for frame in drawn.get((header.patient, name), ())]
    for frame in found:
        remedy = "export the segmentation on the grid of its series"
        where = f"{frame.path} frame {frame.frame + 1}"
        if frame.shape != header.shape:
            raise InputError(where, f"{header.shape} pixels", str(frame.shape), remedy)
        away = abs(frame.place - header.place)
        if (frame.turn is not None and not _alike(frame.turn, header.turn)) or away > _NEAR:
            got = f"{away:.3g} mm away" if away > _NEAR else "another orientation"
            raise InputError(where, "the place of the slice it refers to", got, remedy)
    return found


def _alike(first: Turn, second: Turn) -> bool:
    ways = (first.plane, first.transpose, first.flip_rows, first.flip_columns)
    same = ways == (second.plane, second.transpose, second.flip_rows, second.flip_columns)
    return same and np.allclose(first.slice_direction, second.slice_direction, atol=1e-3)
