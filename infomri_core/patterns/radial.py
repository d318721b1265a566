"""Pseudo-radial sampling: spokes through the zero frequency, on the grid."""

import functools
import math

import torch

from infomri_core.system.errors import InputError


@functools.lru_cache(maxsize=64)
def radial_mask(shape: tuple[int, int], n_points: int) -> torch.Tensor:
    """A bool mask (H, W) of exactly ``n_points``: the fewest evenly turned spokes whose points are
    as many, less those farthest from the centre.

    A spoke takes the nearest point of every step of one point along its longer axis (a digital
    differential analyser). Raises ``InputError`` for a count outside 1 .. H x W.
    """
    size = math.prod(shape)
    if not 1 <= n_points <= size:
        raise InputError("radial: points", f"1 to {size}", f"{n_points}", "choose another")
    # Twice as many spokes as points on the border leave no point out.
    fewest, most = 1, 4 * sum(shape)
    while fewest < most:
        middle = (fewest + most) // 2
        if int(_spokes(shape, middle).sum()) >= n_points:
            most = middle
        else:
            fewest = middle + 1
    mask = _spokes(shape, fewest)
    if int(mask.sum()) < n_points:
        mask = torch.ones(shape, dtype=torch.bool)
    rows, columns = ((torch.arange(n) - n // 2) / n for n in shape)
    distance = torch.hypot(rows[:, None], columns[None, :]).flatten()
    distance = torch.where(mask.flatten(), distance, torch.inf)
    chosen = distance.sort(stable=True).indices[:n_points]
    kept = torch.zeros(size, dtype=torch.bool)
    kept[chosen] = True
    return kept.view(shape)


def _spokes(shape: tuple[int, int], n_spokes: int) -> torch.Tensor:
    height, width = shape
    mask = torch.zeros(shape, dtype=torch.bool)
    angle = torch.arange(n_spokes, dtype=torch.float64) * math.pi / n_spokes
    rise, run = angle.sin() * height, angle.cos() * width
    longest = torch.maximum(rise.abs(), run.abs())
    step = torch.arange(-max(shape), max(shape) + 1, dtype=torch.float64)
    rows = (step[None] * (rise / longest)[:, None]).round().long() + height // 2
    columns = (step[None] * (run / longest)[:, None]).round().long() + width // 2
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    mask[rows[inside], columns[inside]] = True
    return mask
