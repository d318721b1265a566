"""Compressed sensing with total variation: the image is piecewise smooth."""

from typing import Any, final

import torch
from torch import Tensor

from infomri_core.attacks.base import Style
from infomri_core.attacks.sparse.compressed import CompressedSensing
from infomri_core.attacks.sparse.fista import Penalty

_N_INNER = 5
_STEP = 1 / 8


def gradient(image: Tensor) -> Tensor:
    """Forward differences (2, B, H, W) of images (B, H, W); zero across the border."""
    down = torch.diff(image, dim=-2, append=image[..., -1:, :])
    right = torch.diff(image, dim=-1, append=image[..., :, -1:])
    return torch.stack((down, right))


def divergence(field: Tensor) -> Tensor:
    """Minus the adjoint of :func:`gradient`: fields (2, B, H, W) to images (B, H, W)."""
    down, right = field[0][..., :-1, :], field[1][..., :, :-1]
    zero_row = torch.zeros_like(field[0][..., :1, :])
    zero_column = torch.zeros_like(field[1][..., :, :1])
    rows = torch.cat((zero_row, down, zero_row), -2).diff(dim=-2)
    return rows + torch.cat((zero_column, right, zero_column), -1).diff(dim=-1)


@final
class TotalVariation(Penalty):
    """Isotropic total variation; its proximal operator by Chambolle's dual projected gradient
    (2004), which continues from where the last call left it."""

    def shrink(self, image: Tensor, weight: Tensor, memory: Any) -> tuple[Tensor, Any]:
        dual = torch.zeros(2, *image.shape, device=image.device) if memory is None else memory
        for _ in range(_N_INNER):
            dual = dual + _STEP * gradient(image + divergence(dual))
            length = dual.square().sum(0).sqrt()
            dual = dual * (weight / length.clamp_min(1e-12)).clamp_max(1)
        return image + divergence(dual), dual


@final
class TVAttack(CompressedSensing):
    """Least total variation among the images that agree with y, up to the noise."""

    name = "tv"
    title = "compressed sensing: a piecewise smooth image"
    style = Style("#009E73", "--", "dash")
    n_iterations = 60

    def make_penalty(self) -> Penalty:
        return TotalVariation()
