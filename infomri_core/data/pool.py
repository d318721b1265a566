"""Several data sets as one, as if one hospital held them all."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.system.errors import InputError


@final
class Pool(SliceDataset):
    """The rows of several data sets, one after the other."""

    def __init__(self, parts: Sequence[SliceDataset]) -> None:
        """Raises ``InputError`` when shapes or labels differ."""
        first = parts[0]
        for part in parts[1:]:
            _check_alike(first, part)
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = first.shape
        self.mask_names = first.mask_names
        self.n_raters = first.n_raters
        self.simulated_raters = any(part.simulated_raters for part in parts)
        self.table = _join([part.table for part in parts])

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._gathered(indices, torch.empty(len(indices), *self.shape), "images")

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        shape = (len(indices), len(self.mask_names), *self.shape)
        return self._gathered(indices, torch.zeros(shape, dtype=torch.uint8), "masks")

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        shape = (len(indices), self.n_raters, len(self.mask_names), *self.shape)
        return self._gathered(indices, torch.zeros(shape, dtype=torch.uint8), "ratings")

    def _gathered(
        self, indices: Sequence[int] | np.ndarray, result: torch.Tensor, what: str
    ) -> torch.Tensor:
        rows = np.asarray(indices, dtype=np.int64)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for i, part in enumerate(self._parts):
            here = np.flatnonzero(owner == i)
            if len(here):
                result[torch.from_numpy(here)] = getattr(part, what)(rows[here] - self._starts[i])
        return result


def pool(parts: Sequence[SliceDataset]) -> SliceDataset:
    """One data set of all ``parts``; a single part is returned as it is."""
    return parts[0] if len(parts) == 1 else Pool(parts)


def _check_alike(first: SliceDataset, other: SliceDataset) -> None:
    for what, expected, got in (
        ("images of shape", first.shape, other.shape),
        ("masks", first.mask_names, other.mask_names),
        ("raters", first.n_raters, other.n_raters),
        ("labels", first.table.label_names, other.table.label_names),
        ("exclusive", first.table.exclusive, other.table.exclusive),
    ):
        if expected != got:
            raise InputError("data", f"{what} {expected}", f"{got}", "pool data sets of one kind")


def _join(tables: Sequence[SliceTable]) -> SliceTable:
    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(table, name) for table in tables])

    first = tables[0]
    return SliceTable(
        column("patients"),
        column("labels"),
        first.label_names,
        first.exclusive,
        column("split"),
        column("hospital"),
        column("position"),
        _outlined(tables),
    )


def _outlined(tables: Sequence[SliceTable]) -> np.ndarray | None:
    if all(table.outlined is None for table in tables):
        return None
    parts = [np.ones(len(t), bool) if t.outlined is None else t.outlined for t in tables]
    return np.concatenate(parts)
