"""Equispaced columns with a fully sampled centre, the usual pattern of scanners."""

import torch

from infomri_core.randomness.draws import Randomness, uniform
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


def exact_equispaced(
    width: int, n_columns: int, generator: Randomness = None, centre: float = CENTRE
) -> torch.Tensor:
    """A bool mask (1, W) of exactly ``n_columns``: round(centre x W) in the middle, and the others
    spaced evenly, from a random offset, among the columns beside it. Raises ``InputError`` where
    the centre leaves nothing to space."""
    n_centre = round(centre * width)
    if not n_centre < n_columns <= width:
        expected = f"more than the {n_centre} columns of the centre, up to {width}"
        raise InputError("equispaced: columns", expected, f"{n_columns}", "lower the acceleration")
    start = (width - n_centre + 1) // 2
    middle = torch.arange(start, start + n_centre)
    columns = torch.zeros(1, width, dtype=torch.bool)
    columns[0, middle] = True
    outside = (~columns[0]).nonzero()[:, 0]
    n_outside = n_columns - n_centre
    offset = uniform(generator, (1,), torch.device("cpu"), torch.float64)
    places = (torch.arange(n_outside, dtype=torch.float64) + offset) * len(outside) / n_outside
    columns[0, outside[places.long().clamp(max=len(outside) - 1)]] = True
    return columns
