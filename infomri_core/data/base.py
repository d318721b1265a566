"""What a data set is to the rest of the system: a table of slices, and images by index."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

ABSENT = 255
"""In place of 0 or 1 in the outlines of a rater who did not look at the slice."""


@dataclass(frozen=True)
class SliceTable:
    """Everything known about n slices but their pixels. All arrays have length n.

    ``labels`` is (n, L) uint8, multi-hot; with ``exclusive`` exactly one is set per row.
    ``split`` holds 'train', 'val' or 'test'; ``position`` is the slice's relative position in
    its volume, in [0, 1], NaN if unknown. ``outlined`` (n,) holds for slices that somebody
    looked at to outline them; None: all.
    """

    patients: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    exclusive: bool
    split: np.ndarray
    hospital: np.ndarray
    position: np.ndarray
    outlined: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.patients)

    def take(self, indices: np.ndarray) -> "SliceTable":
        """The rows ``indices``, in that order."""
        return SliceTable(
            self.patients[indices],
            self.labels[indices],
            self.label_names,
            self.exclusive,
            self.split[indices],
            self.hospital[indices],
            self.position[indices],
            None if self.outlined is None else self.outlined[indices],
        )


class SliceDataset(ABC):
    """Slices of MR magnitude images in [0, 1], normalised per volume, all of one ``shape``."""

    table: SliceTable
    shape: tuple[int, int]
    mask_names: tuple[str, ...] = ()
    """What :meth:`masks` outline, in order; empty where nothing is outlined."""

    n_raters: int = 1
    """How many outlined a slice, at most; simulated ones with ``simulated_raters``."""
    simulated_raters: bool = False

    @abstractmethod
    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Images (k, H, W), float32 in [0, 1], of the given rows of ``table``."""

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Where in the image each of ``mask_names`` is, (k, M, H, W), uint8 of zeros and ones."""
        return torch.zeros(len(indices), len(self.mask_names), *self.shape, dtype=torch.uint8)

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """What each rater outlined, (k, R, M, H, W) uint8: zeros and ones, or ``ABSENT`` for a
        rater who did not look at the slice."""
        return self.masks(indices)[:, None]

    def check(self, indices: np.ndarray) -> None:  # noqa: B027
        """Refuse bad pixels among the given rows now, as far as that is cheap (``InputError``)."""

    def __len__(self) -> int:
        return len(self.table)

    def where(self, keep: np.ndarray) -> "SliceDataset":
        """The slices for which the boolean array ``keep`` (n,) holds."""
        return Subset(self, np.flatnonzero(keep))


@final
class Subset(SliceDataset):
    """Some rows of another data set; reads through to it."""

    def __init__(self, parent: SliceDataset, indices: np.ndarray) -> None:
        self.parent = parent
        self.indices = indices
        self.table = parent.table.take(indices)
        self.shape = parent.shape
        self.mask_names = parent.mask_names
        self.n_raters = parent.n_raters
        self.simulated_raters = parent.simulated_raters

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self.parent.images(self.indices[np.asarray(indices, dtype=np.int64)])

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self.parent.masks(self.indices[np.asarray(indices, dtype=np.int64)])

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self.parent.ratings(self.indices[np.asarray(indices, dtype=np.int64)])
