"""Discs without a sharp edge, of which it is known how raters outline them.

The only images on which the spread of a model's samples can be held against the truth: the chance
of every outline is known, not estimated from a few raters.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch

from infomri_core.data.base import SliceDataset, SliceTable

DISC = "disc"
DEFAULT_RATERS = 4
_BODY, _GREY, _CONTRAST, _NOISE = 0.92, 0.25, 0.55, 0.02
_LEVELS = 64


@final
class AmbiguousPhantom(SliceDataset):
    """Slices with one disc each: bright up to radius r, and from there falling linearly to the
    background over a ramp of width w.

    A rater draws a level s, uniform in [0, 1], and outlines radius r + w s. So given r and w the
    chance that a pixel is inside is the ramp's height there, and all outlines are nested.
    """

    simulated_raters = True

    def __init__(
        self, table: SliceTable, discs: np.ndarray, size: int, levels: np.ndarray
    ) -> None:
        """``discs`` (n, 4): x, y, r and w in [-1, 1]; ``levels`` (n, R) those of the raters."""
        self.table, self.shape = table, (size, size)
        self.mask_names, self.n_raters = (DISC,), levels.shape[1]
        self.discs, self._levels = discs, levels
        self._pictures = torch.from_numpy(_pictures(table, discs, size))

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._pictures[torch.as_tensor(np.asarray(indices, dtype=np.int64))]

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The median outline."""
        rows = np.asarray(indices, dtype=np.int64)
        return self.outlined(rows, np.full((len(rows), 1), 0.5))

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        rows = np.asarray(indices, dtype=np.int64)
        return self.outlined(rows, self._levels[rows])[:, :, None]

    def outlined(self, rows: np.ndarray, levels: np.ndarray) -> torch.Tensor:
        """Outlines (k, S, H, W) uint8 at ``levels`` (k, S)."""
        distance, discs = _distance(self.discs[rows], self.shape[0]), self.discs[rows]
        radius = discs[:, 2, None] + discs[:, 3, None] * levels
        return torch.from_numpy((distance[:, None] < radius[..., None, None]).astype(np.uint8))

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """How likely each pixel is inside a rater's outline, (k, H, W)."""
        return _height(self.discs[rows], self.shape[0])

    def spread(self, rows: np.ndarray) -> np.ndarray:
        """The expected 1 - IoU of two raters' outlines of each slice, (k,): D in E[GED_V] =
        D (1/n + 1/R) of a perfect model. By quadrature over both levels."""
        area = self._areas(rows)
        smaller = np.minimum(area[:, :, None], area[:, None])
        larger = np.maximum(area[:, :, None], area[:, None])
        found: np.ndarray = (1 - smaller / np.maximum(larger, 1)).mean((1, 2))
        return found

    def best_fixed(self, rows: np.ndarray) -> np.ndarray:
        """The expected 1 - IoU to a rater of the best single outline of each slice, (k,)."""
        area = self._areas(rows)
        smaller = np.minimum(area[:, :, None], area[:, None])
        larger = np.maximum(area[:, :, None], area[:, None])
        found: np.ndarray = (1 - smaller / np.maximum(larger, 1)).mean(2).min(1)
        return found

    def _areas(self, rows: np.ndarray) -> np.ndarray:
        level = (np.arange(_LEVELS) + 0.5) / _LEVELS
        drawn = self.outlined(rows, np.tile(level, (len(rows), 1)))
        return drawn.sum((-2, -1), dtype=torch.int64).numpy()


def draw_discs(
    name: str, code: int, n_patients: int, n_slices: int, n_raters: int, seed: int
) -> tuple[SliceTable, np.ndarray, np.ndarray]:
    """Table, discs (n, 4) and raters' levels (n, R) of one hospital. A patient depends on seed,
    hospital and number alone; a label says that its disc is larger than the median one."""
    discs, levels = [], []
    step = np.linspace(-1, 1, n_slices) if n_slices > 1 else np.zeros(1)
    for k in range(n_patients):
        generator = np.random.default_rng([seed, code, 3, k])
        x, y = generator.uniform(-0.25, 0.25, 2)
        r, w = generator.uniform(0.15, 0.35), generator.uniform(0.08, 0.40)
        of_slices = np.stack(
            (*np.tile([[x], [y]], n_slices), r * (1 - 0.2 * step**2), w + 0 * step)
        )
        discs.append(of_slices.T)
        levels.append(generator.uniform(size=(n_slices, n_raters)))
    every, number = np.concatenate(discs), np.repeat(np.arange(n_patients), n_slices)
    table = SliceTable(
        patients=np.array([f"{name}-{seed}-{k:04d}" for k in number]),
        labels=(every[:, 2:3] > 0.25).astype(np.uint8),
        label_names=("large",),
        exclusive=False,
        split=np.where(number % 5 == 4 if n_patients >= 5 else number == 1, "val", "train"),
        hospital=np.full(len(every), name),
        position=np.tile(0.5 + 0.5 * step, n_patients),
    )
    return table, every, np.concatenate(levels)


def _pictures(table: SliceTable, discs: np.ndarray, size: int) -> np.ndarray:
    x, y = _grid(size)
    body = np.clip((_BODY - np.hypot(x, 1.1 * y)) * size / 2, 0, 1)
    pictures = np.empty((len(discs), size, size), np.float32)
    for row, (disc, patient) in enumerate(zip(discs, table.patients)):
        level = int(1000 * table.position[row])
        generator = np.random.default_rng([level, *str(patient).encode()])
        a, b, c, d = generator.uniform(-1, 1, 4)
        uneven = 0.05 * np.sin(3 * x + 3 * a) * np.sin(3 * y + 3 * b) + 0.04 * (c * x + d * y)
        clean = body * (_GREY + uneven + _CONTRAST * _height(disc[None], size)[0])
        noise = _NOISE * generator.standard_normal((2, size, size))
        pictures[row] = np.hypot(clean + noise[0], noise[1])
    return pictures.clip(0, 1)


def _height(discs: np.ndarray, size: int) -> np.ndarray:
    radius, width = (discs[:, i, None, None] for i in (2, 3))
    found: np.ndarray = 1 - np.clip((_distance(discs, size) - radius) / width, 0, 1)
    return found


def _distance(discs: np.ndarray, size: int) -> np.ndarray:
    x, y = _grid(size)
    found: np.ndarray = np.hypot(x - discs[:, 0, None, None], y - discs[:, 1, None, None])
    return found


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = (2 * np.arange(size) + 1 - size) / size
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x, y
