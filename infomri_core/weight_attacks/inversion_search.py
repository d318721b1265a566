"""The search for what gave an update: images, or k-space, whose effect on the network is the same.

L-BFGS follows activations or spans that the update gives away; Adam follows its cosine. Both walk
in coordinates in which images of the attacker's own are white.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.models.resnet import BasicBlock
from infomri_core.physics.kspace import fft2c, ifft2c
from infomri_core.weight_attacks.inversion_activations import block_inputs, distance
from infomri_core.weight_attacks.inversion_spans import Spans
from infomri_core.weight_attacks.updates import Update, cosine, matched

STEP = 0.03
SPREAD = 0.2
PRIOR_WEIGHT = 1e-4
PRIOR_WEIGHT_OF_LBFGS = 1e-7
FOLLOWED = 1e-3
MATCHED = 0.01
EVALUATIONS = 20
EVALUATIONS_TO_PAIR = 40
Expired = Callable[[], bool]


@final
@dataclass(frozen=True)
class InversionResult:
    """Guesses at the k-space, (B, H, W) or (K, B, H, W), that was measured; images (B, H, W)
    where the attack looked for them; how far it ended from the update: is that a match?"""

    kspace: Tensor
    images: Tensor | None
    attack: str
    mismatch: float
    matched: bool


@final
@dataclass(frozen=True)
class Target:
    """What the attacker holds: the model, the update, the targets (B, ...) and its prior;
    masks and noise (K, B, H, W), used only where it knows them."""

    model: SampledModel
    update: Update
    targets: Tensor
    masks: Tensor
    noise: Tensor
    prior: LMMSE
    knows_masks: bool = True

    def guess(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """K-space and images (B, H, W) of white coordinates ``z`` (B, H, W); without the masks
        k-space alone, of ``z`` (K, B, H, W, 2): each measurement is an unknown of its own."""
        root = self.prior.prior.sqrt()
        if self.knows_masks:
            images = self.prior.mean + ifft2c(root * fft2c(z)).real
            return fft2c(images), images
        size = (self.prior.prior + fft2c(self.prior.mean).abs().square()).sqrt()
        return size * torch.view_as_complex(z), None

    def measured(self, kspace: Tensor) -> Tensor:
        """The measurements (K, B, H, W) that the network would see."""
        return self.masks * kspace + self.noise if self.knows_masks else kspace

    def only(self, b: int) -> "Target":
        """What the attacker holds of image ``b``, the update aside."""
        own = slice(b, b + 1)
        parts = (self.targets[own], self.masks[:, own], self.noise[:, own])
        return replace(self, targets=parts[0], masks=parts[1], noise=parts[2])


def invert(
    target: Target,
    n_steps: int,
    generator: torch.Generator,
    expired: Expired = lambda: False,
) -> list[InversionResult]:
    """What every search finds that the update gives a hold: activations, spans, or where there is
    neither, matching; ``n_steps`` steps of Adam, or as many of L-BFGS for each image."""
    n_local, n, height, width = target.masks.shape
    form = (n, height, width) if target.knows_masks else (n_local, n, height, width, 2)
    noise = torch.randn(form, generator=generator, device=generator.device)
    z = ((SPREAD if target.knows_masks else 1.0) * noise).to(target.noise.device)
    inputs = block_inputs(
        *(target.model, target.update, n_local * n, (height, width)),
        np.random.default_rng(generator.initial_seed()),
    )
    found = []
    if inputs is not None:
        found.append(_by_activations(target, *inputs, z, n_steps, expired))
    spans = Spans(target.model, target.update, n_local * n, (height, width))
    if len(spans):
        found.append(_by_spans(target, spans, z, n_steps, expired))
    return found or [_by_matching(target, z, n_steps, expired)]


def _by_activations(
    target: Target, block: BasicBlock, inputs: Tensor, z: Tensor, n_steps: int, expired: Expired
) -> InversionResult:
    """Each image by itself, after a short search of every input under every mask has said which
    belong together."""
    n_local, n = target.masks.shape[:2]
    if target.knows_masks and n_local * n > 1:
        inputs = inputs[_paired(target, block, inputs, z[:1], expired)]
    inputs = inputs.unflatten(0, (n_local, n))
    found, far = list[Tensor](), list[Tensor]()
    for b in range(n):
        own, wanted = target.only(b), inputs[:, b]

        def outside(z: Tensor, own: Target = own, wanted: Tensor = wanted) -> Tensor:
            measured = own.measured(own.guess(z)[0]).flatten(0, 1)
            return distance(own.model, block, wanted, measured)

        start = z[b : b + 1] if target.knows_masks else z[:, b : b + 1]
        found.append(_minimised(outside, start, n_steps, expired))
        with torch.no_grad():
            far.append(outside(found[-1]).mean())
    with torch.no_grad():
        kspace, images = target.guess(torch.cat(found, dim=0 if target.knows_masks else 1))
    furthest = float(torch.stack(far).max())
    return InversionResult(kspace, images, "activations", furthest, furthest < FOLLOWED)


def _paired(
    target: Target, block: BasicBlock, inputs: Tensor, z: Tensor, expired: Expired
) -> Tensor:
    """The order of ``inputs`` in which the n-th fits the n-th mask best."""
    n = len(inputs)
    masks, noise = (t.flatten(0, 1).repeat(n, 1, 1) for t in (target.masks, target.noise))
    wanted = inputs.repeat_interleave(n, 0)

    def outside(z: Tensor) -> Tensor:
        measured = masks * target.guess(z)[0] + noise
        return distance(target.model, block, wanted, measured)

    near = _minimised(outside, z.repeat(n * n, 1, 1), EVALUATIONS_TO_PAIR, expired)
    with torch.no_grad():
        table = outside(near).view(n, n)
    _, rows = linear_sum_assignment(table.T.cpu().numpy())
    return torch.from_numpy(rows)


def _by_spans(
    target: Target, spans: Spans, z: Tensor, n_steps: int, expired: Expired
) -> InversionResult:
    def outside(z: Tensor) -> Tensor:
        return spans.outside(target.measured(target.guess(z)[0]).flatten(0, 1))

    z = _minimised(outside, z, n_steps, expired)
    with torch.no_grad():
        kspace, images = target.guess(z)
        share = float(outside(z).mean())
    return InversionResult(kspace, images, "spans", share, share < FOLLOWED)


def _minimised(
    outside: Callable[[Tensor], Tensor], z: Tensor, n_steps: int, expired: Expired
) -> Tensor:
    z = z.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [z], max_iter=EVALUATIONS, history_size=50, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        loss = outside(z).sum() + PRIOR_WEIGHT_OF_LBFGS * z.square().sum()
        (z.grad,) = torch.autograd.grad(loss, [z])
        return loss.detach()

    for _ in range(-(-n_steps // EVALUATIONS)):
        if expired():
            break
        optimizer.step(closure)
    return z.detach()


def _by_matching(target: Target, z: Tensor, n_steps: int, expired: Expired) -> InversionResult:
    z = z.requires_grad_()
    optimizer = torch.optim.Adam([z], lr=STEP)
    best, least, nearest = z.detach().clone(), float("inf"), float("inf")
    for _ in range(n_steps):
        if expired():
            break
        measured = target.measured(target.guess(z)[0])
        mismatch = 1 - cosine(matched(target.model, measured, target.targets), target.update)
        loss = mismatch + PRIOR_WEIGHT * z.square().mean()
        if loss.item() < least:
            best, least = z.detach().clone(), loss.item()
        nearest = min(nearest, mismatch.item())
        (z.grad,) = torch.autograd.grad(loss, [z])
        optimizer.step()
    with torch.no_grad():
        kspace, images = target.guess(best)
    return InversionResult(kspace, images, "matching", nearest, nearest < MATCHED)
