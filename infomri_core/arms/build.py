"""A plan's arms as models, fresh or with their weights."""

import numpy as np
import torch
from torch import nn

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.arms.weights import state, unflatten
from infomri_core.plan.plan import Arm, Plan
from infomri_core.randomness.seeds import derive_seed, torch_generator


def build_model(plan: Plan, arm: Arm, variance: torch.Tensor | None = None) -> SampledModel:
    """A fresh model of an arm, seeded by (study seed, arm seed).

    ``variance`` (2, H, W) is what a spectral start begins from; without it the sampler starts at
    random, which is right wherever weights are loaded afterwards.
    """
    task = plan.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(plan.study.seed, "network", arm.seed))
        network = task.network_at(plan.model, arm.beta)
    generator = torch_generator(plan.study.seed, "policy", arm.seed)
    sampler = arm.options.build(plan.setting, variance, generator)
    whitened = plan.model.input == "whitened"
    whitening = whitening_weights(plan, variance) if whitened else None
    return SampledModel(task, sampler, network, plan.measurement.noise_std, whitening)


def load_model(plan: Plan, arm: str, flat: np.ndarray) -> SampledModel:
    """The model of the arm of that name with the weights ``flat``. Raises ``InputError``."""
    model = build_model(plan, plan.arm(arm))
    unflatten(model, flat)
    return model


def whitening_weights(plan: Plan, variance: torch.Tensor | None) -> torch.Tensor:
    """Weights (H, W) of mean one, the measurement's variance to the power -1/4.

    They bring fine structure, which is faint in MR images, to the scale of the coarse; the square
    root, full whitening, would drown the image in noise. Without ``variance`` (2, H, W), ones,
    for a model whose weights are loaded afterwards.
    """
    if variance is None:
        return torch.ones(plan.task.shape)
    energy = variance.float().sum(0) + 2 * plan.measurement.noise_std**2
    weights = energy.pow(-0.25)
    return weights / weights.mean()


def buffers_of(plan: Plan, arm: Arm) -> np.ndarray:
    """Which entries (n,) of an arm's flat array are buffers, not parameters."""
    tensors = state(build_model(plan, arm))
    kinds = [np.full(t.numel(), not isinstance(t, nn.Parameter)) for t in tensors]
    return np.concatenate(kinds) if kinds else np.zeros(0, bool)


def arm_sizes(plan: Plan) -> dict[str, int]:
    """The length of each arm's flat array."""
    return {arm.name: sum(t.numel() for t in state(build_model(plan, arm))) for arm in plan.arms}
