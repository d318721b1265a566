"""The noise of what a site says of its scored patients: one joint vector, one Gaussian mechanism.

A histogram is a list of single slices' scores, and chosen weights can write into a score which
slice it is and what it shows. So every figure of a reply is a sum over patients, each of whom
moves it by a bounded amount, and all of them leave together under discrete Gaussian noise.

Guarantee: let one patient's slices contribute nothing, all else of the site's data in its place.
Every block of the vector then changes by at most ``UNIT`` in the Euclidean norm, whatever weights
and attacks the study centre chose; block b of family f has noise of standard deviation
``z UNIT sqrt(n_f / share_f)``, so that the whole reply is one Gaussian mechanism of noise
multiplier z (Canonne, Kamath and Steinke 2020, for integers), and its epsilon is the plan's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod, sqrt
from typing import final

import numpy as np
import numpy.typing as npt

from infomri_core.attacks.registry import FLOORS
from infomri_core.audit.adversaries import DIAGNOSES
from infomri_core.dp.accounting import Mechanism, epsilon
from infomri_core.plan.adversary_knowledge import base_name
from infomri_core.plan.alone import alone_arms
from infomri_core.plan.plan import Plan
from infomri_core.randomness.secret_stream import SecretStream, discrete_gaussian
from infomri_core.results.arm_names import alone_name
from infomri_core.tasks.task import UNIT, Task

Ints = npt.NDArray[np.int64]
Cell = tuple[str, float]

SHARES = {"quality": 0.25, "spread": 0.03, "counts": 0.03}
"""What part of the privacy loss each family of figures may cost besides the task's own."""


@final
@dataclass(frozen=True)
class Form:
    """Which figures a reply has: the task's in every cell; ``attacks`` and the diagnoses rebuild
    in ``cells``, ``floors`` use no measurement and stand in the vector once. ``alone``: cells of
    arms that each site trained by itself, which no one attacks."""

    cells: tuple[Cell, ...]
    task: Task
    attacks: tuple[str, ...] = ()
    floors: tuple[str, ...] = ()
    alone: tuple[Cell, ...] = ()

    @property
    def scored(self) -> tuple[Cell, ...]:
        """All cells, in the order of the task's sums."""
        return self.cells + self.alone

    @property
    def n_quality(self) -> int:
        """Figures of image quality of one patient."""
        return len(self.cells) * len(self.attacks) + len(self.floors)

    @property
    def reference_shape(self) -> tuple[int, ...]:
        """Of what the task's sums are bounded by: (C, ...)."""
        return len(self.scored), *self.task.reference_shape

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The arrays of the vector by family: the task's (C, ...) of all cells, quality (attacked
        cells x attacks + floors,), spread (1,), counts (2,): patients, and patients clipped."""
        n_cells, quality = len(self.scored), self.n_quality
        shapes = {name: (n_cells, *f.shape) for name, f in self.task.families().items()}
        shapes["counts"] = (2,)
        return shapes | ({"quality": (quality,), "spread": (1,)} if quality else {})

    def n_blocks(self) -> dict[str, int]:
        """How many blocks of each family one patient moves by up to ``UNIT`` each."""
        n_cells = len(self.scored)
        blocks = {name: n_cells * f.n_blocks for name, f in self.task.families().items()}
        blocks["counts"] = 2
        return blocks | ({"quality": 1, "spread": 1} if self.n_quality else {})

    def shares(self) -> dict[str, float]:
        """What part of the privacy loss each family may cost; they need not sum to one."""
        return {name: f.share for name, f in self.task.families().items()} | SHARES


def form_of(plan: Plan, arms: Iterable[str], attacks: Iterable[str]) -> Form:
    """The form of a reply to a task with these arms and attacks, in the plan's order."""
    asked, named, accelerations = set(arms), set(attacks), plan.measurement.accelerations
    names = [arm.name for arm in plan.arms if arm.name in asked]
    cells = tuple((name, a) for name in names for a in accelerations)
    alone = tuple(
        (alone_name(arm.name), a) for arm in alone_arms(plan, asked) for a in accelerations
    )
    rebuilding = {n for n in named if base_name(n) in plan.evaluation.attacks or n in DIAGNOSES}
    floors = tuple(sorted(named & set(FLOORS)))
    return Form(cells, plan.task, tuple(sorted(rebuilding)), floors, alone)


def evaluation_mechanism(plan: Plan) -> Mechanism | None:
    """What one scoring does to each scored patient; None where the plan has no noise."""
    rules = plan.evaluation
    return (noise_multiplier(rules.epsilon, rules.delta), 1.0, 1) if rules.noise else None


def evaluation_noise(plan: Plan) -> dict[str, float] | None:
    """What a reader is told of it: epsilon, delta, and the noise multiplier; None where the plan
    has switched it off."""
    mechanism, rules = evaluation_mechanism(plan), plan.evaluation
    if mechanism is None:
        return None
    return {"epsilon": rules.epsilon, "delta": rules.delta, "noise_multiplier": mechanism[0]}


@lru_cache(maxsize=64)
def noise_multiplier(wanted: float, delta: float) -> float:
    """The least noise multiplier of one Gaussian mechanism with ``wanted`` epsilon at ``delta``,
    to a relative 1e-6, by the project's accountant; a plan's limits keep it in 0.01 .. 10^4."""
    low, high = 1e-2, 1e4
    while high / low > 1 + 1e-6:
        middle = sqrt(low * high)
        if epsilon([(middle, 1.0, 1)], delta) > wanted:
            low = middle
        else:
            high = middle
    return high


def noise_std(form: Form, multiplier: float) -> dict[str, float]:
    """Standard deviation of the noise of each number, by family, in units of 1 / ``UNIT``."""
    blocks, shares = form.n_blocks(), form.shares()
    whole = sum(shares[family] for family in blocks)
    return {
        family: multiplier * UNIT * sqrt(n * whole / shares[family])
        for family, n in blocks.items()
    }


def noised(
    sums: Mapping[str, Ints], form: Form, multiplier: float, stream: SecretStream
) -> dict[str, Ints]:
    """``sums`` with the noise of ``stream``; the families in a fixed order, so that the same
    stream gives the same numbers."""
    deviations = noise_std(form, multiplier)
    return {
        family: sums[family] + discrete_gaussian(stream, deviations[family], shape)
        for family, shape in form.shapes().items()
    }


def n_numbers(form: Form) -> int:
    """How many numbers a reply of this form has."""
    return sum(prod(shape) for shape in form.shapes().values())
