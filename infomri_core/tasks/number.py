"""A number a slice: what every task has in common that predicts one share in [0, 1].

Only what the number is, and where it comes from, is left to a task's own file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from infomri_core.data.base import SliceTable
from infomri_core.models.resnet import ResNet18
from infomri_core.models.settings import Model
from infomri_core.summaries.cohorts import Limits, joined_groups
from infomri_core.summaries.groups import SLOTS, pooled
from infomri_core.summaries.jackknife import Estimate, estimate
from infomri_core.summaries.metrics import MAX_COUNT
from infomri_core.summaries.noised_histogram import bounded
from infomri_core.summaries.summary import Summary
from infomri_core.tasks.figures import Figure, Figures
from infomri_core.tasks.task import Floats, Ints, Rule, Task
from infomri_core.tasks.values import Family

MOMENTS = 4
_REACH, _LEAST, _CLEAR, _Z = 3.0, 1e-4, 2.0, 1.959963984540054


@final
@dataclass(frozen=True)
class NumberSummary:
    """Errors e and true values t over groups of slices: ``sums`` (G, 4) of |e|, e^2, t and t^2,
    ``weight`` (G,) slices."""

    sums: Floats
    weight: Ints

    def merge(self, other: Self) -> Self:
        """Both sites' groups, one after the other."""
        parts = zip(self.to_arrays().values(), other.to_arrays().values())
        return type(self)(*(np.concatenate(pair) for pair in parts))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"sums": self.sums, "weight": self.weight}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read the message form; ``ValueError`` when it is not one: all are shares."""
        if set(arrays) != {"sums", "weight"}:
            raise ValueError("expected sums and weight")
        sums, weight = arrays["sums"], arrays["weight"]
        if sums.dtype != np.float64 or weight.dtype != np.int64 or weight.ndim != 1:
            raise ValueError("expected sums of float64 and weight (G,) of int64")
        if not len(weight) or sums.shape != (len(weight), MOMENTS):
            raise ValueError(f"sums: expected ({len(weight)}, {MOMENTS}), got {sums.shape}")
        if weight.min() < 0 or weight.max() > MAX_COUNT:
            raise ValueError("numbers of slices beyond any data set")
        if not ((sums >= 0) & (sums <= weight[:, None] + 1e-6)).all():
            raise ValueError("errors and values must lie in [0, 1]")
        return cls(sums, weight)

    def estimates(self) -> dict[str, Estimate]:
        """R^2 = 1 - mean e^2 / variance of t, and the mean of |e|, with their intervals."""
        total, n = self.sums.sum(0), self.weight.sum()
        if n < 1:
            return {}
        without = self._left_out()
        mae = estimate(float(total[0] / n), without[:, 0], self.weight)
        value = float(_r2(total / n))
        if not math.isfinite(value):
            return {"mae": mae}
        return {"r2": estimate(value, _r2(without), self.weight), "mae": mae}

    def difference(self, other: Self) -> Estimate:
        """The other's R^2 less this one's, both without the same group at once."""
        n = self.weight.sum()
        if not np.array_equal(self.weight, other.weight) or n < 1:
            return Estimate(None)
        value = float(_r2(other.sums.sum(0) / n) - _r2(self.sums.sum(0) / n))
        if not math.isfinite(value):
            return Estimate(None)
        left_out = _r2(other._left_out()) - _r2(self._left_out())
        return estimate(value, left_out, self.weight)

    def _left_out(self) -> Floats:
        """The means (G, 4) without each group; NaN where nothing is left."""
        rest, left = self.sums.sum(0) - self.sums, self.weight.sum() - self.weight
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            means: Floats = rest / left[:, None]
        return means


@dataclass(frozen=True)
class Number(Task):
    """Predicts one number in [0, 1] for each slice by least squares. Outputs (B, 1) and targets
    (B, 1) are in units of ``scale``, a value that is large for it."""

    scale: float = field(default=0.1, kw_only=True)

    loss_terms: ClassVar[tuple[str, ...]] = ("mse",)
    loss_titles: ClassVar[Mapping[str, str]] = {"mse": "squared error"}
    answer: ClassVar[str] = "estimate"
    answer_prefix: ClassVar[str] = "value"
    summary: ClassVar[type[Summary]] = NumberSummary
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure(
            *("r2", "R²", "1 is perfect, 0 is answering the mean", "higher is better measured"),
            least=None,
            chance=0.0,
        ),
        Figure(
            *("mae", "mean error", "as the number itself", "lower is better measured"),
            digits=4,
            higher=False,
        ),
    )

    def rules(self) -> list[Rule]:
        return [(0 < self.scale <= 1, "[task] scale", "0 < scale <= 1", self.scale)]

    def no_targets(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def network(self, model: Model) -> nn.Module:
        return ResNet18(2, 1, self.shape, model.width, model.norm)

    def losses(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"mse": (output - targets).square().mean(-1)}

    def log_likelihood(self, output: Tensor, targets: Tensor) -> Tensor:
        """Of a Gaussian about the output whose standard deviation is ``scale``."""
        return -0.5 * (output - targets).square().sum(-1)

    def answers(self, output: Tensor) -> Tensor:
        """The number itself."""
        return output * self.scale

    def disclosed(self, output: Tensor) -> Tensor:
        return output

    @property
    def n_evidence(self) -> int:
        return 2

    def evidence(self, output: Tensor, targets: Tensor) -> Tensor:
        """The number found and the true one (B, 2), both in [0, 1]; NaN counts as zero."""
        found = torch.nan_to_num(output * self.scale, nan=0.0)
        return torch.cat((found, targets.to(found) * self.scale), dim=1).clamp(0, 1)

    def summarise(self, evidence: Floats, slots: Ints) -> NumberSummary:
        error, truth = np.abs(evidence[:, 0] - evidence[:, 1]), evidence[:, 1]
        sums = np.zeros((SLOTS, MOMENTS))
        np.add.at(sums, slots, np.stack((error, error**2, truth, truth**2), axis=1))
        return NumberSummary(sums, np.bincount(slots, minlength=SLOTS))

    def summary_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"sums": (MOMENTS,), "weight": ()}

    def released(
        self, found: NumberSummary, table: SliceTable, slots: Ints, limits: Limits
    ) -> NumberSummary:
        """In groups of the cohort, each mean to five decimals."""
        target = joined_groups(table.patients, slots, found.weight, limits)
        sums, weight = pooled(found.sums, target), pooled(found.weight, target)
        means = (sums / np.maximum(weight, 1)[:, None]).round(5)
        return NumberSummary.from_arrays({"sums": means * weight[:, None], "weight": weight})

    def estimates(self, found: NumberSummary) -> Figures:
        return found.estimates()

    def difference(self, first: NumberSummary, second: NumberSummary) -> Estimate:
        return first.difference(second)

    def families(self) -> dict[str, Family]:
        """Of errors in units of the reference |e| and e^2, of true values the deviation and its
        square: each at most one for a patient."""
        return {"errors": Family((2,), 2, 0.4), "values": Family((2,), 2, 0.29)}

    @property
    def reference_shape(self) -> tuple[int, ...]:
        return (3,)

    def reference(self, evidence: Floats | None) -> Floats:
        """The mean true value, and how far true values and errors reach: three standard
        deviations. What lies beyond is clipped."""
        if evidence is None or not len(evidence):
            return np.array([0.0, self.scale, self.scale])
        truth, error = evidence[:, 1], evidence[:, 0] - evidence[:, 1]
        reach = _REACH * np.array([truth.std(), np.sqrt((error**2).mean())])
        return np.array([truth.mean(), *np.maximum(reach, _LEAST)])

    def is_reference(self, given: Floats) -> bool:
        return bool((given[..., 1:] > 0).all())

    def bounded(self, evidence: Floats, mass: Ints, reference: Floats) -> dict[str, Ints]:
        middle, reach, reach_of_errors = reference
        error = (np.abs(evidence[:, 0] - evidence[:, 1]) / reach_of_errors).clip(0, 1)
        value = ((evidence[:, 1] - middle) / reach).clip(-1, 1)
        parts = {"errors": (error, error**2), "values": (value, value**2)}
        return {
            name: np.array([np.fix(mass * x).astype(np.int64).sum() for x in both], np.int64)
            for name, both in parts.items()
        }

    def noised_estimates(
        self,
        sums: Mapping[str, Floats],
        variance: Mapping[str, float],
        cell: int,
        n_patients: tuple[float, float],
        reference: Floats,
    ) -> Figures:
        """A patient is one observation, whose spread the squares of its slices bound. The interval
        of R^2 takes errors and true values for normal and independent."""
        n, of_count = n_patients
        (error, square), (middle, spread) = (sums[k][cell] / n for k in ("errors", "values"))
        noise, of_values = (variance[k] / n**2 for k in ("errors", "values"))
        by_patients = max(0.0, square - error**2) / n
        reach = math.sqrt(by_patients + noise + error**2 * of_count / n**2)
        unit, unit_of_values = reference[2], reference[1]
        found = {"mae": bounded(float(error * unit), reach * unit, 0.0, 1.0)}
        ratio, relative = square, spread - middle**2
        if relative <= _CLEAR * math.sqrt(of_values * (1 + 4 * middle**2)) or ratio <= 0:
            return found
        share = ratio * unit**2 / (relative * unit_of_values**2)
        by_noise = noise / ratio**2 + of_values * (1 + 4 * middle**2) / relative**2
        factor = math.exp(min(50.0, _Z * math.sqrt(4 / n + by_noise)))
        value, low, high = (float(1 - share * f) for f in (1.0, factor, 1 / factor))
        return {"r2": Estimate(value, low, high), **found}


def _r2(means: Floats) -> Floats:
    """R^2 of means (..., 4) of |e|, e^2, t, t^2; NaN where the true values do not differ."""
    spread = means[..., 3] - means[..., 2] ** 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result: Floats = np.where(spread > 1e-12, 1 - means[..., 1] / spread, np.nan)
    return result
