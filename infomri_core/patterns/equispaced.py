"""Equispaced columns with a fully sampled centre, the usual pattern of scanners."""

import torch

from infomri_core.system.errors import InputError

CENTRE = 0.04


def equispaced_mask(
    shape: tuple[int, int],
    acceleration: float,
    generator: torch.Generator | None = None,
    centre: float = CENTRE,
) -> torch.Tensor:
    """A bool mask (H, W) of every a'-th column from a random offset, and round(centre x W)
    columns in the middle (fastMRI's ``EquispacedMaskFractionFunc``; ProM's baseline).

    With c centre columns a' = a (c - W) / (c a - W), so that W / a columns come together on
    average; the count is not exact, as the published pattern's is not. Raises ``InputError``
    where the centre alone is more than the acceleration allows.
    """
    height, width = shape
    n_centre = round(centre * width)
    if n_centre * acceleration >= width or acceleration < 1:
        raise InputError(
            "equispaced: acceleration",
            f"a number from 1 to below {width / max(n_centre, 1):.4g}, as {n_centre} of {width} "
            "columns are the centre",
            f"{acceleration:g}",
            "lower it, or take a smaller centre",
        )
    spacing = acceleration * (n_centre - width) / (n_centre * acceleration - width)
    highest = max(1, round(spacing))
    offset = int(torch.randint(highest, (), generator=generator))
    columns = torch.zeros(width, dtype=torch.bool)
    places = torch.arange(offset, width - 1, spacing, dtype=torch.float64).round().long()
    columns[places] = True
    start = (width - n_centre + 1) // 2
    columns[start : start + n_centre] = True
    return columns.expand(height, width).clone()
