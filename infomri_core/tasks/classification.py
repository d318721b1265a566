"""Classification: which findings a slice shows."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.data.base import SliceDataset
from infomri_core.models.resnet import ResNet18
from infomri_core.models.settings import Model
from infomri_core.system.plain import is_plain
from infomri_core.tasks.task import Classes, Mismatch, Rule, Task

_NAMES = "up to 100 characters each, none that steers a terminal or the eye"


@final
@dataclass(frozen=True)
class Classification(Task):
    """Labels in order. ``exclusive``: exactly one holds per slice (CE), else each alone (BCE).

    Targets are multi-hot float (B, L), outputs logits (B, L): of a softmax with exclusive labels,
    else of one sigmoid a label.
    """

    labels: tuple[str, ...]
    exclusive: bool = False

    kind: ClassVar[str] = "classification"
    loss_terms: ClassVar[tuple[str, ...]] = ("ce",)

    def rules(self) -> list[Rule]:
        labels, where = self.labels, "[task] labels"
        return [
            (len(labels) > 0, where, "at least one label", labels),
            (len(set(labels)) == len(labels), where, "distinct", labels),
            (
                all(is_plain(name) and 0 < len(name) <= 100 for name in labels),
                where,
                _NAMES,
                labels,
            ),
            (not self.exclusive or len(labels) > 1, where, "two or more", labels),
        ]

    def describe(self) -> str:
        return f"trains a classifier for: {', '.join(self.labels)}"

    def missing(self, dataset: SliceDataset) -> Mismatch | None:
        table = dataset.table
        if self.labels != table.label_names:
            return Mismatch("labels", self.labels, table.label_names)
        if self.exclusive != table.exclusive:
            return Mismatch("exclusive", self.exclusive, table.exclusive)
        return None

    def targets(self, dataset: SliceDataset, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(dataset.table.labels[rows].astype(np.float32))

    def no_targets(self, n: int) -> Tensor:
        return torch.zeros(n, len(self.labels))

    def network(self, model: Model) -> nn.Module:
        return ResNet18(2, len(self.labels), self.shape, model.width, model.norm)

    def losses(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """CE, or BCE averaged over the labels."""
        if self.exclusive:
            return {"ce": functional.cross_entropy(output, targets.argmax(-1), reduction="none")}
        each = functional.binary_cross_entropy_with_logits(output, targets, reduction="none")
        return {"ce": each.mean(-1)}

    def mean_losses(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The same, averaged over the batch in one sum."""
        if self.exclusive:
            return {"ce": functional.cross_entropy(output, targets.argmax(-1))}
        return {"ce": functional.binary_cross_entropy_with_logits(output, targets)}

    def log_likelihood(self, output: Tensor, targets: Tensor) -> Tensor:
        """Labels that are not exclusive are independent given the image."""
        if self.exclusive:
            return -functional.cross_entropy(output, targets.argmax(-1), reduction="none")
        return functional.logsigmoid(output * (2 * targets.to(output) - 1)).sum(-1)

    def answers(self, output: Tensor) -> Tensor:
        """Class probabilities."""
        return output.softmax(-1) if self.exclusive else output.sigmoid()

    @property
    def answer_names(self) -> tuple[str, ...]:
        return self.labels

    @property
    def classes(self) -> Classes:
        return Classes(self.labels, self.exclusive)
