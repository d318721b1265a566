"""Adam's first moment at a site, begun anew each round from where the federation went.

Kept over rounds, a site's momentum carries its own noise and its own patients past the average:
each round begins with steps that no other site takes. The idea of FedCM (Xu et al. 2021,
"Federated Learning with Client-level Momentum") for Adam: with w the weights a site was sent in
the round before, w' those it is sent now and eta_k the rates of that round's n steps, the
federation's mean step is d = (w - w') / sum_k eta_k, and a site begins with the first moment by
which Adam would take that step: m = (1 - beta_1^t) d (sqrt(v / (1 - beta_2^t)) + eps), v being
its own second moment. Nothing but the weights is sent, so it serves masked and noised updates.
"""

import math

import numpy as np
import torch

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.arms.weights import flatten, state
from infomri_core.fitting.loop import learning_rate_factor
from infomri_core.plan.plan import Plan
from infomri_core.training.fit import OptimizerState, make_optimizer

KEY = "began"
LARGEST = 1.0
"""The largest step, in learning rates, that is taken over: about as far as Adam itself goes."""


def began(plan: Plan, flat: np.ndarray) -> OptimizerState:
    """What is kept of a round beside Adam's state: the weights (n,) that it began with."""
    return {KEY: flat} if plan.training.momentum == "global" else {}


def global_momentum(
    model: SampledModel, plan: Plan, kept: OptimizerState | None, first: int
) -> OptimizerState | None:
    """Adam's state of the round before, as the site ``kept`` it, with the federation's step as
    its first moment; as it is where the plan says "local", or there was no step. ``model`` has the
    weights of the round that begins at step ``first``."""
    if plan.training.momentum == "local" or kept is None or not {KEY, "square"} <= kept.keys():
        return kept
    gap = dict(zip(map(id, state(model)), _parts(model, kept[KEY] - flatten(model))))
    n = plan.training.local_steps
    factors = math.fsum(learning_rate_factor(k, plan.total_steps) for k in range(first - n, first))
    optimizer = make_optimizer(model, plan)
    steps = [
        gap[id(p)] / np.float32(group["base"] * factors)
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    direction = np.clip(np.concatenate(steps), -LARGEST, LARGEST)
    group, t = optimizer.param_groups[0], float(kept["step"][0])
    (beta_1, beta_2), eps = group["betas"], group["eps"]
    size = np.sqrt(kept["square"] / np.float32(1 - beta_2**t)) + np.float32(eps)
    return kept | {"mean": direction * size * np.float32(1 - beta_1**t)}


def _parts(model: SampledModel, flat: np.ndarray) -> list[np.ndarray]:
    """``flat`` cut into the tensors of a model's flat array."""
    sizes = [t.numel() for t in state(model)]
    return [part.numpy() for part in torch.from_numpy(flat).split(sizes)]
