"""Masks of the highest mean energy: the optimum of linear reconstruction, in closed form.

Of a real image one point of a conjugate pair holds all that its partner does. How much of the
pair's error a point removes therefore depends on how the image is rebuilt.
"""

from typing import Literal

import torch

from infomri_core.physics.kspace import fft2c, reflect
from infomri_core.system.errors import InputError

Kind = Literal["both", "one-sided", "gain"]
KINDS: tuple[Kind, ...] = ("both", "one-sided", "gain")
_FIRST, _SECOND = 0.75, 0.25
_BATCH = 64


def mean_energy(images: torch.Tensor) -> torch.Tensor:
    """E_i = mean |k_i|^2 over real images (n, H, W), float64 (H, W), equal on conjugate pairs."""
    energy = torch.zeros(images.shape[-2:], dtype=torch.float64)
    for batch in images.split(_BATCH):
        energy += fft2c(batch).abs().double().square().sum(0).cpu()
    energy /= len(images)
    return (energy + reflect(energy)) / 2


def spectrum_mask(energy: torch.Tensor, n_points: int, kind: Kind = "gain") -> torch.Tensor:
    """The bool mask (H, W) of exactly ``n_points`` points of highest worth for ``energy`` (H, W).

    ``both`` ranks by energy alone, so that pairs are sampled together (InfoMRI's "spectrum").
    ``one-sided`` takes one point of each pair first, which is all that Hermitian completion
    needs. ``gain`` counts three quarters of a pair's energy for its first point and one quarter
    for its second: what each removes of the error of the zero-filled real image, so that sorting
    gives the least error. For whole columns give their summed energy
    (1, W). Raises ``InputError`` for a count outside 1 .. H x W.
    """
    if not 1 <= n_points <= energy.numel():
        got = f"{n_points}"
        raise InputError("spectrum: points", f"1 to {energy.numel()}", got, "choose another")
    worth = energy.double().flatten()
    order = torch.arange(energy.numel()).view(energy.shape)
    partner = reflect(order).flatten()
    single = partner == order.flatten()
    first = order.flatten() < partner
    if kind == "one-sided":
        # All first points and self-conjugate ones come before every second point.
        worth = torch.where(first | single, worth + 2 * worth.max() + 1, worth)
    elif kind == "gain":
        pair = 2 * worth * torch.where(first, _FIRST, _SECOND)
        worth = torch.where(single, worth, pair)
    elif kind != "both":
        raise InputError("spectrum: kind", "both, one-sided or gain", str(kind), "choose one")
    # Stable: of equal energies the first position of k-space is taken.
    best = worth.sort(descending=True, stable=True).indices[:n_points]
    mask = torch.zeros(energy.numel(), dtype=torch.bool)
    mask[best] = True
    return mask.view(energy.shape)
