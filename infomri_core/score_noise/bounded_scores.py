"""Scores summed so that one patient counts for no more than one: what noise can then hide.

All figures are integers, ``UNIT`` being one patient. A patient's slices share that weight, and a
patient's image quality over all arms, accelerations and attacks is one vector, clipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from infomri_core.data.base import SliceTable
from infomri_core.messages import EvaluateTask
from infomri_core.physics.images import MAX_PSNR
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import Cell, Form, Ints, form_of
from infomri_core.summaries.metrics import METRICS
from infomri_core.system.errors import Refused
from infomri_core.tasks.task import UNIT

_PSNR = METRICS.index("psnr")
Floats = npt.NDArray[np.float64]


@final
@dataclass
class BoundedScores:
    """The sums of one reply, cell by cell. ``patients`` (n,) are those of the scored slices. From
    the study centre's own patients come the task's ``reference`` (C, ...) and ``expected``
    (attacked cells x attacks + floors,): PSNR in dB about which a patient's figures are clipped,
    to a root mean square of ``clip_db``."""

    form: Form
    patients: npt.NDArray[Any]
    reference: Floats
    expected: Floats
    clip_db: float
    _task: dict[Cell, dict[str, Ints]] = field(default_factory=dict)
    _psnr: dict[Cell, dict[str, Floats]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._owner = np.unique(self.patients, return_inverse=True)[1].reshape(-1)
        self._n = int(self._owner.max()) + 1 if len(self._owner) else 0
        self._mass = UNIT // np.bincount(self._owner, minlength=1)[self._owner]

    def add(
        self,
        cell: Cell,
        evidence: Floats,
        attacked: Ints,
        quality: Mapping[str, npt.NDArray[np.floating[Any]]],
    ) -> None:
        """The task's evidence (n, F) of all slices in one cell, and the figures (k, 4) of what
        each attack rebuilt of the ``attacked`` slices (k,)."""
        reference = self.reference[self.form.scored.index(cell)]
        self._task[cell] = self.form.task.bounded(evidence, self._mass, reference)
        self._psnr[cell] = {
            name: self._by_patient(attacked, np.asarray(figures, np.float64)[:, _PSNR])
            for name, figures in quality.items()
        }

    def sums(self) -> dict[str, Ints]:
        """The vector of the reply, by family, without noise."""
        parts = {
            name: np.stack([self._task[cell][name] for cell in self.form.scored])
            for name in self.form.task.families()
        }
        parts["counts"] = np.array([self._n * UNIT, 0], np.int64)
        if self.form.n_quality:
            parts |= self._quality(parts["counts"])
        return parts

    def _by_patient(self, rows: Ints, values: Floats) -> Floats:
        """Each patient's mean (n_patients,); NaN for one without a figure."""
        owner, finite = self._owner[rows], np.isfinite(values)
        count = np.bincount(owner[finite], minlength=self._n)
        total = np.bincount(owner[finite], values[finite].clip(-MAX_PSNR, MAX_PSNR), self._n)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _quality(self, counts: Ints) -> dict[str, Ints]:
        form, nothing = self.form, np.full(self._n, np.nan)
        found = [self._psnr[c].get(name, nothing) for c in form.cells for name in form.attacks]
        found += [self._psnr[form.cells[0]].get(name, nothing) for name in form.floors]
        deviation = np.nan_to_num(np.stack(found, axis=1) - self.expected)
        vectors = deviation / (self.clip_db * np.sqrt(form.n_quality))
        norm = np.sqrt((vectors**2).sum(1))
        vectors /= np.maximum(1.0, norm)[:, None]
        counts[1] = int((norm > 1).sum()) * UNIT
        whole = np.fix(vectors * (UNIT - 1)).astype(np.int64)
        spread = (vectors[:, : len(found) - len(form.floors)] ** 2).sum(1)
        return {
            "quality": whole.sum(0),
            "spread": np.array([np.fix(spread.clip(0, 1) * UNIT).astype(np.int64).sum()]),
        }


def bounded_scores(plan: Plan, task: EvaluateTask, table: SliceTable) -> BoundedScores:
    """Empty sums of the form that ``task`` asks for, of the scored slices ``table``. Raises
    ``Refused("bad-task")`` where its reference or expected PSNRs do not fit."""
    form = form_of(plan, task.arms, task.attacks)
    check_middles(form, task)
    rules = (task.reference, task.expected, plan.evaluation.clip_db)
    return BoundedScores(form, table.patients, *rules)


def check_middles(form: Form, task: EvaluateTask) -> None:
    """Raise ``Refused("bad-task")`` unless the task's reference is one, and the PSNRs that it
    expects lie in 0 .. 50 dB, both of the size of ``form``."""
    given, expected = task.reference, task.expected
    if given.shape != form.reference_shape or given.dtype != np.float64:
        sentence = f"the task must have a reference of {form.reference_shape}, float64"
        raise Refused("bad-task", sentence)
    if not (np.isfinite(given).all() and form.task.is_reference(given)):
        raise Refused("bad-task", "the task's reference must be finite and in order")
    fits = expected.shape == (form.n_quality,) and expected.dtype == np.float64
    if not fits or not ((expected >= 0) & (expected <= MAX_PSNR)).all():
        sentence = f"the task must expect {form.n_quality} PSNRs in 0 .. {MAX_PSNR:g} dB"
        raise Refused("bad-task", sentence)
