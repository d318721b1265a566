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

    Args:
        patients: Names.
        labels: (n, L) uint8, multi-hot.
        label_names: Of the L columns.
        exclusive: Whether exactly one label is set in each row.
        split: 'train', 'val' or 'test'.
        hospital: Names.
        position: Relative position of the slice in its volume, in [0, 1]; NaN if unknown.
        outlined: Bool, whether somebody looked at the slice to outline it; None: all.
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
        """Some rows.

        Args:
            indices: In the order wanted.
        """
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
    """What ``masks`` outline, in order; empty where nothing is outlined."""

    n_raters: int = 1
    """How many outlined a slice, at most; simulated ones with ``simulated_raters``."""
    simulated_raters: bool = False

    @abstractmethod
    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Images of some rows.

        Args:
            indices: k rows of ``table``.

        Returns:
            Float32 (k, H, W) in [0, 1].
        """

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Where in the image each of ``mask_names`` is.

        Args:
            indices: k rows of ``table``.

        Returns:
            Uint8 (k, M, H, W) of zeros and ones.
        """
        return torch.zeros(len(indices), len(self.mask_names), *self.shape, dtype=torch.uint8)

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """What each rater outlined.

        Args:
            indices: k rows of ``table``.

        Returns:
            Uint8 (k, R, M, H, W) of zeros and ones, or ``ABSENT`` for a rater who did not look at
            the slice.
        """
        return self.masks(indices)[:, None]

    def check(self, indices: np.ndarray) -> None:  # noqa: B027
        """Refuse bad pixels now, as far as that is cheap.

        Args:
            indices: Rows of ``table``.

        Raises:
            InputError: A slice that cannot be used.
        """

    def __len__(self) -> int:
        return len(self.table)

    def where(self, keep: np.ndarray) -> "SliceDataset":
        """The slices that are kept.

        Args:
            keep: Bool (n,).
        """
        return Subset(self, np.flatnonzero(keep))


@final
class Subset(SliceDataset):
    """Some rows of another data set; reads through to it.

    Args:
        parent: That data set.
        indices: Rows of its table, in the order wanted.
    """

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
