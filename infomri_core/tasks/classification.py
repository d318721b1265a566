"""Diagnosis from sampled k-space: a sampling policy and a classifier trained together."""

from dataclasses import dataclass
from typing import cast, final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from infomri_core.models.resnet import ResNet18
from infomri_core.physics.entropy import marginal_entropy
from infomri_core.physics.kspace import fft2c, measure, zero_fill
from infomri_core.plan.plan import Arm, Constraint, Plan, Start
from infomri_core.randomness.draws import Randomness
from infomri_core.randomness.seeds import derive_seed, torch_generator
from infomri_core.sampling import SamplingPolicy, build_policy, draw_masks
from infomri_core.system.errors import InputError


@dataclass(frozen=True)
class LossTerms:
    """Both terms of the objective: mean cross-entropy and mean marginal entropy (nats)."""

    ce: torch.Tensor
    entropy: torch.Tensor

    def total(self, beta: float) -> torch.Tensor:
        """CE + beta H (InfoMRI, Eq. 12 and Algorithm 4)."""
        return self.ce if beta == 0 else self.ce + beta * self.entropy


@final
class Classification(nn.Module):
    """One arm: ``policy`` decides what is measured, ``network`` diagnoses from it."""

    def __init__(
        self,
        plan: Plan,
        policy: SamplingPolicy,
        network: nn.Module,
        variance: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.network = network
        self.whitening: torch.Tensor | None
        whitened = plan.model.mouth == "whitened"
        weights = whitening_weights(plan, variance) if whitened else None
        self.register_buffer("whitening", weights)
        self.constraint: Constraint = plan.constraint
        self.method = plan.method
        self.noise_std = plan.measurement.noise_std
        self.exclusive = plan.task.exclusive

    def draw(self, ratio: float, n_masks: int, generator: torch.Generator) -> torch.Tensor:
        """Sampling masks (n_masks, H, W), differentiable in the policy (straight-through)."""
        return draw_masks(self.policy(ratio), n_masks, self.constraint, self.method, generator)

    def measure(
        self, images: torch.Tensor, masks: torch.Tensor, generator: Randomness
    ) -> torch.Tensor:
        """Sampled noisy k-space (B, H, W) of images (B, H, W) (InfoMRI, Eq. 2)."""
        return measure(fft2c(images), masks, self.noise_std, generator)

    def logits(self, measurement: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) from sampled k-space (B, H, W), through the zero-filled image."""
        seen = measurement if self.whitening is None else measurement * self.whitening
        image = zero_fill(seen)
        return cast(torch.Tensor, self.network(torch.stack((image.real, image.imag), dim=-3)))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Class probabilities: softmax for exclusive labels, else one sigmoid a label."""
        return logits.softmax(-1) if self.exclusive else logits.sigmoid()

    def cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """CE, or BCE averaged over the labels; the mean over the batch (B, K)."""
        if self.exclusive:
            return functional.cross_entropy(logits, labels.argmax(-1))
        return functional.binary_cross_entropy_with_logits(logits, labels)

    def loss(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        ratio: float,
        variance: torch.Tensor,
        generator: torch.Generator,
    ) -> LossTerms:
        """Both loss terms of a batch: images (B, H, W), labels (B, K) multi-hot float."""
        masks = self.draw(ratio, len(images), generator)
        logits = self.logits(self.measure(images, masks, generator))
        ce = self.cross_entropy(logits, labels)
        return LossTerms(ce, marginal_entropy(masks, variance, self.noise_std).mean())


def build_model(plan: Plan, arm: Arm, variance: torch.Tensor | None = None) -> Classification:
    """A fresh model of an arm, seeded by (study seed, arm seed).

    ``variance`` (2, H, W) is what a spectral start begins from; without it the policy starts at
    random, which is right wherever weights are loaded afterwards.
    """
    start: Start = plan.start if variance is not None else "random"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(plan.study.seed, "network", arm.seed))
        network = ResNet18(
            2, len(plan.task.labels), plan.task.shape, plan.model.width, plan.model.norm
        )
    generator = torch_generator(plan.study.seed, "policy", arm.seed)
    policy = build_policy(arm, plan.task.shape, plan.constraint, start, variance, generator)
    return Classification(plan, policy, network, variance)


def load_model(plan: Plan, arm: str, flat: np.ndarray) -> Classification:
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


def flatten(module: nn.Module) -> np.ndarray:
    """All parameters and floating-point buffers as one float32 array, in state-dict order."""
    parts = [t.detach().reshape(-1).float().cpu() for t in _state(module)]
    return torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)


def unflatten(module: nn.Module, flat: np.ndarray) -> None:
    """Write a flat array back into ``module``. ``InputError`` when its length does not fit."""
    state = _state(module)
    expected = sum(t.numel() for t in state)
    if flat.shape != (expected,):
        raise InputError(
            "weights",
            f"{expected} values",
            f"an array of shape {flat.shape}",
            "use weights made with the same plan",
        )
    values = torch.from_numpy(np.array(flat, dtype=np.float32))
    with torch.no_grad():
        for tensor, part in zip(state, values.split([t.numel() for t in state])):
            tensor.copy_(part.view_as(tensor))


def buffers_of(plan: Plan, arm: Arm) -> np.ndarray:
    """Which entries (n,) of an arm's flat array are buffers, not parameters."""
    state = _state(build_model(plan, arm))
    kinds = [np.full(t.numel(), not isinstance(t, nn.Parameter)) for t in state]
    return np.concatenate(kinds) if kinds else np.zeros(0, bool)


def arm_sizes(plan: Plan) -> dict[str, int]:
    """The length of each arm's flat array."""
    return {arm.name: sum(t.numel() for t in _state(build_model(plan, arm))) for arm in plan.arms}


def _state(module: nn.Module) -> list[torch.Tensor]:
    return [t for t in module.state_dict(keep_vars=True).values() if t.is_floating_point()]
