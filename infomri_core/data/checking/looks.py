"""What a slice looks like when it is no single magnitude image, or stands there twice.

Images are normalised, (H, W) in [0, 1]. Each answer asks a person to look; none is a proof.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import final

import numpy as np
from PIL import Image

_BINS = 32
_UNIFORM, _JUMPS = 0.9, 0.02
_BACKGROUND_SHARE, _LEAST_SHARE = 0.2, 0.02
_LEVEL_SPREAD, _LEVEL_STEP = 0.05, 0.15
_MOST_TILES, _ALIKE = 8, 0.6
_FACTOR, _LOCAL_FACTOR, _SPREADS = 6.0, 5.0, 6.0
_FAINT_BLOCK = 0.02
_SIDE, _MOST_COMPARED = 24, 12_000
_COARSE, _FINE = 0.965, 0.93


def looks_like_phase(image: np.ndarray) -> bool:
    """Whether grey values are no magnitudes: spread almost evenly, and jumping across their range
    from pixel to pixel, as wrapped phase does (a background of one value is passed over); or one
    grey around the border and darker and brighter pixels inside, as shifted signed values are."""
    return _looks_wrapped(image) or _looks_shifted(image)


def _looks_wrapped(image: np.ndarray) -> bool:
    values, times = np.unique(image, return_counts=True)
    seen = np.ones(image.shape, dtype=bool)
    if times.max() > _BACKGROUND_SHARE * image.size:
        seen = image != values[times.argmax()]
    if seen.mean() < _LEAST_SHARE:
        return False
    top = max(float(image.max()), 1e-6)
    counts = np.histogram(image[seen], bins=_BINS, range=(0.0, top))[0]
    share = counts[counts > 0] / counts.sum()
    evenness = float(-(share * np.log(share)).sum() / np.log(_BINS))
    steps = np.abs(np.diff(image, axis=1))[seen[:, 1:] & seen[:, :-1]]
    jumps = float((steps > 0.5).mean()) if steps.size else 0.0
    return evenness > _UNIFORM and jumps > _JUMPS and _has_structure(image)


def _looks_shifted(image: np.ndarray) -> bool:
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    level = float(np.median(border))
    if not 0.2 < level < 0.8 or (np.abs(border - level) > _LEVEL_SPREAD).mean() > 0.5:
        return False
    apart = image - level
    return min((apart < -_LEVEL_STEP).mean(), (apart > _LEVEL_STEP).mean()) > _LEAST_SHARE


def looks_tiled(image: np.ndarray) -> bool:
    """Whether the picture is a grid of pictures that resemble each other: n in a row (from 2 to
    8), in n rows or one fewer."""
    grids = [(rows, n) for n in range(2, _MOST_TILES + 1) for rows in (n, n - 1)]
    return any(_is_grid(image, rows, columns) for rows, columns in grids)


def _is_grid(image: np.ndarray, rows: int, columns: int) -> bool:
    height, width = image.shape[0] // rows, image.shape[1] // columns
    if min(height, width) < 16:
        return False
    # Of a picture that was resampled, tiles begin at the nearest pixel.
    tops = [round(k * image.shape[0] / rows) for k in range(rows)]
    lefts = [round(k * image.shape[1] / columns) for k in range(columns)]
    tiles = np.stack([image[t:, l:][:height, :width].ravel() for t in tops for l in lefts])
    full = tiles[tiles.std(axis=1) > 0.02]
    if len(full) < 3 or not _dark_between(image, tops[1:], lefts[1:]):
        return False
    neighbours = [np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(full)]
    return float(np.min(neighbours)) > _ALIKE


def detail_ratio(image: np.ndarray) -> tuple[float, float]:
    """How much finer an image is along its rows' axis than along its columns', as logarithms of
    energy in the upper half of frequencies: of the whole, and the median of nine overlapping
    parts, which one sharp edge does not decide (NaN where most of them are empty)."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    whole = _detail(image - image.mean())
    if min(height, width) < 8:
        return whole[0], whole[0]
    window = np.outer(np.hanning(height), np.hanning(width))
    parts = []
    for row in range(3):
        for column in range(3):
            top = row * (image.shape[0] - height) // 2
            left = column * (image.shape[1] - width) // 2
            part = image[top : top + height, left : left + width]
            mean = float((part * window).sum() / window.sum())
            parts.append(_detail((part - mean) * window))
    most = max(energy for _, energy in parts)
    seen = [ratio for ratio, energy in parts if energy >= _FAINT_BLOCK * most]
    # A slice with something in its corner only is not judged by it.
    return whole[0], float(np.median(seen)) if len(seen) > 4 else np.nan


def _detail(image: np.ndarray) -> tuple[float, float]:
    """The logarithm of the ratio, and the energy."""
    power = np.abs(np.fft.fft2(image)) ** 2
    total = float(power.sum())
    floor = 1e-9 * total + 1e-12
    high = [np.abs(np.fft.fftfreq(n)) > 0.25 for n in image.shape]
    ratio = (float(power[high[0]].sum()) + floor) / (float(power[:, high[1]].sum()) + floor)
    return float(np.log(ratio)), total


def aborted_rows(details: dict[int, tuple[float, float]], hospital: np.ndarray) -> list[int]:
    """Rows whose fine detail along one axis, compared with the other, lies far below what is
    usual at their hospital, as a whole and in most of their parts: some lines of k-space were
    not measured."""
    found: list[int] = []
    by_hospital: dict[str, list[int]] = defaultdict(list)
    for row in details:
        by_hospital[str(hospital[row])].append(row)
    for rows in by_hospital.values():
        if sum(np.isfinite(details[row][1]) for row in rows) < 8:
            continue
        ratios = np.array([details[row] for row in rows])
        apart = ratios - np.nanmedian(ratios, axis=0)
        spread = np.nanmedian(np.abs(apart), axis=0)
        least = np.maximum(np.log([_FACTOR, _LOCAL_FACTOR]), [_SPREADS * spread[0], 0.0])
        odd = (np.abs(apart) > least).all(axis=1) & (apart[:, 0] * apart[:, 1] > 0)
        found += [row for row, one in zip(rows, odd) if one]
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

    def pairs(self) -> list[tuple[int, int, bool]]:
        """(row, other row, turned) of slices of two patients whose thumbnails agree, in the
        coarse and in the fine, as they are or once one is ``turned`` or mirrored."""
        if len(self._rows) < 2:
            return []
        chosen = np.unique(
            np.linspace(0, len(self._rows) - 1, min(len(self._rows), _MOST_COMPARED)).astype(int)
        )
        thumbs = np.stack([self._thumbs[i] for i in chosen]).astype(np.float32)
        people = np.unique([self._patients[i] for i in chosen], return_inverse=True)[1]
        found: dict[tuple[int, int], bool] = {}
        for number, other in enumerate(_turns(thumbs)):
            for i, j in _alike(thumbs, other, people):
                found.setdefault((self._rows[chosen[i]], self._rows[chosen[j]]), number > 0)
        return [(row, other, turned) for (row, other), turned in found.items()]


def _turns(thumbs: np.ndarray) -> Iterator[np.ndarray]:
    """The thumbnails as they are, then in the seven other positions of a square."""
    for mirrored in (thumbs, thumbs[:, :, ::-1]):
        for quarter in range(4):
            yield np.rot90(mirrored, quarter, axes=(1, 2))


def _alike(
    thumbs: np.ndarray, others: np.ndarray, people: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Numbers i < j of two people's pictures of which ``thumbs[i]`` is like ``others[j]``."""
    coarse, coarse_other = _unit(thumbs), _unit(others)
    fine, fine_other = _unit(_high_pass(thumbs)), _unit(_high_pass(others))
    for start in range(0, len(thumbs), 256):
        likeness = fine[start : start + 256] @ fine_other[start:].T
        for a, b in np.argwhere(likeness > _FINE) + start:
            i, j = int(a), int(b)
            same = i < j and people[i] != people[j]
            if same and float(coarse[i] @ coarse_other[j]) > _COARSE:
                yield i, j


def _has_structure(image: np.ndarray) -> bool:
    """Whether some part of the picture is smooth, which pure noise is not."""
    steps = np.abs(np.diff(image, axis=1))
    height, width = image.shape[0] // 8, max((image.shape[1] - 1) // 8, 1)
    if min(height, width) < 2:
        return False
    blocks = steps[: height * 8, : width * 8].reshape(8, height, 8, width).mean(axis=(1, 3))
    return float(blocks.min()) < 0.5 * float(blocks.max())


def _dark_between(image: np.ndarray, tops: list[int], lefts: list[int]) -> bool:
    """Whether the lines along which tiles would meet are darker than the rest."""
    between = [image[row] for row in tops]
    across = [image[:, column] for column in lefts]
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
