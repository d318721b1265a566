"""Updates that leave in fewer bits, and what rounding cut off, kept for the next one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np

from infomri_core.messages import TrainTask
from infomri_core.messages.precision import rounded
from infomri_core.messages.wire import Arrays
from infomri_core.plan.plan import Plan
from infomri_core.training.optimizer_store import OptimizerStore

_REST = "rest"


@final
@dataclass(frozen=True)
class RoundedUpdates:
    """Error feedback (Karimireddy et al. 2019, Algorithm 1) by arms and rounds, in ``store``
    beside the optimizers' state."""

    store: OptimizerStore

    def lost(self, plan: Plan, arms: Iterable[str], number: int) -> tuple[str, ...]:
        """The arms whose optimizer state after round ``number`` is lost, or what rounding left of
        their update. Raises as :meth:`OptimizerStore.lost`."""
        lost = self.store.lost(plan, arms, number)
        if plan.aggregation.precision == "float32":
            return lost
        kept = {_kept(name): name for name in arms}
        rests = (kept[name] for name in self.store.lost(plan, kept, number))
        return tuple(dict.fromkeys([*lost, *rests]))

    def of(self, plan: Plan, task: TrainTask, trained: Arrays) -> Arrays:
        """What leaves of ``trained`` weights: these, or by how much they differ from the task's,
        rounded to the plan's ``precision``. An arm that diverged begins the next round without a
        rest."""
        if plan.aggregation.precision == "float32":
            return trained
        sent = dict[str, np.ndarray]()
        for name, begun in task.arms.items():
            rest: dict[str, np.ndarray] = {}
            if name in trained:
                before = self.store.load(plan.digest, _kept(name), task.round - 1) or {}
                update = trained[name] - begun + before.get(_REST, np.float32(0))
                sent[name] = rounded(update, plan.aggregation.precision)
                rest = {_REST: update - sent[name]}
            self.store.save(plan.digest, _kept(name), task.round, rest)
        return sent


def _kept(name: str) -> str:
    return f"{name}.{_REST}"
