"""ISMRMRD raw data as volumes: fully sampled Cartesian scans, 2-D or 3-D, any number of coils."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from infomri_core.data.hdf5.checks import FREE_BYTES
from infomri_core.data.hdf5.guarded import DAMAGE, Hdf5File, open_hdf5
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.ismrmrd.header import Document, parse_document
from infomri_core.data.importing.formats.ismrmrd.readouts import (
    OTHER_IMAGE,
    OTHER_SPACE,
    Readouts,
    find_readouts,
)
from infomri_core.data.importing.formats.orientation import Turn, find_turn
from infomri_core.data.importing.patients import PatientRule, Person, one_person_each, person
from infomri_core.data.importing.volume import (
    Frame,
    Journal,
    Left,
    Volume,
    built,
    fingerprint,
    scratch_array,
    walk,
    why_not,
)
from infomri_core.data.measured import missing_lines
from infomri_core.system.errors import InputError

ENDINGS = (".h5", ".hdf5", ".mrd")
UNDERSAMPLED = "undersampled k-space (parallel imaging or compressed sensing)"
ABORTED = "less than the centre and half of k-space: aborted, or a partial scan"
_DAMAGED = "damaged or truncated ISMRMRD file"
_TOO_LARGE = "a header that asks for more data than the file holds"
_EXPANSION = 16


@dataclass(frozen=True)
class Scan:
    """One stack of parallel slices (or slabs) of one group of one file."""

    path: Path
    group: str
    name: str
    patient: str
    person: Person
    document: Document
    readouts: Readouts

    @property
    def partitions(self) -> int:
        """Encoded partitions of a slab; 1 in 2-D scans."""
        return self.document.encoded.matrix[2]

    @property
    def turn(self) -> Turn:
        """How its slices are turned."""
        return find_turn(self.readouts.read_direction, self.readouts.phase_direction)

    @property
    def backwards(self) -> bool:
        """Whether partitions are counted against the direction in which slices are stored."""
        return bool(self.readouts.slice_direction @ np.asarray(self.turn.slice_direction) < 0)


def scan_ismrmrd(
    folder: Path, choice: Choice, rule: PatientRule, journal: Journal, tick: Callable[[], None]
) -> list[Volume]:
    """The volumes of the file or folder, from headers alone.

    A patient is the header's patient id; ``rule`` reads it from the path when the header has
    none, or when the rule has a pattern.
    """
    scans: list[Scan] = []
    paths = walk(folder) if folder.is_dir() else iter([folder])
    for path in paths:
        tick()
        name = path.relative_to(folder).as_posix() if folder.is_dir() else path.name
        if path.suffix.lower() not in ENDINGS:
            journal.skip(path, why_not(path, "an ISMRMRD file"))
            continue
        try:
            with open_hdf5(path) as file:
                groups = [g for g in file.names() if "xml" in file.names(g)]
                if not groups:
                    journal.skip(path, "not an ISMRMRD file")
                for group in groups:
                    scans.extend(_scan(file, group, name, choice, rule, journal))
        except Exception:
            # HDF5 raises errors of many types on what it cannot read: never those of the others.
            journal.skip(path, _DAMAGED)
    return built(one_person_each(scans, journal), _volume, lambda scan: scan.path, journal)


def _scan(
    file: Hdf5File, group: str, name: str, choice: Choice, rule: PatientRule, journal: Journal
) -> Iterator[Scan]:
    path = file.path
    try:
        document = _document(file, group)
        if document.trajectory != "cartesian":
            return journal.skip(path, "not Cartesian")
        if reason := choice.refusal((*document.protocols, name)):
            return journal.skip(path, reason)
        found, left = find_readouts(file.dataset(f"{group}/data"), document)
    except InputError:
        return journal.skip(path, _DAMAGED)
    except DAMAGE as error:
        # Reasons are raised as ValueError by this project's own readers; HDF5 raises all kinds.
        known = type(error) is ValueError and str(error)
        return journal.skip(path, known or _DAMAGED)
    patient = rule(name) if rule.pattern or not document.patient else document.patient
    if not patient:
        return journal.skip(path, "no patient in the path (--patient)")
    if not document.patient and not rule.pattern:
        journal.warn("raw data without a patient id are called after their path", str(path))
    _tell_left(left, path, journal)
    who = person(document.name, document.birth, document.sex)
    for readouts in found:
        yield Scan(path, group, name, patient, who, document, readouts)


def _tell_left(left: Counter[str], path: Path, journal: Journal) -> None:
    for reason, n in left.items():
        journal.skip(path, reason, n)
    if left[OTHER_IMAGE]:
        journal.warn("of several contrasts, phases or repetitions the first is taken", str(path))
    if left[OTHER_SPACE]:
        journal.warn("of several encoding spaces in a file the first is taken", str(path))


def _document(file: Hdf5File, group: str) -> Document:
    """The group's header, in whatever way its text is stored."""
    stored = file.dataset(f"{group}/xml")
    if stored.size != 1:
        raise ValueError("damaged ISMRMRD header")
    text = np.asarray(stored[()], dtype=object).reshape(-1)[0]
    return parse_document(text if isinstance(text, bytes) else str(text).encode())


def _volume(scan: Scan) -> Volume:
    document, turn = scan.document, scan.turn
    encoded, wanted = document.encoded, document.reconstructed
    kept = [encoded.kept(wanted, axis) for axis in range(3)]
    inside = range(kept[2])[:: -1 if scan.backwards and kept[2] > 1 else 1]
    numbers = [n * kept[2] + i + 1 for n in scan.readouts.numbers for i in inside]
    spacing = [min(encoded.field_of_view[a], wanted.field_of_view[a]) / kept[a] for a in (0, 1)]
    stem = scan.name.split("/")[-1].rsplit(".", 1)[0]
    names = (scan.name, scan.name.split("/")[-1], stem, *document.series)
    own = f"{scan.group} {scan.readouts.numbers}"
    return Volume(
        patient=scan.patient,
        study=tuple(name for name in document.study if name),
        series=tuple(name for name in names if name),
        slices=tuple((str(number),) for number in numbers),
        positions=tuple(i / max(len(numbers) - 1, 1) for i in range(len(numbers))),
        shape=turn.pair((kept[1], kept[0])),
        spacing=turn.pair((spacing[1], spacing[0])),
        plane=turn.plane,
        name=" ".join(filter(None, document.protocols)),
        place=" ".join((scan.name, scan.group, *document.protocols)).strip(),
        fingerprint=f"{fingerprint(scan.path)} {own}",
        read=partial(_read, scan),
    )


def _read(scan: Scan, scratch: Path) -> Iterator[Frame | Left]:
    """Each slice: FFTs, the field of view of the header, root of the sum of the coils' squares."""
    encoded, wanted = scan.document.encoded, scan.document.reconstructed
    keep = [encoded.kept(wanted, axis) for axis in range(3)]
    n_stacks, depth = len(scan.readouts.numbers), scan.partitions
    counts = _counts(scan)
    reasons = [_incomplete(stack) for stack in counts]
    shape = (n_stacks, depth, scan.readouts.n_coils, encoded.matrix[1], keep[0])
    if all(reasons) or _too_large(scan.path, shape):
        for reason in reasons:
            yield from [Left(reason or _TOO_LARGE)] * keep[2]
        return
    hybrid = scratch_array(scratch / "kspace.raw", np.complex64, shape)
    try:
        _gather(scan, hybrid, counts)
    except DAMAGE:
        yield from [Left(_DAMAGED)] * (n_stacks * keep[2])
        return
    first = depth // 2 - keep[2] // 2
    for stack, reason in zip(hybrid, reasons):
        if reason:
            yield from [Left(reason)] * keep[2]
            continue
        if depth > 1:
            _along_slices(stack)
        for number in range(first, first + keep[2])[:: -1 if scan.backwards else 1]:
            yield _image(np.asarray(stack[number]), keep[1], scan.turn)


def _image(coils: np.ndarray, height: int, turn: Turn) -> Frame | Left:
    """One slice of the coils' (n, ny, width), transformed along the readout already."""
    images = _crop(_ifft(coils, axis=1), height, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        image = np.sqrt((np.abs(images) ** 2).sum(axis=0)).astype(np.float32)
    if not np.isfinite(image).all():
        return Left("NaN or infinite values")
    return Frame(np.ascontiguousarray(turn.apply(image)))


def _counts(scan: Scan) -> np.ndarray:
    """How often each line was measured, (stacks, partitions, ny)."""
    readouts = scan.readouts
    shape = (len(readouts.numbers), scan.partitions, scan.document.encoded.matrix[1])
    counts = np.zeros(shape, dtype=np.int32)
    np.add.at(counts, (readouts.stacks, readouts.step2, readouts.step1), 1)
    return counts


def _too_large(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the grid asks for more than the file's readouts can fill, half of it missing."""
    n_bytes = int(np.prod(np.array(shape, dtype=object))) * 8
    return n_bytes > max(FREE_BYTES, _EXPANSION * path.stat().st_size)


def _gather(scan: Scan, hybrid: np.ndarray, counts: np.ndarray) -> None:
    """Adds the readouts to ``hybrid``, complex (stacks, partitions, coils, ny, width), transformed
    and cropped along the readout; lines measured several times are averaged."""
    readouts, n_columns = scan.readouts, scan.document.encoded.matrix[0]
    width = hybrid.shape[-1]
    with open_hdf5(scan.path) as file, np.errstate(over="ignore", invalid="ignore"):
        data = file.dataset(f"{scan.group}/data")
        step = min(128, file.rows_at_once())
        for start in range(0, len(data), step):
            low, high = np.searchsorted(readouts.rows, (start, start + step))
            if low == high:
                continue
            block = data[start : start + step]
            for i in range(low, high):
                place = (readouts.stacks[i], readouts.step2[i])
                line = _line(block[readouts.rows[i] - start], n_columns, readouts.n_coils)
                share = counts[(*place, readouts.step1[i])]
                target = (*place, slice(None), readouts.step1[i])
                hybrid[target] += _crop(line, width, axis=1) / share


def _line(row: np.ndarray, n_columns: int, n_coils: int) -> np.ndarray:
    """One readout on the encoded grid, its echo at the centre, transformed: (coils, n_columns)."""
    head = row["head"]
    samples = np.ascontiguousarray(row["data"], dtype=np.float32).view(np.complex64)
    samples = samples.reshape(n_coils, int(head["number_of_samples"]))
    first, last = int(head["discard_pre"]), samples.shape[1] - int(head["discard_post"])
    shift = n_columns // 2 - int(head["center_sample"])
    first, last = max(first, -shift), min(last, n_columns - shift)
    line = np.zeros((n_coils, n_columns), dtype=np.complex64)
    line[:, first + shift : last + shift] = samples[:, first:last]
    return _ifft(line, axis=1)


def _along_slices(hybrid: np.ndarray) -> None:
    """The transform along the slices of a 3-D scan, in place, one coil's line after another."""
    for coil in range(hybrid.shape[1]):
        for row in range(hybrid.shape[2]):
            hybrid[:, coil, row] = _ifft(np.asarray(hybrid[:, coil, row]), axis=0)


def _incomplete(counts: np.ndarray) -> str:
    """Why lines (partitions, ny) make no image, '' if they do.

    Lines missing at the edges alone are partial Fourier or a shutter, and are filled with zeros,
    as long as the centre and more than half of them are there.
    """
    filled = counts > 0
    depth, middle = len(filled), np.asarray(filled[len(filled) // 2])
    if any(_has_gaps(row) for row in (filled.any(axis=1), *filled)) or not filled.any():
        return UNDERSAMPLED
    short = missing_lines(middle) or (depth > 1 and missing_lines(np.asarray(filled.any(axis=1))))
    return ABORTED if short else ""


def _has_gaps(filled: np.ndarray) -> bool:
    lines = np.flatnonzero(filled)
    return bool(len(lines) and lines[-1] - lines[0] + 1 != len(lines))


def _ifft(kspace: np.ndarray, axis: int) -> np.ndarray:
    shifted = np.fft.ifftshift(kspace, axes=axis)
    image = np.fft.fftshift(np.fft.ifft(shifted, axis=axis, norm="ortho"), axes=axis)
    return image.astype(np.complex64)


def _crop(image: np.ndarray, size: int, axis: int) -> np.ndarray:
    start = image.shape[axis] // 2 - size // 2
    index = [slice(None)] * image.ndim
    index[axis] = slice(start, start + size)
    return image[tuple(index)]
