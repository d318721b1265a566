"""What a task is to the rest of the system: sampling, training, audit and report ask it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.models.settings import Model
from infomri_core.physics.kspace import zero_fill
from infomri_core.summaries.cohorts import Findings
from infomri_core.summaries.summary import Summary
from infomri_core.tasks import objective
from infomri_core.tasks.figures import Figure
from infomri_core.tasks.sampling import Sampling
from infomri_core.tasks.scoring import Scoring
from infomri_core.tasks.values import Classes
from infomri_core.tasks.values import Mismatch as Mismatch

SUPPRESSION = "entropy"
"""The name under which the suppression stands among the loss terms that are reported."""
UNIT = 1 << 20
"""What one patient weighs in sums under noise: fixed point, so that sums are integers."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rule = tuple[bool, str, str, object]
"""Whether it holds, the key, what was expected, what came."""


@dataclass(frozen=True)
class Task(Sampling, Scoring, ABC):
    """What is learned from slices of one ``shape`` (H, W); a frozen value, from ``[task]``.

    Targets, outputs and losses have one row a slice (B, ...), and no row depends on another: that
    is what differential privacy rests on.
    """

    shape: tuple[int, int]

    kind: ClassVar[str]
    answer: ClassVar[str] = "diagnosis"
    """What the model tells of a slice, as a noun. What it gives away is the floor ``psnr_`` and
    this noun."""
    answer_prefix: ClassVar[str]
    """How a table's column of an answer's mean begins: ``p`` for a probability."""
    summary: ClassVar[type[Summary]]
    """What :meth:`summarise` makes."""
    figures: ClassVar[tuple[Figure, ...]]
    """How well it is done. The first is the utility axis of every plot; of it, more is better."""
    readable: ClassVar[bool] = True
    """Whether a reader of full images can say if the task can still be done on rebuilt ones."""
    loss_terms: ClassVar[tuple[str, ...]]
    """Names of the terms of the objective besides the suppression, in the order they are
    reported."""
    image_terms: ClassVar[tuple[str, ...]] = ()
    """Those of them that ask for the image itself, which an arm has with beta < 0 only."""

    @classmethod
    def example(cls, dataset: SliceDataset) -> dict[str, Any]:
        """A table ``[task]`` with which ``dataset`` is learned."""
        return {"kind": cls.kind, "shape": list(dataset.shape)}

    @abstractmethod
    def rules(self) -> list[Rule]:
        """What makes ``[task]`` impossible, beyond its shape."""

    def model_rules(self, model: Model, private: bool) -> list[Rule]:
        """What makes ``[model]`` impossible for the task.

        Args:
            model: The plan's ``[model]``.
            private: Whether the plan has ``[privacy]``.
        """
        none, where = "none: this task rebuilds no image", "[model] reconstructor"
        return [(model.reconstructor == "", where, none, model.reconstructor)]

    @abstractmethod
    def describe(self) -> str:
        """What is learned, for the person who approves a plan: 'learns to ...'."""

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
        """What is to be found in slices of a data set, (k, ...).

        Args:
            dataset: One without a :meth:`mismatch`.
            rows: The numbers of the k slices (k,).
        """

    def known(self, table: SliceTable) -> npt.NDArray[np.bool_]:
        """Which slices of ``table`` have a target (n,): only their patients stand behind what is
        learned, and behind the task's figures."""
        return np.ones(len(table), bool)

    @abstractmethod
    def no_targets(self, n: int) -> Tensor:
        """Targets of ``n`` slices of which nothing is known, of the form of :meth:`targets`."""

    @abstractmethod
    def network(self, model: Model) -> nn.Module:
        """A fresh network by ``[model]``; the random numbers are torch's own. Under differential
        privacy it may have the layers of :mod:`infomri_core.dp.per_sample` only."""

    @abstractmethod
    def losses(self, output: Any, targets: Tensor) -> dict[str, Tensor]:
        """The ``loss_terms`` of each slice, (B,) each.

        Args:
            output: A :meth:`training_output`.
            targets: The B slices' :meth:`targets` (B, ...).
        """

    @abstractmethod
    def log_likelihood(self, output: Tensor, targets: Tensor) -> Tensor:
        """log p(targets | output) of each slice (B,), up to a constant: how sure the network is
        of the truth, which membership inference asks.

        Args:
            output: An :meth:`output` of B slices.
            targets: Their :meth:`targets` (B, ...).
        """

    @abstractmethod
    def answers(self, output: Tensor) -> Tensor:
        """The output as numbers (B, K) that a person reads, in the order of
        :attr:`answer_names`."""

    @property
    @abstractmethod
    def answer_names(self) -> tuple[str, ...]:
        """What each of the :meth:`answers` is called."""

    def images(self, output: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation (B, H, W) of the images that the output says were measured;
        None where it says nothing of the kind."""
        return None

    @property
    def classes(self) -> Classes | None:
        """The class labels of the task; None where there are none, and attacks that need them do
        not apply."""
        return None

    @property
    def n_answers(self) -> int:
        """How many numbers :meth:`disclosed` has of a slice."""
        return len(self.answer_names)

    @abstractmethod
    def disclosed(self, output: Tensor) -> Tensor:
        """What an answer gives away, (B, n_answers), in the form in which an image is regressed on
        it: the floor of anyone who learns nothing else."""

    @property
    def finding_names(self) -> tuple[str, ...]:
        """The names of :meth:`findings`."""
        return ()

    def findings(self, table: SliceTable) -> Findings:
        """Whom a site counts beside its patients and slices, for its card; no one, unless the
        task has groups that may be small."""
        return Findings()

    def output(self, network: nn.Module, measurement: Tensor, mask: Tensor) -> Tensor:
        """The network's output, of real and imaginary part of the zero-filled image.

        Args:
            network: Of :meth:`network`.
            measurement: Sampled k-space (B, H, W), complex; zero where it was not measured.
            mask: Where it was measured, (B, H, W), 0 or 1.
        """
        found: Tensor = network(torch.view_as_real(zero_fill(measurement)).movedim(-1, -3))
        return found

    def training_output(
        self,
        network: nn.Module,
        measurement: Tensor,
        mask: Tensor,
        images: Tensor | None,
        targets: Tensor,
        drawn: Tensor,
    ) -> Any:
        """What :meth:`losses` are of in training, where images and targets are known.

        Args:
            network: Of :meth:`network`.
            measurement: Sampled k-space (B, H, W), complex.
            mask: Where it was measured, (B, H, W).
            images: The images themselves (B, H, W); None where no term asks for them.
            targets: The slices' :meth:`targets` (B, ...).
            drawn: All that it may have of chance, (B, :meth:`n_drawn`).
        """
        return self.output(network, measurement, mask)

    def network_at(self, model: Model, beta: float) -> nn.Module:
        """The :meth:`network` of an arm at ``beta``."""
        return self.network(model)

    def augment(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images mirrored left to right, and their targets with them.

        Args:
            images: (B, H, W).
            targets: (B, ...).
        """
        return images.flip(-1), targets

    def mean_losses(self, output: Any, targets: Tensor) -> dict[str, Tensor]:
        """The ``loss_terms`` averaged over the batch."""
        return {name: loss.mean() for name, loss in self.losses(output, targets).items()}

    def weights(self) -> Mapping[str, float]:
        """What each of the ``loss_terms`` weighs in the objective."""
        return dict.fromkeys(self.loss_terms, 1.0)

    @final
    @property
    def reported_terms(self) -> tuple[str, ...]:
        """Names of the loss terms that a site tells, in order; the suppression is the last."""
        return (*self.loss_terms, SUPPRESSION)

    @final
    def serves(self, beta: float) -> bool:
        """Whether there is anything to learn at ``beta``, and all that it asks for."""
        return objective.serves(self.loss_terms, self.image_terms, beta)

    @final
    @property
    def served(self) -> str:
        """The betas that the task serves, in words."""
        if not self.image_terms:
            return f"beta >= 0: {self.kind} has no term that asks for images"
        if self.loss_terms == self.image_terms:
            return f"beta = '-inf': {self.kind} learns the image and nothing else"
        return "any beta, or '-inf' for the image alone"

    @final
    def objective(self, losses: Mapping[str, Tensor], beta: float) -> Tensor:
        """The objective without the suppression, of each slice or of their mean
        (:func:`infomri_core.tasks.objective.weighted`).

        Args:
            losses: By name, the ``loss_terms``: of each slice (B,), or their mean.
            beta: Of the arm; -inf learns the image alone.
        """
        return objective.weighted(losses, self.weights(), self.image_terms, beta)
