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
from infomri_core.summaries.cohorts import Findings, Limits
from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.summary import Summary
from infomri_core.tasks import objective
from infomri_core.tasks.figures import Figure, Figures
from infomri_core.tasks.sampling import Sampling
from infomri_core.tasks.values import Classes, Family
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
class Task(Sampling, ABC):
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
        """What makes ``[model]`` impossible for the task, with or without ``[privacy]``."""
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
        """What is to be found in the given rows of a data set without a mismatch, (k, ...)."""

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
        """The ``loss_terms`` of each slice, (B,) each, of a :meth:`training_output`."""

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

    # Scores: what is known of a slice, and the two ways in which sums of it leave a site.

    @property
    @abstractmethod
    def n_evidence(self) -> int:
        """How many numbers :meth:`evidence` has of a slice."""

    @abstractmethod
    def evidence(self, output: Tensor, targets: Tensor) -> Tensor:
        """All that scoring needs of each slice, as numbers (B, F). Finite, whatever the network
        gives: an error would tell who chose the weights that one patient's image made them
        overflow."""

    @abstractmethod
    def summarise(self, evidence: Floats, slots: Ints) -> Summary:
        """Exact sums of ``evidence`` (n, F) over groups of patients, by ``slots`` (n,)."""

    @abstractmethod
    def summary_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of a summary's arrays after the axis of groups, by name."""

    @abstractmethod
    def released(self, found: Any, table: SliceTable, slots: Ints, limits: Limits) -> Summary:
        """The summary of the slices ``table`` in groups ``slots`` (n,) as it may leave a site: of
        groups large enough. ``ValueError`` when it is not one of these slices."""

    @abstractmethod
    def estimates(self, found: Any) -> Figures:
        """The task's figures from a summary."""

    @abstractmethod
    def difference(self, first: Any, second: Any) -> Estimate:
        """The first figure of the ``second`` summary less that of the ``first``, over the same
        groups of the same patients, with its paired interval."""

    @abstractmethod
    def families(self) -> dict[str, Family]:
        """The sums that leave under noise, by name, in a fixed order."""

    @property
    @abstractmethod
    def reference_shape(self) -> tuple[int, ...]:
        """Of :meth:`reference`."""

    @abstractmethod
    def reference(self, evidence: Floats | None) -> Floats:
        """Numbers by which :meth:`bounded` bounds what it sums, from the study centre's own
        patients' ``evidence`` (n, F), or where nothing is known (None)."""

    @abstractmethod
    def is_reference(self, given: Floats) -> bool:
        """Whether finite numbers of the right shape (C, *reference_shape) may be references."""

    @abstractmethod
    def bounded(self, evidence: Floats, mass: Ints, reference: Floats) -> dict[str, Ints]:
        """The :meth:`families` of one arm at one acceleration without noise. ``mass`` (n,) is what
        each slice of ``evidence`` (n, F) weighs; a patient's masses sum to ``UNIT`` at most."""

    @abstractmethod
    def noised_estimates(
        self,
        sums: Mapping[str, Floats],
        variance: Mapping[str, float],
        cell: int,
        n_patients: tuple[float, float],
        reference: Floats,
    ) -> Figures:
        """The task's figures of arm and acceleration number ``cell`` from noised sums (C, ...) in
        patients, given the variance of each number's noise, the number of patients with its
        variance, and that cell's ``reference``."""

    def counted(
        self, sums: Mapping[str, Floats], variance: Mapping[str, float]
    ) -> tuple[float, float] | None:
        """The number of patients as the task's sums have it, and its variance by noise; None where
        they do not say."""
        return None

    def output(self, network: nn.Module, measurement: Tensor, mask: Tensor) -> Tensor:
        """The network's output for sampled k-space (B, H, W) and its mask: of real and imaginary
        part of the zero-filled image."""
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
        """What :meth:`losses` are of in training, where ``images`` and ``targets`` are known;
        ``drawn`` (B, n_drawn) is all that it may have of chance."""
        return self.output(network, measurement, mask)

    def network_at(self, model: Model, beta: float) -> nn.Module:
        """The :meth:`network` of an arm at ``beta``."""
        return self.network(model)

    def augment(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, H, W) mirrored left to right, and their targets with them."""
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
        """The objective at ``beta`` without the suppression, of each slice or of their mean
        (:func:`infomri_core.tasks.objective.weighted`)."""
        return objective.weighted(losses, self.weights(), self.image_terms, beta)
