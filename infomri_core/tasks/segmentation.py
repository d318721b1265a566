"""Segmentation under uncertainty: samples of raters' outlines (InfoMRI, Algorithms 2 and 3)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from infomri_core.data.base import ABSENT, SliceDataset, SliceTable
from infomri_core.models.latent import WIDTHS, LatentModel, latent_shape
from infomri_core.models.latent_blocks import standard_normal
from infomri_core.models.settings import Model
from infomri_core.randomness.draws import Randomness, normal
from infomri_core.summaries.cohorts import Limits
from infomri_core.summaries.groups import SLOTS
from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.overlap import (
    BANDS,
    COLUMNS,
    N_BINS,
    OverlapSummary,
)
from infomri_core.summaries.summary import Summary
from infomri_core.system.plain import is_plain
from infomri_core.tasks.figures import Figure, Figures
from infomri_core.tasks.outlining.figures import FIGURES, LOSSES
from infomri_core.tasks.outlining.inspection import inspect
from infomri_core.tasks.outlining.noise import FAMILIES, bounded_sums, from_noised, reaches
from infomri_core.tasks.outlining.scores import (
    N_EVIDENCE,
    drawn_rater,
    evidence,
    features,
    log_probabilities,
    n_features,
    negative_log_likelihood,
    parts,
    threshold_logits,
    two_channels,
)
from infomri_core.tasks.outlining.training import Trained, trained
from infomri_core.tasks.task import Floats, Ints, Mismatch, Rule, Task
from infomri_core.tasks.values import Family, Inspection


@final
@dataclass(frozen=True)
class Segmentation(Task):
    """``outlines`` names those of the data that are to be found, the background is implied; where
    two overlap, the later one counts. ``kl_weight`` is what a nat of divergence weighs beside a
    nat of likelihood. ``samples`` are drawn of each slice that is scored. Without ``latent`` the
    network has the same encoder and decoder and draws nothing: its samples are thresholds of one
    probability, the cheap rival of latents.

    Targets are label maps of all raters (B, R, H, W), ``ABSENT`` where one did not look; outputs
    logits of samples (B, S, C, H, W).
    """

    outlines: tuple[str, ...]
    kl_weight: float = 1.0
    samples: int = 16
    latent: bool = True

    kind: ClassVar[str] = "segmentation"
    answer: ClassVar[str] = "segmentation"
    answer_prefix: ClassVar[str] = "value"
    summary: ClassVar[type[Summary]] = OverlapSummary
    figures: ClassVar[tuple[Figure, ...]] = FIGURES
    readable: ClassVar[bool] = False
    loss_terms: ClassVar[tuple[str, ...]] = ("nll", "kl", "image")
    loss_titles: ClassVar[Mapping[str, str]] = LOSSES
    image_terms: ClassVar[tuple[str, ...]] = ("image",)

    @classmethod
    def example(cls, dataset: SliceDataset) -> dict[str, Any]:
        return {**super().example(dataset), "outlines": list(dataset.mask_names)}

    def rules(self) -> list[Rule]:
        names, where = self.outlines, "[task] outlines"
        plain = all(0 < len(name) <= 100 and is_plain(name) for name in names)
        weight, expected = self.kl_weight, "0 < kl_weight <= 1000, 1 is the likelihood's own"
        return [
            (1 <= len(names) <= 16, where, "1 .. 16 names of outlines", names),
            (len(set(names)) == len(names) and plain, where, "distinct, plain names", names),
            (0 < weight <= 1e3, "[task] kl_weight", expected, weight),
            (2 <= self.samples <= 256, "[task] samples", "2 .. 256", self.samples),
        ]

    def model_rules(self, model: Model, private: bool) -> list[Rule]:
        widths = ", ".join(map(str, WIDTHS))
        return [
            *super().model_rules(model, private),
            (model.width in WIDTHS, "[model] width", f"one of {widths}", model.width),
            (model.norm == "group", "[model] norm", "group: the latent model has it", model.norm),
        ]

    def describe(self) -> str:
        return f"learns to outline, as samples of what raters draw: {', '.join(self.outlines)}"

    def missing(self, dataset: SliceDataset) -> Mismatch | None:
        if set(self.outlines) <= set(dataset.mask_names):
            return None
        names = ", ".join(dataset.mask_names) or "none"
        return Mismatch("outlines", ", ".join(self.outlines), names)

    def targets(self, dataset: SliceDataset, rows: np.ndarray) -> Tensor:
        drawn = dataset.ratings(rows)
        labels = torch.zeros(len(rows), drawn.shape[1], *self.shape, dtype=torch.uint8)
        for number, name in enumerate(self.outlines, 1):
            labels[drawn[:, :, dataset.mask_names.index(name)] == 1] = number
        labels[(drawn == ABSENT).any(2)] = ABSENT
        return labels

    def known(self, table: SliceTable) -> npt.NDArray[np.bool_]:
        return super().known(table) if table.outlined is None else table.outlined

    def no_targets(self, n: int) -> Tensor:
        return torch.full((n, 1, *self.shape), ABSENT, dtype=torch.uint8)

    def augment(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images.flip(-1), targets.flip(-1)

    def network(self, model: Model) -> nn.Module:
        return self.network_at(model, 0.0)

    def network_at(self, model: Model, beta: float) -> nn.Module:
        """With the image's decoder where an arm asks for images."""
        images, posterior = beta < 0, self.latent
        return LatentModel(len(self.outlines), model.width, images, posterior)

    def deployed(self, network: nn.Module) -> nn.Module:
        """Without the encoder of the posterior and the decoder of the image."""
        latent = cast(LatentModel, network)
        latent.posterior = latent.image_decoder = None
        return latent

    def output(self, network: nn.Module, measurement: Tensor, mask: Tensor) -> Tensor:
        """Samples of the prior (Algorithm 3). Their noise is the same in every call, by the
        slice's place in it: what is scored twice is scored alike."""
        shape = (len(measurement), self.samples, *latent_shape(self.shape))
        return self.sampled(network, measurement, standard_normal(shape, 0, measurement.device))

    def sampled(self, network: nn.Module, measurement: Tensor, noise: Tensor) -> Tensor:
        """Logits (B, S, C, H, W) of the samples that ``noise`` (B, S, Z, h, w) makes."""
        latent = cast(LatentModel, network)
        prior = latent.given(two_channels(measurement))
        if not self.latent:
            mean = latent.segmented(prior.mean[:, None], self.shape)
            return threshold_logits(mean, noise.shape[1])
        return latent.segmented(prior.sample(noise), self.shape)

    @property
    def outline_names(self) -> tuple[str, ...]:
        return self.outlines

    def outlined(
        self, network: nn.Module, measurement: Tensor, n: int, generator: Randomness
    ) -> Tensor:
        shape = (len(measurement), n, *latent_shape(self.shape))
        noise = normal(generator, shape, measurement.device)
        return log_probabilities(self.sampled(network, measurement, noise)).exp()

    def n_drawn(self, network: nn.Module) -> int:
        """Of the rater, and of the posterior's sample."""
        return 1 + math.prod(latent_shape(self.shape))

    def training_output(
        self,
        network: nn.Module,
        measurement: Tensor,
        mask: Tensor,
        images: Tensor | None,
        targets: Tensor,
        drawn: Tensor,
    ) -> Trained:
        """Algorithm 2: one rater of those who looked, drawn uniformly, and one sample of the
        posterior, which sees what he outlined."""
        labels = drawn_rater(targets, drawn[:, 0])
        noise = drawn[:, 1:] if self.latent else None
        return trained(cast(LatentModel, network), measurement, images, labels, noise)

    def inspect(
        self, network: nn.Module, measurement: Tensor, mask: Tensor, targets: Tensor
    ) -> Inspection:
        latent = cast(LatentModel, network)
        return inspect(latent, measurement, targets, self.samples, self.latent)

    def losses(self, output: Any, targets: Tensor) -> dict[str, Tensor]:
        """In nats a slice: of the rater's outline given the sample, of the posterior from the
        prior, and of the image (InfoMRI, Eq. 42, with the half and the constant it leaves out).
        Without an image decoder the last is zero."""
        nll = negative_log_likelihood(output.logits[:, 0], output.labels)
        return {"nll": nll, "kl": output.kl, "image": output.image}

    def weights(self) -> Mapping[str, float]:
        return {"nll": 1.0, "kl": self.kl_weight, "image": 1.0}

    def log_likelihood(self, output: Tensor, targets: Tensor) -> Tensor:
        """Of a mean over the samples, averaged over the raters."""
        each = torch.stack(
            [
                -negative_log_likelihood(
                    output, labels[:, None].expand(-1, output.shape[1], -1, -1)
                )
                for labels in targets.unbind(1)
            ],
            dim=1,
        )
        found = each.logsumexp(2) - math.log(output.shape[1])
        present = (targets.flatten(2)[..., 0] != ABSENT).to(found)
        return (found * present).sum(1) / present.sum(1).clamp(min=1)

    def answers(self, output: Tensor) -> Tensor:
        """Which share of the slice each outline fills."""
        return log_probabilities(output).exp().mean(1)[:, 1:].mean((-2, -1))

    @property
    def answer_names(self) -> tuple[str, ...]:
        return tuple(f"area of {name}" for name in self.outlines)

    @property
    def n_answers(self) -> int:
        return n_features(len(self.outlines))

    def disclosed(self, output: Tensor) -> Tensor:
        """A segmentation is a picture of the patient: where it lies, on a grid."""
        return features(output)

    @property
    def n_evidence(self) -> int:
        return N_EVIDENCE

    def evidence(self, output: Tensor, targets: Tensor) -> Tensor:
        return evidence(output, targets, len(self.outlines))

    def summarise(self, evidence: Floats, slots: Ints) -> OverlapSummary:
        known, columns, bins = parts(evidence)
        found = OverlapSummary.empty(SLOTS)
        np.add.at(found.overlap, slots, columns)
        np.add.at(found.bins, slots, bins)
        np.add.at(found.weight, slots, known)
        np.add.at(found.slices, slots, 1)
        return found

    def summary_shapes(self) -> dict[str, tuple[int, ...]]:
        bins = (len(BANDS), N_BINS, 3)
        return {"overlap": (len(COLUMNS),), "bins": bins, "weight": (), "slices": ()}

    def released(
        self, found: OverlapSummary, table: SliceTable, slots: Ints, limits: Limits
    ) -> OverlapSummary:
        """In groups whose patients with an outlined slice are the cohort, each mean to five
        decimals. No one else is in any figure."""
        return found.released(table.patients, slots, self.known(table), limits.cohort)

    def estimates(self, found: OverlapSummary) -> Figures:
        return found.estimates()

    def difference(self, first: OverlapSummary, second: OverlapSummary) -> Estimate:
        return first.difference(second)

    def families(self) -> dict[str, Family]:
        return FAMILIES

    @property
    def reference_shape(self) -> tuple[int, ...]:
        return (2, 2)

    def reference(self, evidence: Floats | None) -> Floats:
        """Of agreement and Dice the mean and how far it reaches; what lies beyond is clipped."""
        return reaches(evidence)

    def is_reference(self, given: Floats) -> bool:
        return bool((given[..., 1] > 0).all())

    def bounded(self, evidence: Floats, mass: Ints, reference: Floats) -> dict[str, Ints]:
        return bounded_sums(evidence, mass, reference)

    def noised_estimates(
        self,
        sums: Mapping[str, Floats],
        variance: Mapping[str, float],
        cell: int,
        n_patients: tuple[float, float],
        reference: Floats,
    ) -> Figures:
        return from_noised(sums, variance, cell, reference)
