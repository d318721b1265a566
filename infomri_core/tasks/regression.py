"""Regression: how large is what an outline encloses, as a share of the slice's area."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from torch import Tensor

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.system.errors import InputError
from infomri_core.system.plain import is_plain
from infomri_core.tasks.number import Number
from infomri_core.tasks.task import Mismatch, Rule


@final
@dataclass(frozen=True)
class Regression(Number):
    """``outline`` names one of the data's masks; its area is measured as a share of the slice."""

    outline: str

    kind: ClassVar[str] = "regression"

    @classmethod
    def example(cls, dataset: SliceDataset) -> dict[str, Any]:
        if not dataset.mask_names:
            raise InputError("--task", "data with outlines", "none", "choose another task")
        return {**super().example(dataset), "outline": dataset.mask_names[0]}

    def rules(self) -> list[Rule]:
        fits = 0 < len(self.outline) <= 100 and is_plain(self.outline)
        expected = "the name of a mask, up to 100 plain characters"
        return [(fits, "[task] outline", expected, repr(self.outline)), *super().rules()]

    def describe(self) -> str:
        return f"learns to measure: which share of a slice '{self.outline}' fills"

    def missing(self, dataset: SliceDataset) -> Mismatch | None:
        if self.outline in dataset.mask_names:
            return self._unknown(dataset.table)
        return Mismatch("outlines", self.outline, ", ".join(dataset.mask_names) or "none")

    def _unknown(self, table: SliceTable) -> Mismatch | None:
        """An area that no one measured is not zero."""
        if table.outlined is None or table.outlined.all():
            return None
        return Mismatch("outlines", "on every slice", "slices that nobody outlined")

    def targets(self, dataset: SliceDataset, rows: np.ndarray) -> Tensor:
        place = dataset.mask_names.index(self.outline)
        area = dataset.masks(rows)[:, place].float().mean((-2, -1))
        return area[:, None] / self.scale

    @property
    def answer_names(self) -> tuple[str, ...]:
        return (f"area of {self.outline}",)
