"""Finds a mask: ProM's Algorithm 1, over a data set by batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch

from infomri_core.prom.concrete import concrete_masks
from infomri_core.prom.optimizer import ScaledAdam
from infomri_core.prom.options import Constraint, ProMOptions
from infomri_core.prom.projection import project
from infomri_core.randomness.seeds import numpy_generator, torch_generator
from infomri_core.system.errors import InputError

_AXES = (-2, -1)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From magnitude images (B, H, W) that were rebuilt and the rows (B,) they belong to, the mean."""


@final
@dataclass(frozen=True, eq=False)
class Solution:
    """Probabilities ``theta`` (H, W), and the ``mask`` bool (H, W) that is their mode: the
    ``budget`` points, or columns, of highest probability (ProM, Eq. 8)."""

    theta: torch.Tensor
    mask: torch.Tensor
    budget: int
    constraint: Constraint


def image_loss(images: torch.Tensor) -> Loss:
    """Mean squared error against ``images`` (n, H, W)."""

    def loss(rebuilt: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (rebuilt - images[rows]).square().mean()

    return loss


def solve(
    images: torch.Tensor,
    options: ProMOptions,
    loss: Loss | None = None,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Solution:
    """The mask of least expected ``loss`` (:func:`image_loss` by default) over real ``images``
    (n, H, W), float32 on any device.

    The constraint is enforced after every step, on what the next one draws from (ProM,
    Algorithm 1). ``advance`` is called once a step and may raise to end the run. Raises
    ``InputError`` for images of another shape, and for an acceleration that leaves no point.
    """
    if images.ndim != 3 or not len(images):
        raise InputError("prom: images", "(n, H, W)", f"{tuple(images.shape)}", "give images")
    height, width = images.shape[-2:]
    shape = (width,) if options.constraint == "1d" else (height, width)
    n = height * width if options.constraint == "2d" else width
    budget = options.budget(n)
    generator = torch_generator(seed, "prom", device=images.device)
    order = numpy_generator(seed, "prom-batches")
    # Zero frequency and image corner at index 0 throughout: no shift of any array in a step.
    corner = torch.fft.ifftshift(images, dim=_AXES)
    kspace = torch.fft.fft2(corner, norm="ortho")
    measured = image_loss(corner) if loss is None else _centred(loss)
    theta = torch.rand(shape, generator=generator, device=images.device)
    optimizer = ScaledAdam(theta, options, budget)
    size = min(options.batch_size, len(images))
    for step in range(options.steps):
        rows = torch.from_numpy(order.choice(len(images), size, replace=False))
        rows = rows.to(images.device).repeat(options.n_masks)
        theta.requires_grad_(True)
        temperature = options.temperature(step)
        masks = concrete_masks(theta, len(rows), temperature, options.edge, generator)
        masks = masks.unsqueeze(-2) if options.constraint == "1d" else masks
        rebuilt = torch.fft.ifft2(kspace[rows] * masks, norm="ortho").abs()
        (gradient,) = torch.autograd.grad(measured(rebuilt, rows), theta)
        theta = theta.detach()
        optimizer.step(theta, gradient)
        theta = project(theta, options.annealed_budget(n, step + 1))
        advance()
    centred = torch.fft.fftshift(theta, dim=_AXES[-theta.ndim :])
    return _solution(centred.expand(height, width).clone(), budget, options.constraint)


def _centred(loss: Loss) -> Loss:
    def centred(rebuilt: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return loss(torch.fft.fftshift(rebuilt, dim=_AXES), rows)

    return centred


def combine(solutions: list[Solution]) -> Solution:
    """The mode of the mean of independent solutions' probabilities (the paper's "BMA")."""
    first = solutions[0]
    theta = torch.stack([solution.theta for solution in solutions]).mean(0)
    return _solution(theta, first.budget, first.constraint)


def _solution(theta: torch.Tensor, budget: int, constraint: Constraint) -> Solution:
    values = theta[0] if constraint == "1d" else theta.flatten()
    chosen = torch.zeros(len(values), dtype=torch.bool, device=theta.device)
    chosen[values.sort(descending=True, stable=True).indices[:budget]] = True
    mask = chosen.expand(theta.shape) if constraint == "1d" else chosen.view(theta.shape)
    return Solution(theta, mask.clone(), budget, constraint)
