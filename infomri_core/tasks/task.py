"""What a task is to the rest of the system: whoever samples, trains, audits or reports asks it."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.data.base import SliceDataset
from infomri_core.models.settings import Model
from infomri_core.physics.kspace import zero_fill
from infomri_core.system.errors import InputError

SUPPRESSION = "entropy"
"""The name under which the suppression stands among the loss terms that are told."""
Rule = tuple[bool, str, str, object]
"""Whether it holds, the key, what was expected, what came."""


@final
@dataclass(frozen=True)
class Mismatch:
    """Data that a task cannot be learned from: ``what`` differs, what the plan expects of it,
    and what the data have."""

    what: str
    expected: object
    got: object


class Classes(NamedTuple):
    """What a task with class labels offers attacks that need them: the classes' names, and whether
    exactly one holds for each slice. The targets are then multi-hot (B, K), the output logits."""

    names: tuple[str, ...]
    exclusive: bool


def classes_of(task: "Task") -> Classes:
    """The class labels of a task that must have some. ``InputError`` otherwise."""
    if task.classes is None:
        raise InputError("[task] kind", "a task with class labels", task.kind, "choose another")
    return task.classes


@dataclass(frozen=True)
class Task(ABC):
    """What is learned from slices of one ``shape`` (H, W); a frozen value, from ``[task]``.

    Targets, outputs and losses have one row a slice (B, ...), and no row hangs on another: that
    is what differential privacy rests on.
    """

    shape: tuple[int, int]

    kind: ClassVar[str]
    loss_terms: ClassVar[tuple[str, ...]]
    """Names of the terms of the objective besides the suppression, in the order they are told."""

    @abstractmethod
    def rules(self) -> list[Rule]:
        """What makes ``[task]`` impossible, beyond its shape."""

    @abstractmethod
    def describe(self) -> str:
        """What is learned, for whoever approves a plan: 'learns to ...'."""

    @final
    def mismatch(self, dataset: SliceDataset) -> Mismatch | None:
        """Why it cannot be learned from ``dataset``; None where it can."""
        if self.shape != dataset.shape:
            return Mismatch("shape", self.shape, dataset.shape)
        return self.missing(dataset)

    @abstractmethod
    def missing(self, dataset: SliceDataset) -> Mismatch | None:
        """What slices of the right shape lack for this task; None where they have it."""

    @abstractmethod
    def targets(self, dataset: SliceDataset, rows: np.ndarray) -> Tensor:
        """What is to be found in the given rows of a data set without a mismatch, (k, ...)."""

    @abstractmethod
    def no_targets(self, n: int) -> Tensor:
        """Targets of ``n`` slices of which nothing is known, of the form of :meth:`targets`."""

    @abstractmethod
    def network(self, model: Model) -> nn.Module:
        """A fresh network by ``[model]``; the random numbers are torch's own. Under differential
        privacy it may have the layers of :mod:`infomri_core.dp.per_sample` only."""

    @abstractmethod
    def losses(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The ``loss_terms`` of each slice, (B,) each."""

    @abstractmethod
    def log_likelihood(self, output: Tensor, targets: Tensor) -> Tensor:
        """log p(targets | output) of each slice (B,), up to a constant: how sure the network is
        of the truth, which membership inference asks."""

    @abstractmethod
    def answers(self, output: Tensor) -> Tensor:
        """The output as numbers (B, K) that a person reads, in the order of
        :attr:`answer_names`."""

    @property
    @abstractmethod
    def answer_names(self) -> tuple[str, ...]:
        """What each of the :meth:`answers` is called."""

    @property
    def classes(self) -> Classes | None:
        """The class labels of the task; None where there are none, and attacks that need them do
        not apply."""
        return None

    def output(self, network: nn.Module, measurement: Tensor) -> Tensor:
        """The network's output for sampled k-space (B, H, W): of real and imaginary part of the
        zero-filled image."""
        found: Tensor = network(torch.view_as_real(zero_fill(measurement)).movedim(-1, -3))
        return found

    def augment(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, H, W) mirrored left to right, and their targets with them."""
        return images.flip(-1), targets

    def mean_losses(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The ``loss_terms`` averaged over the batch."""
        return {name: loss.mean() for name, loss in self.losses(output, targets).items()}

    def weights(self) -> Mapping[str, float]:
        """What each of the ``loss_terms`` weighs in the objective."""
        return dict.fromkeys(self.loss_terms, 1.0)

    @final
    @property
    def told_terms(self) -> tuple[str, ...]:
        """Names of the loss terms that a site tells, in order; the suppression is the last."""
        return (*self.loss_terms, SUPPRESSION)

    @final
    def objective(self, losses: Mapping[str, Tensor]) -> Tensor:
        """sum_k w_k term_k, of each slice or of their mean."""
        weights = self.weights()
        parts = [t if weights[n] == 1 else weights[n] * t for n, t in losses.items()]
        return functools.reduce(torch.add, parts)
