"""Reconstruction: the image itself, with the variance of each pixel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.models.settings import Model
from infomri_core.physics.calibration import (
    ause,
    binned,
    coverage,
    negative_log_likelihood,
    spearman,
)
from infomri_core.physics.images import MAX_PSNR, image_metrics
from infomri_core.reconstruction.base import HeldOut, Reconstructor
from infomri_core.reconstruction.registry import RECONSTRUCTORS, reconstructor_class
from infomri_core.summaries.cohorts import Limits, joined_groups
from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.noised_histogram import bounded
from infomri_core.summaries.posterior_summary import (
    LIMITS,
    N_BINS,
    N_NUMBERS,
    PARTS,
    PosteriorSummary,
)
from infomri_core.summaries.summary import Summary
from infomri_core.tasks.figures import IMAGE_FIGURES, Figure, Figures
from infomri_core.tasks.task import Floats, Ints, Mismatch, Rule, Task
from infomri_core.tasks.values import Curve, Family, Inspection

_PREFIX = "image_"
_LOWER, _UPPER = (np.array(ends) for ends in zip(*LIMITS.values()))
_REACH, _LEAST = 3.0, 1e-3


@final
@dataclass(frozen=True)
class Reconstruction(Task):
    """q(x | y) = N(mean, diag(exp(l))) by maximum likelihood (InfoMRI, Eq. 22 and 42).

    Targets are the images (B, H, W), outputs mean and log variance (B, 2, H, W).
    """

    kind: ClassVar[str] = "reconstruction"
    answer: ClassVar[str] = "reconstruction"
    answer_prefix: ClassVar[str] = "value"
    summary: ClassVar[type[Summary]] = PosteriorSummary
    loss_terms: ClassVar[tuple[str, ...]] = ("nll",)
    loss_titles: ClassVar[Mapping[str, str]] = {"nll": "negative log-likelihood (nats a pixel)"}
    image_terms: ClassVar[tuple[str, ...]] = ("nll",)
    figures: ClassVar[tuple[Figure, ...]] = IMAGE_FIGURES

    def rules(self) -> list[Rule]:
        return []

    def model_rules(self, model: Model, private: bool) -> list[Rule]:
        name, where = model.reconstructor, "[model] reconstructor"
        known = name in ("", *RECONSTRUCTORS)
        rules: list[Rule] = [(known, where, f"one of {', '.join(RECONSTRUCTORS)}", name)]
        if known:
            chosen = reconstructor_class(name)
            served = [n for n in RECONSTRUCTORS if reconstructor_class(n).private]
            least = f"{chosen.least} each at least, for this reconstructor"
            rules += [
                (min(self.shape) >= chosen.least, "[task] shape", least, self.shape),
                (
                    not private or chosen.private,
                    where,
                    f"one whose gradients are known sample by sample, with [privacy]: "
                    f"{', '.join(served)}",
                    name,
                ),
            ]
        plain = "zero-filled: a reconstructor must see k-space as it was measured"
        return [*rules, (model.input == "zero-filled", "[model] input", plain, model.input)]

    def describe(self) -> str:
        return "learns to rebuild the image, with the variance of each pixel"

    def missing(self, dataset: SliceDataset) -> Mismatch | None:
        return None

    def targets(self, dataset: SliceDataset, rows: np.ndarray) -> Tensor:
        return dataset.images(rows)

    def no_targets(self, n: int) -> Tensor:
        return torch.zeros(n, *self.shape)

    def augment(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images.flip(-1), targets.flip(-1)

    def network(self, model: Model) -> nn.Module:
        return reconstructor_class(model.reconstructor)(self.shape, model.width)

    def output(self, network: nn.Module, measurement: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = network(measurement, mask)
        return found

    def n_drawn(self, network: nn.Module) -> int:
        return _rebuilds(network).n_drawn

    def teaches_samplers(self, model: Model) -> bool:
        known = model.reconstructor in RECONSTRUCTORS
        return not (known and reconstructor_class(model.reconstructor).self_supervised)

    def training_output(
        self,
        network: nn.Module,
        measurement: Tensor,
        mask: Tensor,
        images: Tensor | None,
        targets: Tensor,
        drawn: Tensor,
    ) -> Tensor | HeldOut:
        return _rebuilds(network).training_output(measurement, mask, drawn)

    def losses(self, output: Tensor | HeldOut, targets: Tensor) -> dict[str, Tensor]:
        """In nats a pixel: of the image, or of what was held out of a measurement."""
        if isinstance(output, HeldOut):
            return {"nll": output.loss()}
        return {"nll": negative_log_likelihood(output[:, 0], output[:, 1], targets)}

    def log_likelihood(self, output: Tensor, targets: Tensor) -> Tensor:
        return -self.losses(output, targets)["nll"] * targets[0].numel()

    def answers(self, output: Tensor) -> Tensor:
        """The PSNR in dB that the predicted variance lets expect: the one number of an image that
        fits a table."""
        return -10 * torch.log10(output[:, 1].exp().mean((-2, -1), keepdim=True)[:, 0])

    @property
    def answer_names(self) -> tuple[str, ...]:
        return ("expected PSNR",)

    def images(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, within [0, 1], and standard deviation, (B, H, W) each."""
        return output[:, 0].clamp(0, 1), (output[:, 1] / 2).exp()

    @property
    def n_answers(self) -> int:
        """None: the answer is the image, and no image need be regressed on it."""
        return 0

    def disclosed(self, output: Tensor) -> Tensor:
        return output.new_zeros(len(output), 0)

    @property
    def n_evidence(self) -> int:
        return N_NUMBERS

    def evidence(self, output: Tensor, targets: Tensor) -> Tensor:
        """The figures of :data:`LIMITS` and what ENCE is made of, (B, 32); what is not finite
        counts as black, and as the largest variance."""
        mean = torch.nan_to_num(output[:, 0], nan=0.0, posinf=1.0, neginf=0.0).clamp(-1, 2)
        log_variance = torch.nan_to_num(output[:, 1], nan=2.0).clamp(-12, 2)
        given = (mean, log_variance, targets.to(mean))
        psnr, _, ssim, nmse = image_metrics(mean, given[2]).unbind(1)
        covered = (coverage(*given, n_std) for n_std in (1.0, 2.0))
        order = (ause(*given), spearman(*given))
        found = torch.stack(
            (psnr, ssim, nmse, negative_log_likelihood(*given), *covered, *order), dim=1
        )
        lower, upper = (torch.from_numpy(ends).to(found) for ends in (_LOWER, _UPPER))
        return torch.cat((found.clamp(lower, upper), binned(*given).flatten(1)), dim=1)

    def inspect(
        self, network: nn.Module, measurement: Tensor, mask: Tensor, targets: Tensor
    ) -> Inspection:
        """The error against the deviation that was predicted, both by bins of the latter."""
        found = self.output(network, measurement, mask)
        sums = binned(found[:, 0], found[:, 1], targets).double().mean(0)
        points = tuple(
            (math.sqrt(variance / share), math.sqrt(squared / share), share)
            for share, squared, variance in sums.tolist()
            if share > 0
        )
        names = (
            "Calibration of the variance",
            "predicted deviation",
            "RMSE where it is predicted",
        )
        return Inspection({}, (Curve(*names, points),))

    def summarise(self, evidence: Floats, slots: Ints) -> PosteriorSummary:
        return PosteriorSummary.of(evidence, slots)

    def summary_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"sums": (len(LIMITS),), "bins": (N_BINS, PARTS), "weight": ()}

    def released(
        self, found: PosteriorSummary, table: SliceTable, slots: Ints, limits: Limits
    ) -> PosteriorSummary:
        """In groups of the cohort."""
        pooled = found.released(joined_groups(table.patients, slots, found.weight, limits))
        return PosteriorSummary.from_arrays(pooled.to_arrays())

    def estimates(self, found: PosteriorSummary) -> Figures:
        return {_PREFIX + name: value for name, value in found.estimates().items()}

    def difference(self, first: PosteriorSummary, second: PosteriorSummary) -> Estimate:
        return first.difference(second)

    def families(self) -> dict[str, Family]:
        """Each figure's deviation from its reference, at most one for a patient, and PSNR's
        square. ENCE has none: 24 numbers in ratios would be noise."""
        others = len(LIMITS) - 1
        return {"psnr": Family((2,), 2, 0.35), "others": Family((others,), others, 0.34)}

    @property
    def reference_shape(self) -> tuple[int, ...]:
        return 2, len(LIMITS)

    def reference(self, evidence: Floats | None) -> Floats:
        """Means, and how far figures reach from them: three standard deviations. What lies beyond
        is clipped."""
        if evidence is None or not len(evidence):
            return np.stack(((_LOWER + _UPPER) / 2, (_UPPER - _LOWER) / 2))
        figures = evidence[:, : len(LIMITS)]
        reach = np.maximum(_REACH * figures.std(0), _LEAST * (_UPPER - _LOWER))
        return np.stack((figures.mean(0), reach))

    def is_reference(self, given: Floats) -> bool:
        return bool((given[..., 1, :] > 0).all())

    def bounded(self, evidence: Floats, mass: Ints, reference: Floats) -> dict[str, Ints]:
        middle, reach = reference
        figures = ((evidence[:, : len(LIMITS)] - middle) / reach).clip(-1, 1)
        psnr = np.stack((figures[:, 0], figures[:, 0] ** 2), axis=1)
        parts = {"psnr": psnr, "others": figures[:, 1:]}
        return {
            name: np.fix(mass[:, None] * values).astype(np.int64).sum(0)
            for name, values in parts.items()
        }

    def noised_estimates(
        self,
        sums: Mapping[str, Floats],
        variance: Mapping[str, float],
        cell: int,
        n_patients: tuple[float, float],
        reference: Floats,
    ) -> Figures:
        """A patient is one observation; PSNR's interval holds their spread and the noise."""
        n, of_count = n_patients
        middle, reach = reference
        deviation, square = sums["psnr"][cell] / n
        by_patients = max(0.0, square - deviation**2) / n
        spread = by_patients + variance["psnr"] / n**2 + deviation**2 * of_count / n**2
        psnr = float(middle[0] + reach[0] * deviation)
        found = {"psnr": bounded(psnr, float(reach[0]) * math.sqrt(spread), 0.0, MAX_PSNR)}
        others = middle[1:] + reach[1:] * (sums["others"][cell] / n).clip(-1, 1)
        found |= {name: Estimate(float(v)) for name, v in zip([*LIMITS][1:], others)}
        return {_PREFIX + name: value for name, value in found.items()}


def _rebuilds(network: nn.Module) -> Reconstructor:
    """``network``, which :meth:`Reconstruction.network` made."""
    assert isinstance(network, Reconstructor)
    return network
