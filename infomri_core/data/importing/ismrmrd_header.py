"""What an ISMRMRD file says of itself: its XML header, and which readouts are of the image.

The layout is that of ISMRMRD 1 (Inati et al. 2017): a group with ``xml`` and ``data``, one row a
readout with ``head``, ``traj`` and ``data``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

import h5py
import numpy as np
from numpy.lib.recfunctions import repack_fields

CHUNK = 2048
_NOT_IMAGE = (19, 23, 24, 26, 27, 28, 29, 30, 31)
_CALIBRATION, _CALIBRATION_AND_IMAGE, _REVERSE = 20, 21, 22
_FIELDS = ["flags", "active_channels", "position", "read_dir", "phase_dir", "slice_dir", "idx"]
_REPEATS = ("contrast", "phase", "repetition", "set")


@dataclass(frozen=True)
class Space:
    """A grid: points and millimetres along x (readout), y and z."""

    matrix: tuple[int, int, int]
    field_of_view: tuple[float, float, float]

    def kept(self, other: "Space", axis: int) -> int:
        """How many of this grid's points lie within the field of view of ``other``."""
        share = other.field_of_view[axis] / self.field_of_view[axis]
        return max(1, min(self.matrix[axis], round(self.matrix[axis] * share)))


@dataclass(frozen=True)
class Document:
    """The parts of the XML header that an image and its identity need."""

    patient: str
    name: str
    birth: str
    sex: str
    study: tuple[str, ...]
    series: tuple[str, ...]
    protocols: tuple[str, ...]
    trajectory: str
    encoded: Space
    reconstructed: Space
    centres: tuple[int, int]


@dataclass(frozen=True)
class Readouts:
    """The image's readouts: rows of ``data``, and where each belongs, all (n,).

    ``slices`` counts slices from 0 in the order of ``places``; for 3-D scans all are 0.
    """

    rows: np.ndarray
    step1: np.ndarray
    step2: np.ndarray
    slices: np.ndarray
    n_slices: int
    n_coils: int
    read_direction: np.ndarray
    phase_direction: np.ndarray
    repeats: int


def parse_document(text: bytes) -> Document:
    """The header's content; ``ValueError`` with a reason when it is damaged or incomplete."""
    if b"<!" in text.replace(b"<!--", b""):
        raise ValueError("damaged ISMRMRD header")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise ValueError("damaged ISMRMRD header") from None

    def get(*path: str) -> str:
        return (root.findtext("/".join("{*}" + tag for tag in path)) or "").strip()

    encoded, reconstructed = (_space(get, name) for name in ("encodedSpace", "reconSpace"))
    centres = tuple(
        int(get("encoding", "encodingLimits", f"kspace_encoding_step_{i}", "center") or size // 2)
        for i, size in ((1, encoded.matrix[1]), (2, encoded.matrix[2]))
    )
    protocol = get("measurementInformation", "protocolName")
    description = get("measurementInformation", "seriesDescription")
    return Document(
        get("subjectInformation", "patientID"),
        get("subjectInformation", "patientName"),
        get("subjectInformation", "patientBirthdate"),
        get("subjectInformation", "patientGender"),
        (get("studyInformation", "studyInstanceUID"), get("studyInformation", "studyID")),
        (get("measurementInformation", "measurementID"),),
        (protocol, description),
        get("encoding", "trajectory").lower(),
        encoded,
        reconstructed,
        (centres[0], centres[1]),
    )


def find_readouts(data: h5py.Dataset, document: Document) -> Readouts:
    """Which rows of ``data`` are the image's; ``ValueError`` with a reason when it cannot be made.

    Noise, navigator, phase-correction and calibration readouts are passed over. Of several
    contrasts, phases, repetitions and sets the first is taken.
    """
    parts = [
        _interesting(data.fields("head")[start : start + CHUNK], start)
        for start in range(0, len(data), CHUNK)
    ]
    if not parts:
        raise ValueError("no image readouts")
    rows, head = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    if not len(rows):
        raise ValueError("no image readouts")
    keep, repeats = np.ones(len(rows), dtype=bool), 1
    for name in _REPEATS:
        values = head["idx"][name]
        repeats *= len(np.unique(values))
        keep &= values == values.min()
    rows, head = rows[keep], head[keep]
    if (_flags(head, _REVERSE)).any():
        raise ValueError("readouts in both directions (EPI)")
    volume = document.encoded.matrix[2] > 1
    slices, n_slices = _slices(head) if not volume else (np.zeros(len(rows), dtype=int), 1)
    step1, step2 = (
        head["idx"][f"kspace_encode_step_{i + 1}"].astype(int)
        + document.encoded.matrix[i + 1] // 2
        - document.centres[i]
        for i in (0, 1)
    )
    step2 = step2 if volume else np.zeros(len(rows), dtype=int)
    for steps, size in ((step1, document.encoded.matrix[1]), (step2, document.encoded.matrix[2])):
        if steps.min() < 0 or steps.max() >= size:
            raise ValueError("readouts outside the encoded matrix")
    coils = np.unique(head["active_channels"])
    if len(coils) != 1 or coils[0] == 0:
        raise ValueError("a changing number of coils")
    return Readouts(
        rows,
        step1,
        step2,
        slices,
        n_slices,
        int(coils[0]),
        head["read_dir"][0].astype(float),
        head["phase_dir"][0].astype(float),
        repeats,
    )


def _interesting(head: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    calibration = _flags(head, _CALIBRATION) & ~_flags(head, _CALIBRATION_AND_IMAGE)
    skip = calibration | (head["encoding_space_ref"] != 0)
    for flag in _NOT_IMAGE:
        skip |= _flags(head, flag)
    chosen = np.flatnonzero(~skip)
    return chosen + start, repack_fields(head[chosen][_FIELDS])


def _slices(head: np.ndarray) -> tuple[np.ndarray, int]:
    """Each readout's slice, counted along the slice direction rather than as measured."""
    numbers, first, inverse = np.unique(
        head["idx"]["slice"], return_index=True, return_inverse=True
    )
    direction = head["slice_dir"][0].astype(float)
    axis = int(np.argmax(np.abs(direction)))
    direction = direction * (np.sign(direction[axis]) or 1.0)
    places = head["position"][first].astype(float) @ direction
    order = np.argsort(np.round(places, 2), kind="stable")
    rank = np.empty(len(numbers), dtype=int)
    rank[order] = np.arange(len(numbers))
    return rank[inverse], len(numbers)


def _flags(head: np.ndarray, number: int) -> np.ndarray:
    return np.asarray(head["flags"] & np.uint64(1 << (number - 1)) != 0)


def _space(get: Callable[..., str], name: str) -> Space:
    try:
        matrix = [int(get("encoding", name, "matrixSize", axis)) for axis in "xyz"]
        millimetres = [float(get("encoding", name, "fieldOfView_mm", axis)) for axis in "xyz"]
    except ValueError:
        raise ValueError("damaged ISMRMRD header") from None
    if min(matrix) < 1 or max(matrix) > 8192 or not all(0 < m < 1e5 for m in millimetres):
        raise ValueError("an impossible matrix or field of view")
    x, y, z = millimetres
    return Space((matrix[0], matrix[1], matrix[2]), (x, y, z))
