"""Classification: which findings a slice shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.models.resnet import ResNet18
from infomri_core.models.settings import Model
from infomri_core.summaries.cohorts import (
    Findings,
    Limits,
    count_classes,
    count_findings,
    count_groups,
)
from infomri_core.summaries.groups import SLOTS, coarser
from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.metrics import LOGIT_LIMIT, ScoreHistogram, log_odds
from infomri_core.summaries.metrics import N_BINS as FINE_BINS
from infomri_core.summaries.noised_histogram import auroc_under_noise
from infomri_core.summaries.summary import Summary
from infomri_core.system.plain import is_plain
from infomri_core.tasks.figures import Figure, Figures
from infomri_core.tasks.task import Floats, Ints, Mismatch, Rule, Task
from infomri_core.tasks.values import Classes, Family

EDGES = (-3.0, -1.2, 0.0, 1.2, 3.0)
"""Between the bins of a score under noise, in the logit, where nothing is known of the scores."""
N_BINS = len(EDGES) + 1

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
    answer_prefix: ClassVar[str] = "p"
    summary: ClassVar[type[Summary]] = ScoreHistogram
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure(*("auroc", "AUROC", "0.5 is guessing", "higher is a better diagnosis"), chance=0.5),
        Figure(
            *("accuracy", "accuracy", "share of answers", "higher is a better diagnosis"),
            interval=False,
        ),
    )
    loss_terms: ClassVar[tuple[str, ...]] = ("ce",)
    loss_titles: ClassVar[Mapping[str, str]] = {"ce": "cross-entropy (nats per sample)"}

    @classmethod
    def example(cls, dataset: SliceDataset) -> dict[str, Any]:
        names, exclusive = dataset.table.label_names, dataset.table.exclusive
        return {**super().example(dataset), "labels": list(names), "exclusive": exclusive}

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

    def disclosed(self, output: Tensor) -> Tensor:
        """The logits: in them an image is nearer to linear than in probabilities."""
        return output

    @property
    def finding_names(self) -> tuple[str, ...]:
        return self.labels

    def findings(self, table: SliceTable) -> Findings:
        return count_findings(table.label_names, table.patients, table.labels)

    @property
    def n_evidence(self) -> int:
        return 2 * len(self.labels)

    def evidence(self, output: Tensor, targets: Tensor) -> Tensor:
        """Logits and labels (B, 2 L). NaN says nothing (0), infinities are the ends of bins."""
        limit = 2 * LOGIT_LIMIT
        scores = torch.nan_to_num(output, nan=0.0, posinf=limit, neginf=-limit)
        return torch.cat((scores, targets.to(scores)), dim=1)

    def summarise(self, evidence: Floats, slots: Ints) -> ScoreHistogram:
        scores, truth = self._split(evidence)
        return ScoreHistogram.from_scores(scores, truth, slots, self.exclusive)

    def summary_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"counts": (len(self.labels), 2, FINE_BINS), "correct": (), "total": ()}

    def released(
        self, found: ScoreHistogram, table: SliceTable, slots: Ints, limits: Limits
    ) -> ScoreHistogram:
        """In groups that have the class cohort with and without each finding; a finding that has
        it not even at the whole site leaves empty."""
        behind, slices = count_groups(table.patients, slots), len(self.labels)
        classes, labels = count_classes(table.patients, slots, table.labels)
        decisions = behind.slices * (1 if self.exclusive else slices)
        if found.counts.shape != (SLOTS, slices, 2, FINE_BINS):
            raise ValueError("a histogram of another form")
        if (found.counts.sum(-1) != labels).any() or not np.array_equal(found.total, decisions):
            raise ValueError("a histogram of other slices than the groups'")
        keep = (classes.sum(0) >= limits.class_cohort).all(-1)
        counts = np.where(keep[:, None, None], found.counts, 0)
        kinds = np.column_stack((behind.patients, classes[:, keep].reshape(SLOTS, -1)))
        minimum = np.full(kinds.shape[1], limits.class_cohort)
        minimum[0] = limits.cohort
        whole = ScoreHistogram.from_arrays({**found.to_arrays(), "counts": counts})
        return whole.pooled(coarser(kinds, minimum))

    def estimates(self, found: ScoreHistogram) -> Figures:
        return {"auroc": found.auroc_estimate(), "accuracy": Estimate(found.accuracy())}

    def difference(self, first: ScoreHistogram, second: ScoreHistogram) -> Estimate:
        return first.auroc_difference(second)

    def families(self) -> dict[str, Family]:
        """Six bins a label: noise costs by the bin, and ten make an AUROC's interval a third to a
        half wider."""
        n_labels = len(self.labels)
        return {
            "scores": Family((n_labels, 2, N_BINS), n_labels, 0.65),
            "decided": Family((), 1, 0.04),
        }

    @property
    def reference_shape(self) -> tuple[int, ...]:
        return len(self.labels), N_BINS - 1

    def reference(self, evidence: Floats | None) -> Floats:
        """Edges (L, bins - 1) between equal parts of each label's scores."""
        if evidence is None:
            return np.tile(np.array(EDGES), (len(self.labels), 1))
        parts = np.arange(1, N_BINS) / N_BINS
        edges: Floats = np.quantile(self._odds(self._split(evidence)[0]), parts, axis=0).T
        return edges

    def is_reference(self, given: Floats) -> bool:
        return bool((np.diff(given) >= 0).all())

    def bounded(self, evidence: Floats, mass: Ints, reference: Floats) -> dict[str, Ints]:
        scores, truth = self._split(evidence)
        bins = (self._odds(scores)[:, :, None] > reference).sum(-1)
        n_labels = len(self.labels)
        place = (np.arange(n_labels) * 2 + truth) * N_BINS + bins
        counts = np.zeros(n_labels * 2 * N_BINS, np.int64)
        np.add.at(counts, place, np.broadcast_to(mass[:, None], place.shape))
        if self.exclusive:
            decided = (mass * (scores.argmax(1) == truth.argmax(1))).sum()
        else:
            decided = (mass * ((scores > 0) == truth).sum(1) // n_labels).sum()
        parts = {"scores": counts.reshape(n_labels, 2, N_BINS), "decided": np.int64(decided)}
        return {name: np.asarray(part, np.int64) for name, part in parts.items()}

    def noised_estimates(
        self,
        sums: Mapping[str, Floats],
        variance: Mapping[str, float],
        cell: int,
        n_patients: tuple[float, float],
        reference: Floats,
    ) -> Figures:
        right = float(np.clip(sums["decided"][cell] / n_patients[0], 0, 1))
        auroc = auroc_under_noise(sums["scores"], cell, variance["scores"])
        return {"auroc": auroc, "accuracy": Estimate(right)}

    def counted(
        self, sums: Mapping[str, Floats], variance: Mapping[str, float]
    ) -> tuple[float, float]:
        """The histograms hold each patient once an arm, acceleration and label."""
        n_blocks = len(sums["scores"]) * len(self.labels)
        held = float(sums["scores"].sum()) / n_blocks
        return held, variance["scores"] * 2 * N_BINS / n_blocks

    def _split(self, evidence: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        n = len(self.labels)
        return evidence[:, :n], evidence[:, n:] > 0

    def _odds(self, scores: Floats) -> Floats:
        """Log-odds (n, L): of a softmax z_k - logsumexp of the others."""
        return log_odds(scores) if self.exclusive else scores
