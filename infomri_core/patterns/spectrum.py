"""Masks of the highest mean energy: the optimum of linear reconstruction, in closed form.

Of a real image one point of a conjugate pair holds all that its partner does. How much of the
pair's error a point removes therefore depends on how the image is rebuilt.
"""

from typing import Literal

import torch

from infomri_core.physics.kspace import reflect
from infomri_core.system.errors import InputError

Kind = Literal["both", "one-sided", "gain"]
KINDS: tuple[Kind, ...] = ("both", "one-sided", "gain")
_FIRST, _SECOND = 0.75, 0.25


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
    mask = torch.zeros(energy.numel(), dtype=torch.bool)
    mask[spectrum_order(energy, kind)[:n_points].cpu()] = True
    return mask.view(energy.shape)


def spectrum_order(energy: torch.Tensor, kind: Kind = "gain") -> torch.Tensor:
    """Flat positions (H x W,) in the order in which :func:`spectrum_mask` takes them."""
    worth = energy.double().flatten()
    order = torch.arange(energy.numel(), device=energy.device).view(energy.shape)
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
    return worth.sort(descending=True, stable=True).indices
