"""Scoring one arm at one acceleration: how well it does its task, and what attackers rebuild.

What a network gives is scored whatever it is: values that are not finite are put at the ends of
their range, or where they say nothing. An error instead would tell the study centre, which chose
the weights, that one patient's image made them overflow.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.attacks.linkage import Gallery, link
from infomri_core.attacks.registry import FLOORS
from infomri_core.audit.adversaries import DIAGNOSES, Adversaries
from infomri_core.audit.full_image_classifier import FULL_IMAGE
from infomri_core.data.base import SliceTable
from infomri_core.messages import Scores
from infomri_core.physics.images import image_metrics
from infomri_core.plan.plan import Arm, Plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.results.arm_names import alone_name
from infomri_core.score_noise.bounded_scores import BoundedScores
from infomri_core.site.worst_patient import WorstPatients
from infomri_core.summaries.linkage_summary import LinkageSummary
from infomri_core.summaries.metrics import ImageQuality
from infomri_core.system.errors import Cancelled
from infomri_core.training.fit import Fetch

BATCH = 64


@dataclass(frozen=True)
class Scoring:
    """What every arm of a study is scored on, and by whom.

    Args:
        table: The n slices that are scored.
        fetch: Gives images (k, H, W) and the task's targets (k, ...) for row numbers of ``table``.
        slots: (n,), their patients' groups.
        stream: Seeds masks and noise.
        cancelled: Asked between two batches.
        worst: Takes what must not be in the scores: single patients' figures.
        alone: The arms are those that the site trained by itself.
    """

    plan: Plan
    table: SliceTable
    fetch: Fetch
    adversaries: Adversaries
    slots: np.ndarray
    stream: tuple[str | int, ...]
    cancelled: Callable[[], bool] = lambda: False
    worst: WorstPatients | None = None
    alone: bool = False

    def score(self, model: SampledModel, arm: Arm, acceleration: float) -> Scores:
        """The task's summary over all rows, and the quality of each attack's images over at most
        ``attack_slices`` rows a patient.

        Each slice is measured once, with a mask and noise of its own; attacks see the very
        measurement that the network saw, and so does who holds candidate scans.
        """
        return self.look(model, arm, acceleration).scores(model.noise_std)

    def score_into(
        self, bounded: BoundedScores, model: SampledModel, arm: Arm, acceleration: float
    ) -> None:
        """The same, added to what is to leave under noise: without linkage and readers, whose
        figures of one patient depend on others or say the same again."""
        seen = self.look(model, arm, acceleration)
        bounded.add(seen.cell, seen.all_evidence(), seen.attacked, seen.figures())

    @torch.no_grad()
    def look(self, model: SampledModel, arm: Arm, acceleration: float) -> "Seen":
        """What that scoring sees, before it is summed."""
        model.eval()
        name = alone_name(arm.name) if self.alone else arm.name
        seen = Seen(self, Gallery.of(self.table.patients), (name, acceleration))
        generator: torch.Generator | None = None
        for start in range(0, len(self.table), BATCH):
            if self.cancelled():
                raise Cancelled
            rows = np.arange(start, min(start + BATCH, len(self.table)))
            images, targets = self.fetch(rows)
            generator = generator or torch_generator(
                *self.stream, "evaluate", arm.seed, acceleration, device=images.device
            )
            found = model.acquire(images, 1 / acceleration, generator)
            output = model.output(found.y, found.mask)
            seen.evidence.append(model.task.evidence(output, targets).cpu())
            seen.add(rows, images, targets, found.y, found.mask, output)
        return seen


@dataclass
class Seen:
    """What one arm at one acceleration has shown so far."""

    scoring: Scoring
    gallery: Gallery
    cell: tuple[str, float]
    evidence: list[Tensor] = field(default_factory=list)
    matched: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    quality: dict[str, list[Tensor]] = field(default_factory=dict)
    read: dict[str, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plan, table = self.scoring.plan, self.scoring.table
        self.attacked = attacked_rows(table.patients, plan.evaluation.attack_slices)

    def add(
        self,
        rows: np.ndarray,
        images: Tensor,
        targets: Tensor,
        measurement: Tensor,
        masks: Tensor,
        output: Tensor,
    ) -> None:
        linked = torch.from_numpy(np.isin(rows, self.gallery.measured)).to(images.device)
        self.matched.append((measurement[linked], masks[linked]))
        chosen = torch.from_numpy(np.isin(rows, self.attacked)).to(images.device)
        if not chosen.any():
            return
        truth, adversaries = images[chosen], self.scoring.adversaries
        disclosed = self.scoring.plan.task.disclosed(output[chosen])
        found = adversaries.reconstruct(self.cell, measurement[chosen], masks[chosen], disclosed)
        rebuilt = {name: finite_images(given) for name, given in found.items()}
        for name, given in rebuilt.items():
            self.quality.setdefault(name, []).append(image_metrics(given, truth).cpu())
        if adversaries.reader is not None:
            task = self.scoring.plan.task
            for name, given in {FULL_IMAGE: truth, **rebuilt}.items():
                if name not in (*FLOORS, *DIAGNOSES):
                    read = task.evidence(adversaries.reader.output(given), targets[chosen])
                    self.read.setdefault(name, []).append(read.cpu())

    def all_evidence(self) -> np.ndarray:
        """The task's evidence (n, F) of all slices."""
        nothing = torch.zeros(0, self.scoring.plan.task.n_evidence)
        return _stack([nothing, *self.evidence])

    def figures(self) -> dict[str, np.ndarray]:
        """The figures (k, 4) of each attack; who was rebuilt best goes to ``worst``."""
        quality = self._whole(self.quality)
        if self.scoring.worst is not None:
            patients = self.scoring.table.patients[self.attacked]
            self.scoring.worst.add(self.cell, patients, quality)
        return quality

    def scores(self, noise_std: float) -> Scores:
        slots, task, quality = self.scoring.slots, self.scoring.plan.task, self.figures()
        of_attacked = slots[self.attacked]
        return Scores(
            task.summarise(self.all_evidence(), slots),
            {n: ImageQuality.from_images(v, of_attacked) for n, v in quality.items()},
            self._linkage(noise_std),
            {n: task.summarise(v, of_attacked) for n, v in self._whole(self.read).items()},
        )

    def _whole(self, found: Mapping[str, list[Tensor]]) -> dict[str, np.ndarray]:
        """The figures of those that did not break down on the way."""
        failed = self.scoring.adversaries.failed
        return {name: _stack(parts) for name, parts in found.items() if name not in failed}

    def _linkage(self, noise_std: float) -> LinkageSummary | None:
        likeness = self.scoring.adversaries.likeness
        if likeness is None or not self.matched:
            return None
        y, masks = (torch.cat(parts) for parts in zip(*self.matched))
        slots = self.scoring.slots[self.gallery.measured]

        def images(rows: np.ndarray) -> Tensor:
            return self.scoring.fetch(rows)[0]

        return link(y, masks, self.gallery, images, noise_std, likeness, slots)


def score_cells(
    scoring: Scoring,
    models: Iterable[tuple[str, SampledModel]],
    bounded: BoundedScores | None,
    alone: Iterable[tuple[str, SampledModel]] = (),
) -> tuple[dict[tuple[str, float], Scores], Mapping[str, np.ndarray]]:
    """Scores of each arm at each acceleration, or where they go into ``bounded`` its sums; of the
    models that were trained here ``alone`` only how well they do their task: no one attacks
    them."""
    scores, plan = {}, scoring.plan
    unattacked = replace(scoring, adversaries=Adversaries(), worst=None, alone=True)
    federated = ((scoring, *named) for named in models)
    for by, name, model in chain(federated, ((unattacked, *named) for named in alone)):
        for acceleration in plan.measurement.accelerations:
            if bounded is not None:
                by.score_into(bounded, model, plan.arm(name), acceleration)
                continue
            cell = (alone_name(name) if by.alone else name, acceleration)
            scores[cell] = by.score(model, plan.arm(name), acceleration)
    return scores, {} if bounded is None else bounded.sums()


def scored_rows(plan: Plan, table: SliceTable) -> np.ndarray:
    """Row numbers of the validation slices that ``plan`` has scored."""
    keep = table.split == "val"
    if plan.evaluation.position_band is not None:
        low, high = plan.evaluation.position_band
        keep = keep & (table.position >= low) & (table.position <= high)
    return np.flatnonzero(keep)


def finite_images(images: Tensor) -> Tensor:
    """``images`` (B, H, W) with values in float range: NaN is black, infinities are the ends of
    [0, 1], to which every figure clips them."""
    return torch.nan_to_num(images, nan=0.0, posinf=1.0, neginf=0.0)


def attacked_rows(patients: np.ndarray, n_slices: int) -> np.ndarray:
    """Row numbers, ascending, of at most ``n_slices`` evenly spaced slices of each patient."""
    chosen = []
    for patient in np.unique(patients):
        rows = np.flatnonzero(patients == patient)
        spread = np.linspace(0, len(rows) - 1, min(n_slices, len(rows))).round().astype(int)
        chosen.append(rows[np.unique(spread)])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def _stack(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).double().numpy() if parts else np.zeros((0, 0))
