"""What a slice looks like when it is no single magnitude image, or stands there twice.

Images are normalised, (H, W) in [0, 1]. Each answer asks a person to look; none is a proof.
"""

import itertools
from collections import defaultdict
from typing import final

import numpy as np
from PIL import Image

_BINS = 32
_UNIFORM, _JUMPS = 0.9, 0.02
_MOST_TILES, _ALIKE = 8, 0.6
_FACTOR, _SPREADS = 6.0, 6.0
_SIDE, _NEAR, _MOST_COMPARED = 24, 0.995, 12_000
_FINE = 0.9


def looks_like_phase(image: np.ndarray) -> bool:
    """Whether grey values are spread almost evenly and jump across their range from pixel to
    pixel, as wrapped phase does and a magnitude image does not."""
    counts = np.histogram(image, bins=_BINS, range=(0.0, max(float(image.max()), 1e-6)))[0]
    share = counts[counts > 0] / image.size
    evenness = float(-(share * np.log(share)).sum() / np.log(_BINS))
    jumps = float((np.abs(np.diff(image, axis=1)) > 0.5).mean())
    return evenness > _UNIFORM and jumps > _JUMPS and _has_structure(image)


def looks_tiled(image: np.ndarray) -> bool:
    """Whether the picture is a grid of pictures that resemble each other: n in a row (from 2 to
    8), in n rows or one fewer."""
    grids = [(rows, n) for n in range(2, _MOST_TILES + 1) for rows in (n, n - 1)]
    return any(_is_grid(image, rows, columns) for rows, columns in grids)


def _is_grid(image: np.ndarray, rows: int, columns: int) -> bool:
    height, width = image.shape[0] // rows, image.shape[1] // columns
    if min(height, width) < 16 or image.shape[0] % rows or image.shape[1] % columns:
        return False
    grid = image.reshape(rows, height, columns, width).swapaxes(1, 2)
    tiles = grid.reshape(rows * columns, -1)
    full = tiles[tiles.std(axis=1) > 0.02]
    if len(full) < 3 or not _dark_between(image, rows, columns):
        return False
    neighbours = [np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(full)]
    return float(np.min(neighbours)) > _ALIKE


def detail_ratio(image: np.ndarray) -> tuple[float, float]:
    """Share of the image's energy in the upper half of frequencies along rows and columns."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    total = max(float(power.sum()), 1e-12)
    high = [np.abs(np.fft.fftfreq(n)) > 0.25 for n in image.shape]
    return float(power[high[0]].sum()) / total, float(power[:, high[1]].sum()) / total


def aborted_rows(details: dict[int, tuple[float, float]], hospital: np.ndarray) -> list[int]:
    """Rows whose fine detail along one axis, compared with the other, lies far below what is
    usual at their hospital: some lines of k-space were not measured."""
    found: list[int] = []
    by_hospital: dict[str, list[int]] = defaultdict(list)
    for row in details:
        by_hospital[str(hospital[row])].append(row)
    for rows in by_hospital.values():
        if len(rows) < 8:
            continue
        ratio = np.array([np.log((details[r][0] + 1e-9) / (details[r][1] + 1e-9)) for r in rows])
        middle = float(np.median(ratio))
        spread = float(np.median(np.abs(ratio - middle)))
        far = np.abs(ratio - middle) > max(np.log(_FACTOR), _SPREADS * spread)
        found += [row for row, odd in zip(rows, far) if odd]
    return found


@final
class Repeats:
    """Thumbnails of slices, to find those of two patients that are nearly the same.

    Of more than 12,000 slices evenly chosen ones are compared. 24 x 24 values of a slice are kept.
    """

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._patients: list[str] = []
        self._thumbs: list[np.ndarray] = []

    def add(self, row: int, patient: str, image: np.ndarray) -> None:
        """Take a slice in."""
        picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
        small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)
        self._rows.append(row)
        self._patients.append(patient)
        self._thumbs.append(small.astype(np.float16))

    def pairs(self) -> list[tuple[int, int]]:
        """(row, other row) of slices of two patients whose thumbnails agree, in the coarse and in
        the fine."""
        if len(self._rows) < 2:
            return []
        chosen = np.unique(
            np.linspace(0, len(self._rows) - 1, min(len(self._rows), _MOST_COMPARED)).astype(int)
        )
        thumbs = np.stack([self._thumbs[i] for i in chosen]).astype(np.float32)
        coarse, fine = _unit(thumbs), _unit(_high_pass(thumbs))
        people = np.unique([self._patients[i] for i in chosen], return_inverse=True)[1]
        found = []
        for start in range(0, len(chosen), 256):
            likeness = coarse[start : start + 256] @ coarse.T
            for a, b in np.argwhere(likeness > _NEAR):
                i, j = int(a) + start, int(b)
                if i < j and people[i] != people[j] and float(fine[i] @ fine[j]) > _FINE:
                    found.append((self._rows[chosen[i]], self._rows[chosen[j]]))
        return found


def _has_structure(image: np.ndarray) -> bool:
    """Whether some part of the picture is smooth, which pure noise is not."""
    steps = np.abs(np.diff(image, axis=1))
    height, width = image.shape[0] // 8, max((image.shape[1] - 1) // 8, 1)
    if min(height, width) < 2:
        return False
    blocks = steps[: height * 8, : width * 8].reshape(8, height, 8, width).mean(axis=(1, 3))
    return float(blocks.min()) < 0.5 * float(blocks.max())


def _dark_between(image: np.ndarray, rows: int, columns: int) -> bool:
    """Whether the lines along which tiles would meet are darker than the rest."""
    between = [image[image.shape[0] * k // rows] for k in range(1, rows)]
    across = [image[:, image.shape[1] * k // columns] for k in range(1, columns)]
    seams = [float(np.mean(lines)) for lines in (between, across) if lines]
    return max(seams) < 0.5 * float(image.mean())


def _high_pass(thumbs: np.ndarray) -> np.ndarray:
    """Thumbnails less the mean of their four neighbours."""
    around = sum(np.roll(thumbs, shift, axis) for shift in (-1, 1) for axis in (1, 2))
    return np.asarray(thumbs - around / 4)


def _unit(thumbs: np.ndarray) -> np.ndarray:
    flat = thumbs.reshape(len(thumbs), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))
