"""Which readouts of an ISMRMRD file are of the image, and where each belongs.

One row of ``data`` is a readout with ``head``, ``traj`` and ``data``. Of its counters only
``average`` says that the same line was measured again; every other one is a place of its own
(slice or slab, line, partition) or a reason to leave readouts out.
"""

from collections import Counter
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.lib.recfunctions import repack_fields

from infomri_core.data.importing.formats.ismrmrd.header import Document

CHUNK = 2048
_NOT_IMAGE = (19, 23, 24, 26, 27, 28, 29, 30, 31)
_CALIBRATION, _CALIBRATION_AND_IMAGE, _REVERSE = 20, 21, 22
_FIELDS = [
    *("flags", "active_channels", "position", "read_dir", "phase_dir", "slice_dir", "idx"),
    *("number_of_samples", "center_sample", "discard_pre", "discard_post"),
]
_REPEATS = ("contrast", "phase", "set", "repetition")
_SAME_DIRECTION = 0.996
OTHER_IMAGE = "another contrast, phase, set or repetition: the first is taken"
OTHER_SPACE = "readouts of another encoding space"
MOVED = "geometry that changes within a slice"
_LONG = "readouts twice as long as the matrix: spectroscopy, not an image"
_EDGE = "readouts without the centre or more than half of k-space"


@dataclass(frozen=True)
class Readouts:
    """The readouts of one stack of parallel slices or slabs: rows of ``data``, all (n,).

    ``step1`` is the line, ``step2`` the partition (0 in 2-D scans), ``stacks`` the slice or slab,
    counted from 0 along its normal; ``numbers`` are the file's own numbers of those, in that
    order. Directions are unit vectors in the patient's frame.
    """

    rows: np.ndarray
    step1: np.ndarray
    step2: np.ndarray
    stacks: np.ndarray
    numbers: tuple[int, ...]
    n_coils: int
    read_direction: np.ndarray
    phase_direction: np.ndarray
    slice_direction: np.ndarray


def find_readouts(data: h5py.Dataset, document: Document) -> tuple[list[Readouts], Counter[str]]:
    """The image's readouts, an entry for each orientation, and how many images (or readouts, where
    they make none) are left out and why; ``ValueError`` with a reason when there is no image.

    Noise, navigator, phase-correction and calibration readouts are passed over.
    """
    left = Counter[str]()
    rows, head = _interesting(data, left)
    if not len(rows):
        raise ValueError("no image readouts")
    keep = _first_image(head, left)
    rows, head = rows[keep], head[keep]
    if _flags(head, _REVERSE).any():
        raise ValueError("readouts in both directions (EPI)")
    _check_samples(head, document.encoded.matrix[0])
    steps = _steps(head, document)
    _check_segments(head, steps)
    coils = np.unique(head["active_channels"])
    if len(coils) != 1 or coils[0] == 0:
        raise ValueError("a changing number of coils")
    found = []
    for numbers in _orientations(head, document.encoded.matrix[2] > 1, left):
        inside = np.flatnonzero(np.isin(head["idx"]["slice"], numbers))
        found.append(_stack(rows[inside], head[inside], steps[:, inside], int(coils[0])))
    return found, left


def _stack(rows: np.ndarray, head: np.ndarray, steps: np.ndarray, n_coils: int) -> Readouts:
    numbers, first, inverse = np.unique(
        head["idx"]["slice"], return_index=True, return_inverse=True
    )
    directions = [head[name][0].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")]
    along = directions[2] * (np.sign(directions[2][np.argmax(np.abs(directions[2]))]) or 1.0)
    order = np.argsort(np.round(head["position"][first].astype(float) @ along, 2), kind="stable")
    rank = np.empty(len(numbers), dtype=int)
    rank[order] = np.arange(len(numbers))
    names = tuple(int(n) for n in numbers[order])
    return Readouts(rows, steps[0], steps[1], rank[inverse], names, n_coils, *directions)


def _interesting(data: h5py.Dataset, left: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and heads of the first encoding space's image readouts."""
    rows, heads = [np.zeros(0, dtype=int)], []
    for start in range(0, len(data), CHUNK):
        head = data.fields("head")[start : start + CHUNK]
        skip = _flags(head, _CALIBRATION) & ~_flags(head, _CALIBRATION_AND_IMAGE)
        for flag in _NOT_IMAGE:
            skip |= _flags(head, flag)
        other = ~skip & (head["encoding_space_ref"] != 0)
        if other.any():
            left[OTHER_SPACE] += int(other.sum())
        chosen = np.flatnonzero(~skip & ~other)
        rows.append(chosen + start)
        heads.append(repack_fields(head[chosen][_FIELDS]))
    return np.concatenate(rows), np.concatenate(heads) if heads else np.zeros(0)


def _first_image(head: np.ndarray, left: Counter[str]) -> np.ndarray:
    """Which readouts are of the first contrast, phase, set and repetition that were measured."""
    places = np.stack([head["idx"][name] for name in (*_REPEATS, "slice")], axis=1)
    images = np.unique(places, axis=0)
    first = images[0, :-1]
    others = int((images[:, :-1] != first).any(axis=1).sum())
    if others:
        left[OTHER_IMAGE] += others
    return np.asarray((places[:, :-1] == first).all(axis=1))


def _check_samples(head: np.ndarray, n_columns: int) -> None:
    """Refuse readouts that are no lines of an image, or lack their centre."""
    samples, pre, post, echo = (
        head[name].astype(int)
        for name in ("number_of_samples", "discard_pre", "discard_post", "center_sample")
    )
    if (samples - pre - post > 2 * n_columns).any():
        raise ValueError(_LONG)
    shift = n_columns // 2 - echo
    start, stop = np.maximum(pre + shift, 0), np.minimum(samples - post + shift, n_columns)
    middle = n_columns // 2
    if ((start > middle) | (stop <= middle) | (2 * (stop - start) <= n_columns)).any():
        raise ValueError(_EDGE)


def _steps(head: np.ndarray, document: Document) -> np.ndarray:
    """Line and partition of each readout on the encoded grid, (2, n)."""
    steps = np.zeros((2, len(head)), dtype=int)
    for axis in (0, 1):
        size, centre = document.encoded.matrix[axis + 1], document.centres[axis]
        if axis == 1 and size == 1:
            if len(np.unique(head["idx"]["kspace_encode_step_2"])) > 1:
                raise ValueError("partitions in a scan whose header says 2-D")
            continue
        steps[axis] = (
            head["idx"][f"kspace_encode_step_{axis + 1}"].astype(int) + size // 2 - centre
        )
        if steps[axis].min() < 0 or steps[axis].max() >= size:
            raise ValueError("readouts outside the encoded matrix")
    return steps


def _check_segments(head: np.ndarray, steps: np.ndarray) -> None:
    """Segments may share out the lines of an image; the same line in two is no average. Nor is
    the same line of one average under two of the vendor's own (user) numbers."""
    index = head["idx"]
    places = np.stack([index["slice"].astype(int), *steps], axis=1)
    if _divides(places, index["segment"]):
        raise ValueError("lines measured again in another segment")
    if _divides(np.column_stack([places, index["average"].astype(int)]), index["user"]):
        raise ValueError("lines measured again under another user index")


def _divides(places: np.ndarray, index: np.ndarray) -> bool:
    """Whether some of ``places``, (n, k), stands under two values of an index, (n,) or (n, m)."""
    both = np.column_stack([places, index.astype(int)])
    return len(np.unique(both, axis=0)) > len(np.unique(places, axis=0))


def _orientations(head: np.ndarray, three_d: bool, left: Counter[str]) -> list[list[int]]:
    """The numbers of slices (slabs) that are parallel, group by group."""
    groups: list[tuple[np.ndarray, list[int]]] = []
    for number in np.unique(head["idx"]["slice"]).tolist():
        inside = head[head["idx"]["slice"] == number]
        axes = np.stack([inside["read_dir"], inside["phase_dir"], inside["slice_dir"]], axis=1)
        axes = np.nan_to_num(axes.astype(float))
        moved = not three_d and _spread(inside["position"]) > 0.5
        if moved or (np.abs(axes - axes[0]) > 0.02).any():
            left[MOVED] += 1
            continue
        for known, numbers in groups:
            alike = (np.einsum("ij,ij->i", known, axes[0]) >= _SAME_DIRECTION).all()
            if alike or (np.abs(known - axes[0]) < 0.02).all():
                numbers.append(number)
                break
        else:
            groups.append((axes[0], [number]))
    if not groups:
        raise ValueError(MOVED)
    return [numbers for _, numbers in groups]


def _spread(positions: np.ndarray) -> float:
    """Millimetres between the readouts of one slice that lie furthest apart along an axis."""
    return float(np.ptp(np.nan_to_num(positions.astype(float)), axis=0).max())


def _flags(head: np.ndarray, number: int) -> np.ndarray:
    return np.asarray(head["flags"] & np.uint64(1 << (number - 1)) != 0)
