"""A site's update as an attacker sees it: gradients of a batch, perhaps clipped and noised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.tasks.objective import IMAGE_ONLY

Update = tuple[Tensor, ...]


@final
@dataclass(frozen=True)
class Protection:
    """What DP-SGD does to a gradient: each sample's clipped to norm ``clip``, Gaussian noise of
    standard deviation ``noise_multiplier * clip`` on their sum."""

    clip: float
    noise_multiplier: float


def parameters(model: SampledModel) -> list[nn.Parameter]:
    """The network's parameters: what an update of the classifier says."""
    return list(model.network.parameters())


def task_loss(model: SampledModel, measurement: Tensor, targets: Tensor) -> Tensor:
    """The task's part of the objective for measurements (B, H, W) and targets (B, ...). What
    training draws besides is at its middle, as if the attacker knew it."""
    task = model.task
    drawn = torch.zeros(len(targets), task.n_drawn(model.network), device=measurement.device)
    output = model.training_output(measurement, None, None, targets, drawn)
    losses = task.mean_losses(output, targets)
    return task.objective(losses, 0.0 if task.serves(0.0) else IMAGE_ONLY)


def gradient(
    model: SampledModel,
    measurement: Tensor,
    targets: Tensor,
    protection: Protection | None = None,
    generator: torch.Generator | None = None,
) -> Update:
    """The network's gradient of a batch, with or without ``protection``."""
    wanted = parameters(model)
    if protection is None:
        return torch.autograd.grad(
            task_loss(model, measurement, targets), wanted, materialize_grads=True
        )
    total = [torch.zeros_like(p) for p in wanted]
    for k in range(len(targets)):
        loss = task_loss(model, measurement[k : k + 1], targets[k : k + 1])
        own = torch.autograd.grad(loss, wanted, materialize_grads=True)
        norm = torch.stack([g.norm() for g in own]).norm()
        scale = (protection.clip / norm.clamp_min(1e-12)).clamp(max=1)
        total = [t + scale * g for t, g in zip(total, own)]
    spread = protection.noise_multiplier * protection.clip
    device = "cpu" if generator is None else generator.device
    noise = (torch.randn(t.shape, generator=generator, device=device).to(t) for t in total)
    return tuple((t + spread * n) / len(targets) for t, n in zip(total, noise))


def local_update(
    model: SampledModel,
    measurements: Tensor,
    targets: Tensor,
    learning_rate: float,
    protection: Protection | None = None,
    generator: torch.Generator | None = None,
) -> Update:
    """(w_0 - w_K) / (K eta) after K steps of plain SGD on one batch, measured again each time.

    ``measurements`` (K, B, H, W). One step is the gradient itself. The model is left as it was.
    SGD is the attacker's best case: Adam's update hides the gradient's scale.
    """
    wanted = parameters(model)
    start = [p.detach().clone() for p in wanted]
    total = [torch.zeros_like(p) for p in wanted]
    for y in measurements:
        step = gradient(model, y, targets, protection, generator)
        with torch.no_grad():
            for p, t, g in zip(wanted, total, step):
                p.sub_(learning_rate * g)
                t.add_(g / len(measurements))
    with torch.no_grad():
        for p, s in zip(wanted, start):
            p.copy_(s)
    return tuple(total)


def matched(model: SampledModel, measurements: Tensor, targets: Tensor) -> Update:
    """The update of ``measurements`` (K, B, H, W) to first order in the steps, differentiable
    in them."""
    repeated = targets.repeat(len(measurements), *[1] * (targets.ndim - 1))
    loss = task_loss(model, measurements.flatten(0, 1), repeated)
    return torch.autograd.grad(loss, parameters(model), create_graph=True, materialize_grads=True)


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Cosine similarity of two updates."""
    dot = torch.stack([(x * y).sum() for x, y in zip(a, b)]).sum()
    norms = [torch.stack([x.square().sum() for x in u]).sum().sqrt() for u in (a, b)]
    return dot / (norms[0] * norms[1]).clamp_min(1e-20)
