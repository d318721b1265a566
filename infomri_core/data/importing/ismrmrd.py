"""ISMRMRD raw data as volumes: fully sampled Cartesian scans, 2-D or 3-D, any number of coils."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.ismrmrd_header import (
    CHUNK,
    Document,
    Readouts,
    find_readouts,
    parse_document,
)
from infomri_core.data.importing.orientation import find_turn
from infomri_core.data.importing.patients import PatientRule, Person, one_person_each, person
from infomri_core.data.importing.volume import (
    Frame,
    Journal,
    Left,
    Volume,
    fingerprint,
    scratch_array,
    walk,
)

ENDINGS = (".h5", ".hdf5", ".mrd")
_DAMAGED = "damaged or truncated ISMRMRD file"


@dataclass(frozen=True)
class Scan:
    """One group of one file."""

    path: Path
    group: str
    name: str
    patient: str
    person: Person
    document: Document
    readouts: Readouts


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
            journal.skip(path, "not an ISMRMRD file")
            continue
        try:
            with h5py.File(path, "r") as file:
                groups = [g for g in file if isinstance(file[g], h5py.Group) and "xml" in file[g]]
                if not groups:
                    journal.skip(path, "not an ISMRMRD file")
                for group in groups:
                    scans.extend(_scan(file, path, group, name, choice, rule, journal))
        except OSError:
            journal.skip(path, _DAMAGED)
    return [_volume(scan) for scan in one_person_each(scans, journal)]


def _scan(
    file: h5py.File,
    path: Path,
    group: str,
    name: str,
    choice: Choice,
    rule: PatientRule,
    journal: Journal,
) -> Iterator[Scan]:
    try:
        xml = file[group]["xml"][0]
        document = parse_document(xml if isinstance(xml, bytes) else str(xml).encode())
        if document.trajectory != "cartesian":
            return journal.skip(path, "not Cartesian")
        if reason := choice.refusal((*document.protocols, name)):
            return journal.skip(path, reason)
        readouts = find_readouts(file[group]["data"], document)
    except ValueError as error:
        known = str(error) if not isinstance(error, UnicodeError) else _DAMAGED
        return journal.skip(path, known)
    except (OSError, KeyError, IndexError, RuntimeError):
        return journal.skip(path, _DAMAGED)
    patient = rule(name) if rule.pattern or not document.patient else document.patient
    if not patient:
        return journal.skip(path, "no patient in the path (--patient)")
    if not document.patient and not rule.pattern:
        journal.warn("raw data without a patient id are called after their path", str(path))
    if readouts.repeats > 1:
        journal.warn("of several contrasts, phases or repetitions the first is taken", str(path))
    who = person(document.name, document.birth, document.sex)
    yield Scan(path, group, name, patient, who, document, readouts)


def _volume(scan: Scan) -> Volume:
    document, readouts = scan.document, scan.readouts
    encoded, wanted = document.encoded, document.reconstructed
    turn = find_turn(readouts.read_direction, readouts.phase_direction)
    kept = [encoded.kept(wanted, axis) for axis in range(3)]
    n_slices = kept[2] if encoded.matrix[2] > 1 else readouts.n_slices
    spacing = [min(encoded.field_of_view[a], wanted.field_of_view[a]) / kept[a] for a in (0, 1)]
    stem = scan.name.split("/")[-1].rsplit(".", 1)[0]
    names = (scan.name, scan.name.split("/")[-1], stem, *document.series)
    return Volume(
        patient=scan.patient,
        study=tuple(name for name in document.study if name),
        series=tuple(name for name in names if name),
        slices=tuple((str(i + 1),) for i in range(n_slices)),
        positions=tuple(i / max(n_slices - 1, 1) for i in range(n_slices)),
        shape=turn.pair((kept[1], kept[0])),
        spacing=turn.pair((spacing[1], spacing[0])),
        plane=turn.plane,
        name=" ".join(filter(None, document.protocols)),
        place=" ".join((scan.name, scan.group, *document.protocols)).strip(),
        fingerprint=f"{fingerprint(scan.path)} {scan.group}",
        read=partial(_read, scan),
    )


def _read(scan: Scan, scratch: Path) -> Iterator[Frame | Left]:
    """Each slice: FFTs, the field of view of the header, root of the sum of the coils' squares."""
    encoded, wanted = scan.document.encoded, scan.document.reconstructed
    keep = [encoded.kept(wanted, axis) for axis in range(3)]
    volume = encoded.matrix[2] > 1
    depth = encoded.matrix[2] if volume else scan.readouts.n_slices
    shape = (depth, scan.readouts.n_coils, encoded.matrix[1], keep[0])
    hybrid = scratch_array(scratch / "kspace.raw", np.complex64, shape)
    try:
        counts = _gather(scan, hybrid)
    except (OSError, ValueError, RuntimeError):
        yield from [Left(_DAMAGED)] * (keep[2] if volume else depth)
        return
    turn = find_turn(scan.readouts.read_direction, scan.readouts.phase_direction)
    numbers = range(depth)
    if volume:
        _along_slices(hybrid)
        first = depth // 2 - keep[2] // 2
        numbers = range(first, first + keep[2])
    for number in numbers:
        if _undersampled(counts if volume else counts[number : number + 1]):
            yield Left("undersampled k-space (parallel imaging or compressed sensing)")
            continue
        coils = _crop(_ifft(np.asarray(hybrid[number]), axis=1), keep[1], axis=1)
        image = np.sqrt((np.abs(coils) ** 2).sum(axis=0)).astype(np.float32)
        if not np.isfinite(image).all():
            yield Left("NaN or infinite values")
            continue
        yield Frame(np.ascontiguousarray(turn.apply(image)))


def _gather(scan: Scan, hybrid: np.ndarray) -> np.ndarray:
    """Adds the readouts to ``hybrid``, complex (depth, coils, ny, width), transformed and cropped
    along the readout; returns how often each line was measured, (depth, ny).

    Lines measured several times are averaged.
    """
    readouts, encoded = scan.readouts, scan.document.encoded
    depth, _, n_rows, width = hybrid.shape
    where = readouts.step2 if encoded.matrix[2] > 1 else readouts.slices
    counts = np.zeros((depth, n_rows), dtype=np.int32)
    np.add.at(counts, (where, readouts.step1), 1)
    with h5py.File(scan.path, "r") as file:
        data = file[scan.group]["data"]
        for start in range(0, len(data), CHUNK // 16):
            stop = start + CHUNK // 16
            low, high = np.searchsorted(readouts.rows, (start, stop))
            if low == high:
                continue
            block = data[start:stop]
            for i in range(low, high):
                row = block[readouts.rows[i] - start]
                line = _line(row, encoded.matrix[0], readouts.n_coils)
                place = (where[i], slice(None), readouts.step1[i])
                hybrid[place] += _crop(line, width, axis=1) / counts[where[i], readouts.step1[i]]
    return counts


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


def _undersampled(counts: np.ndarray) -> bool:
    """Whether lines (partitions, ny) are missing between others, or all of them.

    Lines missing at the edges alone are partial Fourier or a shutter, and are filled with zeros.
    """
    filled = counts > 0
    rows = [filled.any(axis=1), *filled]
    return not filled.any() or any(_has_gaps(row) for row in rows)


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
