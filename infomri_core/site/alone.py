"""What a site trains by itself beside the federation: the weights stay on its disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from infomri_core.arms.build import build_model, load_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.arms.weights import flatten
from infomri_core.fitting.loop import Diverged
from infomri_core.messages import EvaluateTask, TrainTask
from infomri_core.messages.wire import Arrays
from infomri_core.plan.alone import alone_arms, by_itself
from infomri_core.plan.plan import Arm, Plan
from infomri_core.results.arm_names import alone_name
from infomri_core.training.optimizer_store import OptimizerStore

_WEIGHTS = "weights"

Train = Callable[[np.ndarray, str], tuple[np.ndarray, dict[str, float]]]
"""Trains an arm's weights for the round, with the optimizer's state kept under a name."""


@final
@dataclass(frozen=True)
class AloneArms:
    """The second training of arms, kept in ``store`` beside the optimizers' state.

    It begins where the first round of the federation begins, takes as many steps on the same
    batches, and is never averaged. Weights are in no message: only scores of them leave.
    """

    store: OptimizerStore

    def train(self, plan: Plan, arm: Arm, task: TrainTask, updated: Arrays, train: Train) -> None:
        """One round of ``arm``. ``updated``: what the federated arms have come to in this round;
        in the first, at the same rates, that is the same training, and is not done twice."""
        name, digest, number = alone_name(arm.name), plan.digest, task.round
        same = plan.learning_rates == by_itself(plan).learning_rates
        if number == 1 and same and arm.name in updated:
            state = self.store.load(digest, arm.name, 1) or {}
            self.store.save(digest, name, 1, state)
            self._keep(plan, name, 1, updated[arm.name])
            return
        begun = task.arms[arm.name] if number == 1 else self._before(plan, arm, task)
        try:
            flat, _ = train(begun, name)
        except Diverged:
            flat = begun
            self.store.save(digest, name, number, {})
        self._keep(plan, name, number, flat)

    def models(
        self, plan: Plan, task: EvaluateTask, device: torch.device
    ) -> Iterator[tuple[str, SampledModel]]:
        """The models of the task's arms that were trained here, by the arms' names."""
        for arm in alone_arms(plan, task.arms):
            yield arm.name, self.model(plan, arm, task.round).to(device)

    def model(self, plan: Plan, arm: Arm, number: int) -> SampledModel:
        """The model after round ``number``; an untrained one at a site that took no part.

        Raises ``Refused("state-lost")`` where its weights were there and are lost.
        """
        name = _weights(alone_name(arm.name))
        self.store.lost(plan, [name], number)
        kept = self.store.load(plan.digest, name, number)
        if kept is None:
            return build_model(plan, arm)
        return load_model(plan, arm.name, kept[_WEIGHTS])

    def _before(self, plan: Plan, arm: Arm, task: TrainTask) -> np.ndarray:
        """The weights after the round before; fresh ones at a site that joins late."""
        name = _weights(alone_name(arm.name))
        self.store.lost(plan, [name], task.round - 1)
        kept = self.store.load(plan.digest, name, task.round - 1)
        if kept is not None:
            return kept[_WEIGHTS]
        variance = torch.from_numpy(task.variance.astype(np.float32))
        return flatten(build_model(plan, arm, variance))

    def _keep(self, plan: Plan, name: str, number: int, flat: np.ndarray) -> None:
        self.store.save(plan.digest, _weights(name), number, {_WEIGHTS: flat})


def _weights(name: str) -> str:
    return f"{name}.{_WEIGHTS}"
