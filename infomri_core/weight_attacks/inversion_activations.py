"""What the gradient of a small batch says about each image alone: a layer's whole input.

The patches of a convolution's input lie in the row space of its gradient (:mod:`inversion_spans`).
Overlapping patches agree: of all maps whose patches lie there, B images leave B dimensions. Behind
a ReLU no value is negative and each image has zeros of its own, so that the images are extreme
rays of the non-negative maps in that space, which linear programmes in random directions find
(separable non-negative factorisation, Donoho and Stodden 2003). Each ray tells, up to group norm's
shift and scale, what the convolution before it put out; its own input follows by least squares.
"""

from typing import final

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.models.resnet import BasicBlock
from infomri_core.weight_attacks.updates import Update

DRAWS_PER_INPUT = 12
SLACK = 1e-4
SAME = 0.999
AGREES = 1e-3
POSITIVE = 1e-3
LARGEST = 2**25
"""Numbers in the equations of a layer, 8 bytes each; layers that need more are passed over."""


def block_inputs(
    model: SampledModel,
    update: Update,
    n_inputs: int,
    shape: tuple[int, ...],
    generator: np.random.Generator,
) -> tuple[BasicBlock, Tensor] | None:
    """The first residual block of which ``update`` says what each of the ``n_inputs``
    measurements of ``shape`` (H, W) fed it, and these maps (n_inputs, C, h, w) of unit norm, in
    no order. None where no block's inputs could be told apart: too many images, or noise."""
    gradients: dict[Tensor, Tensor] = dict(zip(model.network.parameters(), update))
    for block, (below, above) in _shapes(model, shape, update[0].device).items():
        if not isinstance(block.norm1, nn.GroupNorm):
            continue
        first = gradients[block.convolution1.weight].cpu()
        second = gradients[block.convolution2.weight].cpu()
        n_places = above[1] * above[2]
        size = n_inputs * n_places**3 * max(first[0].numel(), second[0].numel())
        if n_inputs * n_places > min(len(first), len(second)) or size > LARGEST:
            continue
        patches = Patches(second, block.convolution2, n_inputs * n_places, above)
        space = patches.agreeing(n_inputs)
        if space is None:
            continue
        rays = _rays(space.numpy(), generator)
        if len(rays) != n_inputs:
            continue
        lower = Patches(first, block.convolution1, n_inputs * n_places, below)
        norm = block.norm1
        maps = [lower.before(torch.from_numpy(r).view(above), norm) for r in rays]
        return block, torch.stack(maps).float().to(update[0].device)
    return None


def distance(
    model: SampledModel, block: BasicBlock, wanted: Tensor, measurements: Tensor
) -> Tensor:
    """1 - cosine (B,) of what ``measurements`` (B, H, W) feed ``block`` and ``wanted``
    (B, C, h, w)."""
    fed: list[Tensor] = []
    handle = block.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0]))
    try:
        model.output(measurements)
    finally:
        handle.remove()
    return 1 - functional.cosine_similarity(fed[0].flatten(1), wanted.flatten(1))


@final
class Patches:
    """Maps (C, H, W) whose patches at every place lie in the row space of a convolution's
    gradient of rank ``rank``."""

    def __init__(
        self, gradient: Tensor, layer: nn.Conv2d, rank: int, shape: tuple[int, ...]
    ) -> None:
        assert not isinstance(layer.padding, str)
        self._kernel = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        self._shape = shape
        ones = torch.ones(1, *shape, dtype=torch.float64)
        inside = functional.unfold(ones, *self._kernel)
        self._times_seen = self._fold(inside)[0].clamp_min(1)
        self._weight = layer.weight.detach().cpu().double().flatten(1)
        self._rows = torch.linalg.svd(gradient.flatten(1).double(), full_matrices=False).Vh[:rank]
        n_places = inside.shape[-1]
        placed = torch.zeros(n_places, *self._rows.shape, n_places, dtype=torch.float64)
        for place in range(n_places):
            placed[place, :, :, place] = self._rows
        self._placed = placed.flatten(0, 1)

    def _fold(self, patches: Tensor) -> Tensor:
        return functional.fold(patches, self._shape[1:], *self._kernel)

    def agreeing(self, n_inputs: int) -> Tensor | None:
        """An orthonormal basis (C H W, n_inputs) of the maps; None unless it is just these."""
        root = self._times_seen.sqrt()
        maps = (self._fold(self._placed) / root).flatten(1)
        values, vectors = torch.linalg.eigh(maps @ maps.T)
        if values[-n_inputs] < 1 - AGREES or values[-n_inputs - 1] > 1 - AGREES:
            return None
        basis = (vectors[:, -n_inputs:].T @ maps).T / root.flatten()[:, None]
        return torch.linalg.qr(basis)[0]

    def before(self, after: Tensor, norm: nn.GroupNorm) -> Tensor:
        """The map of unit norm whose convolution, normalised by ``norm`` and rectified, is a
        multiple of ``after`` (C', H', W').

        Unknown are each patch's coefficients in the row space, and each group's scale, mean and
        scale of the shift: the least singular vector of patches that agree and of outputs that
        are right wherever the ReLU let them through.
        """
        maps = self._fold(self._placed) / self._times_seen
        differ = (self._placed - functional.unfold(maps, *self._kernel)).flatten(1)
        equations = self._equations(after.flatten(1) / after.max(), norm)
        gram = equations.T @ equations
        n = len(differ)
        gram[:n, :n] += differ @ differ.T
        used = gram.diagonal() > 0
        coefficients = torch.zeros(len(gram), dtype=torch.float64)
        coefficients[used] = torch.linalg.eigh(gram[used][:, used]).eigenvectors[:, 0]
        found = torch.einsum("k,kchw->chw", coefficients[:n], maps)
        return found * found.sum().sign() / found.norm()

    def _equations(self, after: Tensor, norm: nn.GroupNorm) -> Tensor:
        channel, place = (after > POSITIVE).nonzero(as_tuple=True)
        rank, n = len(self._rows), len(self._placed)
        rows = torch.zeros(len(channel), n + 3 * norm.num_groups, dtype=torch.float64)
        outputs = self._weight @ self._rows.T
        rows.scatter_(1, place[:, None] * rank + torch.arange(rank), outputs[channel])
        scale, shift = (p.detach().cpu().double()[channel] for p in norm.parameters())
        at = n + 3 * (channel // (len(after) // norm.num_groups))
        each = torch.arange(len(channel))
        rows[each, at] = -after[channel, place] / scale
        rows[each, at + 1] = -1
        rows[each, at + 2] = shift / scale
        return rows


def _shapes(
    model: SampledModel, shape: tuple[int, ...], device: torch.device
) -> dict[BasicBlock, tuple[tuple[int, ...], tuple[int, ...]]]:
    """What each residual block's two convolutions see, (C, H, W) each."""
    blocks = [m for m in model.network.modules() if isinstance(m, BasicBlock)]
    seen: dict[nn.Module, tuple[int, ...]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        seen[layer] = tuple(inputs[0].shape[1:])

    layers = [c for block in blocks for c in (block.convolution1, block.convolution2)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            model.output(torch.ones(1, *shape, dtype=torch.complex64, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return {b: (seen[b.convolution1], seen[b.convolution2]) for b in blocks}


def _rays(space: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """The extreme rays, of unit norm, of the non-negative vectors in the columns' span."""
    total, n = space.sum(0)[None], space.shape[1]
    found = list[np.ndarray]()
    for _ in range(DRAWS_PER_INPUT * n):
        answer = linprog(
            generator.normal(size=n),
            A_ub=-space,
            b_ub=np.full(len(space), SLACK),
            A_eq=total,
            b_eq=[np.sqrt(len(space))],
            bounds=(None, None),
        )
        if answer.status == 0:
            ray = space @ answer.x
            ray /= np.linalg.norm(ray)
            if all(ray @ other < SAME for other in found):
                found.append(ray)
        if len(found) == n:
            break
    return found
