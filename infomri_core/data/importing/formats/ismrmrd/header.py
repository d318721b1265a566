"""What an ISMRMRD file says of itself in its XML header (Inati et al. 2017)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

from infomri_core.data.importing.identity import composed

MAX_MATRIX = 8192
_TOLERANCE = 0.01


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
    centres = tuple(_centre(get, i, encoded.matrix[i]) for i in (1, 2))
    if encoded.matrix[1] * encoded.matrix[2] == 1 or "spectro" in sequence(get):
        raise ValueError("spectroscopy, not an image")
    protocol = get("measurementInformation", "protocolName")
    description = get("measurementInformation", "seriesDescription")
    return Document(
        composed(get("subjectInformation", "patientID")),
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


def sequence(get: Callable[..., str]) -> str:
    """What kind of sequence the header names, in lower case."""
    return get("sequenceParameters", "sequence_type").lower()


def _space(get: Callable[..., str], name: str) -> Space:
    matrix = [_whole(get, "encoding", name, "matrixSize", axis) for axis in "xyz"]
    millimetres = [_number(get, "encoding", name, "fieldOfView_mm", axis) for axis in "xyz"]
    if min(matrix) < 1 or max(matrix) > MAX_MATRIX or not all(0 < m < 1e5 for m in millimetres):
        raise ValueError("an impossible matrix or field of view")
    x, y, z = millimetres
    return Space((matrix[0], matrix[1], matrix[2]), (x, y, z))


def _centre(get: Callable[..., str], axis: int, size: int) -> int:
    path = ("encoding", "encodingLimits", f"kspace_encoding_step_{axis}", "center")
    return _whole(get, *path) if get(*path) else size // 2


def _whole(get: Callable[..., str], *path: str) -> int:
    """A whole number, also where a converter wrote 3.99991 for 4."""
    value = _number(get, *path)
    if abs(value - round(value)) > _TOLERANCE:
        raise ValueError(f"header field {'/'.join(path[-3:])} is not a whole number")
    return round(value)


def _number(get: Callable[..., str], *path: str) -> float:
    try:
        value = float(get(*path))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"header field {'/'.join(path[-3:])} is missing or not a number")
    return value
